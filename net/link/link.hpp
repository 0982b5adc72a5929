// Link: one Ethernet port, as the network stack sees it. Implementations:
// kernel/drivers/virtio_net, net/host (a unix datagram socket on the fabric), tests/sim.
//
// Frames are whole Ethernet frames without FCS. Everything here is called from the shard that owns
// the port: never concurrently.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace tessera::net {

using MacAddress = std::array<uint8_t, 6>;

// Keeps the memory behind TxFrame::body alive and unchanged until the device has read it.
class TxHold {
  public:
    // Called exactly once per accepted frame, from the owning shard, possibly inside send().
    virtual void transmitted() = 0;

  protected:
    ~TxHold() = default;
};

// One frame to send, gathered from three pieces. head and tail are copied before send() returns;
// body is referenced (if hold is set) or copied too (if hold is null).
struct TxFrame {
    Bytes head; // Ethernet, IP, UDP and transport headers
    Bytes body; // payload
    Bytes tail; // pad and ICRC
    TxHold* hold = nullptr;

    size_t size() const { return head.size() + body.size() + tail.size(); }
};

class LinkSink {
  public:
    // `frame` is valid during the call only.
    virtual void on_frame(Bytes frame) = 0;

  protected:
    ~LinkSink() = default;
};

class Link {
  public:
    // Full: the transmit queue has no room; nothing was sent and hold was not taken. The caller
    // treats it as a lost packet or retries on its next poll. TooBig: frame.size() exceeds the
    // device.
    virtual Result<void> send(const TxFrame& frame) = 0;
    // Frames sent since the last flush are made visible to the device with one doorbell.
    virtual void flush() = 0;
    // Hands received frames to the sink, at most `budget`; returns how many. Reaps transmissions.
    virtual unsigned poll(LinkSink& sink, unsigned budget) = 0;

    virtual MacAddress mac() const = 0;
    virtual uint32_t max_frame() const = 0; // bytes, Ethernet header included

  protected:
    ~Link() = default;
};

} // namespace tessera::net
