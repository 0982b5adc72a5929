// Connection: one authenticated queue pair between two nodes, as a pipe for whole messages.
//
// Proves both sides (handshake.hpp), cuts messages into segments of one SEND each, reassembles them
// (a connection never interleaves two messages, so one assembly buffer suffices), and keeps segment
// credits: never more SENDs under way than the peer has receive buffers. It knows nothing of calls:
// sessions live in peer.hpp and outlive connections.
//
// Owned by NodeImpl, which deletes it in poll(), never inside a callback. After close() it is
// inert.
#pragma once

#include "base/list.hpp"
#include "net/rpc/buffer.hpp"
#include "net/rpc/handshake.hpp"

namespace tessera::rpc {

class NodeImpl;
class PeerImpl;
class Connection;

inline constexpr unsigned kReceiveSegments = 32; // buffers per connection
inline constexpr unsigned kCreditReserve = 2;    // of those, for Credit and the like only

// The receive memory of one connection; kept by the node and used again.
struct ReceiveSlab {
    std::array<std::array<std::byte, schema::kSegmentSize>, kReceiveSegments> segments;
    std::array<std::byte, kMaxMessage> assembly;
};

// A message on its way out. Embedded in the slot it belongs to.
struct Outgoing {
    ListLink link;
    schema::SegmentHeader header{};
    Ref<Buffer> body;
    size_t sent = 0;      // bytes of body handed to the QP
    bool started = false; // at least one segment was
    // Called when the last segment is with the QP; `this` is off the queue.
    void (*on_handed_over)(Outgoing& self, void* owner) = nullptr;
    void* owner = nullptr;
};

struct Message {
    schema::SegmentHeader header;
    Bytes body; // valid during the call
};

class Connection final : public roce::QpEvents {
  public:
    enum class State : uint8_t { Connecting, AwaitProof, Ready, Closed };

    Connection(NodeImpl& node, roce::Ipv4 peer_address, bool outgoing, Own<ReceiveSlab> slab);
    ~Connection();

    Result<void> connect(uint16_t service); // outgoing
    void accept(roce::Incoming& request);   // incoming; may end in close()
    void send(Outgoing& message);           // queues; keeps order
    void forget(Outgoing& message);         // takes it off the queue if it is there
    void send_identity() { want_identity_ = true, pump(); }
    bool send_ack(Ref<Buffer> entries); // false: the last one still waits
    void close(Error why, bool tell_node = true);
    void pump();

    State state() const { return state_; }
    bool outgoing() const { return outgoing_; }
    roce::Ipv4 address() const { return address_; }
    const Identity& remote() const { return remote_; }
    void set_remote_node(NodeId node) { remote_.node = node; }
    uint32_t remote_session() const { return remote_session_; }
    uint16_t remote_slots() const { return remote_slots_; }
    Nanos handshake_deadline() const { return handshake_deadline_; }
    Own<ReceiveSlab> take_slab() { return std::move(slab_); }

    PeerImpl* peer = nullptr; // set once Ready (outgoing: from the start)

  private:
    struct InFlight {
        schema::SegmentHeader header;
        Ref<Buffer> body;
    };

    void on_sent(roce::Qp& qp, uint64_t id, roce::Status status) override;
    void on_received(roce::Qp& qp, const roce::Received& r) override;
    void on_disconnected(roce::Qp& qp, Error why) override;

    Result<void> make_qp();
    void on_connected(Result<Bytes> reply);
    void on_segment(Bytes segment);
    void on_proof(Bytes body);
    void deliver(const schema::SegmentHeader& header, Bytes body);
    bool room(unsigned reserve) const;
    bool post(const schema::SegmentHeader& header, const Ref<Buffer>& body, Bytes slice);
    bool post_control();

    NodeImpl& node_;
    roce::Ipv4 address_;
    bool outgoing_;
    bool refused_ = false; // told why in REP; only waits for the client to go away
    State state_ = State::Connecting;
    Own<ReceiveSlab> slab_;
    roce::Qp* qp_ = nullptr;
    Handshake handshake_;
    Identity remote_;
    uint32_t remote_session_ = 0;
    uint16_t remote_slots_ = 0;
    Nanos handshake_deadline_;

    // Sending
    List<Outgoing, &Outgoing::link> queue_;
    std::array<InFlight, kReceiveSegments> in_flight_;
    uint32_t posted_ = 0;    // segments, modulo 2^32
    uint32_t completed_ = 0; // of those, reported by on_sent
    uint32_t peer_consumed_ = 0;
    bool want_proof_ = false, want_credit_ = false, want_identity_ = false;
    Ref<Buffer> want_ack_;
    bool pumping_ = false;

    // Receiving
    uint32_t consumed_ = 0;
    uint32_t announced_ = 0;
    schema::SegmentHeader assembling_{};
    size_t assembled_ = 0;
    bool in_message_ = false;
};

} // namespace tessera::rpc
