#include "net/wire/inet.hpp"

namespace tessera::net {

uint16_t internet_checksum(Bytes data) {
    uint64_t sum = 0;
    size_t i = 0;
    for (; i + 1 < data.size(); i += 2)
        sum += static_cast<uint32_t>(data[i]) << 8 | static_cast<uint32_t>(data[i + 1]);
    if (i < data.size()) sum += static_cast<uint32_t>(data[i]) << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

Result<EthernetFrame> parse_ethernet(Bytes frame) {
    if (frame.size() < sizeof(EthernetHeader)) return Fail(Error::Malformed);
    return EthernetFrame{load<EthernetHeader>(frame), frame.subspan(sizeof(EthernetHeader))};
}

Result<ArpPacket> parse_arp(const EthernetFrame& frame) {
    if (frame.header.type != kEtherTypeArp) return Fail(Error::Unsupported);
    if (frame.payload.size() < sizeof(ArpPacket)) return Fail(Error::Malformed);
    auto arp = load<ArpPacket>(frame.payload);
    if (arp.hardware != 1 || arp.protocol != kEtherTypeIpv4 || arp.hardware_size != 6 ||
        arp.protocol_size != 4)
        return Fail(Error::Malformed);
    return arp;
}

Result<Ipv4Packet> parse_ipv4(const EthernetFrame& frame) {
    if (frame.header.type != kEtherTypeIpv4) return Fail(Error::Unsupported);
    if (frame.payload.size() < sizeof(Ipv4Header)) return Fail(Error::Malformed);
    auto header = load<Ipv4Header>(frame.payload);
    if (header.version_ihl >> 4 != 4) return Fail(Error::Malformed);
    if (header.version_ihl != 0x45) return Fail(Error::Unsupported);
    size_t total = header.total_length;
    if (total < sizeof(Ipv4Header) || total > frame.payload.size()) return Fail(Error::Malformed);
    if (header.flags_offset & 0xbfff) return Fail(Error::Unsupported); // all but DF
    if (internet_checksum(frame.payload.first(sizeof(Ipv4Header))) != 0)
        return Fail(Error::Corrupt);
    return Ipv4Packet{.source_mac = frame.header.source,
                      .destination_mac = frame.header.destination,
                      .header = header,
                      .packet = frame.payload.first(total),
                      .payload = frame.payload.first(total).subspan(sizeof(Ipv4Header))};
}

Ipv4Header make_ipv4_header(uint32_t source, uint32_t destination, uint8_t protocol,
                            size_t payload_size, uint16_t identification) {
    Ipv4Header h{};
    h.version_ihl = 0x45;
    h.total_length = static_cast<uint16_t>(sizeof h + payload_size);
    h.identification = identification;
    h.flags_offset = kDontFragment;
    h.ttl = 64;
    h.protocol = protocol;
    h.source = source;
    h.destination = destination;
    h.checksum = internet_checksum(bytes_of(h));
    return h;
}

ArpPacket make_arp(uint16_t operation, const MacAddress& sender_mac, uint32_t sender_ip,
                   const MacAddress& target_mac, uint32_t target_ip) {
    ArpPacket a{};
    a.hardware = 1;
    a.protocol = kEtherTypeIpv4;
    a.hardware_size = 6;
    a.protocol_size = 4;
    a.operation = operation;
    a.sender_mac = sender_mac;
    a.sender_ip = sender_ip;
    a.target_mac = target_mac;
    a.target_ip = target_ip;
    return a;
}

} // namespace tessera::net
