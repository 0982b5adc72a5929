#include "kernel/drivers/virtio_net.hpp"

#include "base/assert.hpp"
#include "base/log.hpp"

namespace tessera::kernel {

namespace {

constexpr uint64_t kFeatureMtu = 1ull << 3, kFeatureMac = 1ull << 5;
constexpr uint16_t kReceiveQueue = 0, kTransmitQueue = 1;
constexpr uint32_t kConfigMac = 0, kConfigMtu = 10; // virtio 1.2 section 5.1.4
constexpr uint32_t kHeaderSize = 12;                // section 5.1.6: all zero without offloads
constexpr uint32_t kEthernetHeader = 14;
constexpr uint32_t kVlanTag = 4;
constexpr uint16_t kDefaultMtu = 1500, kLeastMtu = 68, kLargestMtu = 9000;

} // namespace

Result<Own<VirtioNet>> VirtioNet::create(PciFunction function, Function<void()> on_interrupt) {
    return create_on(TRY(VirtioTransport::open(function)), function.platform(),
                     std::move(on_interrupt));
}

Result<Own<VirtioNet>> VirtioNet::create_on(Own<VirtioTransport> transport, Platform& platform,
                                            Function<void()> on_interrupt) {
    Own<VirtioNet> nic(new VirtioNet(std::move(transport), platform, std::move(on_interrupt)));
    TRY(nic->start());
    return nic;
}

Result<void> VirtioNet::start() {
    uint64_t features = TRY(transport_->negotiate(kFeatureMac | kFeatureMtu));
    if (!(features & kFeatureMac)) return Fail(Error::Unsupported);
    for (uint32_t i = 0; i < mac_.size(); i++)
        mac_[i] = transport_->device8(kConfigMac + i);
    if (mac_[0] & 1) return Fail(Error::Malformed); // a group address
    uint16_t mtu = features & kFeatureMtu ? transport_->device16(kConfigMtu) : kDefaultMtu;
    if (mtu < kLeastMtu) return Fail(Error::Malformed);
    if (mtu > kLargestMtu) mtu = kLargestMtu;
    max_frame_ = mtu + kEthernetHeader;
    buffer_size_ = static_cast<uint32_t>(align_up(kHeaderSize + max_frame_ + kVlanTag, kPageSize));

    if (on_interrupt_) {
        TRY(transport_->assign_interrupt([this] {
            interrupts_.fetch_add(1, std::memory_order_relaxed);
            on_interrupt_();
        }));
    }
    rx_ = TRY(transport_->set_up_queue(platform_, kReceiveQueue, kRxBuffers));
    // Each slot needs up to kMaxBodyPieces + 2 descriptors; a body mostly lies in one or two.
    tx_ = TRY(transport_->set_up_queue(platform_, kTransmitQueue, kTxSlots * 4));

    unsigned slots = tx_->size() < kTxSlots ? tx_->size() : kTxSlots;
    tx_slots_.resize(slots);
    tx_free_.reserve(slots);
    for (unsigned i = 0; i < slots; i++) {
        tx_slots_[i].memory = TRY(platform_.allocate_dma(buffer_size_));
        tx_free_.push_back(static_cast<uint16_t>(slots - 1 - i));
    }
    transport_->start();
    return fill_receive_queue();
}

Result<void> VirtioNet::fill_receive_queue() {
    rx_buffers_.reserve(rx_->size());
    for (unsigned i = 0; i < rx_->size(); i++) {
        rx_buffers_.push_back(TRY(platform_.allocate_dma(buffer_size_)));
        offer_receive_buffer(i);
    }
    rx_->publish();
    kick(*rx_);
    return {};
}

VirtioNet::~VirtioNet() {
    transport_->reset();
    for (TxSlot& s : tx_slots_) {
        if (s.hold) s.hold->transmitted();
    }
}

void VirtioNet::offer_receive_buffer(unsigned index) {
    Virtqueue::Piece piece{rx_buffers_[index].bus(), buffer_size_, true};
    // There is a descriptor for each buffer, so this only fails for a buffer that is offered twice.
    auto added = rx_->add({&piece, 1}, index);
    ASSERT(added.has_value());
}

void VirtioNet::kick(Virtqueue& q) {
    if (!q.should_notify()) return;
    counters_.kicks++;
    transport_->notify(&q == rx_.get() ? kReceiveQueue : kTransmitQueue);
}

// The body as physically contiguous pieces; 0 if it has to be copied (untranslatable, or too many).
unsigned VirtioNet::body_pieces(Bytes body, std::array<Virtqueue::Piece, kMaxBodyPieces>& out) {
    unsigned n = 0;
    while (!body.empty()) {
        auto at = platform_.bus_address(body.data());
        if (!at) return 0;
        size_t size = kPageSize - reinterpret_cast<uintptr_t>(body.data()) % kPageSize;
        if (size > body.size()) size = body.size();
        if (n > 0 && out[n - 1].at.value + out[n - 1].size == at->value) {
            out[n - 1].size += static_cast<uint32_t>(size);
        } else {
            if (n == kMaxBodyPieces) return 0;
            out[n++] = {*at, static_cast<uint32_t>(size), false};
        }
        body = body.subspan(size);
    }
    return n;
}

Result<void> VirtioNet::send(const net::TxFrame& frame) {
    if (frame.size() > max_frame_) return Fail(Error::TooBig);
    if (frame.size() < kEthernetHeader) return Fail(Error::InvalidArgument);

    std::array<Virtqueue::Piece, kMaxBodyPieces> body;
    bool want_reference = frame.hold && !frame.body.empty();
    unsigned body_count = want_reference ? body_pieces(frame.body, body) : 0;
    unsigned needed = 1 + (body_count > 0 ? body_count + (frame.tail.empty() ? 0 : 1) : 0);
    if (tx_free_.empty() || tx_->free_descriptors() < needed) reap_transmissions();
    if (tx_free_.empty() || tx_->free_descriptors() < needed) {
        counters_.tx_full++;
        // The device must know of what fills the queue, or it never empties.
        flush();
        return Fail(Error::Full);
    }

    uint16_t index = tx_free_.back();
    tx_free_.pop_back();
    TxSlot& slot = tx_slots_[index];
    std::byte* at = slot.memory.data();
    uint32_t used = kHeaderSize; // the header stays zero as allocated
    auto append = [&](Bytes piece) {
        if (!piece.empty()) std::memcpy(at + used, piece.data(), piece.size());
        used += static_cast<uint32_t>(piece.size());
    };

    std::array<Virtqueue::Piece, kMaxBodyPieces + 2> pieces;
    unsigned n = 0;
    append(frame.head);
    if (body_count > 0) {
        pieces[n++] = {slot.memory.bus(), used, false};
        for (unsigned i = 0; i < body_count; i++)
            pieces[n++] = body[i];
        if (!frame.tail.empty()) {
            uint32_t start = used;
            append(frame.tail);
            pieces[n++] = {slot.memory.bus_at(start), used - start, false};
        }
        slot.hold = frame.hold;
        tx_holds_++;
    } else {
        append(frame.body);
        append(frame.tail);
        pieces[n++] = {slot.memory.bus(), used, false};
    }
    auto added = tx_->add({pieces.data(), n}, index);
    ASSERT(added.has_value()); // room was checked
    tx_unannounced_ = true;
    counters_.tx_frames++;
    counters_.tx_bytes += frame.size();
    if (frame.hold && body_count == 0) {
        counters_.tx_copied += want_reference;
        frame.hold->transmitted();
    }
    return {};
}

void VirtioNet::flush() {
    if (!tx_unannounced_) return;
    tx_unannounced_ = false;
    tx_->publish();
    kick(*tx_);
}

void VirtioNet::reap_transmissions() {
    Virtqueue::Used used;
    while (tx_->take_used(used)) {
        TxSlot& slot = tx_slots_[used.token];
        net::TxHold* hold = std::exchange(slot.hold, nullptr);
        tx_free_.push_back(static_cast<uint16_t>(used.token));
        if (hold) {
            tx_holds_--;
            hold->transmitted();
        }
    }
}

unsigned VirtioNet::poll(net::LinkSink& sink, unsigned budget) {
    reap_transmissions();
    unsigned frames = 0;
    unsigned offered = 0;
    Virtqueue::Used used;
    while (frames < budget && rx_->take_used(used)) {
        if (used.written < kHeaderSize + kEthernetHeader || used.written > buffer_size_) {
            counters_.rx_drops++;
            counters_.device_errors += used.written > buffer_size_ || used.written < kHeaderSize;
        } else {
            Bytes frame(rx_buffers_[used.token].data() + kHeaderSize, used.written - kHeaderSize);
            counters_.rx_frames++;
            counters_.rx_bytes += frame.size();
            sink.on_frame(frame);
        }
        frames++;
        offer_receive_buffer(used.token);
        offered++;
    }
    if (offered > 0) {
        rx_->publish();
        kick(*rx_);
    }
    return frames;
}

void VirtioNet::disable_interrupts() {
    rx_->set_interrupts(false);
    tx_->set_interrupts(false);
}

bool VirtioNet::enable_interrupts_and_check() {
    flush();
    reap_transmissions();
    rx_->set_interrupts(true);
    // A finished transmission is worth waking up for only if room runs out. Bodies that wait for
    // theirs are released with the next frame, or when reap_deadline() says.
    bool want_tx = tx_free_.size() < tx_slots_.size() / 2;
    tx_->set_interrupts(want_tx);
    return rx_->used_ready() || (want_tx && tx_->used_ready());
}

LinkCounters VirtioNet::counters() const {
    LinkCounters c = counters_;
    c.interrupts = interrupts_.load(std::memory_order_relaxed);
    c.device_errors += rx_->violations() + tx_->violations();
    return c;
}

} // namespace tessera::kernel
