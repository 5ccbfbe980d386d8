;; `grid hello world` answers `hello, world`. Keeps the promise in hello.md.
(module
  (@custom "promise"
    "# hello\n"
    "\n"
    "I will say hello to the one thing that you name.\n"
    "\n"
    "I expect that you name one.\n")
  (@custom "promise_name" "hello")
  (@custom "promise_pure" "yes")

  ;; The one import: sends a request, and copies the reply out if there is room for it. With nothing
  ;; to send it yields what the module was called with.
  (import "grid" "call" (func $call (param i32 i32 i32 i32) (result i64)))
  (memory (export "memory") 1)
  (func (export "grid_abi_1"))

  ;; grid([42(accept-message), null, [], h'', null]), and the same with reject-message.
  (data (i32.const 0)
    "\da\67\72\69\64\85\d8\2a\58\25\00"
    "\01\55\12\20\2b\b7\01\ed\da\5c\32\ec\61\4e\9f\bd\e0\ec\8e\0d\52\49\aa\ef\cb\2f\fa\66\f5\72\0a\92\25\af\5b\03"
    "\f6\80\40\f6")
  (data (i32.const 64)
    "\da\67\72\69\64\85\d8\2a\58\25\00"
    "\01\55\12\20\29\5c\64\b1\77\38\cf\1b\a1\fb\b9\30\4e\8f\cd\47\4e\5e\51\e4\70\7a\42\d7\6c\6c\84\2a\eb\7e\2a\e4"
    "\f6\80\40\f6")
  ;; The middle of an answer: no module, no arguments, a payload of up to 255 bytes.
  (data (i32.const 128) "\f6\80\58\00hello, ")

  ;; Where the head of the one argument is, or 0. A message begins with tag, array and promise: 47
  ;; bytes for an id that is a sha2-256. Then null or the module, and the array of arguments.
  (func $argument (result i32) (local $at i32)
    (if (i64.gt_u (call $call (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 32768))
                  (i64.const 32768))
      (then (return (i32.const 0))))
    (if (i32.ne (i32.load16_u (i32.const 1032)) (i32.const 0x2558)) (then (return (i32.const 0))))
    (local.set $at (select (i32.const 1072) (i32.const 1112)
      (i32.eq (i32.load8_u (i32.const 1071)) (i32.const 0xf6))))
    ;; One argument, shorter than 24 bytes: its head is a single byte.
    (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x81)) (then (return (i32.const 0))))
    (if (i32.gt_u (i32.load8_u offset=1 (local.get $at)) (i32.const 0x57))
      (then (return (i32.const 0))))
    (i32.add (local.get $at) (i32.const 1)))

  (func (export "promise_accept") (result i64)
    (select (i64.const 51) (i64.const 0x4000000033) (call $argument)))

  (func (export "promise_handle") (result i64) (local $head i32) (local $length i32) (local $to i32)
    (if (i32.eqz (local.tee $head (call $argument))) (then (return (i64.const 0))))
    (local.set $length (i32.and (i32.load8_u (local.get $head)) (i32.const 0x1f)))
    ;; At 49152: head and promise of what came in, the middle, the argument, null.
    (memory.copy (i32.const 49152) (i32.const 1024) (i32.const 47))
    (if (i32.lt_u (local.get $length) (i32.const 17))
      (then ;; A payload of less than 24 bytes has its length in the head.
        (memory.copy (i32.const 49199) (i32.const 128) (i32.const 2))
        (i32.store8 (i32.const 49201) (i32.add (local.get $length) (i32.const 0x47)))
        (memory.copy (i32.const 49202) (i32.const 132) (i32.const 7))
        (local.set $to (i32.const 49209)))
      (else
        (memory.copy (i32.const 49199) (i32.const 128) (i32.const 11))
        (i32.store8 (i32.const 49202) (i32.add (local.get $length) (i32.const 7)))
        (local.set $to (i32.const 49210))))
    (memory.copy (local.get $to) (i32.add (local.get $head) (i32.const 1)) (local.get $length))
    (local.set $to (i32.add (local.get $to) (local.get $length)))
    (i32.store8 (local.get $to) (i32.const 0xf6))
    (i64.or (i64.const 0xc00000000000)
      (i64.extend_i32_u (i32.sub (local.get $to) (i32.const 49151))))))
