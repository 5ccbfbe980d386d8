/* Tries what an executable of a peer may not do. Ends with the sum of what succeeded; if nothing did, it gives its
 * input back, which is a well-formed answer. KEY and SOCKET are given when it is compiled. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int reads_key(void) { return open(KEY, O_RDONLY) >= 0; }

static int writes_beside_key(void) { return open(KEY ".new", O_WRONLY | O_CREAT, 0600) >= 0; }

static int connects(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, SOCKET, sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

static int has_power(void) {
    uint32_t header[2] = {0x20080522, 0}, data[6] = {0};
    syscall(SYS_capget, header, data);
    if (data[0] | data[1] | data[2] | data[3] | data[4] | data[5])
        return 1;
    if (geteuid() != 0 && setresuid(0, 0, 0) == 0)
        return 1;
    return unshare(CLONE_NEWUSER) == 0 || syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) >= 0;
}

static int leaves_group(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(setpgid(0, 0) == 0 || setsid() >= 0);
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) != 0;
}

static int reaches_parent(void) {
    char mem[64] = "/proc/", *end = mem + 6, digits[16];
    int n = 0;
    for (pid_t p = getppid(); p > 0; p /= 10)
        digits[n++] = (char)('0' + p % 10);
    while (n > 0)
        *end++ = digits[--n];
    strcpy(end, "/environ");
    return kill(getppid(), 0) == 0 || open(mem, O_RDONLY) >= 0 ||
           ptrace(PTRACE_ATTACH, getppid(), 0, 0) == 0;
}

static int inherits(void) {
    for (char **at = environ; *at; at++)
        if (strncmp(*at, "GRID_ABI=", 9) && strncmp(*at, "PATH=", 5))
            return 1;
    for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return 1;
    return 0;
}

int main(void) {
    int (*tries[])(void) = {reads_key,    writes_beside_key, connects, has_power,
                            leaves_group, reaches_parent,    inherits};
    int done = 0;
    for (unsigned i = 0; i < sizeof tries / sizeof *tries; i++)
        done |= tries[i]() ? 1 << i : 0;
    /* A folder of its own, empty, to which it can write. */
    char folder[4096];
    if (!getcwd(folder, sizeof folder) || rmdir("x") == 0 || errno != ENOENT ||
        open("x", O_RDWR | O_CREAT | O_EXCL, 0600) < 0)
        done |= 128;
    if (done)
        return done;
    char buffer[65536];
    for (ssize_t n; (n = read(0, buffer, sizeof buffer)) > 0;)
        if (write(1, buffer, (size_t)n) != n)
            return 255;
    return 0;
}
