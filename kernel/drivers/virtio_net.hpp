// virtio-net, modern interface (1af4:1041; virtio 1.2 section 5.1): one Ethernet port as a
// net::Link.
//
// Features: VERSION_1, MAC, MTU. No offloads, no merged buffers: one RX buffer holds a whole frame
// of the device's MTU (up to 9000; 1500 if it names none). One TX chain is [header + head][body
// pages…][tail]: head and tail are copied into the frame's slot, the body is read in place when it
// is translatable kernel memory and comes with a hold; otherwise it is copied too (and a hold is
// released inside send()).
//
// Owned and called by one shard. The interrupt handler only counts and calls on_interrupt. The
// hybrid loop:
//
//   for (;;) {
//       while (nic.poll(sink, 64) > 0) {}                // and up to 20 µs more of it
//       if (nic.enable_interrupts_and_check()) { nic.disable_interrupts(); continue; }
//       wait for the event that on_interrupt signals, at most until nic.reap_deadline(now), then
//       nic.disable_interrupts();
//   }
//
// No wake-up is lost: enable_interrupts_and_check() looks at the rings after interrupts are on. A
// finished transmission interrupts only when room runs out: the body of an answer is released by
// the poll that the next frame causes, or by the one at reap_deadline().
//
// The device is hostile input: a used entry that names no buffer in flight, or a length beyond its
// buffer, is counted and skipped; it never reaches memory that is not the port's.
#pragma once

#include <atomic>
#include <vector>

#include "kernel/drivers/pci.hpp"
#include "kernel/drivers/virtio_transport.hpp"
#include "kernel/drivers/virtqueue.hpp"
#include "net/link/link.hpp"

namespace tessera::kernel {

struct LinkCounters {
    uint64_t rx_frames = 0;
    uint64_t rx_bytes = 0;
    uint64_t rx_drops = 0; // too short, too long, or from a bogus used entry
    uint64_t tx_frames = 0;
    uint64_t tx_bytes = 0;
    uint64_t tx_full = 0;   // send() refused with Full
    uint64_t tx_copied = 0; // bodies copied although they came with a hold
    uint64_t kicks = 0;     // doorbells rung, both queues
    uint64_t interrupts = 0;
    uint64_t device_errors = 0; // protocol violations by the device
};

class VirtioNet final : public net::Link {
  public:
    // Error: NotFound, Malformed, Unsupported, NoMemory, Timeout. Interrupts start disabled.
    static Result<Own<VirtioNet>> create(PciFunction function, Function<void()> on_interrupt);
    ~VirtioNet(); // resets the device, then releases every hold
    VirtioNet(const VirtioNet&) = delete;
    VirtioNet& operator=(const VirtioNet&) = delete;

    Result<void> send(const net::TxFrame& frame) override;
    void flush() override;
    unsigned poll(net::LinkSink& sink, unsigned budget) override;
    net::MacAddress mac() const override { return mac_; }
    uint32_t max_frame() const override { return max_frame_; }

    void disable_interrupts();
    // True: there is work already (call poll); interrupts are on either way.
    bool enable_interrupts_and_check();
    bool receive_ready() const { return rx_->used_ready(); } // frames wait for poll()
    // When to poll at the latest though no interrupt comes: transmitted bodies are to be released.
    Nanos reap_deadline(Nanos now) const { return tx_holds_ > 0 ? now + kReapAfter : kNever; }

    LinkCounters counters() const;

    // The protocol without PCI, for create() and for tests: `transport` has been reset and
    // acknowledged.
    static Result<Own<VirtioNet>> create_on(Own<VirtioTransport> transport, Platform& platform,
                                            Function<void()> on_interrupt);

  private:
    static constexpr Nanos kReapAfter = milliseconds(1);
    static constexpr unsigned kRxBuffers = 256;
    static constexpr unsigned kTxSlots = 128;
    static constexpr unsigned kMaxBodyPieces = 4;

    struct TxSlot {
        net::TxHold* hold = nullptr;
        DmaMemory memory;
    };

    VirtioNet(Own<VirtioTransport> transport, Platform& platform, Function<void()> on_interrupt)
        : transport_(std::move(transport)),
          platform_(platform),
          on_interrupt_(std::move(on_interrupt)) {}
    Result<void> start();
    Result<void> fill_receive_queue();
    void offer_receive_buffer(unsigned index);
    void kick(Virtqueue& q);
    void reap_transmissions();
    unsigned body_pieces(Bytes body, std::array<Virtqueue::Piece, kMaxBodyPieces>& out);

    Own<VirtioTransport> transport_;
    Platform& platform_;
    Function<void()> on_interrupt_;
    std::atomic<uint64_t> interrupts_{0};
    net::MacAddress mac_{};
    uint32_t max_frame_ = 0;
    uint32_t buffer_size_ = 0;
    Own<Virtqueue> rx_;
    Own<Virtqueue> tx_;
    std::vector<DmaMemory> rx_buffers_;
    std::vector<TxSlot> tx_slots_;
    std::vector<uint16_t> tx_free_;
    unsigned tx_holds_ = 0;
    bool tx_unannounced_ = false;
    LinkCounters counters_;
};

} // namespace tessera::kernel
