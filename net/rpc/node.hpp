// NodeImpl: the table of peers and connections behind rpc::Node. See rpc.hpp for the contract,
// README.md for the way of a request through connection.hpp and peer.hpp.
#pragma once

#include <array>
#include <map>
#include <vector>

#include "base/pool.hpp"
#include "net/rpc/peer.hpp"
#include "net/rpc/responder_target.hpp"

namespace tessera::rpc {

class NodeImpl final : public Node, public ResponderTarget, private roce::Listener {
  public:
    NodeImpl(roce::Port& port, Clock& clock, Random& random, const NodeOptions& options,
             NodeEvents* events, roce::Pd pd);
    ~NodeImpl() override;

    // Node
    Result<void> listen(uint16_t service) override;
    void handle(Opcode op, Handler handler) override;
    Result<Peer*> peer(roce::Ipv4 address, uint16_t service) override;
    void set_self(const Identity& self) override;
    void fence(NodeId node, Incarnation incarnation) override;
    void poll() override;
    Nanos next_deadline() const override;

    // ResponderTarget
    void answer(uint64_t token, Error error, Bytes head, Bytes body) override;

    // For Connection and PeerImpl
    roce::Port& port() { return port_; }
    Random& random() { return random_; }
    Nanos now() { return clock_.now(); }
    roce::Pd pd() const { return pd_; }
    const NodeOptions& options() const { return options_; }
    Budget& budget() { return budget_; }
    bool fenced(Incarnation incarnation) const;
    bool superseded(const Identity& who) const; // a manager, and a newer one is known

    uint64_t id_of(const Connection& c) const;
    Connection* find_connection(uint64_t id);
    PeerImpl* peer_for(roce::Ipv4 address); // creates; nullptr: table full of busy peers
    uint32_t session_of(const PeerImpl& p) const { return p.session(); }
    void on_ready(Connection& c);
    void on_closed(Connection& c, Error why, bool tell_peer);
    void on_message(Connection& c, const Message& m);
    void execute(PeerImpl& p, unsigned slot, uint32_t generation, const Message& m);

    Result<void> start_connect(PeerImpl& p);
    Call* make_call(); // pool; then heap, for calls that fail at once
    void finish(Call* call, Result<Bytes> outcome);
    void fail_later(Call* call, Error why); // completes in poll()
    bool pool_exhausted() const { return calls_.in_use() == calls_.capacity(); }

  private:
    struct Entry {
        uint64_t id;
        Own<Connection> connection;
    };

    void on_incoming(roce::Incoming& request) override;
    Result<Connection*> add_connection(roce::Ipv4 address, bool outgoing);
    PeerImpl* find_peer(roce::Ipv4 address);
    Result<PeerImpl*> add_peer(roce::Ipv4 address, uint16_t service);
    void reap();
    void supersede(const Identity& newest);

    roce::Port& port_;
    Clock& clock_;
    Random& random_;
    NodeOptions options_;
    NodeEvents* events_;
    roce::Pd pd_;
    Budget budget_;
    Pool<Call> calls_;
    std::map<uint16_t, Handler> handlers_;
    std::vector<Own<PeerImpl>> peers_; // index = position; an evicted place is nullptr
    std::vector<Entry> connections_;
    std::vector<Own<ReceiveSlab>> slabs_;
    std::vector<Incarnation> fenced_;
    size_t fenced_next_ = 0;
    std::array<Incarnation, 3> managers_{}; // the newest that proved itself: GPM, GMM, GSM
    List<Call, &Call::link> failed_;
    uint64_t next_connection_ = 1;
    std::vector<uint16_t> services_;
    bool closed_some_ = false;
    bool ending_ = false;
};

} // namespace tessera::rpc
