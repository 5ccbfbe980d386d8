/* `grid hello world` answers `hello, world`. Keeps the promise in ../hello.md.
 *
 * Freestanding: no C library. Build it with
 *
 *     clang --target=wasm32 -nostdlib -ffreestanding -Os -Wall -Wextra -Werror \
 *         -Wl,--no-entry -Wl,--strip-all -o ../hello-c.wasm hello.c
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

/* What the module says about itself, readable without running it. */
__asm__(".section .custom_section.promise,\"\",@\n"
        ".incbin \"../hello.md\"\n"
        ".section .custom_section.promise_name,\"\",@\n"
        ".ascii \"hello\"\n"
        ".section .custom_section.promise_pure,\"\",@\n"
        ".ascii \"yes\"\n");

#define EXPORT(name) __attribute__((export_name(name)))

/* The one import: sends a request, and copies the reply out if there is room for it. With nothing
 * to send it yields what the module was called with. */
__attribute__((import_module("grid"), import_name("call")))
long long grid_call(const u8 *request, u32 length, u8 *out, u32 capacity);

/* A message of 64 arguments of 4 KiB and 1 MiB of payload is the longest that there is; one that
 * says hello to somebody is not. */
enum { ROOM = 16 * 1024, PROMISE = 6, ID = 41 };

static u8 input[ROOM];
static u8 output[ROOM];

/* `grid([42(promise), null, [], payload, null])` has a promise between HEAD and TAIL. */
static const u8 HEAD[] = {0xda, 0x67, 0x72, 0x69, 0x64, 0x85};
static const u8 TAIL[] = {0xf6, 0x80};
static const u8 ACCEPT[ID] = {
    0xd8, 0x2a, 0x58, 0x25, 0x00,
    0x01, 0x55, 0x12, 0x20, 0x2b, 0xb7, 0x01, 0xed, 0xda, 0x5c, 0x32, 0xec,
    0x61, 0x4e, 0x9f, 0xbd, 0xe0, 0xec, 0x8e, 0x0d, 0x52, 0x49, 0xaa, 0xef,
    0xcb, 0x2f, 0xfa, 0x66, 0xf5, 0x72, 0x0a, 0x92, 0x25, 0xaf, 0x5b, 0x03,
};
static const u8 REJECT[ID] = {
    0xd8, 0x2a, 0x58, 0x25, 0x00,
    0x01, 0x55, 0x12, 0x20, 0x29, 0x5c, 0x64, 0xb1, 0x77, 0x38, 0xcf, 0x1b,
    0xa1, 0xfb, 0xb9, 0x30, 0x4e, 0x8f, 0xcd, 0x47, 0x4e, 0x5e, 0x51, 0xe4,
    0x70, 0x7a, 0x42, 0xd7, 0x6c, 0x6c, 0x84, 0x2a, 0xeb, 0x7e, 0x2a, 0xe4,
};
static const u8 WHY[] = "hello wants one word: whom to greet";
static const u8 HELLO[] = "hello, ";

/* Where the answer is, and how long. */
static u8 *end;

static void put(const u8 *bytes, u32 length)
{
    while (length--)
        *end++ = *bytes++;
}

static void put_byte(u8 byte)
{
    put(&byte, 1);
}

/* The head of a byte string, in its shortest form. */
static void put_head(u32 length)
{
    if (length < 24) {
        put_byte(0x40 | length);
    } else if (length < 256) {
        put_byte(0x58);
        put_byte(length);
    } else {
        put_byte(0x59);
        put_byte(length >> 8);
        put_byte(length);
    }
}

static u64 answer(const u8 *promise, const u8 *before, u32 before_length, const u8 *text, u32 length)
{
    end = output;
    put(HEAD, sizeof HEAD);
    put(promise, ID);
    put(TAIL, sizeof TAIL);
    put_head(before_length + length);
    put(before, before_length);
    put(text, length);
    put_byte(0xf6);
    return (u64)(u32)output << 32 | (u32)(end - output);
}

/* The only argument, or none. Its length goes to `length`. */
static const u8 *only_argument(u32 *length)
{
    long long size = grid_call(0, 0, input, ROOM);
    const u8 *at = input + PROMISE;
    if (size > ROOM || at[2] != 0x58 || at[3] != 0x25)
        return 0; /* longer, or with another hash function: not for this example */
    at += ID;
    if (*at == 0xf6)
        at += 1;
    else if (at[2] == 0x58 && at[3] == 0x25)
        at += ID;
    else
        return 0;
    if (*at++ != 0x81)
        return 0;
    u8 head = *at++;
    if (head < 0x58) {
        *length = head & 0x1f;
    } else if (head == 0x58) {
        *length = *at++;
    } else {
        *length = (u32)at[0] << 8 | at[1];
        at += 2;
    }
    return at;
}

EXPORT("grid_abi_1") void grid_abi_1(void) {}

EXPORT("promise_accept") u64 promise_accept(void)
{
    u32 length;
    if (only_argument(&length))
        return answer(ACCEPT, 0, 0, 0, 0);
    return answer(REJECT, WHY, sizeof WHY - 1, 0, 0);
}

EXPORT("promise_handle") u64 promise_handle(void)
{
    u32 length;
    const u8 *whom = only_argument(&length);
    if (!whom)
        return 0; /* no answer: `accept` said that there would be none */
    return answer(input + PROMISE, HELLO, sizeof HELLO - 1, whom, length);
}
