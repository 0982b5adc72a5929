// PeerImpl: the sessions with one remote node, both directions. Outlives connections.
//
// A session is a table of slots. The caller puts each request into a free slot with a rising
// sequence number; the server keeps, per slot, the last sequence and its reply until the caller
// says it has it (Ack, or the slot's next request). The same sequence again gets the same reply and
// is not executed; a lower one is ignored. So a slow call (a long poll) holds up one slot, not the
// session.
//
// A new incarnation or session number of the remote means that its reply table is gone: what was
// sent ends as OutcomeUnknown unless idempotent, what was not is sent to the new one.
//
// Owned by NodeImpl, in its shard.
#pragma once

#include <vector>

#include "net/rpc/connection.hpp"

namespace tessera::rpc {

struct Call {
    ListLink link;
    Opcode op;
    Ref<Buffer> body;
    Nanos deadline;
    bool idempotent = false;
    bool pooled = false;
    ReplyHandler done;
    Error failure = Error::Timeout; // while on the list of calls to fail
};

class PeerImpl final : public Peer {
  public:
    PeerImpl(NodeImpl& node, roce::Ipv4 address, uint16_t service, uint32_t session);
    ~PeerImpl();

    void call(Opcode op, Bytes head, Bytes body, const CallOptions& options,
              ReplyHandler done) override;
    roce::Ipv4 address() const override { return address_; }
    const Identity& identity() const override { return identity_; }
    bool connected() const override { return connection_ != nullptr; }

    // A proven connection takes over.
    void adopt(Connection& c);
    // The one in use is gone; sessions wait for the next.
    void lost();
    // An attempt failed. Some reasons are final for the calls that wait.
    void attempt_failed(Error why);
    void on_message(const Message& m);
    void answer(unsigned slot, uint32_t generation, Error error, Bytes head, Bytes body);
    void fail_all(Error why);
    // Timers, connecting. Returns when it wants to run again.
    Nanos poll(Nanos now);
    Nanos next_deadline() const;

    Connection* connection() { return connection_; }
    Connection* attempt() { return attempt_; }
    void set_attempt(Connection* c) { attempt_ = c; }
    uint32_t session() const { return session_; }
    uint16_t service() const { return service_; }
    bool idle() const; // no call, nothing executing
    Nanos last_used() const { return last_used_; }

    bool pinned = false; // handed out by Node::peer(): lives as long as the node
    uint16_t index = 0;  // in the node's table
    bool stale = false;  // told that this incarnation of ours is fenced

  private:
    struct ClientSlot {
        Call* call = nullptr;
        uint64_t sequence = 0;
        Outgoing out;
        bool given_up = false; // call is gone, Cancel not yet on its way
        bool sent = false;     // whole request handed to a QP: it may have been executed
        bool unacked = false;  // reply is here, the server still keeps it
    };
    enum class Work : uint8_t { Idle, Executing, Replied };
    struct ServerSlot {
        uint64_t sequence = 0;
        uint32_t generation = 0;
        Work work = Work::Idle;
        Outgoing out;
    };

    void on_request(const Message& m);
    void on_reply(const Message& m);
    void on_cancel(const Message& m);
    void on_ack(const Message& m);
    void on_identity(const Message& m);
    void restart_sessions();
    void resend();
    void dispatch();
    void send_cancel(ClientSlot& s);
    void expire(Nanos now);
    void acknowledge(Nanos now);
    void back_off();
    Call* take_call(ClientSlot& s); // out of its slot
    bool wants_connection() const {
        return !connection_ && !attempt_ && (queued_ > 0 || in_slots_ > 0 || probe_);
    }
    static void handed_over(Outgoing& out, void* owner);

    NodeImpl& node_;
    roce::Ipv4 address_;
    uint16_t service_;
    uint32_t session_;
    Identity identity_;
    uint32_t remote_session_ = 0;
    Connection* connection_ = nullptr; // Ready
    Connection* attempt_ = nullptr;    // outgoing, connecting

    List<Call, &Call::link> queue_; // not in a slot yet
    size_t queued_ = 0;
    size_t in_slots_ = 0; // calls of client_: poll() runs too often to look at each slot
    std::vector<ClientSlot> client_;
    std::vector<ServerSlot> server_;
    uint64_t next_sequence_ = 1;
    Nanos earliest_deadline_ = kNever; // of any call; may be too early, never too late
    Nanos ack_at_ = kNever;
    size_t unacked_bytes_ = 0;

    bool probe_ = false; // connect though only calls to a fenced incarnation have been made
    Nanos retry_at_{};
    Nanos backoff_{};
    Nanos adopted_at_{};
    Nanos last_used_{};
};

} // namespace tessera::rpc
