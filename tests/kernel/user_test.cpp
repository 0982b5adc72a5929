#include <cstring>
#include <memory>

#include "base/log.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/arch/user.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/mm/user_space.hpp"
#include "kernel/sched/scheduler.hpp"
#include "kernel/sync/event.hpp"
#include "kernel/sync/thread.hpp"
#include "tests/kernel/ktest.hpp"

extern "C" const char user_code_begin[], user_code_end[];

namespace tessera::kernel {
namespace {

using arch::UserContext;
using arch::UserExit;
using arch::UserExitReason;

constexpr VirtAddr kCode{0x400000}, kStack{0x7fff'0000'0000};

// An address space with the test program and a stack.
class World {
  public:
    World()
        : table(std::move(*PageTable::create())),
          code(*allocate_frame()),
          stack(*allocate_frame()) {
        std::memcpy(direct_map(code), user_code_begin,
                    static_cast<size_t>(user_code_end - user_code_begin));
        std::memset(direct_map(stack), 0, kPageSize);
        EXPECT(table->map(kCode, code, {true, false, true}).has_value());
        EXPECT(table->map(kStack, stack, {true, true, false}).has_value());
        table->activate();
    }
    ~World() {
        PageTable::activate_kernel_only();
        table.reset();
        free_frame(code);
        free_frame(stack);
    }
    void aim(UserContext& c, unsigned entry) {
        c.registers.rip = kCode.value + 64 * entry;
        c.registers.rsp = kStack.value + kPageSize - 16;
    }
    Own<PageTable> table;
    PhysAddr code, stack;
};

KTEST(UserMakesSystemCalls) {
    World w;
    auto c = std::make_unique<UserContext>();
    w.aim(*c, 0);
    UserExit e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Syscall);
    EXPECT(c->registers.rax == 42 && c->registers.rdi == 7);
    EXPECT(c->registers.rbx == 0x1111 && c->registers.r15 == 0x2222);
    c->registers.rax = 1234;
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Syscall && c->registers.rax == 43);
    EXPECT(c->registers.rdi == 1234);
    EXPECT(c->registers.rsi == 42); // xmm7 survived
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Exception && e.vector == arch::kGeneralProtection);
}

KTEST(UserFaultsAreReported) {
    World w;
    auto c = std::make_unique<UserContext>();
    w.aim(*c, 2);
    UserExit e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::PageFault && e.address == VirtAddr(0x5000000));
    EXPECT(e.access == Access::Read && !e.present);
    EXPECT(w.table->map(VirtAddr(0x5000000), w.stack, {true, false, false}).has_value());
    e = arch::run_user(*c); // retries
    EXPECT(e.reason == UserExitReason::Syscall && c->registers.rax == 44);
    w.aim(*c, 3);
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::PageFault && e.access == Access::Execute);
    EXPECT(e.address.value >> 63);
    w.aim(*c, 4);
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Exception && e.vector == arch::kDivideError);
    w.aim(*c, 5);
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Exception && e.vector == arch::kBreakpoint);
    EXPECT(c->registers.rflags & 0x400);
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Syscall && c->registers.rax == 45);
    c->registers.rip = 0x0000'8000'0000'0000; // not canonical
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Exception && e.vector == arch::kGeneralProtection);
    c->registers.rip = 0; // unmapped
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::PageFault && e.access == Access::Execute);
    c->registers.rflags = ~0ull; // ring 3 does not get I/O rights, nested tasks or interrupts off
    c->registers.r11 = ~0ull;
    w.aim(*c, 0);
    c->registers.rflags &= ~0x100ull; // no single step
    e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Syscall && (c->registers.rflags & 0x3200) == 0x200);
}

KTEST(UserHasItsThreadPointer) {
    World w;
    auto c = std::make_unique<UserContext>();
    w.aim(*c, 6);
    uint64_t value = 0x1122334455667788;
    std::memcpy(direct_map(w.stack), &value, 8);
    c->registers.fs_base = kStack.value;
    UserExit e = arch::run_user(*c);
    EXPECT(e.reason == UserExitReason::Syscall && c->registers.rdi == value);
}

KTEST(KickBringsASpinningUserBack) {
    std::atomic<bool> running{false};
    Thread* t = *Thread::start("user", [&] {
        World w;
        auto c = std::make_unique<UserContext>();
        w.aim(*c, 1);
        running.store(true);
        UserExit e = arch::run_user(*c);
        EXPECT(e.reason == UserExitReason::Kicked);
        EXPECT(c->registers.rbx > 0);
    });
    while (!running.load())
        Thread::sleep_until(Thread::now() + milliseconds(1));
    Thread::sleep_until(Thread::now() + milliseconds(10));
    t->kick(KickKind::Signal);
    t->join();
}

