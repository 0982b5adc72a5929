// RoCEv2 packets (IBTA 1.4, chapter 9 and annex A17): InfiniBand transport headers over UDP port
// 4791.
//
// A packet is Ethernet | IPv4 | UDP | BTH | extension headers | payload | 0..3 pad | ICRC.
// parse_roce checks every length against the frame and the opcode; it does not check the ICRC
// (16,000 instructions for 4 KiB), so that a packet from the wrong peer costs nothing: call
// icrc_valid next.
#pragma once

#include <cstdint>

#include "net/wire/inet.hpp"

namespace tessera::net {

inline constexpr uint16_t kRoceUdpPort = 4791;
inline constexpr uint16_t kDefaultPartition = 0xffff;
inline constexpr uint32_t kPsnMask = 0xffffff;
inline constexpr uint32_t kCmQp = 1;
inline constexpr uint32_t kCmQkey = 0x80010000;

// BTH opcodes, IBTA 9.2 table 38. Upper three bits: 0 = reliable connection, 3 = unreliable
// datagram.
enum class Opcode : uint8_t {
    SendFirst = 0x00,
    SendMiddle = 0x01,
    SendLast = 0x02,
    SendLastImmediate = 0x03,
    SendOnly = 0x04,
    SendOnlyImmediate = 0x05,
    WriteFirst = 0x06,
    WriteMiddle = 0x07,
    WriteLast = 0x08,
    WriteLastImmediate = 0x09,
    WriteOnly = 0x0a,
    WriteOnlyImmediate = 0x0b,
    ReadRequest = 0x0c,
    ReadResponseFirst = 0x0d,
    ReadResponseMiddle = 0x0e,
    ReadResponseLast = 0x0f,
    ReadResponseOnly = 0x10,
    Acknowledge = 0x11,
    AtomicAcknowledge = 0x12,
    CompareSwap = 0x13,
    FetchAdd = 0x14,
    UdSendOnly = 0x64,
};

struct Bth { // IBTA 9.2
    Opcode opcode;
    uint8_t flags; // bit 7 solicited event, 6 MigReq, 5..4 pad count, 3..0 TVER
    Be16 partition;
    Be32 destination_qp; // byte 0 is reserved (FECN, BECN) and masked in the ICRC
    Be32 ack_psn;        // bit 31 AckReq, low 24 bits PSN
};
static_assert(sizeof(Bth) == 12 && offsetof(Bth, partition) == 2 &&
              offsetof(Bth, destination_qp) == 4 && offsetof(Bth, ack_psn) == 8);

struct Reth { // IBTA 9.3.3
    Be64 address;
    Be32 rkey;
    Be32 length;
};
static_assert(sizeof(Reth) == 16 && offsetof(Reth, rkey) == 8 && offsetof(Reth, length) == 12);

struct Aeth { // IBTA 9.3.5
    Be32 syndrome_msn;
};
static_assert(sizeof(Aeth) == 4);

struct ImmDt { // IBTA 9.3.6
    Be32 value;
};
static_assert(sizeof(ImmDt) == 4);

struct Deth { // IBTA 9.3.1
    Be32 q_key;
    Be32 source_qp; // low 24 bits
};
static_assert(sizeof(Deth) == 8 && offsetof(Deth, source_qp) == 4);

struct AtomicEth { // IBTA 9.3.4: parsed so that an atomic can be refused with the right NAK
    Be64 address;
    Be32 rkey;
    Be64 swap;
    Be64 compare;
};
static_assert(sizeof(AtomicEth) == 28 && offsetof(AtomicEth, swap) == 12);

// AETH syndromes, IBTA 9.7.5.1 tables 44 to 46.
inline constexpr uint8_t kAckNoCredit = 0x1f; // ACK, end-to-end credits not used
inline constexpr uint8_t kRnrNak = 0x20;      // | 5-bit timer code
inline constexpr uint8_t kNakSequence = 0x60;
inline constexpr uint8_t kNakInvalidRequest = 0x61;
inline constexpr uint8_t kNakRemoteAccess = 0x62;
inline constexpr uint8_t kNakRemoteOperation = 0x63;

// RNR NAK timer codes, IBTA table 45, in nanoseconds.
int64_t rnr_timer_nanoseconds(uint8_t code);

struct OpcodeTraits {
    bool known = false;
    bool request = false; // goes to the responder
    bool first = false;   // starts a message (First, Only)
    bool last = false;    // ends a message (Last, Only)
    bool send = false;
    bool write = false;
    bool immediate = false;
    bool has_reth = false;
    bool has_aeth = false;
    bool has_payload = false;
    bool datagram = false;
};
OpcodeTraits traits_of(Opcode o);

struct RocePacket {
    MacAddress source_mac = {};
    uint32_t source = 0;
    uint32_t destination = 0;
    uint16_t source_port = 0;
    Opcode opcode = Opcode::SendFirst;
    OpcodeTraits traits;
    bool ack_request = false;
    bool solicited = false;
    uint16_t partition = 0;
    uint32_t destination_qp = 0;
    uint32_t psn = 0;
    uint64_t remote_address = 0; // RETH
    uint32_t rkey = 0;
    uint32_t dma_length = 0;
    uint8_t syndrome = 0; // AETH
    uint32_t msn = 0;
    uint32_t immediate = 0; // ImmDt
    uint32_t q_key = 0;     // DETH
    uint32_t source_qp = 0;
    Bytes payload;
    Bytes covered; // the IP packet, ICRC included: what icrc_valid looks at
};

// True if an IPv4 packet is RoCEv2 at all (UDP to port 4791).
bool is_roce(const Ipv4Packet& ip);
// Malformed: lengths, unknown transport version, nonzero pad rules. Unsupported: opcode or not
// RoCE.
Result<RocePacket> parse_roce(const Ipv4Packet& ip);
Result<RocePacket> parse_roce_frame(Bytes frame);
bool icrc_valid(const RocePacket& packet);

// The ICRC over an IP packet given as its first part (IP, UDP, BTH and extension headers) and two
// more pieces. `head` must hold at least the 40 bytes up to and including the BTH.
uint32_t compute_icrc(Bytes head, Bytes body, Bytes pad);

// Everything that differs between packets of one sender.
struct RoceHeaders {
    MacAddress source_mac = {};
    MacAddress destination_mac = {};
    uint32_t source = 0;
    uint32_t destination = 0;
    uint16_t source_port = 0xc000;
    uint16_t identification = 1; // covered by the ICRC
    Opcode opcode = Opcode::SendOnly;
    bool ack_request = false;
    bool solicited = false;
    uint32_t destination_qp = 0;
    uint32_t psn = 0;
    uint64_t remote_address = 0;
    uint32_t rkey = 0;
    uint32_t dma_length = 0;
    uint8_t syndrome = 0;
    uint32_t msn = 0;
    uint32_t immediate = 0;
    uint32_t q_key = 0;
    uint32_t source_qp = 0;
};

inline constexpr size_t kRoceFixedHead = 14 + 20 + 8 + 12;
inline constexpr size_t kRoceMaxHead = kRoceFixedHead + 28; // atomics have the longest extension
inline constexpr size_t kRoceMaxOverhead = kRoceFixedHead + 16 + 4 + 4; // RETH, ImmDt, ICRC

// The bytes in front of and behind a payload; the payload itself is only read.
struct BuiltRoce {
    std::array<std::byte, kRoceMaxHead> head_bytes;
    std::array<std::byte, 8> tail_bytes; // pad, ICRC
    uint8_t head_size = 0;
    uint8_t tail_size = 0;
    Bytes head() const { return Bytes(head_bytes).first(head_size); }
    Bytes tail() const { return Bytes(tail_bytes).first(tail_size); }
};
void build_roce(BuiltRoce& out, const RoceHeaders& h, Bytes payload);

// 0xC000 | 14 bits of the product of both QP numbers, so that both directions hash alike.
uint16_t roce_source_port(uint32_t local_qp, uint32_t remote_qp);

} // namespace tessera::net
