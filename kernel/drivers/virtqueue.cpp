#include "kernel/drivers/virtqueue.hpp"

#include <atomic>

#include "base/assert.hpp"

namespace tessera::kernel {

namespace {

// Ring words are shared with the device; these make each access one real access, in order.
uint16_t acquire(const uint16_t* p) {
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
void release(uint16_t* p, uint16_t v) {
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

} // namespace

Result<Own<Virtqueue>> Virtqueue::create(Platform& platform, uint16_t size) {
    if (size == 0 || size > 32768 || (size & (size - 1)) != 0) return Fail(Error::InvalidArgument);
    Own<Virtqueue> q(new Virtqueue(size));
    q->available_offset_ = sizeof(Descriptor) * size;
    q->used_offset_ = align_up(q->available_offset_ + available_size(size), 4);
    q->memory_ = TRY(platform.allocate_dma(q->used_offset_ + used_size(size)));
    q->chains_.resize(size);
    q->next_.resize(size);
    for (unsigned i = 0; i < size; i++)
        q->next_[i] = static_cast<uint16_t>(i + 1);
    q->free_count_ = size;
    q->available()[0] = kNoInterrupt;
    return q;
}

Result<void> Virtqueue::add(std::span<const Piece> pieces, uint32_t token) {
    if (pieces.empty()) return Fail(Error::InvalidArgument);
    if (pieces.size() > free_count_) return Fail(Error::Full);
    uint16_t head = free_head_;
    uint16_t at = head;
    for (size_t i = 0; i < pieces.size(); i++) {
        bool last = i + 1 == pieces.size();
        Descriptor& d = descriptors()[at];
        d.address = pieces[i].at.value;
        d.size = pieces[i].size;
        d.flags =
            static_cast<uint16_t>((last ? 0 : kNext) | (pieces[i].device_writes ? kWrite : 0));
        d.next = last ? 0 : next_[at];
        if (last)
            free_head_ = next_[at];
        else
            at = next_[at];
    }
    free_count_ = static_cast<uint16_t>(free_count_ - pieces.size());
    chains_[head] = {token, static_cast<uint16_t>(pieces.size())};
    available()[2 + (next_available_ & (size_ - 1))] = head;
    next_available_++;
    return {};
}

void Virtqueue::publish() {
    release(&available()[1], next_available_);
}

bool Virtqueue::should_notify() const {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return !(acquire(&used()[0]) & kNoNotify);
}

bool Virtqueue::used_ready() const {
    return acquire(&used()[1]) != last_used_;
}

bool Virtqueue::take_used(Used& out) {
    while (used_ready()) {
        UsedElement e;
        auto* ring = reinterpret_cast<const std::byte*>(used() + 2);
        std::memcpy(&e, ring + sizeof e * (last_used_ & (size_ - 1)), sizeof e);
        last_used_++;
        if (e.id >= size_ || chains_[e.id].length == 0) {
            violations_++;
            // With nothing in flight every further entry is bogus too: catch up at once, so that a
            // device that runs its index away costs no more than one look.
            if (in_flight() == 0) last_used_ = acquire(&used()[1]);
            continue;
        }
        Chain& chain = chains_[e.id];
        uint16_t tail = static_cast<uint16_t>(e.id);
        for (unsigned i = 1; i < chain.length; i++)
            tail = next_[tail];
        next_[tail] = free_head_;
        free_head_ = static_cast<uint16_t>(e.id);
        free_count_ = static_cast<uint16_t>(free_count_ + chain.length);
        out = {chain.token, e.size};
        chain.length = 0;
        return true;
    }
    return false;
}

void Virtqueue::set_interrupts(bool on) {
    release(&available()[0], on ? 0 : kNoInterrupt);
    if (on) std::atomic_thread_fence(std::memory_order_seq_cst);
}

} // namespace tessera::kernel
