// The machine we run on, as drivers see it. Kernel tree only.
#include "base/log.hpp"
#include "boot/x86_64/layout.h"
#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/machine.hpp"
#include "kernel/drivers/probe.hpp"
#include "kernel/mm/dma.hpp"
#include "kernel/mm/frames.hpp"

namespace tessera::kernel {

namespace {

class MmioRegisters final : public Registers {
  public:
    MmioRegisters(volatile std::byte* base, uint64_t size) : base_(base), size_(size) {}
    uint8_t read8(uint64_t offset) override { return read<uint8_t>(offset); }
    uint16_t read16(uint64_t offset) override { return read<uint16_t>(offset); }
    uint32_t read32(uint64_t offset) override { return read<uint32_t>(offset); }
    void write8(uint64_t offset, uint8_t v) override { write(offset, v); }
    void write16(uint64_t offset, uint16_t v) override { write(offset, v); }
    void write32(uint64_t offset, uint32_t v) override { write(offset, v); }
    uint64_t size() const override { return size_; }

  private:
    bool inside(uint64_t offset, size_t width) const {
        return offset <= size_ && width <= size_ - offset;
    }
    template <typename T>
    T read(uint64_t offset) {
        if (!inside(offset, sizeof(T))) return static_cast<T>(~T{0});
        return *reinterpret_cast<volatile T*>(base_ + offset);
    }
    template <typename T>
    void write(uint64_t offset, T v) {
        if (inside(offset, sizeof(T))) *reinterpret_cast<volatile T*>(base_ + offset) = v;
    }

    volatile std::byte* base_;
    uint64_t size_;
};

class MachinePlatform final : public Platform {
  public:
    Result<DmaMemory> allocate_dma(size_t size) override {
        DmaBuffer b = TRY(kernel::allocate_dma(size));
        return DmaMemory(*this, b.bytes.data(), BusAddr(b.phys.value), b.bytes.size());
    }
    void free_dma(std::byte* data, size_t size) override {
        DmaBuffer b{{data, size}, phys_of(data)};
        kernel::free_dma(b);
    }
    // The direct map and the kernel image; not stacks, device registers or user addresses.
    Result<BusAddr> bus_address(const void* p) override {
        auto v = reinterpret_cast<uint64_t>(p);
        bool in_direct_map = v >= DIRECT_MAP_BASE && v < KERNEL_MAP_BASE;
        if (!in_direct_map && v < KERNEL_IMAGE_BASE) return Fail(Error::BadAddress);
        return BusAddr(phys_of(p).value);
    }
    Result<Own<Registers>> map_registers(BusAddr at, uint64_t size) override {
        volatile std::byte* base = TRY(map_mmio(PhysAddr(at.value), size));
        return Own<Registers>(new MmioRegisters(base, size));
    }
    Result<MsiMessage> allocate_interrupt(Function<void()> handler) override {
        arch::IrqVector v = TRY(arch::allocate_irq(std::move(handler)));
        return MsiMessage{v.msi_address, v.msi_data};
    }
    Nanos now() override { return arch::now(); }
    void relax() override { arch::pause(); }
};

class MachinePorts final : public PortIo {
  public:
    uint8_t in8(uint16_t port) override { return arch::in8(port); }
    uint32_t in32(uint16_t port) override { return arch::in32(port); }
    void out8(uint16_t port, uint8_t v) override { arch::out8(port, v); }
    void out16(uint16_t port, uint16_t v) override { arch::out16(port, v); }
    void out32(uint16_t port, uint32_t v) override { arch::out32(port, v); }
};

// RDRAND, RDSEED.
class CpuRandom final : public SeedSource {
  public:
    size_t gather(MutableBytes out) override {
        size_t got = 0;
        while (got < out.size()) {
            auto word = arch::hardware_random();
            if (!word) break;
            size_t n = out.size() - got < sizeof *word ? out.size() - got : sizeof *word;
            std::memcpy(out.data() + got, &*word, n);
            got += n;
        }
        return got;
    }
    const char* name() const override { return "cpu"; }
};

// ECAM where firmware describes it for bus 0, else the ports. Lives as long as the machine.
PciConfig& choose_config(Platform& platform, PortIo& ports) {
    const boot::AcpiFacts& facts = arch::acpi_facts();
    for (unsigned i = 0; i < facts.pci_count; i++) {
        const boot::PciSegment& s = facts.pci[i];
        if (s.segment != 0 || s.first_bus != 0) continue;
        auto config =
            std::make_unique<PciMemoryConfig>(platform, BusAddr(s.base), s.first_bus, s.last_bus);
        PciPortConfig by_port(ports);
        // The host bridge must look the same both ways: a window that is switched off reads as
        // ones.
        if (config->read32({}, 0) == by_port.read32({}, 0)) return *config.release();
    }
    return *std::make_unique<PciPortConfig>(ports).release();
}

} // namespace

DriverSet probe_devices(Function<void()> on_network_interrupt) {
    // They live as long as the drivers that refer to them: forever.
    static MachinePlatform platform;
    static MachinePorts ports;
    PciConfig& config = choose_config(platform, ports);
    LOG(Info, "drivers", "PCI configuration through %s", config.size() > 256 ? "memory" : "ports");
    CpuRandom cpu_random;
    JitterSource jitter(&arch::tsc);
    return probe_devices(platform, config, ports, &cpu_random, jitter,
                         std::move(on_network_interrupt));
}

} // namespace tessera::kernel
