#include "net/roce/neighbours.hpp"

namespace tessera::roce {
namespace {

using namespace net;

struct ArpFrame {
    EthernetHeader ethernet;
    ArpPacket arp;
};
static_assert(sizeof(ArpFrame) == 42);

} // namespace

Neighbours::Entry& Neighbours::entry_for(uint32_t ip) {
    Entry* oldest = &entries_[0];
    for (Entry& e : entries_) {
        if (e.ip == ip) return e;
        if (e.used < oldest->used) oldest = &e;
    }
    *oldest = {.ip = ip};
    return *oldest;
}

std::optional<MacAddress> Neighbours::find(uint32_t ip) {
    for (Entry& e : entries_) {
        if (e.ip != ip || !e.known) continue;
        e.used = ++tick_;
        return e.mac;
    }
    return std::nullopt;
}

void Neighbours::ask(uint32_t ip) {
    Entry& e = entry_for(ip);
    e.used = ++tick_;
    e.asked = true;
    ArpFrame f{{kBroadcastMac, out_.mac(), kEtherTypeArp},
               make_arp(kArpRequest, out_.mac(), out_.address(), {}, ip)};
    out_.send_raw(bytes_of(f));
}

bool Neighbours::on_arp(const ArpPacket& arp, uint32_t& ip) {
    ip = arp.sender_ip;
    bool to_us = arp.target_ip == out_.address();
    if (!to_us || ip == 0 || ip == out_.address() || (arp.sender_mac[0] & 1)) return false;
    if (arp.operation == kArpRequest) {
        ArpFrame f{{arp.sender_mac, out_.mac(), kEtherTypeArp},
                   make_arp(kArpReply, out_.mac(), out_.address(), arp.sender_mac, arp.sender_ip)};
        out_.send_raw(bytes_of(f));
    } else if (arp.operation == kArpReply) {
        bool awaited = false;
        for (Entry& e : entries_)
            awaited |= e.ip == ip && e.asked;
        if (!awaited) return false; // nobody asked
    } else {
        return false;
    }
    Entry& e = entry_for(ip);
    e.mac = arp.sender_mac;
    e.known = true;
    e.asked = false;
    e.used = ++tick_;
    return true;
}

void Neighbours::on_icmp(const Ipv4Packet& packet) {
    Bytes icmp = packet.payload;
    if (icmp.size() < sizeof(IcmpHeader) || icmp.size() > kMaxEcho) return;
    auto header = load<IcmpHeader>(icmp);
    if (header.type != kIcmpEchoRequest || header.code != 0 || internet_checksum(icmp) != 0) return;
    std::byte* at = echo_.data();
    auto put = [&at](const auto& v) {
        std::memcpy(at, &v, sizeof v);
        at += sizeof v;
    };
    put(EthernetHeader{packet.source_mac, out_.mac(), kEtherTypeIpv4});
    put(make_ipv4_header(out_.address(), packet.header.source, kProtocolIcmp, icmp.size(),
                         out_.next_identification()));
    std::memcpy(at, icmp.data(), icmp.size());
    MutableBytes reply(at, icmp.size());
    header.type = kIcmpEchoReply;
    header.checksum = uint16_t{0};
    store(reply, header);
    header.checksum = internet_checksum(reply);
    store(reply, header);
    at += icmp.size();
    out_.send_raw(Bytes(echo_).first(static_cast<size_t>(at - echo_.data())));
}

} // namespace tessera::roce
