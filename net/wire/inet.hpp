// Ethernet II, ARP (RFC 826), IPv4 (RFC 791), UDP (RFC 768) and ICMP echo (RFC 792) as bytes on the
// wire.
//
// Headers are structures of Be fields laid over the frame; parse functions check every length
// before they look and return views into the caller's bytes. IPv4 options and fragments are
// refused: nothing in Tessera sends them, and a fragment would dodge the checks of the transport.
// Addresses are host-order uint32_t here (10.0.0.1 = 0x0a000001).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "base/result.hpp"
#include "net/link/link.hpp"

namespace tessera::net {

inline constexpr MacAddress kBroadcastMac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeArp = 0x0806;
inline constexpr size_t kMinimumFrame = 60; // without FCS; shorter frames are padded by the sender

struct EthernetHeader {
    MacAddress destination;
    MacAddress source;
    Be16 type;
};
static_assert(sizeof(EthernetHeader) == 14 && offsetof(EthernetHeader, type) == 12);

struct ArpPacket { // RFC 826 for Ethernet and IPv4
    Be16 hardware;
    Be16 protocol;
    uint8_t hardware_size;
    uint8_t protocol_size;
    Be16 operation;
    MacAddress sender_mac;
    Be32 sender_ip;
    MacAddress target_mac;
    Be32 target_ip;
};
static_assert(sizeof(ArpPacket) == 28 && offsetof(ArpPacket, sender_mac) == 8 &&
              offsetof(ArpPacket, target_ip) == 24);
inline constexpr uint16_t kArpRequest = 1;
inline constexpr uint16_t kArpReply = 2;

struct Ipv4Header {
    uint8_t version_ihl; // 0x45: no options
    uint8_t tos;
    Be16 total_length;
    Be16 identification;
    Be16 flags_offset; // bit 14: do not fragment
    uint8_t ttl;
    uint8_t protocol;
    Be16 checksum;
    Be32 source;
    Be32 destination;
};
static_assert(sizeof(Ipv4Header) == 20 && offsetof(Ipv4Header, ttl) == 8 &&
              offsetof(Ipv4Header, checksum) == 10 && offsetof(Ipv4Header, destination) == 16);
inline constexpr uint8_t kProtocolIcmp = 1;
inline constexpr uint8_t kProtocolUdp = 17;
inline constexpr uint16_t kDontFragment = 0x4000;

struct UdpHeader {
    Be16 source_port;
    Be16 destination_port;
    Be16 length;
    Be16 checksum; // 0: none
};
static_assert(sizeof(UdpHeader) == 8 && offsetof(UdpHeader, checksum) == 6);

struct IcmpHeader {
    uint8_t type; // 8 echo request, 0 echo reply
    uint8_t code;
    Be16 checksum;
    Be16 identifier;
    Be16 sequence;
};
static_assert(sizeof(IcmpHeader) == 8 && offsetof(IcmpHeader, checksum) == 2);
inline constexpr uint8_t kIcmpEchoRequest = 8;
inline constexpr uint8_t kIcmpEchoReply = 0;

// The one's-complement sum of RFC 1071 over `data` (an odd last byte is padded with zero),
// inverted. Over a block that contains its own correct checksum it is 0.
uint16_t internet_checksum(Bytes data);

// An IPv4 packet without options, not a fragment, header checksum good, cut to its total length.
struct Ipv4Packet {
    MacAddress source_mac;
    MacAddress destination_mac;
    Ipv4Header header;
    Bytes packet;  // from the IP header, total_length bytes
    Bytes payload; // behind the IP header
};

struct EthernetFrame {
    EthernetHeader header;
    Bytes payload;
};

Result<EthernetFrame> parse_ethernet(Bytes frame);
Result<ArpPacket> parse_arp(const EthernetFrame& frame);
// Malformed: lengths or version. Corrupt: header checksum. Unsupported: options or a fragment.
Result<Ipv4Packet> parse_ipv4(const EthernetFrame& frame);

// A header ready to send: DF, TTL 64, checksum filled in.
Ipv4Header make_ipv4_header(uint32_t source, uint32_t destination, uint8_t protocol,
                            size_t payload_size, uint16_t identification);
ArpPacket make_arp(uint16_t operation, const MacAddress& sender_mac, uint32_t sender_ip,
                   const MacAddress& target_mac, uint32_t target_ip);

} // namespace tessera::net
