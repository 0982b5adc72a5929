// The modern virtio PCI transport (virtio 1.2 section 4.1): where a device's registers are, and the
// handshake.
//
// open() finds the common, notify and device structures among the vendor capabilities (each checked
// against its BAR), resets the device and acknowledges it. Then: negotiate(), set_up_queue()…,
// start().
#pragma once

#include <memory>

#include "kernel/drivers/pci.hpp"
#include "kernel/drivers/virtqueue.hpp"

namespace tessera::kernel {

// Feature bits every modern device has (virtio 1.2 section 6).
inline constexpr uint64_t kVirtioVersion1 = 1ull << 32;

inline constexpr uint16_t kVirtioVendor = 0x1af4;

class VirtioTransport {
  public:
    // Error: NotFound, Malformed, Range, NoMemory, Timeout (does not leave reset).
    static Result<Own<VirtioTransport>> open(PciFunction function);

    // Offers `wanted` of what the device has, and VERSION_1 always. Returns what was agreed. Error:
    // Unsupported.
    Result<uint64_t> negotiate(uint64_t wanted);
    // Makes queue `index` with at most `largest` descriptors and tells the device. Its interrupts
    // go to the function's one MSI-X entry if assign_interrupt() came before, else nowhere. Error:
    // NotFound, NoMemory, Malformed.
    Result<Own<Virtqueue>> set_up_queue(Platform& platform, uint16_t index, uint16_t largest);
    Result<void> assign_interrupt(Function<void()> handler);
    void start();
    void notify(uint16_t queue);
    // Stops all DMA: true if the device confirmed within a second; otherwise its bus mastering is
    // cut.
    bool reset();

    uint8_t device8(uint32_t offset) { return device_ ? device_->read8(offset) : 0xff; }
    uint16_t device16(uint32_t offset) { return device_ ? device_->read16(offset) : 0xffff; }

    static constexpr unsigned kMaxQueues = 4;

  private:
    explicit VirtioTransport(PciFunction function) : function_(function) {}
    Result<void> find_structures();
    Result<bool> consider(uint8_t capability);

    PciFunction function_;
    Own<Registers> common_;
    Own<Registers> notify_;
    Own<Registers> device_; // absent for devices without configuration
    uint32_t notify_multiplier_ = 0;
    uint64_t notify_offset_[kMaxQueues] = {};
    MsixTable msix_;
    bool has_interrupt_ = false;
};

} // namespace tessera::kernel
