#include "tests/unit/monitors/posix/traced.hpp"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <thread>

#include "kernel/arch/user.hpp"
#include "kernel/sync/thread.hpp"
#include "monitors/process/posix/process/process.hpp"

namespace tessera::posix::test {
namespace {

constexpr uint64_t kStub = 0x10000; // holds "syscall"
std::atomic<size_t> live_spaces{0};

// The one thread that traces. Everything else asks it.
class Tracer {
  public:
    static Tracer& get() {
        static Tracer* t = new Tracer; // outlives every test
        return *t;
    }

    // Runs f on the tracing thread.
    template <typename F>
    auto ask(F&& f) {
        using R = decltype(f());
        std::mutex m;
        std::condition_variable c;
        bool done = false;
        R result{};
        {
            std::lock_guard g(mutex_);
            queue_.push_back([&] {
                R r = f();
                std::lock_guard h(m);
                result = r;
                done = true;
                c.notify_all();
            });
        }
        wake_.notify_all();
        std::unique_lock u(m);
        c.wait(u, [&] { return done; });
        return result;
    }

    // Lets pid run until it stops; returns the wait status. kick() is polled.
    int run(pid_t pid, std::function<bool()> kicked) {
        {
            std::lock_guard g(mutex_);
            running_[pid] = -1;
        }
        ask([&] { return ptrace(PTRACE_SYSEMU, pid, 0, 0); });
        bool asked = false;
        for (;;) {
            std::unique_lock u(mutex_);
            stopped_.wait_for(u, std::chrono::milliseconds(1), [&] { return running_[pid] != -1; });
            if (running_[pid] != -1) {
                int status = running_[pid];
                running_.erase(pid);
                return status;
            }
            if (!asked && kicked()) {
                asked = true;
                ::kill(pid, SIGSTOP);
            }
        }
    }

    // On the tracing thread: one system call inside pid.
    static long inject(pid_t pid, long number, long a = 0, long b = 0, long c = 0, long d = 0,
                       long e = 0, long f = 0) {
        user_regs_struct saved, r;
        ptrace(PTRACE_GETREGS, pid, 0, &saved);
        r = saved;
        r.rip = kStub;
        r.rax = static_cast<unsigned long>(number);
        r.orig_rax = ~0ull;
        r.rdi = a, r.rsi = b, r.rdx = c, r.r10 = d, r.r8 = e, r.r9 = f;
        ptrace(PTRACE_SETREGS, pid, 0, &r);
        for (;;) {
            ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
            int status = 0;
            if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) return -ESRCH;
            if (status >> 16) continue; // a fork event: the call has not returned yet
            ptrace(PTRACE_GETREGS, pid, 0, &r);
            if (r.rip != kStub) break; // else a stray stop: the SIGSTOP of a kick
        }
        long result = static_cast<long>(r.rax);
        ptrace(PTRACE_SETREGS, pid, 0, &saved);
        return result;
    }

