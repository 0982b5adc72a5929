// One row per system call: Linux x86-64 number, name, handler. Sorted by number (checked below).
#include "monitors/process/syscall/table.hpp"

#include "monitors/process/syscall/calls.hpp"

namespace tessera::syscalls {
namespace {

template <auto Handler>
struct Call;
template <typename... Arguments, Answer (*Handler)(Task&, Arguments...)>
struct Call<Handler> {
    static_assert(sizeof...(Arguments) <= 6);
    // Register arguments are truncated to the parameter's type, as the C ABI would.
    template <size_t... I>
    static Answer run(Task& t, const uint64_t* a, std::index_sequence<I...>) {
        (void)a;
        return Handler(t, static_cast<Arguments>(a[I])...);
    }
    static Answer invoke(Task& t, const uint64_t* a) {
        return run(t, a, std::index_sequence_for<Arguments...>{});
    }
};
template <auto Handler>
constexpr Thunk call = &Call<Handler>::invoke;

constexpr Row kRows[] = {
    {0, "read", call<sys_read>},
    {1, "write", call<sys_write>},
    {2, "open", call<sys_open>},
    {3, "close", call<sys_close>},
    {4, "stat", call<sys_stat>},
    {5, "fstat", call<sys_fstat>},
    {6, "lstat", call<sys_lstat>},
    {7, "poll", call<sys_poll>, true},
    {8, "lseek", call<sys_lseek>},
    {9, "mmap", call<sys_mmap>},
    {10, "mprotect", call<sys_mprotect>},
    {11, "munmap", call<sys_munmap>},
    {12, "brk", call<sys_brk>},
    {13, "rt_sigaction", call<sys_rt_sigaction>},
    {14, "rt_sigprocmask", call<sys_rt_sigprocmask>},
    {15, "rt_sigreturn", call<sys_rt_sigreturn>},
    {16, "ioctl", call<sys_ioctl>},
    {17, "pread64", call<sys_pread64>},
    {18, "pwrite64", call<sys_pwrite64>},
    {19, "readv", call<sys_readv>},
    {20, "writev", call<sys_writev>},
    {21, "access", call<sys_access>},
    {22, "pipe", call<sys_pipe>},
    {23, "select", call<sys_select>, true},
    {24, "sched_yield", call<sys_sched_yield>},
    {25, "mremap", call<sys_mremap>},
    {26, "msync", call<sys_msync>},
    {28, "madvise", call<sys_madvise>},
    {32, "dup", call<sys_dup>},
    {33, "dup2", call<sys_dup2>},
    {34, "pause", call<sys_pause>, true},
    {35, "nanosleep", call<sys_nanosleep>, true},
    {36, "getitimer", call<sys_getitimer>},
    {37, "alarm", call<sys_alarm>},
    {38, "setitimer", call<sys_setitimer>},
    {39, "getpid", call<sys_getpid>},
    {40, "sendfile", call<sys_sendfile>},
    {56, "clone", call<sys_clone>},
    {57, "fork", call<sys_fork>},
    {58, "vfork", call<sys_vfork>},
    {59, "execve", call<sys_execve>},
    {60, "exit", call<sys_exit>},
    {61, "wait4", call<sys_wait4>},
    {62, "kill", call<sys_kill>},
    {63, "uname", call<sys_uname>},
    {72, "fcntl", call<sys_fcntl>},
    {74, "fsync", call<sys_fsync>},
    {75, "fdatasync", call<sys_fdatasync>},
    {76, "truncate", call<sys_truncate>},
    {77, "ftruncate", call<sys_ftruncate>},
    {79, "getcwd", call<sys_getcwd>},
    {80, "chdir", call<sys_chdir>},
    {81, "fchdir", call<sys_fchdir>},
    {82, "rename", call<sys_rename>},
    {83, "mkdir", call<sys_mkdir>},
    {84, "rmdir", call<sys_rmdir>},
    {85, "creat", call<sys_creat>},
    {86, "link", call<sys_link>},
    {87, "unlink", call<sys_unlink>},
    {88, "symlink", call<sys_symlink>},
    {89, "readlink", call<sys_readlink>},
    {90, "chmod", call<sys_chmod>},
    {91, "fchmod", call<sys_fchmod>},
    {92, "chown", call<sys_chown>},
    {93, "fchown", call<sys_fchown>},
    {94, "lchown", call<sys_lchown>},
    {95, "umask", call<sys_umask>},
    {96, "gettimeofday", call<sys_gettimeofday>},
    {97, "getrlimit", call<sys_getrlimit>},
    {98, "getrusage", call<sys_getrusage>},
    {99, "sysinfo", call<sys_sysinfo>},
    {100, "times", call<sys_times>},
    {102, "getuid", call<sys_getuid>},
    {104, "getgid", call<sys_getgid>},
    {105, "setuid", call<sys_setuid>},
    {106, "setgid", call<sys_setgid>},
    {107, "geteuid", call<sys_geteuid>},
    {108, "getegid", call<sys_getegid>},
    {109, "setpgid", call<sys_setpgid>},
    {110, "getppid", call<sys_getppid>},
    {111, "getpgrp", call<sys_getpgrp>},
    {112, "setsid", call<sys_setsid>},
    {113, "setreuid", call<sys_setreuid>},
    {114, "setregid", call<sys_setregid>},
    {115, "getgroups", call<sys_getgroups>},
    {116, "setgroups", call<sys_setgroups>},
    {117, "setresuid", call<sys_setresuid>},
    {118, "getresuid", call<sys_getresuid>},
    {119, "setresgid", call<sys_setresgid>},
    {120, "getresgid", call<sys_getresgid>},
    {121, "getpgid", call<sys_getpgid>},
    {124, "getsid", call<sys_getsid>},
    {127, "rt_sigpending", call<sys_rt_sigpending>},
    {128, "rt_sigtimedwait", call<sys_rt_sigtimedwait>, true},
    {129, "rt_sigqueueinfo", call<sys_rt_sigqueueinfo>},
    {130, "rt_sigsuspend", call<sys_rt_sigsuspend>, true},
    {131, "sigaltstack", call<sys_sigaltstack>},
    {132, "utime", call<sys_utime>},
    {133, "mknod", call<sys_mknod>},
    {135, "personality", call<sys_personality>},
    {137, "statfs", call<sys_statfs>},
    {138, "fstatfs", call<sys_fstatfs>},
    {140, "getpriority", call<sys_getpriority>},
    {141, "setpriority", call<sys_setpriority>},
    {157, "prctl", call<sys_prctl>},
    {158, "arch_prctl", call<sys_arch_prctl>},
    {160, "setrlimit", call<sys_setrlimit>},
    {161, "chroot", call<sys_chroot>},
    {162, "sync", call<sys_sync>},
    {170, "sethostname", call<sys_sethostname>},
    {186, "gettid", call<sys_gettid>},
    {200, "tkill", call<sys_tkill>},
    {201, "time", call<sys_time>},
    {202, "futex", call<sys_futex>},
    {203, "sched_setaffinity", call<sys_sched_setaffinity>},
    {204, "sched_getaffinity", call<sys_sched_getaffinity>},
    {217, "getdents64", call<sys_getdents64>},
    {218, "set_tid_address", call<sys_set_tid_address>},
    {221, "fadvise64", call<sys_fadvise64>},
    {227, "clock_settime", call<sys_clock_settime>},
    {228, "clock_gettime", call<sys_clock_gettime>},
    {229, "clock_getres", call<sys_clock_getres>},
    {230, "clock_nanosleep", call<sys_clock_nanosleep>, true},
    {231, "exit_group", call<sys_exit_group>},
    {234, "tgkill", call<sys_tgkill>},
    {235, "utimes", call<sys_utimes>},
    {247, "waitid", call<sys_waitid>},
    {251, "ioprio_set", call<sys_ioprio_set>},
    {252, "ioprio_get", call<sys_ioprio_get>},
    {257, "openat", call<sys_openat>},
    {258, "mkdirat", call<sys_mkdirat>},
    {259, "mknodat", call<sys_mknodat>},
    {260, "fchownat", call<sys_fchownat>},
    {261, "futimesat", call<sys_futimesat>},
    {262, "newfstatat", call<sys_newfstatat>},
    {263, "unlinkat", call<sys_unlinkat>},
    {264, "renameat", call<sys_renameat>},
    {265, "linkat", call<sys_linkat>},
    {266, "symlinkat", call<sys_symlinkat>},
    {267, "readlinkat", call<sys_readlinkat>},
    {268, "fchmodat", call<sys_fchmodat>},
    {269, "faccessat", call<sys_faccessat>},
    {270, "pselect6", call<sys_pselect6>, true},
    {271, "ppoll", call<sys_ppoll>, true},
    {273, "set_robust_list", call<sys_set_robust_list>},
    {280, "utimensat", call<sys_utimensat>},
    {285, "fallocate", call<sys_fallocate>},
    {292, "dup3", call<sys_dup3>},
    {293, "pipe2", call<sys_pipe2>},
    {295, "preadv", call<sys_preadv>},
    {296, "pwritev", call<sys_pwritev>},
    {302, "prlimit64", call<sys_prlimit64>},
    {306, "syncfs", call<sys_syncfs>},
    {309, "getcpu", call<sys_getcpu>},
    {316, "renameat2", call<sys_renameat2>},
    {318, "getrandom", call<sys_getrandom>},
    {322, "execveat", call<sys_execveat>},
    {332, "statx", call<sys_statx>},
    {436, "close_range", call<sys_close_range>},
    {439, "faccessat2", call<sys_faccessat2>},
};

constexpr bool sorted() {
    for (size_t i = 1; i < std::size(kRows); i++)
        if (kRows[i - 1].number >= kRows[i].number) return false;
    return true;
}
static_assert(sorted());
static_assert(kRows[std::size(kRows) - 1].number < kCallNumbers);

} // namespace

std::span<const Row> rows() {
    return kRows;
}

} // namespace tessera::syscalls
