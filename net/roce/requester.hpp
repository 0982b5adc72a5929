// Requester: the sending half of a reliable connection (IBTA 9.7.3 to 9.7.5, 9.9.2 to 9.9.4).
//
// Work requests stand in a ring in the order they were posted; each owns a run of PSNs (a READ as
// many as it has response packets). Three PSNs describe everything: una_ (oldest not acknowledged),
// next_ (next to send; moves back to retransmit) and limit_ (one past the highest ever sent).
//
// Loss: a sequence NAK, a READ response out of order or the timer moves next_ back to una_
// (go-back-N); with a peer that buffers out of order only the missing packet is sent again. After a
// timeout one packet probes until something is acknowledged. The timer follows 4 x the smoothed
// round trip; the connection counts as broken by elapsed time without progress, never by a count
// alone.
#pragma once

#include <memory>

#include "net/roce/device.hpp"
#include "net/roce/psn.hpp"
#include "net/wire/roce.hpp"

namespace tessera::roce {

class Requester {
  public:
    Requester(SoftQp& qp, Device& device, uint16_t depth);
    ~Requester();

    // Connected: PSNs start at first_psn; at most read_depth READs outstanding at the peer.
    void start(uint32_t first_psn, unsigned read_depth, bool selective);
    Result<void> post(const WorkRequest& wr);
    unsigned room() const { return depth_ - count_; }

    // Sends what may be sent. False: the link is full, try again.
    bool transmit();

    // Protocol events. A Status other than Ok: the connection is broken by it (the caller breaks
    // it).
    Status on_acknowledge(const net::RocePacket& p);
    Status on_read_response(const net::RocePacket& p);
    Status on_timer(Nanos now);
    Nanos deadline() const { return deadline_; }

    // Delivers completions of what is acknowledged and no longer referenced by the link.
    void deliver();
    bool deliverable() const { return acked_ > 0 && at(0).holds == 0; }
    // Ends every request: acknowledged ones Ok, the oldest other with `first`, the rest Flushed.
    void flush(Status first);
    // Forgets every request without a callback.
    void abandon();
    // Frames at the link that still refer to our memory.
    bool referenced() const { return holds_ != 0; }

  private:
    struct Entry final : net::TxHold {
        Requester* owner = nullptr;
        WorkRequest wr;
        uint32_t length = 0;
        uint32_t first_psn = 0;
        uint32_t packets = 0;
        uint32_t holds = 0;
        void transmitted() override;
    };

    Entry& at(unsigned i) const { return ring_[(head_ + i) % depth_]; }
    uint32_t in_flight() const { return static_cast<uint32_t>(psn_difference(next_, una_)); }
    Result<void> send_packet(Entry& e, uint32_t index, bool ask);
    Result<void> send_read(Entry& e, uint32_t index, uint32_t packets);
    bool resend_missing();
    bool ask_acknowledge(const Entry& e, uint32_t index);
    void advance_to(uint32_t psn);
    void made_progress(Nanos now);
    void go_back();
    void sent(uint32_t psn, uint32_t packets);
    void arm_timer(Nanos now);
    unsigned reads_outstanding();
    Nanos rto() const;

    SoftQp& qp_;
    Device& device_;
    std::unique_ptr<Entry[]> ring_;
    unsigned depth_;
    unsigned head_ = 0;
    unsigned count_ = 0;  // entries in the ring
    unsigned acked_ = 0;  // of those, acknowledged in full, from the head
    unsigned cursor_ = 0; // the entry that holds next_ (count_ when all is sent)
    unsigned holds_ = 0;

    uint32_t una_ = 0;
    uint32_t next_ = 0;
    uint32_t limit_ = 0;
    uint32_t end_ = 0; // PSN of the next request to be posted
    uint32_t window_ = 1;
    uint32_t unasked_ = 0; // packets sent since the last that asked for an acknowledgement
    unsigned read_depth_ = 1;
    bool started_ = false;
    bool selective_ = false;
    bool missing_ = false;                // selective: resend the packet at una_
    uint32_t read_ends_[kReadDepth] = {}; // one past each READ request in flight, a ring
    unsigned read_first_ = 0;
    unsigned read_count_ = 0;
    uint32_t reread_at_ = kPsnModulus; // una_ for which a READ was asked for again
    uint32_t resent_at_ = kPsnModulus; // una_ for which a single packet was sent again
    uint32_t recovery_ = 0;            // end of what was sent when we last went back
    bool recovering_ = false;

    Nanos deadline_ = kNever;
    Nanos progress_ = {};
    Nanos rnr_since_ = kNever;
    bool rnr_wait_ = false;
    unsigned attempts_ = 0; // timeouts since the last progress
    Nanos smoothed_ = {};   // round trip; 0: no sample yet
    bool sampling_ = false;
    uint32_t sample_psn_ = 0;
    Nanos sample_start_ = {};
};

} // namespace tessera::roce