  private:
    Tracer() {
        std::thread([this] { loop(); }).detach();
    }
    void loop() {
        for (;;) {
            std::deque<std::function<void()>> work;
            bool poll;
            {
                std::unique_lock u(mutex_);
                wake_.wait_for(u, std::chrono::microseconds(running_.empty() ? 50000 : 30),
                               [&] { return !queue_.empty(); });
                std::swap(work, queue_);
                poll = !running_.empty();
            }
            for (auto& w : work)
                w();
            if (!poll) continue;
            std::lock_guard g(mutex_);
            for (auto& [pid, status] : running_) {
                int s;
                if (status == -1 && waitpid(pid, &s, __WALL | WNOHANG) == pid) {
                    status = s;
                    stopped_.notify_all();
                }
            }
        }
    }
    std::mutex mutex_;
    std::condition_variable wake_, stopped_;
    std::deque<std::function<void()>> queue_;
    std::map<pid_t, int> running_; // -1: still running
};

// A host program of one page that stops at once; everything else of it is unmapped.
const char* stub_path() {
    static char path[64];
    if (*path) return path;
    std::snprintf(path, sizeof path, "/tmp/tessera-stub-%d", getpid());
    unsigned char image[0x200] = {};
    auto* e = reinterpret_cast<Elf64_Ehdr*>(image);
    std::memcpy(e->e_ident, "\177ELF\2\1\1", 7);
    e->e_type = ET_EXEC;
    e->e_machine = EM_X86_64;
    e->e_version = 1;
    e->e_entry = kStub + 0x1f0;
    e->e_phoff = 0x100;
    e->e_ehsize = 64;
    e->e_phentsize = 56;
    e->e_phnum = 1;
    auto* p = reinterpret_cast<Elf64_Phdr*>(image + 0x100);
    p->p_type = PT_LOAD;
    p->p_flags = PF_R | PF_X;
    p->p_offset = 0;
    p->p_vaddr = kStub;
    p->p_filesz = p->p_memsz = sizeof image;
    p->p_align = 0x1000;
    image[0x1f0] = 0xcc;
    int fd = ::open(path, O_CREAT | O_TRUNC | O_WRONLY, 0755);
    if (::write(fd, image, sizeof image) != sizeof image) std::abort();
    ::close(fd);
    std::atexit([] { ::unlink(path); });
    return path;
}

pid_t start_stub() {
    const char* path = stub_path();
    pid_t pid = vfork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        char* none[] = {nullptr};
        execve(path, none, none);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, __WALL);
    if (!WIFSTOPPED(status)) return -1;
    ptrace(PTRACE_SETOPTIONS, pid, 0,
           PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK);
    ptrace(PTRACE_POKETEXT, pid, kStub, 0xcc050f); // syscall; int3
    char name[64], line[512];
    std::snprintf(name, sizeof name, "/proc/%d/maps", pid);
    FILE* f = std::fopen(name, "r");
    std::vector<std::pair<unsigned long, unsigned long>> areas;
    while (f && std::fgets(line, sizeof line, f)) {
        unsigned long a, b;
        if (std::sscanf(line, "%lx-%lx", &a, &b) == 2 && a != kStub && a < kUserEnd)
            areas.push_back({a, b});
    }
    if (f) std::fclose(f);
    for (auto [a, b] : areas)
        Tracer::inject(pid, 11, static_cast<long>(a), static_cast<long>(b - a));
    live_spaces++;
    return pid;
}

long on(pid_t pid, long n, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    return Tracer::get().ask([&] { return Tracer::inject(pid, n, a, b, c, d, e, f); });
}

int host_protection(Protection p) {
    return static_cast<int>(p);
}

} // namespace

bool tracing_works() {
    static int answer = -1;
    if (answer < 0) {
        pid_t pid = Tracer::get().ask([] { return start_stub(); });
        answer = pid > 0;
        if (pid > 0) {
            ::kill(pid, SIGKILL);
            Tracer::get().ask([&] { return waitpid(pid, nullptr, __WALL); });
            live_spaces--;
        }
    }
    return answer;
}

size_t TracedSpace::live() {
    return live_spaces;
}

TracedSpace::TracedSpace(RemoteFiles& files, VnodeId v, pid_t pid)
    : files_(files), vnode_(v), pid_(pid) {}

TracedSpace::~TracedSpace() {
    if (pid_ > 0) destroy();
}

void TracedSpace::destroy() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    Tracer::get().ask([&] {
        int s;
        while (waitpid(pid_, &s, __WALL) == pid_ && !WIFEXITED(s) && !WIFSIGNALED(s)) {
        }
        return 0;
    });
    pid_ = 0;
    live_spaces--;
}

Result<Ref<AddressSpace>> TracedSpaces::create(VnodeId v) {
    pid_t pid = Tracer::get().ask([] { return start_stub(); });
    if (pid <= 0) return Fail(Error::NoMemory);
    return Ref<AddressSpace>(make_ref<TracedSpace>(files_, v, pid));
}

