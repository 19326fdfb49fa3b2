/* Preloaded into a training process: makes system calls on its event log slow, short or failing, as a file says.
 *
 * FAULTY_DISK names a file of one record, mapped: {delay_us, error, most_bytes, meta_delay_us, clock_s,
 * lock_error, read_error}, seven ints.
 * Only descriptors and paths that contain "/events" are touched, and locks on "/.writer" files; clock_s moves the time
 * of the day.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct orders { int delay_us, error, most_bytes, meta_delay_us, clock_s, lock_error, read_error; };

static volatile struct orders *orders_of_test(void) {
    static volatile struct orders *mapped;
    if (!mapped) {
        const char *path = getenv("FAULTY_DISK");
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        int fd = path ? real_open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct orders), PROT_READ, MAP_SHARED, fd, 0);
        if (found == MAP_FAILED) return NULL;
        mapped = found;
    }
    return mapped;
}

static int is_log(const char *path) { return path && strstr(path, "/events") != NULL; }

static int fd_names(int fd, const char *part) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

static void meta_delay(const char *path) {
    volatile struct orders *now = orders_of_test();
    if (now && now->meta_delay_us && is_log(path)) usleep(now->meta_delay_us);
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    int saved = errno;
    volatile struct orders *now = orders_of_test();
    int touched = now && (now->delay_us || now->error || now->most_bytes) && fd_names(fd, "/events");
    errno = saved;
    if (!touched) return real(fd, data, size);
    if (now->delay_us) usleep(now->delay_us);
    if (now->error) { errno = now->error; return -1; }
    if (now->most_bytes && size > (size_t)now->most_bytes) size = now->most_bytes;
    return real(fd, data, size);
}

static int refuses_read(int fd) {
    int saved = errno;
    volatile struct orders *now = orders_of_test();
    int error = now && now->read_error && fd_names(fd, "/events") ? now->read_error : 0;
    errno = error ? error : saved;
    return error;
}

ssize_t read(int fd, void *data, size_t size) {
    ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    return refuses_read(fd) ? -1 : real(fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
    ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
    return refuses_read(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
    return refuses_read(fd) ? -1 : real(fd, data, size, at);
}

int open(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    meta_delay(path);
    return real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    meta_delay(path);
    return real(path, flags, mode);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    meta_delay(from);
    return real(from, to);
}

int clock_gettime(clockid_t clock, struct timespec *now_is) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now_is);
    volatile struct orders *now = clock == CLOCK_REALTIME ? orders_of_test() : NULL;
    if (!failed && now) now_is->tv_sec += now->clock_s;
    return failed;
}

static int locking(int fd, int command, void *argument, const char *name) {
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
    int is_lock = command == F_SETLK || command == F_GETLK || command == F_OFD_SETLK || command == F_OFD_GETLK;
    volatile struct orders *now = is_lock ? orders_of_test() : NULL;
    if (now && now->lock_error && fd_names(fd, "/.writer")) { errno = now->lock_error; return -1; }
    return real(fd, command, argument);
}

int flock(int fd, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    volatile struct orders *now = orders_of_test();
    if (now && now->lock_error && fd_names(fd, "/.writer")) { errno = now->lock_error; return -1; }
    return real(fd, operation);
}

int fcntl(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return locking(fd, command, argument, "fcntl");
}

int fcntl64(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return locking(fd, command, argument, "fcntl64");
}
