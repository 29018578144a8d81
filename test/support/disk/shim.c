/*
 * A disk under test, between a program and the kernel: a library for LD_PRELOAD. A filter of seccomp(2) sends the system
 * calls that change files to `on_call`, also those that the program makes without the C library, as Bun does. Calls of
 * this file pass by the filter with KEY as their sixth argument. For Linux on x86-64. It looks at one folder only.
 *
 *   HRMR_DISK_FOLDER  the folder, absolute
 *   HRMR_DISK_TRACE   gets all that changes the folder, in order: a line and, for W, that many bytes behind it
 *   HRMR_DISK_FAULT   while this file is there, its one word says what fails: full, readonly, sync, write
 *
 * Lines of the trace:
 *   C path | W offset length path | T size path | S path | M path | D path (a synced folder) | R from\tto | U path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#define KEY 0x68726d72L

typedef long long Result; /* Below 0: an error's number. */

static char folder[PATH_MAX];
static char fault_file[PATH_MAX];
static int trace = -1;
static volatile int lock;

/* A system call that passes by the filter. */
static Result call(long number, long a, long b, long c, long d, long e) {
  Result result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = KEY;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static int in_folder(const char *path) {
  size_t length = strlen(folder);
  return length > 0 && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void path_of_fd(int fd, char *into) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  Result length = call(SYS_readlink, (long)link, (long)into, PATH_MAX - 1, 0, 0);
  into[length < 0 ? 0 : length] = 0;
}

/* The path of a name, absolute. */
static void resolve(int at, const char *name, char *into) {
  char base[PATH_MAX];
  if (name[0] == '/') {
    snprintf(into, PATH_MAX, "%s", name);
    return;
  }
  if (at == AT_FDCWD) {
    if (call(SYS_getcwd, (long)base, sizeof base, 0, 0, 0) < 0) base[0] = 0;
  } else {
    path_of_fd(at, base);
  }
  if (snprintf(into, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) into[0] = 0;
}

static int fails_with(const char *what) {
  char word[16] = "";
  if (fault_file[0] == 0) return 0;
  Result fd = call(SYS_openat, AT_FDCWD, (long)fault_file, O_RDONLY | O_CLOEXEC, 0, 0);
  if (fd < 0) return 0;
  Result length = call(SYS_read, fd, (long)word, sizeof word - 1, 0, 0);
  call(SYS_close, fd, 0, 0, 0, 0);
  return length > 0 && strncmp(word, what, strlen(what)) == 0;
}

static void tell(const char *line, const void *bytes, size_t length) {
  struct iovec parts[2] = {{(void *)line, strlen(line)}, {(void *)bytes, length}};
  if (trace < 0) return;
  Result told = call(SYS_writev, trace, (long)parts, length == 0 ? 1 : 2, 0, 0);
  if (told != (Result)(parts[0].iov_len + length)) _exit(99);
}

static void tell_path(const char *what, const char *path) {
  char line[PATH_MAX + 64];
  snprintf(line, sizeof line, "%s %s\n", what, path);
  tell(line, NULL, 0);
}

/* Finds the path of an open file or folder, which is not the trace. Returns whether it is one of the folder. */
static int is_watched(int fd, struct stat *stats, char *path) {
  if (folder[0] == 0 || fd == trace || call(SYS_fstat, fd, (long)stats, 0, 0, 0) < 0) return 0;
  if (!S_ISREG(stats->st_mode) && !S_ISDIR(stats->st_mode)) return 0;
  path_of_fd(fd, path);
  return in_folder(path);
}

/* The error of a write, and how much of it is possible all the same. */
static int refused_write(off_t size, off_t at, size_t *length) {
  if (fails_with("readonly")) return EROFS;
  if (fails_with("write")) return EIO;
  if (!fails_with("full") || at + (off_t)*length <= size) return 0;
  /* A disk that gets full takes a part of the write. */
  if (*length <= 1) return ENOSPC;
  *length /= 2;
  return 0;
}

/* place -1: where the file's own place is. */
static Result on_write(int fd, const void *bytes, size_t length, off_t place) {
  struct stat stats;
  char path[PATH_MAX], line[PATH_MAX + 64];
  long number = place < 0 ? SYS_write : SYS_pwrite64;
  if (!is_watched(fd, &stats, path)) return call(number, fd, (long)bytes, (long)length, place, 0);
  off_t at = place;
  if (at < 0 && call(SYS_fcntl, fd, F_GETFL, 0, 0, 0) & O_APPEND) at = stats.st_size;
  else if (at < 0) at = call(SYS_lseek, fd, 0, SEEK_CUR, 0, 0);
  int error = refused_write(stats.st_size, at, &length);
  if (error != 0) return -error;
  Result count = call(number, fd, (long)bytes, (long)length, place, 0);
  if (count <= 0) return count;
  snprintf(line, sizeof line, "W %lld %lld %s\n", (long long)at, count, path);
  tell(line, bytes, (size_t)count);
  return count;
}

/* A part of it is a right answer. */
static Result on_writev(int fd, const struct iovec *parts, int count) {
  struct stat stats;
  char path[PATH_MAX];
  if (!is_watched(fd, &stats, path)) return call(SYS_writev, fd, (long)parts, count, 0, 0);
  for (int at = 0; at < count; at++)
    if (parts[at].iov_len > 0) return on_write(fd, parts[at].iov_base, parts[at].iov_len, -1);
  return 0;
}

/* Nothing is waited for: the trace knows what is synced. */
static Result on_sync(long number, int fd) {
  struct stat stats;
  char path[PATH_MAX];
  if (!is_watched(fd, &stats, path)) return call(number, fd, 0, 0, 0, 0);
  if (fails_with("sync")) return -EIO;
  tell_path(S_ISDIR(stats.st_mode) ? "D" : "S", path);
  return 0;
}

static Result on_truncate(int fd, off_t size) {
  struct stat stats;
  char path[PATH_MAX], what[64];
  if (!is_watched(fd, &stats, path)) return call(SYS_ftruncate, fd, size, 0, 0, 0);
  if (fails_with("readonly")) return -EROFS;
  Result result = call(SYS_ftruncate, fd, size, 0, 0, 0);
  snprintf(what, sizeof what, "T %lld", (long long)size);
  if (result == 0) tell_path(what, path);
  return result;
}

static Result on_open(int at, const char *name, int flags, int mode) {
  char path[PATH_MAX];
  resolve(at, name, path);
  if (!in_folder(path)) return call(SYS_openat, at, (long)name, flags, mode, 0);
  int is_new = (flags & O_CREAT) && call(SYS_access, (long)path, F_OK, 0, 0, 0) < 0;
  if (fails_with("readonly") && (is_new || (flags & O_ACCMODE) != O_RDONLY)) return -EROFS;
  if (fails_with("full") && is_new) return -ENOSPC;
  Result fd = call(SYS_openat, at, (long)name, flags, mode, 0);
  if (fd >= 0 && is_new) tell_path("C", path);
  else if (fd >= 0 && (flags & O_TRUNC)) tell_path("T 0", path);
  return fd;
}

static Result on_rename(int old_at, const char *from, int new_at, const char *to, int flags) {
  char old[PATH_MAX], new[PATH_MAX], line[2 * PATH_MAX + 64];
  resolve(old_at, from, old);
  resolve(new_at, to, new);
  if (in_folder(new) && fails_with("readonly")) return -EROFS;
  Result result = call(SYS_renameat2, old_at, (long)from, new_at, (long)to, flags);
  if (result < 0 || !in_folder(new)) return result;
  snprintf(line, sizeof line, "R %s\t%s\n", old, new);
  tell(line, NULL, 0);
  return result;
}

static Result on_unlink(int at, const char *name, int flags) {
  char path[PATH_MAX];
  resolve(at, name, path);
  if (in_folder(path) && fails_with("readonly")) return -EROFS;
  Result result = call(SYS_unlinkat, at, (long)name, flags, 0, 0);
  if (result == 0 && in_folder(path)) tell_path("U", path);
  return result;
}

static Result on_mkdir(int at, const char *name, int mode) {
  char path[PATH_MAX];
  resolve(at, name, path);
  if (in_folder(path) && fails_with("readonly")) return -EROFS;
  if (in_folder(path) && fails_with("full")) return -ENOSPC;
  Result result = call(SYS_mkdirat, at, (long)name, mode, 0, 0);
  if (result == 0 && in_folder(path)) tell_path("M", path);
  return result;
}

/* Asks whether a file can be written. */
static Result on_access(int at, const char *name, int mode, int flags) {
  char path[PATH_MAX];
  resolve(at, name, path);
  if ((mode & W_OK) && in_folder(path) && fails_with("readonly")) return -EROFS;
  return call(SYS_faccessat2, at, (long)name, mode, flags, 0);
}

static Result dispatch(long number, long a, long b, long c, long d, long e) {
  switch (number) {
    case SYS_write: return on_write((int)a, (const void *)b, (size_t)c, -1);
    case SYS_pwrite64: return on_write((int)a, (const void *)b, (size_t)c, d);
    case SYS_writev: return on_writev((int)a, (const struct iovec *)b, (int)c);
    case SYS_fsync:
    case SYS_fdatasync: return on_sync(number, (int)a);
    case SYS_ftruncate: return on_truncate((int)a, b);
    case SYS_open: return on_open(AT_FDCWD, (const char *)a, (int)b, (int)c);
    case SYS_openat: return on_open((int)a, (const char *)b, (int)c, (int)d);
    case SYS_rename: return on_rename(AT_FDCWD, (const char *)a, AT_FDCWD, (const char *)b, 0);
    case SYS_renameat: return on_rename((int)a, (const char *)b, (int)c, (const char *)d, 0);
    case SYS_renameat2: return on_rename((int)a, (const char *)b, (int)c, (const char *)d, (int)e);
    case SYS_unlink: return on_unlink(AT_FDCWD, (const char *)a, 0);
    case SYS_rmdir: return on_unlink(AT_FDCWD, (const char *)a, AT_REMOVEDIR);
    case SYS_unlinkat: return on_unlink((int)a, (const char *)b, (int)c);
    case SYS_mkdir: return on_mkdir(AT_FDCWD, (const char *)a, (int)b);
    case SYS_mkdirat: return on_mkdir((int)a, (const char *)b, (int)c);
    case SYS_access: return on_access(AT_FDCWD, (const char *)a, (int)b, 0);
    case SYS_faccessat: return on_access((int)a, (const char *)b, (int)c, 0);
    case SYS_faccessat2: return on_access((int)a, (const char *)b, (int)c, (int)d);
    default: return -ENOSYS;
  }
}

/* Whether the call may wait for somebody else: then it must not hold the lock. */
static int may_wait(long number, int fd) {
  struct stat stats;
  if (number != SYS_write && number != SYS_writev) return 0;
  return call(SYS_fstat, fd, (long)&stats, 0, 0, 0) == 0 && !S_ISREG(stats.st_mode);
}

static void on_call(int signal, siginfo_t *info, void *context) {
  (void)signal;
  (void)info;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  int error = errno;
  long number = registers[REG_RAX], a = registers[REG_RDI];
  if (may_wait(number, (int)a)) {
    registers[REG_RAX] = call(number, a, registers[REG_RSI], registers[REG_RDX], 0, 0);
  } else {
    while (__sync_lock_test_and_set(&lock, 1)) call(SYS_sched_yield, 0, 0, 0, 0, 0);
    registers[REG_RAX] =
        dispatch(number, a, registers[REG_RSI], registers[REG_RDX], registers[REG_R10], registers[REG_R8]);
    __sync_lock_release(&lock);
  }
  errno = error;
}

/* Bun has a handler of its own for the signal, and sets it later. */
int sigaction(int signal, const struct sigaction *action, struct sigaction *old) {
  static int (*next)(int, const struct sigaction *, struct sigaction *);
  if (next == NULL) next = dlsym(RTLD_NEXT, "sigaction");
  if (signal == SIGSYS && action != NULL && folder[0] != 0 && action->sa_sigaction != on_call) return 0;
  return next(signal, action, old);
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define TRAP_IF(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
/* Opening a file for reading changes nothing. */
#define TRAP_IF_WRITING(number, flags)                                                                  \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4), LOAD(args[flags]),                                 \
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_ACCMODE | O_CREAT | O_TRUNC, 0, 1),                        \
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

__attribute__((constructor)) static void begin(void) {
  const char *looked_at = getenv("HRMR_DISK_FOLDER"), *fault = getenv("HRMR_DISK_FAULT");
  const char *to = getenv("HRMR_DISK_TRACE");
  if (looked_at == NULL) return;
  snprintf(folder, sizeof folder, "%s", looked_at);
  if (fault != NULL) snprintf(fault_file, sizeof fault_file, "%s", fault);
  if (to != NULL) trace = (int)call(SYS_openat, AT_FDCWD, (long)to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600, 0);
  struct sock_filter filter[] = {
      LOAD(arch),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      LOAD(args[5]),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KEY, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      LOAD(nr),
      TRAP_IF(SYS_write),
      TRAP_IF(SYS_pwrite64),
      TRAP_IF(SYS_writev),
      TRAP_IF(SYS_fsync),
      TRAP_IF(SYS_fdatasync),
      TRAP_IF(SYS_ftruncate),
      TRAP_IF(SYS_rename),
      TRAP_IF(SYS_renameat),
      TRAP_IF(SYS_renameat2),
      TRAP_IF(SYS_unlink),
      TRAP_IF(SYS_rmdir),
      TRAP_IF(SYS_unlinkat),
      TRAP_IF(SYS_mkdir),
      TRAP_IF(SYS_mkdirat),
      TRAP_IF(SYS_access),
      TRAP_IF(SYS_faccessat),
      TRAP_IF(SYS_faccessat2),
      TRAP_IF_WRITING(SYS_open, 1),
      TRAP_IF_WRITING(SYS_openat, 2),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO};
  sigfillset(&action.sa_mask);
  if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    fprintf(stderr, "The disk under test needs seccomp(2).\n");
    _exit(98);
  }
}