Result<Ref<AddressSpace>> TracedSpace::fork() {
    std::lock_guard g(mutex_);
    pid_t child = Tracer::get().ask([&]() -> pid_t {
        long r = Tracer::inject(pid_, 57);
        if (r <= 0) return 0;
        int s;
        if (waitpid(static_cast<pid_t>(r), &s, __WALL) < 0) return 0;
        return static_cast<pid_t>(r);
    });
    if (!child) return Fail(Error::Again);
    live_spaces++;
    auto c = make_ref<TracedSpace>(files_, vnode_, child);
    c->maps_ = maps_;
    c->brk_start_ = brk_start_;
    c->brk_ = brk_;
    return Ref<AddressSpace>(c);
}

UserAddress TracedSpace::choose(uint64_t length) {
    UserAddress end = 0x7f00'0000'0000;
    for (auto i = maps_.rbegin(); i != maps_.rend(); ++i) {
        if (i->second.start >= end) continue;
        if (i->second.end + length <= end) break;
        end = i->second.start;
    }
    return end - length;
}

void TracedSpace::forget(UserAddress start, UserAddress end) {
    std::map<UserAddress, Mapping> next;
    for (auto& [a, m] : maps_) {
        if (m.end <= start || m.start >= end) {
            next[a] = m;
            continue;
        }
        if (m.start < start) {
            Mapping left = m;
            left.end = start;
            next[left.start] = left;
        }
        if (m.end > end) {
            Mapping right = m;
            right.offset += end - m.start;
            right.start = end;
            next[end] = right;
        }
    }
    maps_ = next;
}

Result<UserAddress> TracedSpace::map(const MapRequest& r) {
    std::lock_guard g(mutex_);
    uint64_t length = align_up(r.length, kPageSize);
    UserAddress at = r.place == MapPlace::Anywhere ? choose(length) : r.address;
    if (r.place == MapPlace::FixedNoReplace)
        for (auto& [a, m] : maps_)
            if (m.start < at + length && at < m.end) return Fail(Error::Exists);
    if (r.file && r.sharing == Sharing::Shared && allows(r.protection, Protection::Write))
        return Fail(Error::Unsupported);
    int flags = MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE |
                (r.sharing == Sharing::Shared ? MAP_SHARED : MAP_PRIVATE);
    long got = on(pid_, 9, static_cast<long>(at), static_cast<long>(length), PROT_READ | PROT_WRITE,
                  flags, -1, 0);
    if (got != static_cast<long>(at)) return Fail(Error::NoMemory);
    if (r.file) {
        std::vector<std::byte> data(std::min(length, r.file_bytes));
        size_t n = TRY(files_.read(vnode_, r.file, r.offset, data));
        iovec mine{data.data(), n}, theirs{reinterpret_cast<void*>(at), n};
        if (n && process_vm_writev(pid_, &mine, 1, &theirs, 1, 0) != static_cast<ssize_t>(n))
            return Fail(Error::Io);
    }
    on(pid_, 10, static_cast<long>(at), static_cast<long>(length), host_protection(r.protection));
    forget(at, at + length);
    Mapping m{at, at + length, r.protection, r.sharing, r.file, r.offset, r.name};
    maps_[at] = m;
    return at;
}

Result<void> TracedSpace::unmap(UserAddress a, uint64_t length) {
    std::lock_guard g(mutex_);
    on(pid_, 11, static_cast<long>(a), static_cast<long>(length));
    forget(a, a + length);
    return {};
}

Result<void> TracedSpace::protect(UserAddress a, uint64_t length, Protection p) {
    std::lock_guard g(mutex_);
    if (on(pid_, 10, static_cast<long>(a), static_cast<long>(length), host_protection(p)) != 0)
        return Fail(Error::NoMemory);
    std::vector<Mapping> changed;
    for (auto& [start, m] : maps_) {
        if (m.end <= a || m.start >= a + length) continue;
        Mapping part = m;
        part.start = std::max(m.start, a);
        part.end = std::min(m.end, a + length);
        part.offset += part.start - m.start;
        part.protection = p;
        changed.push_back(part);
    }
    for (const Mapping& m : changed) {
        forget(m.start, m.end);
        maps_[m.start] = m;
    }
    return {};
}

