// Communication management datagrams (IBTA 1.4, chapter 12) as rdma_cm uses them over RoCEv2:
// 256-byte MADs of class 7 version 2 in UD SEND_ONLY packets to QP 1, Q_Key 0x80010000. Every
// layout here was read off a capture of rping between two Linux rxe hosts
// (tests/wire/rping-1024.pcap).
//
// The wire structures carry no bit fields: 24-bit QPNs and PSNs share a Be32 with the byte behind
// them. CmMessage is the decoded form that the connection manager works with.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "base/result.hpp"

namespace tessera::net {

inline constexpr size_t kMadSize = 256;
inline constexpr uint64_t kRdmaCmServicePrefix = 0x0000000001060000ull; // | port: RDMA_PS_TCP

enum class CmKind : uint16_t { // attribute id, IBTA 12.6.4 table 107
    Req = 0x10,
    Mra = 0x11,
    Rej = 0x12,
    Rep = 0x13,
    Rtu = 0x14,
    Dreq = 0x15,
    Drep = 0x16,
};

// REJ reasons, IBTA 12.6.7.2 table 111 (those used or expected here).
enum class CmReject : uint16_t {
    NoQp = 1,
    NoResources = 3,
    Timeout = 4,
    Unsupported = 5,
    InvalidCommunicationId = 6,
    InvalidServiceId = 8,
    StaleConnection = 10,
    InvalidMtu = 26,
    Consumer = 28,
};

struct MadHeader { // IBTA 13.4.3
    uint8_t base_version;
    uint8_t management_class;
    uint8_t class_version;
    uint8_t method; // 3: Send
    Be16 status;
    Be16 class_specific;
    Be64 transaction;
    Be16 attribute;
    Be16 reserved;
    Be32 attribute_modifier;
};
static_assert(sizeof(MadHeader) == 24 && offsetof(MadHeader, transaction) == 8 &&
              offsetof(MadHeader, attribute) == 16);

struct CmPath { // one half of REQ's path information
    Be16 local_lid;
    Be16 remote_lid;
    std::array<uint8_t, 16> local_gid; // ::ffff:a.b.c.d
    std::array<uint8_t, 16> remote_gid;
    Be32 flow_label_rate; // 20 bits flow label, 6 reserved, 6 bits packet rate
    uint8_t traffic_class;
    uint8_t hop_limit;
    uint8_t sl_subnet_local;
    uint8_t ack_timeout; // bits 7..3
};
static_assert(sizeof(CmPath) == 44 && offsetof(CmPath, local_gid) == 4 &&
              offsetof(CmPath, remote_gid) == 20 && offsetof(CmPath, flow_label_rate) == 36);

inline constexpr size_t kReqPrivateSize = 92;
inline constexpr size_t kRepPrivateSize = 196;
inline constexpr size_t kRejPrivateSize = 148;

struct CmReq { // IBTA 12.6.5
    Be32 local_id;
    Be32 reserved0;
    Be64 service_id;
    Be64 ca_guid;
    Be32 reserved1;
    Be32 q_key;
    Be32 qpn_responder_resources; // QPN in the upper 24 bits
    Be32 eecn_initiator_depth;
    Be32 remote_eecn_timeout; // 7..3 remote CM response timeout, 2..1 service type, 0 flow control
    Be32 psn_timeout_retry;   // PSN, 7..3 local CM response timeout, 2..0 retry count
    Be16 partition;
    uint8_t mtu_rnr;    // 7..4 path MTU, 3 RDC, 2..0 RNR retry count
    uint8_t cm_retries; // 7..4 maximum CM retries, 3 SRQ, 2..0 extended transport
    CmPath primary;
    CmPath alternate;
    std::array<uint8_t, kReqPrivateSize> private_data;
};
static_assert(sizeof(CmReq) == kMadSize - sizeof(MadHeader) && offsetof(CmReq, service_id) == 8 &&
              offsetof(CmReq, qpn_responder_resources) == 32 &&
              offsetof(CmReq, psn_timeout_retry) == 44 && offsetof(CmReq, mtu_rnr) == 50 &&
              offsetof(CmReq, primary) == 52 && offsetof(CmReq, private_data) == 140);

struct CmRep { // IBTA 12.6.8
    Be32 local_id;
    Be32 remote_id;
    Be32 q_key;
    Be32 qpn;  // upper 24 bits
    Be32 eecn; // upper 24 bits
    Be32 psn;  // upper 24 bits
    uint8_t responder_resources;
    uint8_t initiator_depth;
    uint8_t ack_delay; // 7..3 target ACK delay, 2..1 failover accepted, 0 flow control
    uint8_t rnr_retry; // 7..5
    Be64 ca_guid;
    std::array<uint8_t, kRepPrivateSize> private_data;
};
static_assert(sizeof(CmRep) == kMadSize - sizeof(MadHeader) && offsetof(CmRep, qpn) == 12 &&
              offsetof(CmRep, psn) == 20 && offsetof(CmRep, ca_guid) == 28 &&
              offsetof(CmRep, private_data) == 36);

struct CmRej { // IBTA 12.6.7
    Be32 local_id;
    Be32 remote_id;
    uint8_t message; // 7..6: 0 REQ, 1 REP, 2 other
    uint8_t info_length;
    Be16 reason;
    std::array<uint8_t, 72> info;
    std::array<uint8_t, kRejPrivateSize> private_data;
};
static_assert(sizeof(CmRej) == kMadSize - sizeof(MadHeader) && offsetof(CmRej, reason) == 10 &&
              offsetof(CmRej, info) == 12 && offsetof(CmRej, private_data) == 84);

struct CmShort { // RTU, MRA, DREQ, DREP: IBTA 12.6.9, 12.6.6, 12.6.10, 12.6.11
    Be32 local_id;
    Be32 remote_id;
    Be32 qpn; // DREQ: the receiver's QPN in the upper 24 bits; MRA: message and timeout; else zero
    std::array<uint8_t, 220> private_data;
};
static_assert(sizeof(CmShort) == kMadSize - sizeof(MadHeader));

struct CmIpHeader { // rdma_cm's header at the start of REQ private data (IBTA annex A11)
    uint8_t version;
    uint8_t ip_version; // upper 4 bits: 4
    Be16 source_port;
    std::array<uint8_t, 12> source_zero; // the IPv4 address is in the last 4 of 16 bytes
    Be32 source;
    std::array<uint8_t, 12> destination_zero;
    Be32 destination;
};
static_assert(sizeof(CmIpHeader) == 36 && offsetof(CmIpHeader, source) == 16 &&
              offsetof(CmIpHeader, destination) == 32);

// A decoded message; which fields mean something depends on kind.
struct CmMessage {
    CmKind kind = CmKind::Req;
    uint64_t transaction = 0;
    uint32_t local_id = 0;  // the sender's
    uint32_t remote_id = 0; // the receiver's; not in REQ
    uint64_t service_id = 0;
    uint64_t ca_guid = 0;
    uint32_t qpn = 0; // REQ, REP: the sender's; DREQ: the receiver's
    uint32_t psn = 0; // REQ, REP: the PSN that the *receiver* of this message starts sending with
    uint8_t responder_resources = 0;
    uint8_t initiator_depth = 0;
    uint8_t retry_count = 7;
    uint8_t rnr_retry = 7;
    uint32_t mtu = 0; // REQ: bytes (256, 512, 1024, 2048, 4096)
    CmReject reason = CmReject::NoQp;
    uint8_t rejected_message = 0; // REJ: 0 REQ, 1 REP, 2 other
    uint8_t info_length = 0;
    uint8_t info0 = 0;   // REJ InvalidMtu: the largest MTU code that would do
    uint32_t source = 0; // REQ: from rdma_cm's header
    uint32_t destination = 0;
    uint16_t source_port = 0;
    Bytes private_data; // a view; REQ: behind rdma_cm's header
};

// Malformed: size, class or version. Unsupported: an attribute not in CmKind, or REQ without an
// IPv4 rdma_cm header.
Result<CmMessage> parse_cm(Bytes mad);
// m.private_data longer than the kind's field is cut (callers check).
void build_cm(std::array<std::byte, kMadSize>& out, const CmMessage& m);

// IBTA MTU codes 1..5 <-> 256..4096 bytes; 0 for what is not one.
uint32_t mtu_bytes(uint8_t code);
uint8_t mtu_code(uint32_t bytes);

} // namespace tessera::net
