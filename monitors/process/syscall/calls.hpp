// Every handler, by family. Arguments are typed; dispatch.cpp converts registers. A handler returns
// the call's value or an Error. No lock is held across copies to and from user memory.
#pragma once

#include "monitors/process/posix/process/process.hpp"

namespace tessera::syscalls {

using posix::Task;
using posix::UserAddress;
using Answer = Result<long>;

// file_io.cpp
Answer sys_read(Task&, int fd, UserAddress to, uint64_t length);
Answer sys_write(Task&, int fd, UserAddress from, uint64_t length);
Answer sys_pread64(Task&, int fd, UserAddress to, uint64_t length, int64_t offset);
Answer sys_pwrite64(Task&, int fd, UserAddress from, uint64_t length, int64_t offset);
Answer sys_readv(Task&, int fd, UserAddress vectors, int count);
Answer sys_writev(Task&, int fd, UserAddress vectors, int count);
Answer sys_preadv(Task&, int fd, UserAddress vectors, int count, int64_t offset);
Answer sys_pwritev(Task&, int fd, UserAddress vectors, int count, int64_t offset);
Answer sys_lseek(Task&, int fd, int64_t offset, int whence);
Answer sys_sendfile(Task&, int out, int in, UserAddress offset, uint64_t count);
Answer sys_fsync(Task&, int fd);
Answer sys_fdatasync(Task&, int fd);
Answer sys_sync(Task&);
Answer sys_syncfs(Task&, int fd);
Answer sys_ftruncate(Task&, int fd, int64_t length);
Answer sys_fallocate(Task&, int fd, int mode, int64_t offset, int64_t length);
Answer sys_fadvise64(Task&, int fd, int64_t offset, int64_t length, int advice);
Answer sys_getdents64(Task&, int fd, UserAddress to, uint32_t length);
// descriptors.cpp
Answer sys_open(Task&, UserAddress path, uint32_t flags, uint32_t mode);
Answer sys_openat(Task&, int at, UserAddress path, uint32_t flags, uint32_t mode);
Answer sys_creat(Task&, UserAddress path, uint32_t mode);
Answer sys_close(Task&, int fd);
Answer sys_close_range(Task&, uint32_t first, uint32_t last, uint32_t flags);
Answer sys_dup(Task&, int fd);
Answer sys_dup2(Task&, int from, int to);
Answer sys_dup3(Task&, int from, int to, uint32_t flags);
Answer sys_fcntl(Task&, int fd, int command, uint64_t argument);
Answer sys_pipe(Task&, UserAddress to);
Answer sys_pipe2(Task&, UserAddress to, uint32_t flags);
Answer sys_ioctl(Task&, int fd, uint32_t command, UserAddress argument);
// metadata.cpp
Answer sys_stat(Task&, UserAddress path, UserAddress to);
Answer sys_lstat(Task&, UserAddress path, UserAddress to);
Answer sys_fstat(Task&, int fd, UserAddress to);
Answer sys_newfstatat(Task&, int at, UserAddress path, UserAddress to, uint32_t flags);
Answer sys_statx(Task&, int at, UserAddress path, uint32_t flags, uint32_t mask, UserAddress to);
Answer sys_access(Task&, UserAddress path, uint32_t mode);
Answer sys_faccessat(Task&, int at, UserAddress path, uint32_t mode);
Answer sys_faccessat2(Task&, int at, UserAddress path, uint32_t mode, uint32_t flags);
Answer sys_truncate(Task&, UserAddress path, int64_t length);
Answer sys_chmod(Task&, UserAddress path, uint32_t mode);
Answer sys_fchmod(Task&, int fd, uint32_t mode);
Answer sys_fchmodat(Task&, int at, UserAddress path, uint32_t mode);
Answer sys_chown(Task&, UserAddress path, uint32_t uid, uint32_t gid);
Answer sys_lchown(Task&, UserAddress path, uint32_t uid, uint32_t gid);
Answer sys_fchown(Task&, int fd, uint32_t uid, uint32_t gid);
Answer sys_fchownat(Task&, int at, UserAddress path, uint32_t uid, uint32_t gid, uint32_t flags);
Answer sys_utimensat(Task&, int at, UserAddress path, UserAddress times, uint32_t flags);
Answer sys_utimes(Task&, UserAddress path, UserAddress times);
Answer sys_utime(Task&, UserAddress path, UserAddress times);
Answer sys_futimesat(Task&, int at, UserAddress path, UserAddress times);
Answer sys_statfs(Task&, UserAddress path, UserAddress to);
Answer sys_fstatfs(Task&, int fd, UserAddress to);
Answer sys_umask(Task&, uint32_t mask);
// names.cpp
Answer sys_mkdir(Task&, UserAddress path, uint32_t mode);
Answer sys_mkdirat(Task&, int at, UserAddress path, uint32_t mode);
Answer sys_mknod(Task&, UserAddress path, uint32_t mode, uint64_t device);
Answer sys_mknodat(Task&, int at, UserAddress path, uint32_t mode, uint64_t device);
Answer sys_rmdir(Task&, UserAddress path);
Answer sys_unlink(Task&, UserAddress path);
Answer sys_unlinkat(Task&, int at, UserAddress path, uint32_t flags);
Answer sys_rename(Task&, UserAddress from, UserAddress to);
Answer sys_renameat(Task&, int from_at, UserAddress from, int to_at, UserAddress to);
Answer sys_renameat2(Task&, int from_at, UserAddress from, int to_at, UserAddress to,
                     uint32_t flags);
Answer sys_link(Task&, UserAddress from, UserAddress to);
Answer sys_linkat(Task&, int from_at, UserAddress from, int to_at, UserAddress to, uint32_t flags);
Answer sys_symlink(Task&, UserAddress text, UserAddress path);
Answer sys_symlinkat(Task&, UserAddress text, int at, UserAddress path);
Answer sys_readlink(Task&, UserAddress path, UserAddress to, uint64_t length);
Answer sys_readlinkat(Task&, int at, UserAddress path, UserAddress to, uint64_t length);
Answer sys_chdir(Task&, UserAddress path);
Answer sys_fchdir(Task&, int fd);
Answer sys_chroot(Task&, UserAddress path);
Answer sys_getcwd(Task&, UserAddress to, uint64_t length);
// process.cpp
Answer sys_fork(Task&);
Answer sys_vfork(Task&);
Answer sys_clone(Task&, uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid,
                 uint64_t tls);
Answer sys_execve(Task&, UserAddress path, UserAddress arguments, UserAddress environment);
Answer sys_execveat(Task&, int at, UserAddress path, UserAddress arguments, UserAddress environment,
                    uint32_t flags);
Answer sys_exit(Task&, int status);
Answer sys_exit_group(Task&, int status);
Answer sys_wait4(Task&, int pid, UserAddress status, int options, UserAddress usage);
Answer sys_waitid(Task&, int type, int id, UserAddress info, int options, UserAddress usage);
Answer sys_getpid(Task&);
Answer sys_gettid(Task&);
Answer sys_getppid(Task&);
Answer sys_setpgid(Task&, int pid, int group);
Answer sys_getpgid(Task&, int pid);
Answer sys_getpgrp(Task&);
Answer sys_setsid(Task&);
Answer sys_getsid(Task&, int pid);
Answer sys_set_tid_address(Task&, uint64_t address);
Answer sys_set_robust_list(Task&, uint64_t head, uint64_t length);
Answer sys_arch_prctl(Task&, int code, uint64_t address);
Answer sys_prctl(Task&, int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
Answer sys_futex(Task&, UserAddress word, int operation, uint32_t value, uint64_t timeout,
                 UserAddress second, uint32_t third);
// scheduling.cpp
Answer sys_sched_yield(Task&);
Answer sys_sched_getaffinity(Task&, int pid, uint32_t length, UserAddress to);
Answer sys_getpriority(Task&, int which, int who);
Answer sys_setpriority(Task&, int which, int who, int nice);
Answer sys_ioprio_get(Task&, int which, int who);
Answer sys_ioprio_set(Task&, int which, int who, int priority);
Answer sys_sched_setaffinity(Task&, int who, uint32_t length, UserAddress mask);
// ids.cpp
Answer sys_getuid(Task&);
Answer sys_geteuid(Task&);
Answer sys_getgid(Task&);
Answer sys_getegid(Task&);
Answer sys_setuid(Task&, uint32_t uid);
Answer sys_setgid(Task&, uint32_t gid);
Answer sys_setreuid(Task&, uint32_t ruid, uint32_t euid);
Answer sys_setregid(Task&, uint32_t rgid, uint32_t egid);
Answer sys_setresuid(Task&, uint32_t ruid, uint32_t euid, uint32_t suid);
Answer sys_setresgid(Task&, uint32_t rgid, uint32_t egid, uint32_t sgid);
Answer sys_getresuid(Task&, UserAddress r, UserAddress e, UserAddress s);
Answer sys_getresgid(Task&, UserAddress r, UserAddress e, UserAddress s);
Answer sys_getgroups(Task&, int count, UserAddress to);
Answer sys_setgroups(Task&, int count, UserAddress from);
// signals.cpp
Answer sys_rt_sigaction(Task&, int signal, UserAddress action, UserAddress old, uint64_t size);
Answer sys_rt_sigprocmask(Task&, int how, UserAddress set, UserAddress old, uint64_t size);
Answer sys_rt_sigreturn(Task&);
Answer sys_rt_sigpending(Task&, UserAddress to, uint64_t size);
Answer sys_rt_sigsuspend(Task&, UserAddress set, uint64_t size);
Answer sys_rt_sigtimedwait(Task&, UserAddress set, UserAddress info, UserAddress timeout,
                           uint64_t size);
Answer sys_rt_sigqueueinfo(Task&, int pid, int signal, UserAddress info);
Answer sys_sigaltstack(Task&, UserAddress stack, UserAddress old);
Answer sys_kill(Task&, int pid, int signal);
Answer sys_tkill(Task&, int tid, int signal);
Answer sys_tgkill(Task&, int pid, int tid, int signal);
Answer sys_pause(Task&);
// time.cpp
Answer sys_nanosleep(Task&, UserAddress request, UserAddress left);
Answer sys_clock_nanosleep(Task&, int clock, int flags, UserAddress request, UserAddress left);
Answer sys_clock_gettime(Task&, int clock, UserAddress to);
Answer sys_clock_getres(Task&, int clock, UserAddress to);
Answer sys_clock_settime(Task&, int clock, UserAddress from);
Answer sys_gettimeofday(Task&, UserAddress to, UserAddress zone);
Answer sys_time(Task&, UserAddress to);
Answer sys_times(Task&, UserAddress to);
Answer sys_getrusage(Task&, int who, UserAddress to);
Answer sys_alarm(Task&, uint32_t seconds);
Answer sys_setitimer(Task&, int which, UserAddress value, UserAddress old);
Answer sys_getitimer(Task&, int which, UserAddress to);
// poll.cpp
Answer sys_poll(Task&, UserAddress fds, uint64_t count, int timeout_ms);
Answer sys_ppoll(Task&, UserAddress fds, uint64_t count, UserAddress timeout, UserAddress mask,
                 uint64_t size);
Answer sys_select(Task&, int count, UserAddress in, UserAddress out, UserAddress except,
                  UserAddress timeout);
Answer sys_pselect6(Task&, int count, UserAddress in, UserAddress out, UserAddress except,
                    UserAddress timeout, UserAddress mask);
// memory.cpp
Answer sys_mmap(Task&, UserAddress address, uint64_t length, uint32_t protection, uint32_t flags,
                int fd, uint64_t offset);
Answer sys_munmap(Task&, UserAddress address, uint64_t length);
Answer sys_mprotect(Task&, UserAddress address, uint64_t length, uint32_t protection);
Answer sys_mremap(Task&, UserAddress address, uint64_t old_length, uint64_t new_length,
                  uint32_t flags, UserAddress to);
Answer sys_madvise(Task&, UserAddress address, uint64_t length, int advice);
Answer sys_msync(Task&, UserAddress address, uint64_t length, int flags);
Answer sys_brk(Task&, UserAddress wanted);
// system.cpp
Answer sys_uname(Task&, UserAddress to);
Answer sys_sethostname(Task&, UserAddress from, uint64_t length);
Answer sys_sysinfo(Task&, UserAddress to);
Answer sys_getrandom(Task&, UserAddress to, uint64_t length, uint32_t flags);
Answer sys_getrlimit(Task&, uint32_t which, UserAddress to);
Answer sys_setrlimit(Task&, uint32_t which, UserAddress from);
Answer sys_prlimit64(Task&, int pid, uint32_t which, UserAddress to_set, UserAddress old);
Answer sys_personality(Task&, uint64_t persona);
Answer sys_getcpu(Task&, UserAddress cpu, UserAddress node);

} // namespace tessera::syscalls