Result<UserAddress> TracedSpace::remap(UserAddress a, uint64_t old_length, uint64_t new_length,
                                       bool may_move, bool fixed, UserAddress to) {
    std::lock_guard g(mutex_);
    auto found = maps_.find(a);
    if (found == maps_.end()) return Fail(Error::BadAddress);
    Mapping m = found->second;
    UserAddress at = fixed ? to : may_move && new_length > old_length ? choose(new_length) : a;
    long got = on(pid_, 25, static_cast<long>(a), static_cast<long>(old_length),
                  static_cast<long>(new_length), at != a ? 3 : 0, static_cast<long>(at));
    if (got < 0 && got > -4096) return Fail(Error::NoMemory);
    forget(a, a + old_length);
    m.start = static_cast<UserAddress>(got);
    m.end = m.start + new_length;
    maps_[m.start] = m;
    return m.start;
}

Result<void> TracedSpace::advise(UserAddress a, uint64_t length, Advice advice) {
    if (advice == Advice::DontNeed)
        on(pid_, 28, static_cast<long>(a), static_cast<long>(length), 4);
    return {};
}

UserAddress TracedSpace::brk(UserAddress wanted) {
    UserAddress old = align_up(brk_, kPageSize), now = align_up(wanted, kPageSize);
    if (wanted < brk_start_ || wanted - brk_start_ > (1 << 30)) return brk_;
    if (now > old) {
        MapRequest m{.address = old,
                     .length = now - old,
                     .protection = Protection::Read | Protection::Write,
                     .place = MapPlace::FixedNoReplace,
                     .name = "[heap]"};
        if (!map(m)) return brk_;
    } else if (now < old) {
        (void)unmap(now, old - now);
    }
    return brk_ = wanted;
}

Result<void> TracedSpace::fault(UserAddress address, Protection) {
    std::lock_guard g(mutex_);
    for (auto& [a, m] : maps_)
        if (address >= m.start && address < m.end) return Fail(Error::AccessDenied);
    return Fail(Error::BadAddress);
}

Result<void> TracedSpace::read(UserAddress from, MutableBytes to) {
    iovec mine{to.data(), to.size()}, theirs{reinterpret_cast<void*>(from), to.size()};
    if (process_vm_readv(pid_, &mine, 1, &theirs, 1, 0) != static_cast<ssize_t>(to.size()))
        return Fail(Error::BadAddress);
    return {};
}

Result<void> TracedSpace::write(UserAddress to, Bytes from) {
    iovec mine{const_cast<std::byte*>(from.data()), from.size()},
        theirs{reinterpret_cast<void*>(to), from.size()};
    if (process_vm_writev(pid_, &mine, 1, &theirs, 1, 0) != static_cast<ssize_t>(from.size()))
        return Fail(Error::BadAddress);
    return {};
}

Result<std::string> TracedSpace::read_string(UserAddress from, size_t most) {
    std::string s;
    for (;;) {
        char b[256];
        size_t n = std::min<size_t>(sizeof b, kPageSize - (from + s.size()) % kPageSize);
        TRY(read(from + s.size(), std::as_writable_bytes(std::span(b, n))));
        size_t end = std::string_view(b, n).find('\0');
        s.append(b, std::min(n, end));
        if (s.size() > most) return Fail(Error::TooBig);
        if (end != std::string_view::npos) return s;
    }
}

Result<uint32_t> TracedSpace::load_word(UserAddress a) {
    uint32_t w;
    TRY(read(a, mutable_bytes_of(w)));
    return w;
}

Result<bool> TracedSpace::compare_exchange_word(UserAddress a, uint32_t& expected,
                                                uint32_t desired) {
    uint32_t w = TRY(load_word(a));
    if (w != expected) {
        expected = w;
        return false;
    }
    TRY(write(a, bytes_of(desired)));
    return true;
}

Result<AddressSpace::WordKey> TracedSpace::word_key(UserAddress a, bool) {
    return WordKey{static_cast<uint64_t>(pid_), a};
}

void TracedSpace::for_each_mapping(Function<void(const Mapping&)> visit) {
    std::lock_guard g(mutex_);
    for (auto& [a, m] : maps_)
        visit(m);
}

} // namespace tessera::posix::test

