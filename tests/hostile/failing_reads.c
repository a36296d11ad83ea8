/* Makes reads of .h5ad files, writes to caches and io_uring fail as FAULT says.

   FAULT is KIND@N: from the N-th call on (of its kind, counted from 1), or, where KIND
   ends in "once", at that call alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long n_reads, n_writes, n_setups, n_enters;

/* Returns whether the fault is of this kind and strikes at this call. */
static int strikes(const char *kind, long call) {
    const char *fault = getenv("FAULT");
    const char *at = fault ? strchr(fault, '@') : NULL;
    if (!at || strncmp(fault, kind, strlen(kind))) return 0;
    long n = atol(at + 1);
    return strstr(fault, "once@") ? call == n : call >= n;
}

static int is_under(int fd, const char *part) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, part) != NULL;
}

ssize_t preadv(int fd, const struct iovec *to, int count, off_t at) {
    static ssize_t (*real)(int, const struct iovec *, int, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "preadv");
    if (count < 1 || !is_under(fd, ".h5ad")) return real(fd, to, count, at);
    long call = __atomic_add_fetch(&n_reads, 1, __ATOMIC_SEQ_CST);
    if (strikes("eio", call)) return errno = EIO, -1;
    if (strikes("eagain", call)) return errno = EAGAIN, -1;
    if (strikes("eintr", call) && call % 50) return errno = EINTR, -1;
    if (strikes("short", call)) {
        struct iovec some = *to;
        if (some.iov_len > 1) some.iov_len = 1 + call % (some.iov_len - 1);
        return real(fd, &some, 1, at);
    }
    return real(fd, to, count, at);
}

ssize_t preadv64(int fd, const struct iovec *to, int count, off_t at) {
    return preadv(fd, to, count, at);
}

#define REFUSE_WRITE                                                            \
    if (is_under(fd, "/cache/") &&                                              \
        strikes("enospc", __atomic_add_fetch(&n_writes, 1, __ATOMIC_SEQ_CST)))  \
        return errno = ENOSPC, -1;

ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite");
    REFUSE_WRITE
    return real(fd, from, size, at);
}

ssize_t pwrite64(int fd, const void *from, size_t size, off_t at) {
    return pwrite(fd, from, size, at);
}

ssize_t write(int fd, const void *from, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    REFUSE_WRITE
    return real(fd, from, size);
}

ssize_t pwritev(int fd, const struct iovec *from, int count, off_t at) {
    static ssize_t (*real)(int, const struct iovec *, int, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwritev");
    REFUSE_WRITE
    return real(fd, from, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *from, int count, off_t at) {
    return pwritev(fd, from, count, at);
}

/* C declares it with any number of arguments; six are what the system takes. */
long six_syscall(long, long, long, long, long, long, long) __asm__("syscall");

long six_syscall(long number, long a, long b, long c, long d, long e, long f) {
    static long (*real)(long, long, long, long, long, long, long);
    if (!real) real = dlsym(RTLD_NEXT, "syscall");
    if (number == 425 &&
        strikes("setup", __atomic_add_fetch(&n_setups, 1, __ATOMIC_SEQ_CST)))
        return errno = EPERM, -1;
    if (number == 426 &&
        strikes("enter", __atomic_add_fetch(&n_enters, 1, __ATOMIC_SEQ_CST)))
        return errno = EAGAIN, -1;
    return real(number, a, b, c, d, e, f);
}
