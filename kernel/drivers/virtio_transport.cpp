#include "kernel/drivers/virtio_transport.hpp"

#include "base/log.hpp"

namespace tessera::kernel {

namespace {

// struct virtio_pci_cap (virtio 1.2 section 4.1.4) and its cfg_type.
constexpr uint8_t kVendorCapability = 0x09;
constexpr uint16_t kCapType = 3, kCapBar = 4, kCapOffset = 8, kCapLength = 12, kCapMultiplier = 16;
constexpr uint8_t kTypeCommon = 1, kTypeNotify = 2, kTypeDevice = 4;

// struct virtio_pci_common_cfg (section 4.1.4.3).
constexpr uint64_t kDeviceFeatureSelect = 0, kDeviceFeature = 4, kDriverFeatureSelect = 8,
                   kDriverFeature = 12, kConfigVector = 16, kNumQueues = 18, kDeviceStatus = 20,
                   kQueueSelect = 22, kQueueSize = 24, kQueueVector = 26, kQueueEnable = 28,
                   kQueueNotifyOffset = 30, kQueueDescriptors = 32, kQueueDriver = 40,
                   kQueueDevice = 48;
constexpr uint64_t kCommonSize = 56;
constexpr uint16_t kNoVector = 0xffff;

// Device status (section 2.1).
constexpr uint8_t kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8;

} // namespace

Result<Own<VirtioTransport>> VirtioTransport::open(PciFunction function) {
    Own<VirtioTransport> t(new VirtioTransport(function));
    // BARs are sized before decoding is switched on for good.
    TRY(t->find_structures());
    t->function_.enable_memory_and_dma(true);
    if (!t->reset()) return Fail(Error::Timeout);
    auto msix = MsixTable::open(function);
    if (msix) t->msix_ = std::move(*msix);
    t->common_->write8(kDeviceStatus, kAcknowledge);
    t->common_->write8(kDeviceStatus, kAcknowledge | kDriver);
    return t;
}

Result<void> VirtioTransport::find_structures() {
    Result<void> outcome;
    TRY(function_.for_each_capability([&](PciCapability c) {
        if (c.id != kVendorCapability) return true;
        auto used = consider(c.offset);
        if (!used) outcome = Fail(used.error());
        return used.has_value();
    }));
    TRY(outcome);
    if (!common_ || !notify_) return Fail(Error::NotFound);
    return {};
}

// The first structure of each type counts (section 4.1.4.1).
Result<bool> VirtioTransport::consider(uint8_t at) {
    if (at > 256 - 20) return Fail(Error::Malformed);
    uint8_t type = function_.config8(at + kCapType);
    uint8_t bar = function_.config8(at + kCapBar);
    uint32_t offset = function_.config32(at + kCapOffset);
    uint32_t length = function_.config32(at + kCapLength);
    if (type == kTypeCommon && !common_) {
        if (length < kCommonSize) return Fail(Error::Malformed);
        common_ = TRY(function_.map_bar(bar, offset, length));
    } else if (type == kTypeNotify && !notify_) {
        notify_ = TRY(function_.map_bar(bar, offset, length));
        notify_multiplier_ = function_.config32(at + kCapMultiplier);
    } else if (type == kTypeDevice && !device_) {
        device_ = TRY(function_.map_bar(bar, offset, length));
    } else {
        return false;
    }
    return true;
}

Result<uint64_t> VirtioTransport::negotiate(uint64_t wanted) {
    uint64_t offered = 0;
    for (uint32_t half = 0; half < 2; half++) {
        common_->write32(kDeviceFeatureSelect, half);
        offered |= static_cast<uint64_t>(common_->read32(kDeviceFeature)) << (32 * half);
    }
    if (!(offered & kVirtioVersion1)) return Fail(Error::Unsupported);
    uint64_t agreed = offered & (wanted | kVirtioVersion1);
    for (uint32_t half = 0; half < 2; half++) {
        common_->write32(kDriverFeatureSelect, half);
        common_->write32(kDriverFeature, static_cast<uint32_t>(agreed >> (32 * half)));
    }
    common_->write8(kDeviceStatus, kAcknowledge | kDriver | kFeaturesOk);
    if (!(common_->read8(kDeviceStatus) & kFeaturesOk)) return Fail(Error::Unsupported);
    common_->write16(kConfigVector, kNoVector);
    return agreed;
}

Result<void> VirtioTransport::assign_interrupt(Function<void()> handler) {
    if (msix_.size() == 0) return Fail(Error::NotFound);
    TRY(msix_.assign(0, std::move(handler)));
    has_interrupt_ = true;
    return {};
}

Result<Own<Virtqueue>> VirtioTransport::set_up_queue(Platform& platform, uint16_t index,
                                                     uint16_t largest) {
    if (index >= kMaxQueues || index >= common_->read16(kNumQueues)) return Fail(Error::NotFound);
    common_->write16(kQueueSelect, index);
    uint16_t size = common_->read16(kQueueSize);
    if (size == 0) return Fail(Error::NotFound);
    if (size > 32768 || (size & (size - 1)) != 0) return Fail(Error::Malformed);
    if (size > largest) size = largest;
    Own<Virtqueue> q = TRY(Virtqueue::create(platform, size));
    common_->write16(kQueueSize, size);
    common_->write64(kQueueDescriptors, q->descriptors_at().value);
    common_->write64(kQueueDriver, q->available_at().value);
    common_->write64(kQueueDevice, q->used_at().value);
    uint16_t vector = has_interrupt_ ? 0 : kNoVector;
    common_->write16(kQueueVector, vector);
    if (common_->read16(kQueueVector) != vector)
        return Fail(Error::NoMemory); // section 4.1.5.1.2.2
    notify_offset_[index] =
        static_cast<uint64_t>(common_->read16(kQueueNotifyOffset)) * notify_multiplier_;
    if (notify_offset_[index] + 2 > notify_->size()) return Fail(Error::Malformed);
    common_->write16(kQueueEnable, 1);
    return q;
}

void VirtioTransport::start() {
    common_->write8(kDeviceStatus, kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
}

void VirtioTransport::notify(uint16_t queue) {
    notify_->write16(notify_offset_[queue], queue);
}

bool VirtioTransport::reset() {
    Platform& platform = function_.platform();
    common_->write8(kDeviceStatus, 0);
    Nanos deadline = platform.now() + seconds(1);
    while (common_->read8(kDeviceStatus) != 0) {
        if (platform.now() > deadline) {
            LOG(Warning, "virtio", "%02x:%02x.%u does not reset; its bus mastering is off",
                function_.address().bus, function_.address().device, function_.address().function);
            function_.enable_memory_and_dma(false);
            return false;
        }
        platform.relax();
    }
    return true;
}

} // namespace tessera::kernel
