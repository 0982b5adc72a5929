#include "net/wire/roce.hpp"

#include "base/crc.hpp"

namespace tessera::net {
namespace {

constexpr size_t kIcrcSize = 4;
constexpr size_t kMaskedHead = sizeof(Ipv4Header) + sizeof(UdpHeader) + sizeof(Bth);

size_t extension_size(Opcode o, const OpcodeTraits& t) {
    if (o == Opcode::CompareSwap || o == Opcode::FetchAdd) return sizeof(AtomicEth);
    if (o == Opcode::AtomicAcknowledge) return sizeof(Aeth) + 8;
    return (t.datagram ? sizeof(Deth) : 0) + (t.has_reth ? sizeof(Reth) : 0) +
           (t.has_aeth ? sizeof(Aeth) : 0) + (t.immediate ? sizeof(ImmDt) : 0);
}

// The state of the CRC after the eight bytes of ones that stand for the local route header.
uint32_t seed_after_lrh() {
    static constexpr std::array<uint8_t, 8> ones = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    return crc32_update(kCrc32Seed, std::as_bytes(std::span(ones)));
}

template <typename T>
T take(Bytes& from) {
    T v = load<T>(from);
    from = from.subspan(sizeof(T));
    return v;
}

} // namespace

int64_t rnr_timer_nanoseconds(uint8_t code) {
    // In units of 10 us; code 0 is the longest.
    static constexpr uint32_t table[32] = {65536, 1,    2,    3,     4,     6,     8,     12,
                                           16,    24,   32,   48,    64,    96,    128,   192,
                                           256,   384,  512,  768,   1024,  1536,  2048,  3072,
                                           4096,  6144, 8192, 12288, 16384, 24576, 32768, 49152};
    return static_cast<int64_t>(table[code & 31]) * 10000;
}

OpcodeTraits traits_of(Opcode o) {
    OpcodeTraits t{.known = true};
    switch (o) {
        case Opcode::SendFirst:
        case Opcode::SendMiddle:
        case Opcode::SendLast:
        case Opcode::SendLastImmediate:
        case Opcode::SendOnly:
        case Opcode::SendOnlyImmediate:
            t.request = t.send = t.has_payload = true;
            t.first = o == Opcode::SendFirst || o >= Opcode::SendOnly;
            t.last = o >= Opcode::SendLast;
            t.immediate = o == Opcode::SendLastImmediate || o == Opcode::SendOnlyImmediate;
            return t;
        case Opcode::WriteFirst:
        case Opcode::WriteMiddle:
        case Opcode::WriteLast:
        case Opcode::WriteLastImmediate:
        case Opcode::WriteOnly:
        case Opcode::WriteOnlyImmediate:
            t.request = t.write = t.has_payload = true;
            t.first = t.has_reth = o == Opcode::WriteFirst || o >= Opcode::WriteOnly;
            t.last = o >= Opcode::WriteLast;
            t.immediate = o == Opcode::WriteLastImmediate || o == Opcode::WriteOnlyImmediate;
            return t;
        case Opcode::ReadRequest:
            t.request = t.first = t.last = t.has_reth = true;
            return t;
        case Opcode::ReadResponseFirst:
        case Opcode::ReadResponseMiddle:
        case Opcode::ReadResponseLast:
        case Opcode::ReadResponseOnly:
            t.has_payload = true;
            t.first = o == Opcode::ReadResponseFirst || o == Opcode::ReadResponseOnly;
            t.last = o >= Opcode::ReadResponseLast;
            t.has_aeth = o != Opcode::ReadResponseMiddle;
            return t;
        case Opcode::Acknowledge:
        case Opcode::AtomicAcknowledge:
            t.has_aeth = true;
            return t;
        case Opcode::CompareSwap:
        case Opcode::FetchAdd:
            t.request = t.first = t.last = true;
            return t;
        case Opcode::UdSendOnly:
            t.datagram = t.has_payload = t.first = t.last = true;
            return t;
    }
    return {};
}

bool is_roce(const Ipv4Packet& ip) {
    return ip.header.protocol == kProtocolUdp && ip.payload.size() >= sizeof(UdpHeader) &&
           load<UdpHeader>(ip.payload).destination_port == kRoceUdpPort;
}

Result<RocePacket> parse_roce(const Ipv4Packet& ip) {
    if (!is_roce(ip)) return Fail(Error::Unsupported);
    Bytes rest = ip.payload;
    if (rest.size() < sizeof(UdpHeader) + sizeof(Bth) + kIcrcSize) return Fail(Error::Malformed);
    auto udp = take<UdpHeader>(rest);
    if (udp.length != ip.payload.size()) return Fail(Error::Malformed);
    auto bth = take<Bth>(rest);
    if (bth.flags & 0x0f) return Fail(Error::Malformed); // transport version
    RocePacket p;
    p.opcode = bth.opcode;
    p.traits = traits_of(bth.opcode);
    if (!p.traits.known) return Fail(Error::Unsupported);
    size_t extension = extension_size(p.opcode, p.traits);
    size_t pad = bth.flags >> 4 & 3;
    if (rest.size() < extension + pad + kIcrcSize) return Fail(Error::Malformed);
    size_t payload = rest.size() - extension - pad - kIcrcSize;
    if ((payload + pad) % 4 != 0 || (!p.traits.has_payload && payload + pad != 0))
        return Fail(Error::Malformed);

    p.source_mac = ip.source_mac;
    p.source = ip.header.source;
    p.destination = ip.header.destination;
    p.source_port = udp.source_port;
    p.ack_request = bth.ack_psn >> 31;
    p.solicited = bth.flags >> 7;
    p.partition = bth.partition;
    p.destination_qp = bth.destination_qp & kPsnMask;
    p.psn = bth.ack_psn & kPsnMask;
    if (p.traits.datagram) {
        auto deth = take<Deth>(rest);
        p.q_key = deth.q_key;
        p.source_qp = deth.source_qp & kPsnMask;
    }
    if (p.traits.has_reth) {
        auto reth = take<Reth>(rest);
        p.remote_address = reth.address;
        p.rkey = reth.rkey;
        p.dma_length = reth.length;
    }
    if (p.traits.has_aeth) {
        uint32_t aeth = take<Aeth>(rest).syndrome_msn;
        p.syndrome = static_cast<uint8_t>(aeth >> 24);
        p.msn = aeth & kPsnMask;
    }
    if (p.traits.immediate) p.immediate = take<ImmDt>(rest).value;
    if (p.traits.has_payload) p.payload = rest.first(payload);
    p.covered = ip.packet;
    return p;
}

Result<RocePacket> parse_roce_frame(Bytes frame) {
    return parse_roce(TRY(parse_ipv4(TRY(parse_ethernet(frame)))));
}

uint32_t compute_icrc(Bytes head, Bytes body, Bytes pad) {
    // A copy of the fixed headers with every field that a router may change set to ones.
    std::array<std::byte, kMaskedHead> masked;
    std::memcpy(masked.data(), head.data(), kMaskedHead);
    constexpr std::byte ones{0xff};
    masked[offsetof(Ipv4Header, tos)] = ones;
    masked[offsetof(Ipv4Header, ttl)] = ones;
    masked[offsetof(Ipv4Header, checksum)] = ones;
    masked[offsetof(Ipv4Header, checksum) + 1] = ones;
    masked[sizeof(Ipv4Header) + offsetof(UdpHeader, checksum)] = ones;
    masked[sizeof(Ipv4Header) + offsetof(UdpHeader, checksum) + 1] = ones;
    masked[sizeof(Ipv4Header) + sizeof(UdpHeader) + offsetof(Bth, destination_qp)] = ones;
    uint32_t crc = crc32_update(seed_after_lrh(), masked);
    crc = crc32_update(crc, head.subspan(kMaskedHead));
    crc = crc32_update(crc, body);
    return crc32_finish(crc32_update(crc, pad));
}

bool icrc_valid(const RocePacket& p) {
    size_t size = p.covered.size() - kIcrcSize;
    return compute_icrc(p.covered.first(size), {}, {}) == load<Le32>(p.covered.subspan(size)).get();
}

void build_roce(BuiltRoce& out, const RoceHeaders& h, Bytes payload) {
    OpcodeTraits t = traits_of(h.opcode);
    size_t extension = extension_size(h.opcode, t);
    size_t pad = (4 - payload.size() % 4) % 4;
    size_t udp_size =
        sizeof(UdpHeader) + sizeof(Bth) + extension + payload.size() + pad + kIcrcSize;

    std::byte* at = out.head_bytes.data();
    auto put = [&at](const auto& v) {
        std::memcpy(at, &v, sizeof v);
        at += sizeof v;
    };
    put(EthernetHeader{h.destination_mac, h.source_mac, kEtherTypeIpv4});
    put(make_ipv4_header(h.source, h.destination, kProtocolUdp, udp_size, h.identification));
    put(UdpHeader{h.source_port, kRoceUdpPort, static_cast<uint16_t>(udp_size), uint16_t{0}});
    put(Bth{h.opcode, static_cast<uint8_t>((h.solicited ? 0x80 : 0) | pad << 4), kDefaultPartition,
            h.destination_qp & kPsnMask, (h.ack_request ? 0x80000000u : 0u) | (h.psn & kPsnMask)});
    if (t.datagram) put(Deth{h.q_key, h.source_qp});
    if (t.has_reth) put(Reth{h.remote_address, h.rkey, h.dma_length});
    if (t.has_aeth) put(Aeth{static_cast<uint32_t>(h.syndrome) << 24 | (h.msn & kPsnMask)});
    if (t.immediate) put(ImmDt{h.immediate});
    if (h.opcode == Opcode::CompareSwap || h.opcode == Opcode::FetchAdd)
        put(AtomicEth{h.remote_address, h.rkey, uint64_t{0}, uint64_t{0}});
    out.head_size = static_cast<uint8_t>(at - out.head_bytes.data());

    out.tail_bytes.fill(std::byte{0});
    Le32 icrc = compute_icrc(out.head().subspan(sizeof(EthernetHeader)), payload,
                             Bytes(out.tail_bytes).first(pad));
    std::memcpy(out.tail_bytes.data() + pad, &icrc, sizeof icrc);
    out.tail_size = static_cast<uint8_t>(pad + kIcrcSize);
}

uint16_t roce_source_port(uint32_t local_qp, uint32_t remote_qp) {
    uint64_t v = static_cast<uint64_t>(local_qp) * remote_qp;
    v ^= v >> 20;
    v ^= v >> 40;
    return static_cast<uint16_t>(0xc000 | (v & 0x3fff));
}

} // namespace tessera::net
