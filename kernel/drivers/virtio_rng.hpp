// virtio-rng (1af4:1044; virtio 1.2 section 5.4): random bytes from the host, as a SeedSource.
#pragma once

#include "kernel/drivers/entropy.hpp"
#include "kernel/drivers/virtio_transport.hpp"

namespace tessera::kernel {

class VirtioRng final : public SeedSource {
  public:
    static Result<Own<VirtioRng>> create(PciFunction function);
    ~VirtioRng();

    // Waits at most 100 ms for the device; 0 if it stays silent.
    size_t gather(MutableBytes out) override;
    const char* name() const override { return "virtio-rng"; }

  private:
    explicit VirtioRng(Own<VirtioTransport> t, Platform& p)
        : transport_(std::move(t)), platform_(p) {}

    Own<VirtioTransport> transport_;
    Platform& platform_;
    Own<Virtqueue> queue_;
    DmaMemory buffer_;
    bool pending_ = false;
};

} // namespace tessera::kernel