KTEST(FloatingPointStaysWithItsThread) {
    Thread* threads[4];
    for (unsigned i = 0; i < 4; i++) {
        threads[i] = *Thread::start("user", [i] {
            World w;
            auto c = std::make_unique<UserContext>();
            w.aim(*c, 7);
            uint64_t start = 1'000'000ull * i;
            std::memcpy(c->fpu().data() + 160, &start, 8); // xmm0 in the FXSAVE image
            for (uint64_t k = 1; k <= 300; k++) {
                UserExit e = arch::run_user(*c);
                if (e.reason != UserExitReason::Syscall || c->registers.rdi != start + k) {
                    EXPECT(!"xmm0 lost");
                    break;
                }
                if (k % 3 == 0) Thread::yield();
                if (k % 50 == 0) Thread::sleep_until(Thread::now() + microseconds(200));
            }
            UserContext other;
            other.copy_fpu_from(*c);
            uint64_t copied;
            std::memcpy(&copied, other.fpu().data() + 160, 8);
            EXPECT(copied == start + 300);
        });
    }
    for (Thread* t : threads)
        t->join();
}

// Unmapping takes effect on a processor that runs in the table right now.
KTEST(UnmapReachesOtherProcessors) {
    World w;
    PageTable::activate_kernel_only();
    VirtAddr shared(0x600000);
    EXPECT(w.table->map(shared, w.stack, {true, false, false}).has_value());
    for (int round = 0; round < 20; round++) {
        std::atomic<bool> running{false}, unmapped{false};
        Thread* t = *Thread::start("reader", [&] {
            w.table->activate();
            auto c = std::make_unique<UserContext>();
            w.aim(*c, 8);
            running.store(true);
            UserExit e = arch::run_user(*c);
            EXPECT(unmapped.load());
            EXPECT(e.reason == UserExitReason::PageFault && e.address == VirtAddr(0x600000));
            PageTable::activate_kernel_only();
        });
        while (!running.load())
            Thread::sleep_until(Thread::now() + microseconds(100));
        Thread::sleep_until(Thread::now() + milliseconds(1));
        unmapped.store(true);
        EXPECT(w.table->unmap(shared).has_value());
        t->join();
        EXPECT(w.table->map(shared, w.stack, {true, false, false}).has_value());
    }
}

std::atomic<unsigned> polls_from_user{0};

KTEST(InterruptInUserModePolls) {
    arch::IrqVector v = *arch::allocate_irq([] {});
    World w;
    PageTable::activate_kernel_only();
    set_idle_poll([] {
        polls_from_user.fetch_add(1);
        return kNever;
    });
    std::atomic<int> cpu{-1};
    Thread* t = *Thread::start("user", [&] {
        w.table->activate();
        auto c = std::make_unique<UserContext>();
        w.aim(*c, 1);
        cpu.store(static_cast<int>(arch::cpu_id()));
        EXPECT(arch::run_user(*c).reason == UserExitReason::Kicked);
        PageTable::activate_kernel_only();
    });
    while (cpu.load() < 0)
        Thread::sleep_until(Thread::now() + milliseconds(1));
    unsigned before = polls_from_user.load();
    for (int i = 0; i < 10; i++) {
        for (unsigned k = 0; k < arch::cpu_count(); k++)
            arch::send_ipi(k, v.vector);
        Thread::sleep_until(Thread::now() + milliseconds(2));
    }
    EXPECT(polls_from_user.load() >= before + 10);
    t->kick(KickKind::Kill);
    t->join();
    set_idle_poll(nullptr);
}

KTEST(PageFaultTime) {
    World w;
    auto c = std::make_unique<UserContext>();
    constexpr int kPages = 2000;
    uint64_t at = 0x10000000;
    w.aim(*c, 9);
    c->registers.rbx = at;
    Nanos start = Thread::now();
    for (int i = 0; i < kPages; i++) {
        UserExit e = arch::run_user(*c);
        if (e.reason != UserExitReason::PageFault || e.address != VirtAddr(at)) {
            EXPECT(!"wrong fault");
            break;
        }
        EXPECT(w.table->map(e.address, w.stack, {true, false, false}).has_value());
        at += kPageSize;
    }
    LOG(Info, "test", "user fault, map and return %ld ns", (Thread::now() - start).value / kPages);
}

KTEST(NullSystemCallTime) {
    World w;
    auto c = std::make_unique<UserContext>();
    w.aim(*c, 7);
    Nanos start = Thread::now();
    for (int i = 0; i < 5000; i++)
        (void)arch::run_user(*c);
    LOG(Info, "test", "user round trip %ld ns", (Thread::now() - start).value / 5000);
}

} // namespace
} // namespace tessera::kernel