namespace tessera::kernel::arch {

UserContext::UserContext() {
    reset_fpu();
}
UserContext::~UserContext() = default;
MutableBytes UserContext::fpu() {
    return fpu_;
}
void UserContext::copy_fpu_from(UserContext& o) {
    std::memcpy(fpu_, o.fpu_, sizeof fpu_);
}
void UserContext::reset_fpu() {
    std::memset(fpu_, 0, sizeof fpu_);
    uint16_t control = 0x37f;
    uint32_t mxcsr = 0x1f80;
    std::memcpy(fpu_, &control, 2);
    std::memcpy(fpu_ + 24, &mxcsr, 4);
}

UserExit run_user(UserContext& context) {
    using namespace posix::test;
    Thread& me = Thread::current();
    if (me.kicked()) return {.reason = UserExitReason::Kicked};
    auto& space = static_cast<TracedSpace&>(posix::Task::current()->space());
    pid_t pid = space.pid();
    UserRegisters& u = context.registers;
    MutableBytes fpu = context.fpu();
    Tracer& tracer = Tracer::get();
    tracer.ask([&] {
        user_regs_struct r{};
        ptrace(PTRACE_GETREGS, pid, 0, &r);
        r.rax = u.rax, r.rbx = u.rbx, r.rcx = u.rcx, r.rdx = u.rdx, r.rsi = u.rsi, r.rdi = u.rdi,
        r.rbp = u.rbp;
        r.r8 = u.r8, r.r9 = u.r9, r.r10 = u.r10, r.r11 = u.r11, r.r12 = u.r12, r.r13 = u.r13,
        r.r14 = u.r14;
        r.r15 = u.r15, r.rip = u.rip, r.rsp = u.rsp, r.fs_base = u.fs_base, r.gs_base = u.gs_base;
        r.eflags = u.rflags;
        r.orig_rax = ~0ull;
        ptrace(PTRACE_SETREGS, pid, 0, &r);
        ptrace(PTRACE_SETFPREGS, pid, 0, fpu.data());
        return 0;
    });
    int status = tracer.run(pid, [&] { return me.kicked(); });
    UserExit e{.reason = UserExitReason::Kicked};
    if (!WIFSTOPPED(status)) { // killed from outside
        e = {.reason = UserExitReason::Exception, .vector = kGeneralProtection};
        return e;
    }
    int signal = WSTOPSIG(status);
    user_regs_struct r{};
    siginfo_t info{};
    tracer.ask([&] {
        ptrace(PTRACE_GETREGS, pid, 0, &r);
        ptrace(PTRACE_GETFPREGS, pid, 0, fpu.data());
        ptrace(PTRACE_GETSIGINFO, pid, 0, &info);
        return 0;
    });
    u = {r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp,    r.r8,  r.r9,      r.r10,
         r.r11, r.r12, r.r13, r.r14, r.r15, r.rip, r.eflags, r.rsp, r.fs_base, r.gs_base};
    if (signal == (SIGTRAP | 0x80)) {
        u.rax = r.orig_rax;
        e.reason = UserExitReason::Syscall;
    } else if (signal == SIGSEGV && info.si_code > 0 && info.si_code != SI_KERNEL) {
        e.reason = UserExitReason::PageFault;
        e.address = VirtAddr(reinterpret_cast<uint64_t>(info.si_addr));
        e.present = info.si_code == SEGV_ACCERR;
    } else if (signal == SIGFPE || signal == SIGILL || signal == SIGTRAP || signal == SIGSEGV ||
               signal == SIGBUS) {
        // Others are the host's (SIGCHLD of a traced child, a kick's SIGSTOP): nothing happened.
        e.reason = UserExitReason::Exception;
        e.vector = signal == SIGFPE    ? kDivideError
                   : signal == SIGILL  ? kInvalidOpcode
                   : signal == SIGTRAP ? kBreakpoint
                                       : kGeneralProtection;
    }
    return e;
}

} // namespace tessera::kernel::arch
