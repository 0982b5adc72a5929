// Neighbours: who has which MAC on this segment (ARP), and the answer to ICMP echo.
//
// The table is learnt only from replies to our own questions and from requests addressed to us,
// holds kEntries, and replaces the entry unused longest. A QP never uses it: it keeps the MAC that
// its connection was set up with.
#pragma once

#include <array>
#include <optional>

#include "base/units.hpp"
#include "net/roce/transmitter.hpp"
#include "net/wire/inet.hpp"

namespace tessera::roce {

class Neighbours {
  public:
    explicit Neighbours(Transmitter& out) : out_(out) {}

    // The MAC of ip if it is known.
    std::optional<net::MacAddress> find(uint32_t ip);
    // Asks for it; the caller asks again when it gets impatient.
    void ask(uint32_t ip);
    // True if the packet taught us a MAC (ip then says whose).
    bool on_arp(const net::ArpPacket& arp, uint32_t& ip);
    void on_icmp(const net::Ipv4Packet& packet);

  private:
    static constexpr size_t kEntries = 64;
    static constexpr size_t kMaxEcho = 1500; // bytes of ICMP answered
    struct Entry {
        uint32_t ip = 0;
        net::MacAddress mac = {};
        uint64_t used = 0;
        bool asked = false; // a question is out
        bool known = false;
    };
    Entry& entry_for(uint32_t ip);

    Transmitter& out_;
    std::array<Entry, kEntries> entries_{};
    uint64_t tick_ = 0;
    std::array<std::byte, sizeof(net::EthernetHeader) + sizeof(net::Ipv4Header) + kMaxEcho> echo_;
};

} // namespace tessera::roce
