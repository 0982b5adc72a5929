#include "kernel/arch/x86_64/trap.hpp"

extern "C" {
extern const char trap_stubs[];
extern uint8_t smap_on;
void syscall_entry();
}

namespace tessera::kernel::arch {
namespace {

// Intel SDM volume 3, 6.14.1.
struct Gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
static_assert(sizeof(Gate) == 16);
alignas(16) Gate idt[256];

struct [[gnu::packed]] TablePointer {
    uint16_t limit;
    uint64_t base;
};

constexpr size_t kEmergencyStackSize = 8192;
alignas(16) unsigned char boot_emergency_stacks[3][kEmergencyStackSize];

void fill_idt() {
    for (unsigned v = 0; v < 256; v++) {
        auto at = reinterpret_cast<uint64_t>(trap_stubs) + 16 * v;
        Gate& g = idt[v];
        g.offset_low = static_cast<uint16_t>(at);
        g.offset_middle = static_cast<uint16_t>(at >> 16);
        g.offset_high = static_cast<uint32_t>(at >> 32);
        g.selector = SELECTOR_KERNEL_CODE;
        g.ist = v == kVectorDoubleFault    ? 1
                : v == kVectorNmi          ? 2
                : v == kVectorMachineCheck ? 3
                                           : 0;
        g.type = v == 3 ? 0xee : 0x8e; // interrupt gate; ring 3 may use int3
    }
}

void load_gdt(Cpu& cpu) {
    auto tss = reinterpret_cast<uint64_t>(&cpu.task_state);
    cpu.gdt[0] = 0;
    cpu.gdt[1] = 0x00af9b000000ffff; // kernel code
    cpu.gdt[2] = 0x00cf93000000ffff; // kernel data
    cpu.gdt[3] = 0;                  // 32-bit user code: there is none
    cpu.gdt[4] = 0x00cff3000000ffff; // user data
    cpu.gdt[5] = 0x00affb000000ffff; // user code
    cpu.gdt[6] =
        (sizeof(TaskState) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
    cpu.gdt[7] = tss >> 32;
    TablePointer pointer{sizeof cpu.gdt - 1, reinterpret_cast<uint64_t>(cpu.gdt.data())};
    asm volatile(
        "lgdt %0\n"
        "push %1\n"
        "lea 1f(%%rip), %%rax\n"
        "push %%rax\n"
        "lretq\n"
        "1: mov %2, %%eax\n"
        "mov %%eax, %%ss\n"
        "xor %%eax, %%eax\n"
        "mov %%eax, %%ds\n"
        "mov %%eax, %%es\n"
        "ltr %w3\n"
        :
        : "m"(pointer), "i"(SELECTOR_KERNEL_CODE), "i"(SELECTOR_KERNEL_DATA), "r"(SELECTOR_TSS)
        : "rax", "memory");
}

} // namespace

void set_emergency_stacks(Cpu& cpu) {
    for (int i = 0; i < 3; i++) {
        auto* stack =
            cpu.id == 0 ? boot_emergency_stacks[i] : new unsigned char[kEmergencyStackSize];
        cpu.task_state.ist[i] = reinterpret_cast<uint64_t>(stack) + kEmergencyStackSize;
    }
}

void load_descriptors(Cpu& cpu) {
    if (cpu.id == 0) fill_idt();
    cpu.tss = &cpu.task_state;
    cpu.task_state.io_map = sizeof(TaskState); // no port is the user's
    set_emergency_stacks(cpu);
    load_gdt(cpu);
    TablePointer pointer{sizeof idt - 1, reinterpret_cast<uint64_t>(idt)};
    asm volatile("lidt %0" : : "m"(pointer));

    // SYSCALL loads CS from STAR[47:32]; SYSRET its CS from STAR[63:48] + 16 and SS from + 8.
    write_msr(kMsrStar, static_cast<uint64_t>(SELECTOR_USER_CODE32) << 48 |
                            static_cast<uint64_t>(SELECTOR_KERNEL_CODE) << 32);
    write_msr(kMsrLstar, reinterpret_cast<uint64_t>(syscall_entry));
    write_msr(kMsrSfmask, 0x47700); // AC, NT, DF, IF, TF (and the I/O privilege level)

    write_cr0((read_cr0() | kCr0WriteProtect | 1 << 1 | 1 << 5) &
              ~(1ull << 2 | 1ull << 3)); // MP, NE; not EM, TS
    uint64_t cr4 = read_cr4() | kCr4Osfxsr | kCr4Osxmmexcpt;
    uint32_t features = cpuid(0).a >= 7 ? cpuid(7).b : 0;
    if (features & 1 << 7) cr4 |= kCr4Smep;
    if (features & 1 << 20) cr4 |= kCr4Smap;
    write_cr4(cr4);
    if (cpu.id == 0) smap_on = cr4 & kCr4Smap ? 1 : 0;
}

} // namespace tessera::kernel::arch
