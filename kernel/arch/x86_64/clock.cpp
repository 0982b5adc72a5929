#include "kernel/arch/x86_64/clock.hpp"

#include <atomic>

#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/cpu.hpp"

namespace tessera::kernel::arch {
namespace {

uint64_t khz = 0;
uint64_t start_tsc = 0;
uint64_t nanos_per_tick_32 = 0; // 32.32 fixed point; 0: not calibrated, time stands still
uint64_t ticks_per_nano_32 = 0;

uint64_t scale(uint64_t v, uint64_t factor_32) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(v) * factor_32 >> 32);
}

// A counter of known frequency.
struct Reference {
    uint64_t hertz;
    uint32_t mask;
    bool down;
    uint16_t port;
    uint32_t read() const {
        if (port) return in32(port) & mask;
        out8(0x43, 0x80); // latch PIT channel 2
        uint8_t low = in8(0x42);
        return static_cast<uint32_t>(low | in8(0x42) << 8);
    }
    uint32_t elapsed(uint32_t from, uint32_t to) const {
        return (down ? from - to : to - from) & mask;
    }
};

// The reference read between two readings of the TSC. On a busy host QEMU may be stopped in
// between: the narrowest of several brackets is the one that was not.
struct Sample {
    uint64_t tsc = 0;
    uint64_t width = UINT64_MAX;
    uint32_t reference = 0;
};
Sample sample(const Reference& r) {
    Sample best;
    for (int i = 0; i < 50; i++) {
        uint64_t before = tsc();
        uint32_t v = r.read();
        uint64_t after = tsc();
        if (after - before < best.width) best = {before + (after - before) / 2, after - before, v};
    }
    return best;
}

uint64_t measure(const Reference& r) {
    Sample a = sample(r);
    uint64_t window = r.hertz / 100; // 10 ms, far below a wrap (PIT: 55 ms)
    while (r.elapsed(a.reference, r.read()) < window)
        pause();
    Sample b = sample(r);
    uint64_t ticks = r.elapsed(a.reference, b.reference);
    return (b.tsc - a.tsc) * r.hertz / ticks / 1000;
}

void start_pit_channel_2() {
    out8(0x61, static_cast<uint8_t>((in8(0x61) & ~2) | 1)); // gate on, speaker off
    out8(0x43, 0xb4);                                       // channel 2, rate generator
    out8(0x42, 0xff);
    out8(0x42, 0xff);
}

} // namespace

void clock_start(uint16_t pm_timer_port, uint64_t forced_khz) {
    khz = forced_khz;
    if (!khz && pm_timer_port) {
        // The PM timer has 24 bits at least (ACPI 4.8.3.3). One that stands still is not there.
        Reference pm{3'579'545, 0xffffff, false, pm_timer_port};
        uint32_t first = pm.read();
        for (int i = 0; i < 10'000 && pm.read() == first; i++)
            pause();
        if (pm.read() != first) khz = measure(pm);
    }
    if (!khz) {
        start_pit_channel_2();
        khz = measure({1'193'182, 0xffff, true, 0});
    }
    start_tsc = tsc();
    ticks_per_nano_32 = (khz << 32) / 1'000'000;
    nanos_per_tick_32 = (1'000'000ull << 32) / khz;
}

Nanos now() {
    return Nanos{static_cast<int64_t>(scale(tsc() - start_tsc, nanos_per_tick_32))};
}

uint64_t tsc_khz() {
    return khz;
}

uint64_t tsc_of(Nanos t) {
    return start_tsc + scale(static_cast<uint64_t>(t.value), ticks_per_nano_32);
}

void spin_for(Nanos duration) {
    Nanos end = now() + duration;
    while (now() < end)
        pause();
}

} // namespace tessera::kernel::arch
