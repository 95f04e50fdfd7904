/* Faults between a process and its kernel, for `curbwatch bench chaos`: preloaded into an unchanged program.
 *
 * CHAOS_ROOT   files below this folder are on the disk that has faults
 * CHAOS_PAGE   a file of 32 bytes, mapped shared: what the faults are now (struct page)
 *
 * A full disk: writes fail with ENOSPC, SQLite's as well. A power cut: while it is armed, what each write overwrites is
 * remembered until its file is synced; at a sync that the chance strikes, every file falls back to a random prefix of its
 * unsynced writes (the last of them torn) and the process is gone before it hears of anything. A stepped clock: an offset
 * on the wall clock; the monotonic one is the kernel's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct page {
    volatile int64_t full;      /* 1: no byte more */
    volatile int64_t power_ppm; /* chance that a sync is the last thing */
    volatile int64_t clock_ns;  /* added to the wall clock */
    volatile int64_t struck;    /* power cuts that happened */
};
struct record {
    int file;
    off_t offset, was_size;
    size_t length, had;
    char *old;
};
enum { FILES = 512, RECORDS = 4096 };

static struct page none, *now = &none;
static char root[4096];
static size_t root_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { int fd; dev_t dev; ino_t ino; } files[FILES];
static struct record records[RECORDS];
static int file_count, record_count;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    const char *where = getenv("CHAOS_ROOT"), *page = getenv("CHAOS_PAGE");
    if (!where || !page) return;
    snprintf(root, sizeof root, "%s/", where);
    root_length = strlen(root);
    int fd = open(page, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) now = map;
}

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 0 && (size_t)n > root_length && memcmp(path, root, root_length) == 0;
}

static int file_of(int fd, int add) {
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) return -1;
    for (int i = 0; i < file_count; i++)
        if (files[i].dev == s.st_dev && files[i].ino == s.st_ino) return i;
    if (!add || file_count == FILES) return -1;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd); /* opened again: the caller's may be for appending */
    int own = open(link, O_RDWR | O_CLOEXEC);
    if (own < 0) return -1;
    files[file_count].fd = own, files[file_count].dev = s.st_dev, files[file_count].ino = s.st_ino;
    return file_count++;
}

static void remember(int fd, off_t offset, size_t length) {
    pthread_mutex_lock(&lock);
    struct stat s;
    int file = record_count < RECORDS ? file_of(fd, 1) : -1;
    char *old = file >= 0 ? malloc(length ? length : 1) : NULL;
    if (old && !fstat(fd, &s)) {
        ssize_t had = pread(files[file].fd, old, length, offset);
        records[record_count++] =
            (struct record){file, offset, s.st_size, length, had > 0 ? (size_t)had : 0, old};
    } else {
        free(old);
    }
    pthread_mutex_unlock(&lock);
}

static void forget(int fd) {
    int file = file_of(fd, 0), kept = 0;
    if (file < 0) return;
    for (int i = 0; i < record_count; i++) {
        if (records[i].file == file) free(records[i].old);
        else records[kept++] = records[i];
    }
    record_count = kept;
    /* Its descriptor stays: to close it would let go of the locks that SQLite holds on the same file. */
}

static void undo(const struct record *r, size_t kept) {
    int fd = files[r->file].fd;
    if (r->had > kept) real_pwrite(fd, r->old + kept, r->had - kept, r->offset + (off_t)kept);
    off_t end = r->offset + (off_t)kept > r->was_size ? r->offset + (off_t)kept : r->was_size;
    struct stat s;
    if (!fstat(fd, &s) && s.st_size > end && ftruncate(fd, end)) return;
}

static void cut(void) {
    unsigned seed;
    struct timespec t;
    real_clock(CLOCK_MONOTONIC, &t);
    seed = (unsigned)(t.tv_nsec ^ getpid());
    for (int f = 0; f < file_count; f++) {
        int mine = 0, nth = 0;
        for (int i = 0; i < record_count; i++) mine += records[i].file == f;
        int keep = mine ? rand_r(&seed) % (mine + 1) : 0;
        for (int i = record_count - 1; i >= 0; i--) {
            if (records[i].file != f) continue;
            int place = mine - 1 - nth++;
            if (place > keep) undo(&records[i], 0);
            else if (place == keep) undo(&records[i], records[i].length ? rand_r(&seed) % records[i].length : 0);
        }
    }
    __sync_fetch_and_add(&now->struck, 1);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int sync_of(int fd, int (*real)(int)) {
    if (now->full && ours(fd)) return errno = ENOSPC, -1;
    if (!now->power_ppm && !record_count) return real(fd);
    pthread_mutex_lock(&lock);
    struct timespec t;
    real_clock(CLOCK_MONOTONIC, &t);
    if (now->power_ppm && ours(fd) && (t.tv_nsec / 1000 % 1000000 * 7919) % 1000000 < now->power_ppm) cut();
    int done = real(fd);
    if (!done) forget(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

static int refused(int fd, off_t offset, size_t length) {
    if (!now->full && !now->power_ppm) return 0;
    if (!ours(fd)) return 0;
    if (now->full) return errno = ENOSPC, 1;
    struct stat s;
    if (offset < 0 && (fcntl(fd, F_GETFL) & O_APPEND)) offset = fstat(fd, &s) ? 0 : s.st_size;
    remember(fd, offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset, length);
    return 0;
}

ssize_t write(int fd, const void *data, size_t n) { return refused(fd, -1, n) ? -1 : real_write(fd, data, n); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return refused(fd, at, n) ? -1 : real_pwrite(fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) { return refused(fd, at, n) ? -1 : real_pwrite(fd, data, n, at); }
ssize_t writev(int fd, const struct iovec *parts, int n) {
    size_t length = 0;
    for (int i = 0; i < n; i++) length += parts[i].iov_len;
    return refused(fd, -1, length) ? -1 : real_writev(fd, parts, n);
}
int fsync(int fd) { return sync_of(fd, real_fsync); }
int fdatasync(int fd) { return sync_of(fd, real_fdatasync); }

static void shift(struct timespec *t) {
    int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + now->clock_ns;
    t->tv_sec = ns / 1000000000, t->tv_nsec = ns % 1000000000;
}
int clock_gettime(clockid_t which, struct timespec *t) {
    if (!real_clock) real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real_clock(which, t);
    if (!done && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) shift(t);
    return done;
}
int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    (void)zone;
    struct timespec t;
    int done = clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec, tv->tv_usec = t.tv_nsec / 1000;
    return done;
}
time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
