// Transmitter: turns headers and a payload into a frame on the link. Owns what all packets of the
// port share: own MAC and address, the IP identification counter, the counters of frames sent.
#pragma once

#include "base/clock.hpp"
#include "net/link/link.hpp"
#include "net/roce/counters.hpp"
#include "net/wire/roce.hpp"

namespace tessera::roce {

// Where the packets of one QP (or the CM datagrams to one host) go.
struct Path {
    net::MacAddress mac = {};
    uint32_t ip = 0;
    uint16_t source_port = 0xc000;
};

class Transmitter {
  public:
    Transmitter(net::Link& link, uint32_t address, Random& random, Counters& counters);

    // Sends one RoCE packet. h carries opcode and transport fields; addresses are filled in here.
    // hold follows net::TxFrame: null copies the payload. Full: nothing was sent.
    Result<void> send(const Path& path, net::RoceHeaders& h, Bytes payload,
                      net::TxHold* hold = nullptr);
    // A whole frame built elsewhere (ARP, ICMP), padded to the Ethernet minimum.
    void send_raw(Bytes frame);
    void flush();

    const net::MacAddress& mac() const { return mac_; }
    uint32_t address() const { return address_; }
    uint16_t next_identification();
    // The largest IB MTU whose packets fit the link.
    uint32_t largest_mtu() const { return largest_mtu_; }

  private:
    Result<void> count(Result<void> sent);

    net::Link& link_;
    Counters& counters_;
    net::MacAddress mac_;
    uint32_t address_;
    uint32_t largest_mtu_;
    uint16_t identification_;
    bool unflushed_ = false;
    net::BuiltRoce built_;
};

} // namespace tessera::roce
