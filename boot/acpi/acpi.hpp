// The few ACPI tables the kernel reads: where the processors, the interrupt controllers and the
// power button are, and PCI's memory-mapped configuration space. ACPI Specification 6.4,
// sections 5.2.5 to 5.2.12; MCFG: PCI Firmware Specification 3.2, section 4.1.2.
//
// Everything is checked against bounds and checksums; firmware that lies yields fewer facts, not a
// crash.
#pragma once

#include <array>
#include <cstdint>

#include "base/result.hpp"
#include "boot/boot_info.hpp"
#include "boot/physical_memory.hpp"

namespace tessera::boot {

inline constexpr unsigned kMaxProcessors = 64;

struct IoApic {
    uint8_t id = 0;
    uint64_t address = 0;
    uint32_t first_interrupt = 0; // global interrupt number of its input 0
};

struct IsaOverride {
    uint8_t isa_interrupt = 0;
    uint32_t global_interrupt = 0;
    bool active_low = false;
    bool level = false;
};

struct PciSegment {
    uint64_t base = 0; // of bus 0's 1 MiB of configuration space
    uint16_t segment = 0;
    uint8_t first_bus = 0, last_bus = 0;
};

struct AcpiFacts {
    uint64_t local_apic = 0xfee00000;
    std::array<uint32_t, kMaxProcessors> apic_ids{};
    unsigned processor_count = 0; // enabled ones
    std::array<IoApic, 8> io_apics;
    unsigned io_apic_count = 0;
    std::array<IsaOverride, 16> overrides;
    unsigned override_count = 0;
    std::array<PciSegment, 4> pci;
    unsigned pci_count = 0;

    uint16_t pm_timer_port = 0; // 0: none
    uint16_t pm1a_control_port = 0;
    uint16_t pm1b_control_port = 0;
    uint8_t reset_space = 0; // 1: port, 0: memory; valid if reset_address
    uint64_t reset_address = 0;
    uint8_t reset_value = 0;
    bool soft_off_known = false; // \_S5's values, found in the DSDT
    uint8_t soft_off_a = 0, soft_off_b = 0;
};

// NotFound: no root pointer. Malformed: root tables that do not check. Tables that are missing or
// broken leave their part of `out` as it is.
Result<void> parse_acpi(const PhysicalMemory& memory, const BootInfo& boot, AcpiFacts& out);

} // namespace tessera::boot
