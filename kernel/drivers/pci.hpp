// PCI functions: finding them, their registers, capabilities and message-signalled interrupts.
//
// PCI Local Bus 3.0 section 6 and PCI Express Base section 7. Firmware has assigned buses and BARs.
// All that a function says about itself is checked before use: a capability list may be circular, a
// BAR absent, a table out of its BAR; each is an Error (Malformed, Range, NotFound) and the
// function is left alone.
#pragma once

#include <array>
#include <optional>

#include "kernel/drivers/platform.hpp"

namespace tessera::kernel {

struct PciAddress {
    uint8_t bus = 0;
    uint8_t device = 0;   // 0–31
    uint8_t function = 0; // 0–7

    constexpr auto operator<=>(const PciAddress&) const = default;
};

// Configuration space. Offsets are naturally aligned; beyond its end reads give all ones.
class PciConfig {
  public:
    virtual uint32_t read32(PciAddress at, uint16_t offset) = 0;
    virtual void write32(PciAddress at, uint16_t offset, uint32_t v) = 0;
    virtual uint16_t size() const = 0; // 256 through ports, 4096 through ECAM

    uint8_t read8(PciAddress at, uint16_t offset);
    uint16_t read16(PciAddress at, uint16_t offset);
    // Writes the 16-bit half; the other half is written back as read (zeros for the status
    // register, whose bits clear when one is written).
    void write16(PciAddress at, uint16_t offset, uint16_t v);

  protected:
    ~PciConfig() = default;
};

// Mechanism #1: ports 0xcf8 and 0xcfc.
class PciPortConfig final : public PciConfig {
  public:
    explicit PciPortConfig(PortIo& ports) : ports_(ports) {}
    uint32_t read32(PciAddress at, uint16_t offset) override;
    void write32(PciAddress at, uint16_t offset, uint32_t v) override;
    uint16_t size() const override { return 256; }

  private:
    PortIo& ports_;
};

// ECAM (PCI Express Base section 7.2.2): 4 KiB per function in memory, `base` belonging to bus 0. A
// bus is mapped when it is first looked at. One access is one bus transaction, so shards need not
// take turns, as they would have to with the ports; the first look at a bus is the scan's.
class PciMemoryConfig final : public PciConfig {
  public:
    PciMemoryConfig(Platform& platform, BusAddr base, uint8_t first_bus, uint8_t last_bus)
        : platform_(platform), base_(base), first_bus_(first_bus), last_bus_(last_bus) {}
    uint32_t read32(PciAddress at, uint16_t offset) override;
    void write32(PciAddress at, uint16_t offset, uint32_t v) override;
    uint16_t size() const override { return 4096; }

  private:
    // Null: not covered, or it does not map.
    Registers* bus(uint8_t number);
    static uint64_t place(PciAddress at, uint16_t offset) {
        return static_cast<uint64_t>(at.device) << 15 | at.function << 12 | (offset & 0xffcu);
    }

    Platform& platform_;
    BusAddr base_;
    uint8_t first_bus_;
    uint8_t last_bus_;
    std::array<Own<Registers>, 256> buses_;
};

struct PciBar {
    BusAddr base;
    uint64_t size = 0;
};

struct PciCapability {
    uint8_t id = 0;
    uint8_t offset = 0; // in configuration space
};

class PciFunction {
  public:
    PciFunction(PciConfig& config, Platform& platform, PciAddress at)
        : config_(&config), platform_(&platform), at_(at) {}

    PciAddress address() const { return at_; }
    uint16_t vendor() const { return config_->read16(at_, 0x00); }
    uint16_t device() const { return config_->read16(at_, 0x02); }
    uint32_t class_code() const {
        return config_->read32(at_, 0x08) >> 8;
    } // class, subclass, interface
    uint16_t subsystem() const { return config_->read16(at_, 0x2e); }
    Platform& platform() const { return *platform_; }

    uint8_t config8(uint16_t offset) const { return config_->read8(at_, offset); }
    uint16_t config16(uint16_t offset) const { return config_->read16(at_, offset); }
    uint32_t config32(uint16_t offset) const { return config_->read32(at_, offset); }

    // Calls f(PciCapability) for each entry in list order until it returns false. Error: Malformed
    // (loop, or an entry inside the header). NotFound: no list.
    Result<void> for_each_capability(Function<bool(PciCapability)> f) const;
    Result<PciCapability> find_capability(uint8_t id) const;

    void write_config16(uint16_t offset, uint16_t v) { config_->write16(at_, offset, v); }

    // Memory BAR `index` (0–5). Sizes it, which briefly turns decoding off: nothing may use the
    // function meanwhile. Error: NotFound (absent, unassigned or an I/O BAR), Malformed.
    Result<PciBar> bar(unsigned index) const;
    // Maps [offset, offset + size) of a BAR. Error: Range if the BAR does not hold it.
    Result<Own<Registers>> map_bar(unsigned index, uint64_t offset, uint64_t size) const;
    Result<Own<Registers>> map_bar(unsigned index) const; // all of it, at most kMaxMappedBar

    // Memory decoding and DMA on or off. Off stops the device's DMA at the bus: the last resort
    // against a device that does not stop by itself.
    void enable_memory_and_dma(bool on);

    static constexpr uint64_t kMaxMappedBar = mib(16);

  private:
    PciConfig* config_;
    Platform* platform_;
    PciAddress at_;
};

// MSI-X of one function (PCI 3.0 section 6.8.2). Turned off when destroyed.
class MsixTable {
  public:
    // Error: NotFound, Malformed, Range, NoMemory. All entries start masked; the function's MSI-X
    // is on.
    static Result<MsixTable> open(PciFunction function);
    MsixTable() = default;
    MsixTable(MsixTable&& o) noexcept { *this = std::move(o); }
    MsixTable& operator=(MsixTable&& o) noexcept {
        std::swap(function_, o.function_);
        std::swap(table_, o.table_);
        std::swap(control_, o.control_);
        std::swap(count_, o.count_);
        return *this;
    }
    ~MsixTable();

    unsigned size() const { return count_; }
    // Allocates an interrupt for `handler` and unmasks the entry. Error: Range, or the platform's.
    Result<void> assign(unsigned entry, Function<void()> handler);

  private:
    std::optional<PciFunction> function_;
    Own<Registers> table_;
    uint16_t control_ = 0; // where the message control register is
    unsigned count_ = 0;
};

// Walks the buses from bus 0 through bridges as firmware numbered them, each function once, at most
// kMaxFunctions of them; f is called in bus order. Returns how many were found.
unsigned pci_scan(PciConfig& config, Platform& platform, Function<void(PciFunction)> f);

inline constexpr unsigned kMaxFunctions = 256;

} // namespace tessera::kernel
