// RawEcho: the yardstick for everything that crosses the link: a 64-byte request frame, answered
// with 4 KiB in the other component's receive path. Ethertype 0x88b5 (IEEE 802: local experiments),
// no protocol above it: no connection, no check sum, no retransmission. What a remote page costs
// over this is the price of the layers above the driver.
//
// Every component answers; one at a time measures (tess set p1 echo=m1:1000). The first request of
// a series is broadcast to learn the target's MAC. Replies go to the MAC that asked, which the
// fabric pins. Lives in the port's shard.
#pragma once

#include <array>

#include "base/clock.hpp"
#include "base/function.hpp"
#include "base/histogram.hpp"
#include "net/roce/verbs.hpp"
#include "net/wire/inet.hpp"

namespace tessera::node {

class RawEcho final : public net::LinkSink, private net::TxHold {
  public:
    using Done = Function<void(Result<void>), 64>;
    static constexpr uint32_t kMostRounds = 100'000;

    // Link and clock outlive it.
    RawEcho(net::Link& link, Clock& clock, roce::Ipv4 self)
        : link_(link), clock_(clock), self_(self) {}

    // Starts a series of round trips, one after the other, and forgets the one before. done: Ok, or
    // Timeout (no answer for kGiveUp). Busy: a series is running. InvalidArgument.
    Result<void> measure(roce::Ipv4 target, uint32_t rounds, Done done);
    const LatencyHistogram& times() const { return times_; }

    void on_frame(Bytes frame) override;
    void poll();
    Nanos next_deadline() const { return left_ ? retry_at_ : kNever; }

  private:
    static constexpr Nanos kRetry = milliseconds(20);
    static constexpr Nanos kGiveUp = seconds(2);
    enum Kind : uint8_t { Request = 1, Reply = 2 };
    struct Header {
        net::EthernetHeader ethernet;
        net::Ipv4Header ip;
        uint8_t kind;
        uint8_t reserved;
        Be32 number;
    };
    static_assert(sizeof(Header) == 40);

    void transmitted() override {} // the reply's bytes never change
    Header header(const net::MacAddress& to, roce::Ipv4 ip, Kind kind, uint32_t number,
                  size_t payload) const;
    void request();
    void finish(Result<void> how);

    net::Link& link_;
    Clock& clock_;
    roce::Ipv4 self_;
    LatencyHistogram times_;
    roce::Ipv4 target_;
    net::MacAddress target_mac_ = net::kBroadcastMac;
    uint32_t number_ = 0; // of the request that is out
    uint32_t left_ = 0;   // rounds to come; 0: idle
    bool clean_ = false;  // its first copy is still the only one: its time counts
    Nanos asked_;
    Nanos retry_at_;
    Nanos give_up_at_;
    Done done_;
};

} // namespace tessera::node
