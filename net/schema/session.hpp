// What two rpc::Nodes say to each other below requests and replies: the handshake that rides on
// connection management, and the header of every SEND. Fixed layout, little-endian. protocols.md
// section 7; net/rpc/README.md tells the story.
//
//   REQ private data  Hello                      client
//   REP private data  Welcome                    server: who it is, and its proof; or why not
//   first SEND        SegmentHeader + ProofBody  client's proof
//   then              SegmentHeader + payload    either side, at most kSegmentSize together
#pragma once

#include <cstddef>

#include "base/endian.hpp"

namespace tessera::schema {

inline constexpr uint16_t kHelloMagic = 0x5354; // "TS"
inline constexpr uint16_t kRpcProtocol = 1;

struct Hello {
    Le16 magic;
    Le16 protocol;
    unsigned char kind = 0; // rpc::NodeKind
    unsigned char reserved = 0;
    Le16 slots; // requests this side executes at once
    Le32 node;
    Le32 reserved2;
    Le64 schema; // hash of net/schema
    Le64 build;  // 0: not compared
    Le64 incarnation;
    unsigned char nonce[16] = {}; // fresh for every connection: proofs cannot be replayed
};
static_assert(sizeof(Hello) == 56); // roce::kMaxPrivateData
static_assert(offsetof(Hello, schema) == 16 && offsetof(Hello, nonce) == 40);

struct Welcome {
    Hello hello;
    Le16 refusal; // an Error; 0: welcome
    unsigned char reserved[2] = {};
    Le32 session; // names the server's reply table: another one has forgotten everything
    unsigned char proof[32] = {};
};
static_assert(sizeof(Welcome) == 96);

struct ProofBody {
    unsigned char proof[32] = {};
    Le32 session; // of the client's own reply table, for calls the other way
};
static_assert(sizeof(ProofBody) == 36);

enum class SegmentKind : uint8_t {
    Proof = 1,
    Request = 2,
    Reply = 3,
    Cancel = 4,   // slot, sequence: the caller gave up
    Credit = 5,   // only the header's `consumed`
    Ack = 6,      // AckEntry[]: these replies need not be kept
    Identity = 7, // Hello: the sender got its node id
};

inline constexpr unsigned char kFirstSegment = 1;
inline constexpr unsigned char kLastSegment = 2;

struct SegmentHeader {
    unsigned char kind = 0;
    unsigned char flags = 0;
    Le16 opcode;   // Request
    Le16 error;    // Reply: an Error, 0 = the payload is the answer
    Le16 slot;     // Request, Reply, Cancel
    Le32 length;   // of the whole message's body
    Le32 consumed; // segments of the other side taken out of receive buffers so far, modulo 2^32
    Le64 sequence; // Request, Reply, Cancel: per session, rising
};
static_assert(sizeof(SegmentHeader) == 24);
static_assert(offsetof(SegmentHeader, consumed) == 12 && offsetof(SegmentHeader, sequence) == 16);

struct AckEntry {
    Le16 slot;
    Le64 sequence;
};
static_assert(sizeof(AckEntry) == 10);

inline constexpr size_t kSegmentSize = 4096; // header included: one packet at path MTU 4096

} // namespace tessera::schema
