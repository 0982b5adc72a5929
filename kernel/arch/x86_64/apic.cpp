#include "kernel/arch/x86_64/apic.hpp"

#include "base/log.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/stop.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/mm/dma.hpp"

namespace tessera::kernel::arch {
namespace {

// Intel SDM volume 3, table 11-1.
enum Register : uint32_t {
    kId = 0x20,
    kTaskPriority = 0x80,
    kEndOfInterrupt = 0xb0,
    kSpurious = 0xf0,
    kCommandLow = 0x300,
    kCommandHigh = 0x310,
    kTimerEntry = 0x320,
    kLint0 = 0x350,
    kLint1 = 0x360,
    kErrorEntry = 0x370,
    kTimerInitial = 0x380,
    kTimerCurrent = 0x390,
    kTimerDivide = 0x3e0,
};
constexpr uint32_t kMasked = 1 << 16, kTscDeadlineMode = 2 << 17, kDeliveryPending = 1 << 12;
constexpr uint32_t kMsrTscDeadline = 0x6e0;

volatile std::byte* registers = nullptr;
bool x2apic = false;
bool deadline_mode = false;
uint64_t timer_khz = 0;

uint32_t read(Register r) {
    if (x2apic) return static_cast<uint32_t>(read_msr(0x800 + r / 16));
    return *reinterpret_cast<volatile uint32_t*>(registers + r);
}
void write(Register r, uint32_t v) {
    if (x2apic) return write_msr(0x800 + r / 16, v);
    *reinterpret_cast<volatile uint32_t*>(registers + r) = v;
}

void command(uint32_t apic_id, uint32_t what) {
    uint64_t saved = irq_save();
    if (x2apic) {
        write_msr(0x830, static_cast<uint64_t>(apic_id) << 32 | what);
    } else {
        while (read(kCommandLow) & kDeliveryPending)
            pause();
        write(kCommandHigh, apic_id << 24);
        write(kCommandLow, what);
    }
    irq_restore(saved);
}

// Ticks per millisecond, from two readings in narrow TSC brackets (see clock.cpp).
void measure_timer() {
    struct Sample {
        uint64_t tsc, width;
        uint32_t count;
    };
    auto sample = [] {
        Sample best{0, UINT64_MAX, 0};
        for (int i = 0; i < 30; i++) {
            uint64_t before = tsc();
            uint32_t count = read(kTimerCurrent);
            uint64_t after = tsc();
            if (after - before < best.width) best = {(before + after) / 2, after - before, count};
        }
        return best;
    };
    write(kTimerEntry, kMasked | kVectorTimer);
    write(kTimerInitial, UINT32_MAX);
    Sample a = sample();
    spin_for(milliseconds(2));
    Sample b = sample();
    write(kTimerInitial, 0);
    write(kTimerEntry, kVectorTimer);
    timer_khz = static_cast<uint64_t>(a.count - b.count) * tsc_khz() / (b.tsc - a.tsc);
}

} // namespace

Result<void> start_apic(const boot::AcpiFacts& acpi) {
    // The two 8259s: moved off the exception vectors, everything masked.
    out8(0x20, 0x11);
    out8(0xa0, 0x11);
    out8(0x21, 0x20);
    out8(0xa1, 0x28);
    out8(0x21, 4);
    out8(0xa1, 2);
    out8(0x21, 1);
    out8(0xa1, 1);
    out8(0x21, 0xff);
    out8(0xa1, 0xff);

    x2apic = read_msr(kMsrApicBase) & 1 << 10;
    if (!x2apic) registers = TRY(map_mmio(PhysAddr(acpi.local_apic), kPageSize));
    deadline_mode = cpuid(1).c & 1 << 24;
    enable_local_apic();
    if (!deadline_mode) {
        measure_timer();
        if (timer_khz == 0) return Fail(Error::NoDevice);
    }
    return {};
}

void enable_local_apic() {
    write_msr(kMsrApicBase, read_msr(kMsrApicBase) | 1 << 11);
    write(kTaskPriority, 0);
    write(kSpurious, 0x100 | kVectorSpurious);
    write(kLint0, kMasked);
    write(kLint1, 4 << 8); // NMI
    write(kErrorEntry, kMasked);
    write(kTimerDivide, 0xb); // by 1
    write(kTimerEntry, (deadline_mode ? kTscDeadlineMode : 0) | kVectorTimer);
    asm volatile("mfence" : : : "memory");
}

uint32_t local_apic_id() {
    return x2apic ? read(kId) : read(kId) >> 24;
}

void end_of_interrupt() {
    write(kEndOfInterrupt, 0);
}

void send_ipi(unsigned cpu, uint8_t vector) {
    command(cpus[cpu].apic_id, vector);
}

void send_nmi(unsigned cpu) {
    command(cpus[cpu].apic_id, 4 << 8);
}

void stop_other_cpus() {
    if (!registers && !x2apic) return;
    for (unsigned i = 0; i < cpu_count(); i++) {
        if (i != cpu_id()) send_nmi(i);
    }
}

void start_processor(uint32_t apic_id, uint8_t page) {
    command(apic_id, 0x4500); // INIT
    for (int i = 0; i < 10; i++)
        spin_for(milliseconds(1));
    for (int i = 0; i < 2; i++) {
        command(apic_id, 0x4600u | page);
        spin_for(microseconds(200));
    }
}

void set_timer(Nanos deadline) {
    if (deadline_mode) {
        write_msr(kMsrTscDeadline, deadline == kNever ? 0 : tsc_of(deadline));
        return;
    }
    if (deadline == kNever) {
        write(kTimerInitial, 0);
        return;
    }
    int64_t left = (deadline - now()).value;
    // At most some seconds at a time: then the scheduler looks again.
    if (left > 2'000'000'000) left = 2'000'000'000;
    if (left < 0) left = 0;
    uint64_t ticks = static_cast<uint64_t>(left) * timer_khz / 1'000'000 + 1;
    write(kTimerInitial, ticks > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(ticks));
}

} // namespace tessera::kernel::arch
