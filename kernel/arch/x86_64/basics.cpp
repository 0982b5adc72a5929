// The one-instruction part of kernel/arch/contract.hpp.

#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/cpu.hpp"

namespace tessera::kernel::arch {

namespace {
constexpr uint64_t kInterruptFlag = 0x200;
}

unsigned cpu_id() {
    uint32_t id;
    asm volatile("mov %%gs:%c1, %0" : "=r"(id) : "i"(offsetof(Cpu, id)));
    return id;
}

bool interrupts_enabled() {
    uint64_t flags;
    asm volatile("pushfq; pop %0" : "=r"(flags));
    return flags & kInterruptFlag;
}
uint64_t irq_save() {
    uint64_t flags;
    asm volatile("pushfq; pop %0; cli" : "=r"(flags) : : "memory");
    return flags;
}
void irq_restore(uint64_t saved) {
    if (saved & kInterruptFlag) asm volatile("sti" : : : "memory");
}
void irq_enable() {
    asm volatile("sti" : : : "memory");
}
void irq_disable() {
    asm volatile("cli" : : : "memory");
}
void halt_until_interrupt() {
    asm volatile("sti; hlt" : : : "memory"); // sti takes effect after hlt has begun
}
void pause() {
    asm volatile("pause");
}

uint64_t tsc() {
    uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return static_cast<uint64_t>(high) << 32 | low;
}

Result<uint64_t> hardware_random() {
    static const bool present = cpuid(1).c >> 30 & 1;
    if (!present) return Fail(Error::Unsupported);
    for (int i = 0; i < 32; i++) {
        uint64_t v;
        bool good;
        asm volatile("rdrand %0; setc %1" : "=r"(v), "=q"(good) : : "cc");
        if (good) return v;
    }
    return Fail(Error::Io);
}

uint8_t in8(uint16_t port) {
    uint8_t v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
uint16_t in16(uint16_t port) {
    uint16_t v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
uint32_t in32(uint16_t port) {
    uint32_t v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
void out8(uint16_t port, uint8_t v) {
    asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
void out16(uint16_t port, uint16_t v) {
    asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}
void out32(uint16_t port, uint32_t v) {
    asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

} // namespace tessera::kernel::arch
