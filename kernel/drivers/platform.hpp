// What a device driver needs from the machine, and nothing more: registers, memory a device can
// reach, interrupts, time, x86 ports. The kernel supplies it in machine_platform.cpp; hosted tests
// supply device models, so that every driver runs under sanitizers against well-behaved and hostile
// devices.
//
// A virtual call is noise beside the access behind it (62 ns per MMIO access under TCG, more with
// KVM).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/bytes.hpp"
#include "base/function.hpp"
#include "base/ref.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace tessera::kernel {

// How a device names memory. Without an IOMMU this is the physical address.
using BusAddr = Id<struct BusAddrTag, uint64_t>;

// A window of device registers, little-endian. Every access is one access of exactly that width.
// Outside the window reads give all ones and writes vanish, as on a bus: a device that lies about
// its layout cannot make a driver touch foreign memory.
class Registers {
  public:
    virtual ~Registers() = default;
    virtual uint8_t read8(uint64_t offset) = 0;
    virtual uint16_t read16(uint64_t offset) = 0;
    virtual uint32_t read32(uint64_t offset) = 0;
    virtual void write8(uint64_t offset, uint8_t v) = 0;
    virtual void write16(uint64_t offset, uint16_t v) = 0;
    virtual void write32(uint64_t offset, uint32_t v) = 0;
    virtual uint64_t size() const = 0;

    // Two 32-bit accesses, low half first: for registers that allow it (virtio 1.2 section 4.1.3.1,
    // NVMe section 3.1).
    uint64_t read64(uint64_t offset) {
        uint64_t low = read32(offset);
        return low | static_cast<uint64_t>(read32(offset + 4)) << 32;
    }
    void write64(uint64_t offset, uint64_t v) {
        write32(offset, static_cast<uint32_t>(v));
        write32(offset + 4, static_cast<uint32_t>(v >> 32));
    }
};

// x86 I/O ports.
class PortIo {
  public:
    virtual uint8_t in8(uint16_t port) = 0;
    virtual uint32_t in32(uint16_t port) = 0;
    virtual void out8(uint16_t port, uint8_t v) = 0;
    virtual void out16(uint16_t port, uint16_t v) = 0;
    virtual void out32(uint16_t port, uint32_t v) = 0;

  protected:
    ~PortIo() = default;
};

// What a device writes to raise an interrupt (MSI, MSI-X).
struct MsiMessage {
    uint64_t address = 0;
    uint32_t data = 0;
};

class Platform;

// Zeroed, physically contiguous, page-aligned memory that a device may read and write; owned.
// Whoever destroys it has made sure that the device no longer uses it.
class DmaMemory {
  public:
    DmaMemory() = default;
    DmaMemory(Platform& platform, std::byte* data, BusAddr bus, size_t size)
        : platform_(&platform), data_(data), bus_(bus), size_(size) {}
    DmaMemory(DmaMemory&& o) noexcept { *this = std::move(o); }
    DmaMemory& operator=(DmaMemory&& o) noexcept {
        std::swap(platform_, o.platform_);
        std::swap(data_, o.data_);
        std::swap(bus_, o.bus_);
        std::swap(size_, o.size_);
        return *this;
    }
    ~DmaMemory();

    std::byte* data() const { return data_; }
    BusAddr bus() const { return bus_; }
    size_t size() const { return size_; }
    MutableBytes bytes() const { return {data_, size_}; }
    BusAddr bus_at(size_t offset) const { return BusAddr(bus_.value + offset); }

  private:
    Platform* platform_ = nullptr;
    std::byte* data_ = nullptr;
    BusAddr bus_;
    size_t size_ = 0;
};

class Platform {
  public:
    // Error: NoMemory. `size` is rounded up to pages.
    virtual Result<DmaMemory> allocate_dma(size_t size) = 0;
    virtual void free_dma(std::byte* data, size_t size) = 0;
    // Where a device finds this byte of kernel memory; only good up to the end of its page. Error:
    // BadAddress (not mapped, or not memory that a device may touch).
    virtual Result<BusAddr> bus_address(const void* p) = 0;
    // Maps device registers, uncached. Error: NoMemory, Range.
    virtual Result<Own<Registers>> map_registers(BusAddr at, uint64_t size) = 0;
    // `handler` runs in interrupt context with interrupts off: it only marks work. Never given
    // back.
    virtual Result<MsiMessage> allocate_interrupt(Function<void()> handler) = 0;
    virtual Nanos now() = 0;
    // One turn of a bounded busy wait on a device.
    virtual void relax() = 0;

  protected:
    ~Platform() = default;
};

inline DmaMemory::~DmaMemory() {
    if (data_) platform_->free_dma(data_, size_);
}

} // namespace tessera::kernel
