// Request/reply between two nodes over one RoCE connection: credits, deadlines, at-most-once.
//
// A Node is this program's end: it listens, holds one Peer per remote node, and dispatches requests
// to handlers by opcode. Either side of a connection may call the other. A Peer connects on first
// use, reconnects when its connection breaks, and carries a session (client incarnation, server
// incarnation, sequence) that outlives connections: a request is executed at most once, its reply
// is kept until acknowledged, a retry over a new connection gets the first result (protocols.md 7).
//
// Every connection is mutually authenticated with the cluster key by challenge and response:
// REQ carries HELLO (identity, version, schema hash, nonce), REP the server's HELLO and proof
// HMAC-SHA256(key, both HELLOs), the first SEND the client's proof. Nothing else is accepted
// before.
//
// Of a manager there is one at a time, and its incarnations rise: once a newer GPM, GMM or GSM has
// proven itself, an older one is neither answered nor asked, and its connections end.
//
// One shard; completions are never called from inside call().
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/function.hpp"
#include "base/ref.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "net/roce/verbs.hpp"

namespace tessera::rpc {

using Opcode =
    Id<struct OpcodeTag, uint16_t>; // numbers live in net/schema/opcodes.hpp, never reused

inline constexpr size_t kMaxMessage =
    33 * 1024; // request or reply body, bytes: 32 KiB of data + fields
inline constexpr uint16_t kMonitorService =
    7470;                                      // every component, manager and client listens here
inline constexpr uint16_t kPageService = 7471; // page queue pairs (monitors/memory)

enum class NodeKind : uint8_t { None, Process, Memory, Storage, Gpm, Gmm, Gsm, Client };

// Who somebody is, proven at connection time.
struct Identity {
    NodeKind kind = NodeKind::None;
    NodeId node;             // 0 until the cluster gave one (join, clients)
    Incarnation incarnation; // never 0; random per boot, of managers rising
    bool operator==(const Identity&) const = default;
};

using ClusterKey = std::array<std::byte, 32>;

// Answers one request, exactly once. Dropping it unanswered replies Error::Unsupported.
// May be kept and answered later; `head` and `body` are copied.
class Responder {
  public:
    Responder() = default;
    Responder(class ResponderTarget* target, uint64_t token) : target_(target), token_(token) {}
    Responder(Responder&& o) noexcept : target_(o.target_), token_(o.token_) {
        o.target_ = nullptr;
    }
    Responder& operator=(Responder&& o) noexcept;
    ~Responder();

    void reply(Bytes head, Bytes body = {});
    void fail(Error e);
    bool pending() const { return target_ != nullptr; }

  private:
    class ResponderTarget* target_ = nullptr;
    uint64_t token_ = 0;
};

// `request` is valid during the call only.
using Handler = Function<void(const Identity& caller, Bytes request, Responder), 64>;
using ReplyHandler = Function<void(Result<Bytes> reply), 80>; // reply valid during the call only

struct CallOptions {
    Nanos deadline;          // absolute, on the Node's clock; must be finite
    bool idempotent = false; // may be sent again to a restarted server instead of OutcomeUnknown
};

class Peer {
  public:
    // Queues a request (head and body are copied). done is called exactly once: the reply, the
    // handler's Error, Timeout, OutcomeUnknown, Dead, Unauthenticated, VersionMismatch,
    // Full (too many calls outstanding to this peer) or Disconnected.
    virtual void call(Opcode op, Bytes head, Bytes body, const CallOptions& options,
                      ReplyHandler done) = 0;
    virtual roce::Ipv4 address() const = 0;
    virtual const Identity& identity() const = 0; // of the last completed handshake
    virtual bool connected() const = 0;

  protected:
    ~Peer() = default;
};

struct NodeOptions {
    ClusterKey key{};
    Identity self;
    uint16_t max_peers = 64;
    uint16_t credits = 16; // requests in flight per connection and direction
    uint64_t build_id = 0;
};

// Observes peers. All optional.
class NodeEvents {
  public:
    virtual void on_peer_up(Peer& peer, const Identity& who) { (void)peer, (void)who; }
    virtual void on_peer_down(Peer& peer, Error why) { (void)peer, (void)why; }

  protected:
    ~NodeEvents() = default;
};

class Node {
  public:
    static Result<Own<Node>> create(roce::Port& port, Clock& clock, Random& random,
                                    const NodeOptions& options, NodeEvents* events = nullptr);
    virtual ~Node() = default;

    virtual Result<void> listen(uint16_t service = kMonitorService) = 0;
    virtual void handle(Opcode op, Handler handler) = 0; // once per opcode, before traffic
    virtual Result<Peer*> peer(roce::Ipv4 address, uint16_t service = kMonitorService) = 0;

    virtual void set_self(const Identity& self) = 0; // after join: node id known
    // Refuses sessions of this incarnation (and older ones of the node) from now on: fencing.
    virtual void fence(NodeId node, Incarnation incarnation) = 0;

    virtual void poll() = 0; // timers: deadlines, reconnects. After Port::poll().
    virtual Nanos next_deadline() const = 0;
};

} // namespace tessera::rpc
