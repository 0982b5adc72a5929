#include "kernel/drivers/virtio_rng.hpp"

namespace tessera::kernel {

Result<Own<VirtioRng>> VirtioRng::create(PciFunction function) {
    Own<VirtioTransport> transport = TRY(VirtioTransport::open(function));
    Own<VirtioRng> rng(new VirtioRng(std::move(transport), function.platform()));
    TRY(rng->transport_->negotiate(0));
    rng->queue_ = TRY(rng->transport_->set_up_queue(rng->platform_, 0, 8));
    rng->buffer_ = TRY(rng->platform_.allocate_dma(kPageSize));
    rng->transport_->start();
    return rng;
}

VirtioRng::~VirtioRng() {
    transport_->reset();
}

size_t VirtioRng::gather(MutableBytes out) {
    if (out.empty()) return 0;
    if (!pending_) {
        size_t size = out.size() < buffer_.size() ? out.size() : buffer_.size();
        Virtqueue::Piece piece{buffer_.bus(), static_cast<uint32_t>(size), true};
        if (!queue_->add({&piece, 1}, static_cast<uint32_t>(size))) return 0;
        queue_->publish();
        if (queue_->should_notify()) transport_->notify(0);
        pending_ = true;
    }
    Nanos deadline = platform_.now() + milliseconds(100);
    Virtqueue::Used used;
    while (!queue_->take_used(used)) {
        if (platform_.now() > deadline) return 0; // still pending: the next call collects it
        platform_.relax();
    }
    pending_ = false;
    // The token is what was asked for; the device must not claim more.
    size_t got = used.written < used.token ? used.written : used.token;
    if (got > out.size()) got = out.size();
    std::memcpy(out.data(), buffer_.data(), got);
    std::memset(buffer_.data(), 0, buffer_.size());
    return got;
}

} // namespace tessera::kernel
