#include "net/wire/cm.hpp"

#include <algorithm>

namespace tessera::net {
namespace {

constexpr uint8_t kCmClass = 7;
constexpr uint8_t kCmClassVersion = 2;
constexpr uint8_t kMethodSend = 3;
constexpr uint8_t kTimeoutCode = 0x14;    // 4.096 us * 2^20 = 4.3 s, what rdma_cm uses
constexpr uint8_t kAckTimeoutCode = 0x13; // of the transport, as rdma_cm
constexpr uint16_t kPermissiveLid = 0xffff;

template <size_t N>
void fill(std::array<uint8_t, N>& out, Bytes from, size_t at = 0) {
    size_t n = std::min(from.size(), N - at);
    if (n) std::memcpy(out.data() + at, from.data(), n);
}

std::array<uint8_t, 16> mapped_gid(uint32_t ip) {
    std::array<uint8_t, 16> gid{};
    gid[10] = gid[11] = 0xff;
    Be32 be = ip;
    std::memcpy(gid.data() + 12, &be, 4);
    return gid;
}

Bytes private_view(Bytes body, size_t offset) {
    return body.subspan(offset);
}

Result<CmMessage> parse_req(CmMessage m, Bytes body) {
    auto req = load<CmReq>(body);
    m.local_id = req.local_id;
    m.service_id = req.service_id;
    m.ca_guid = req.ca_guid;
    m.qpn = req.qpn_responder_resources >> 8;
    m.responder_resources = static_cast<uint8_t>(req.qpn_responder_resources);
    m.initiator_depth = static_cast<uint8_t>(req.eecn_initiator_depth);
    m.psn = req.psn_timeout_retry >> 8;
    m.retry_count = req.psn_timeout_retry & 7;
    m.mtu = mtu_bytes(req.mtu_rnr >> 4);
    m.rnr_retry = req.mtu_rnr & 7;
    if (m.mtu == 0) return Fail(Error::Malformed);
    Bytes data = private_view(body, offsetof(CmReq, private_data));
    auto ip = load<CmIpHeader>(data);
    if (ip.ip_version >> 4 != 4) return Fail(Error::Unsupported);
    m.source = ip.source;
    m.destination = ip.destination;
    m.source_port = ip.source_port;
    m.private_data = data.subspan(sizeof(CmIpHeader));
    return m;
}

void put_req(std::byte* at, const CmMessage& m) {
    CmReq r{};
    r.local_id = m.local_id;
    r.service_id = m.service_id;
    r.ca_guid = m.ca_guid;
    r.qpn_responder_resources = m.qpn << 8 | m.responder_resources;
    r.eecn_initiator_depth = m.initiator_depth;
    r.remote_eecn_timeout = kTimeoutCode << 3;
    r.psn_timeout_retry = m.psn << 8 | kTimeoutCode << 3 | (m.retry_count & 7u);
    r.partition = 0xffff;
    r.mtu_rnr = static_cast<uint8_t>(mtu_code(m.mtu) << 4 | (m.rnr_retry & 7));
    r.cm_retries = 0xf0;
    r.primary.local_lid = kPermissiveLid;
    r.primary.remote_lid = kPermissiveLid;
    r.primary.local_gid = mapped_gid(m.source);
    r.primary.remote_gid = mapped_gid(m.destination);
    r.primary.hop_limit = 64;
    r.primary.ack_timeout = static_cast<uint8_t>(kAckTimeoutCode << 3);
    CmIpHeader ip{};
    ip.ip_version = 0x40;
    ip.source_port = m.source_port;
    ip.source = m.source;
    ip.destination = m.destination;
    fill(r.private_data, bytes_of(ip));
    fill(r.private_data, m.private_data, sizeof ip);
    std::memcpy(at, &r, sizeof r);
}

void put_rep(std::byte* at, const CmMessage& m) {
    CmRep r{};
    r.local_id = m.local_id;
    r.remote_id = m.remote_id;
    r.qpn = m.qpn << 8;
    r.psn = m.psn << 8;
    r.responder_resources = m.responder_resources;
    r.initiator_depth = m.initiator_depth;
    r.ack_delay = 0x78;
    r.rnr_retry = static_cast<uint8_t>((m.rnr_retry & 7) << 5);
    r.ca_guid = m.ca_guid;
    fill(r.private_data, m.private_data);
    std::memcpy(at, &r, sizeof r);
}

void put_rej(std::byte* at, const CmMessage& m) {
    CmRej r{};
    r.local_id = m.local_id;
    r.remote_id = m.remote_id;
    r.message = static_cast<uint8_t>(m.rejected_message << 6);
    r.info_length = static_cast<uint8_t>(m.info_length << 1);
    r.reason = static_cast<uint16_t>(m.reason);
    r.info[0] = m.info0;
    fill(r.private_data, m.private_data);
    std::memcpy(at, &r, sizeof r);
}

void put_short(std::byte* at, const CmMessage& m) {
    CmShort s{};
    s.local_id = m.local_id;
    s.remote_id = m.remote_id;
    if (m.kind == CmKind::Dreq) s.qpn = m.qpn << 8;
    std::memcpy(at, &s, sizeof s);
}

} // namespace

uint32_t mtu_bytes(uint8_t code) {
    return code >= 1 && code <= 5 ? 128u << code : 0;
}

uint8_t mtu_code(uint32_t bytes) {
    for (uint8_t code = 1; code <= 5; code++)
        if (128u << code == bytes) return code;
    return 0;
}

Result<CmMessage> parse_cm(Bytes mad) {
    if (mad.size() != kMadSize) return Fail(Error::Malformed);
    auto header = load<MadHeader>(mad);
    if (header.base_version != 1 || header.management_class != kCmClass ||
        header.class_version != kCmClassVersion || header.method != kMethodSend)
        return Fail(Error::Malformed);
    CmMessage m;
    m.transaction = header.transaction;
    m.kind = static_cast<CmKind>(header.attribute.get());
    Bytes body = mad.subspan(sizeof(MadHeader));
    switch (m.kind) {
        case CmKind::Req:
            return parse_req(m, body);
        case CmKind::Rep: {
            auto rep = load<CmRep>(body);
            m.local_id = rep.local_id;
            m.remote_id = rep.remote_id;
            m.ca_guid = rep.ca_guid;
            m.qpn = rep.qpn >> 8;
            m.psn = rep.psn >> 8;
            m.responder_resources = rep.responder_resources;
            m.initiator_depth = rep.initiator_depth;
            m.rnr_retry = rep.rnr_retry >> 5;
            m.private_data = private_view(body, offsetof(CmRep, private_data));
            return m;
        }
        case CmKind::Rej: {
            auto rej = load<CmRej>(body);
            m.local_id = rej.local_id;
            m.remote_id = rej.remote_id;
            m.rejected_message = rej.message >> 6;
            m.info_length = rej.info_length >> 1;
            m.info0 = rej.info[0];
            m.reason = static_cast<CmReject>(rej.reason.get());
            m.private_data = private_view(body, offsetof(CmRej, private_data));
            return m;
        }
        case CmKind::Mra:
        case CmKind::Rtu:
        case CmKind::Dreq:
        case CmKind::Drep: {
            auto s = load<CmShort>(body);
            m.local_id = s.local_id;
            m.remote_id = s.remote_id;
            if (m.kind == CmKind::Dreq) m.qpn = s.qpn >> 8;
            return m;
        }
    }
    return Fail(Error::Unsupported);
}

void build_cm(std::array<std::byte, kMadSize>& out, const CmMessage& m) {
    MadHeader header{};
    header.base_version = 1;
    header.management_class = kCmClass;
    header.class_version = kCmClassVersion;
    header.method = kMethodSend;
    header.transaction = m.transaction;
    header.attribute = static_cast<uint16_t>(m.kind);
    std::memcpy(out.data(), &header, sizeof header);
    std::byte* body = out.data() + sizeof header;
    switch (m.kind) {
        case CmKind::Req:
            return put_req(body, m);
        case CmKind::Rep:
            return put_rep(body, m);
        case CmKind::Rej:
            return put_rej(body, m);
        default:
            return put_short(body, m);
    }
}

} // namespace tessera::net
