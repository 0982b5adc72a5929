#include "net/rpc/node.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace tessera::rpc {

namespace {
constexpr size_t kMaxCalls = 1024;      // outstanding in the whole node
constexpr size_t kMaxBuffered = mib(8); // bytes of requests and kept replies
constexpr size_t kMaxFenced = 256;      // incarnations remembered; the oldest goes
constexpr size_t kMaxHandshakes = 16;   // connections that have not proven themselves
constexpr Nanos kIdleBeforeEviction = seconds(60);
} // namespace

Result<Own<Node>> Node::create(roce::Port& port, Clock& clock, Random& random,
                               const NodeOptions& options, NodeEvents* events) {
    if (!options.self.incarnation || options.self.kind == NodeKind::None || options.credits == 0 ||
        options.credits > 64 || options.max_peers == 0)
        return Fail(Error::InvalidArgument);
    roce::Pd pd = TRY(port.create_pd());
    return Own<Node>(new NodeImpl(port, clock, random, options, events, pd));
}

NodeImpl::NodeImpl(roce::Port& port, Clock& clock, Random& random, const NodeOptions& options,
                   NodeEvents* events, roce::Pd pd)
    : port_(port),
      clock_(clock),
      random_(random),
      options_(options),
      events_(events),
      pd_(pd),
      budget_{0, kMaxBuffered},
      calls_(kMaxCalls) {}

NodeImpl::~NodeImpl() {
    ending_ = true;
    for (uint16_t s : services_)
        port_.stop_listening(s);
    for (auto& p : peers_)
        if (p) p->fail_all(Error::Cancelled);
    while (Call* c = failed_.pop_front()) { // dropped unanswered: whoever asked is going as well
        c->body = nullptr;
        c->pooled ? calls_.destroy(c) : delete c;
    }
    connections_.clear();
    handlers_.clear();
    peers_.clear();
    port_.destroy_pd(pd_);
}

Result<void> NodeImpl::listen(uint16_t service) {
    TRY(port_.listen(service, *this));
    services_.push_back(service);
    return {};
}

void NodeImpl::handle(Opcode op, Handler handler) {
    ASSERT(!handlers_.contains(op.value));
    handlers_[op.value] = std::move(handler);
}

PeerImpl* NodeImpl::find_peer(roce::Ipv4 address) {
    for (auto& p : peers_)
        if (p && p->address() == address) return p.get();
    return nullptr;
}

Result<PeerImpl*> NodeImpl::add_peer(roce::Ipv4 address, uint16_t service) {
    auto session = static_cast<uint32_t>(random_.next() | 1);
    auto make = [&](size_t index) {
        peers_[index] = std::make_unique<PeerImpl>(*this, address, service, session);
        peers_[index]->index = static_cast<uint16_t>(index);
        return peers_[index].get();
    };
    for (size_t i = 0; i < peers_.size(); i++)
        if (!peers_[i]) return make(i);
    if (peers_.size() < options_.max_peers) {
        peers_.emplace_back();
        return make(peers_.size() - 1);
    }
    // The one unused for longest, if nobody holds it. Its session ends: a client that comes back
    // after this sees another session number and knows.
    PeerImpl* oldest = nullptr;
    for (auto& p : peers_)
        if (!p->pinned && !p->attempt() && p->idle() &&
            (!p->connection() || now() - p->last_used() > kIdleBeforeEviction) &&
            now() - p->last_used() > kIdleBeforeEviction &&
            (!oldest || p->last_used() < oldest->last_used()))
            oldest = p.get();
    if (!oldest) return Fail(Error::Full);
    size_t index = oldest->index;
    if (Connection* c = oldest->connection()) c->close(Error::Disconnected);
    return make(index);
}

Result<Peer*> NodeImpl::peer(roce::Ipv4 address, uint16_t service) {
    PeerImpl* p = find_peer(address);
    if (!p) p = TRY(add_peer(address, service));
    p->pinned = true;
    return p;
}

PeerImpl* NodeImpl::peer_for(roce::Ipv4 address) {
    if (PeerImpl* p = find_peer(address)) return p;
    auto made = add_peer(address, kMonitorService);
    return made ? *made : nullptr;
}

uint64_t NodeImpl::id_of(const Connection& c) const {
    for (auto& e : connections_)
        if (e.connection.get() == &c) return e.id;
    return 0;
}

Connection* NodeImpl::find_connection(uint64_t id) {
    for (auto& e : connections_)
        if (e.id == id) return e.connection.get();
    return nullptr;
}

Result<Connection*> NodeImpl::add_connection(roce::Ipv4 address, bool outgoing) {
    size_t handshakes = 0;
    for (auto& e : connections_)
        if (e.connection->state() != Connection::State::Ready) handshakes++;
    if (handshakes >= kMaxHandshakes) return Fail(Error::Full);
    Own<ReceiveSlab> slab;
    if (!slabs_.empty()) {
        slab = std::move(slabs_.back());
        slabs_.pop_back();
    } else {
        slab.reset(new ReceiveSlab);
    }
    connections_.push_back({next_connection_++, std::make_unique<Connection>(
                                                    *this, address, outgoing, std::move(slab))});
    return connections_.back().connection.get();
}

Result<void> NodeImpl::start_connect(PeerImpl& p) {
    // Somebody there is about to prove itself to us: its connection will do.
    for (auto& e : connections_)
        if (e.connection->address() == p.address() &&
            e.connection->state() == Connection::State::AwaitProof)
            return Fail(Error::Busy);
    Connection* c = TRY(add_connection(p.address(), true));
    c->peer = &p;
    p.set_attempt(c);
    if (auto r = c->connect(p.service()); !r) {
        p.set_attempt(nullptr);
        c->close(r.error(), false);
        return Fail(r.error());
    }
    return {};
}

void NodeImpl::on_incoming(roce::Incoming& request) {
    roce::Ipv4 from = request.peer();
    for (auto& e : connections_) { // a newer attempt of the same peer replaces its older one
        if (e.connection->address() == from &&
            e.connection->state() == Connection::State::AwaitProof)
            e.connection->close(Error::Disconnected);
    }
    if (PeerImpl* p = find_peer(from); p && p->attempt()) {
        // Both called at once: the connection begun by the lower address stays.
        if (port_.address() < from) return request.reject({});
        p->attempt()->close(Error::Busy);
    }
    auto added = add_connection(from, false);
    if (!added) {
        LOG(Warning, "rpc", "too many connections wait for their proof; one was turned away");
        return request.reject({});
    }
    (*added)->accept(request);
}

void NodeImpl::on_ready(Connection& c) {
    PeerImpl* p = c.peer ? c.peer : peer_for(c.address());
    if (!p) return c.close(Error::Full);
    if (fenced(c.remote().incarnation)) return c.close(Error::Stale);
    // Stale would say that it is we who are out of date.
    if (superseded(c.remote())) return c.close(Error::Disconnected);
    supersede(c.remote());
    if (p->attempt() == &c) p->set_attempt(nullptr);
    if (Connection* attempt = p->attempt()) attempt->close(Error::Busy);
    if (Connection* old = p->connection()) old->close(Error::Disconnected);
    c.peer = p;
    p->adopt(c);
    if (events_) events_->on_peer_up(*p, c.remote());
}

void NodeImpl::on_closed(Connection& c, Error why, bool tell_peer) {
    closed_some_ = true;
    PeerImpl* p = std::exchange(c.peer, nullptr);
    if (!p || !tell_peer || ending_) return;
    if (p->connection() == &c) {
        p->lost();
        if (events_) events_->on_peer_down(*p, why);
    } else if (p->attempt() == &c) {
        p->attempt_failed(why);
    }
}

void NodeImpl::on_message(Connection& c, const Message& m) {
    if (c.peer && c.peer->connection() == &c) c.peer->on_message(m);
}

void NodeImpl::execute(PeerImpl& p, unsigned slot, uint32_t generation, const Message& m) {
    uint64_t token = uint64_t{p.index} << 48 | uint64_t{slot} << 32 | generation;
    Responder responder(this, token);
    auto found = handlers_.find(m.header.opcode);
    if (found == handlers_.end()) return responder.fail(Error::Unsupported);
    Identity caller = p.identity();
    found->second(caller, m.body, std::move(responder));
}

void NodeImpl::answer(uint64_t token, Error error, Bytes head, Bytes body) {
    if (ending_) return;
    size_t index = token >> 48;
    if (index >= peers_.size() || !peers_[index]) return;
    peers_[index]->answer(token >> 32 & 0xffff, static_cast<uint32_t>(token), error, head, body);
}

void NodeImpl::set_self(const Identity& self) {
    bool same = self.incarnation == options_.self.incarnation;
    options_.self = self;
    for (auto& e : connections_) {
        if (e.connection->state() != Connection::State::Ready) continue;
        if (same)
            e.connection->send_identity();
        else
            e.connection->close(Error::Disconnected);
    }
}

bool NodeImpl::fenced(Incarnation incarnation) const {
    return std::find(fenced_.begin(), fenced_.end(), incarnation) != fenced_.end();
}

namespace {
// Its place in managers_, or -1.
int manager_index(NodeKind kind) {
    bool manager = kind == NodeKind::Gpm || kind == NodeKind::Gmm || kind == NodeKind::Gsm;
    return manager ? static_cast<int>(kind) - static_cast<int>(NodeKind::Gpm) : -1;
}
} // namespace

bool NodeImpl::superseded(const Identity& who) const {
    int i = manager_index(who.kind);
    return i >= 0 && who.incarnation < managers_[static_cast<size_t>(i)];
}

void NodeImpl::supersede(const Identity& newest) {
    int i = manager_index(newest.kind);
    if (i < 0 || managers_[static_cast<size_t>(i)] == newest.incarnation) return;
    managers_[static_cast<size_t>(i)] = newest.incarnation;
    for (auto& e : connections_)
        if (e.connection->state() == Connection::State::Ready && superseded(e.connection->remote()))
            e.connection->close(Error::Disconnected);
}

void NodeImpl::fence(NodeId node, Incarnation incarnation) {
    if (!fenced(incarnation)) {
        if (fenced_.size() < kMaxFenced)
            fenced_.push_back(incarnation);
        else
            fenced_[fenced_next_++ % kMaxFenced] = incarnation;
    }
    for (auto& e : connections_)
        if (e.connection->state() != Connection::State::Closed &&
            e.connection->remote().incarnation == incarnation)
            e.connection->close(Error::Dead);
    for (auto& p : peers_)
        if (p && p->identity().incarnation == incarnation) p->fail_all(Error::Dead);
    LOG(Info, "rpc", "node %u incarnation %llx is fenced", node.value,
        static_cast<unsigned long long>(incarnation.value));
}

Call* NodeImpl::make_call() {
    if (Call* c = calls_.create()) {
        c->pooled = true;
        return c;
    }
    return new Call;
}

void NodeImpl::finish(Call* call, Result<Bytes> outcome) {
    ReplyHandler done = std::move(call->done);
    call->body = nullptr;
    call->pooled ? calls_.destroy(call) : delete call;
    if (done) done(outcome);
}

void NodeImpl::fail_later(Call* call, Error why) {
    call->failure = why;
    call->body = nullptr;
    failed_.push_back(*call);
}

void NodeImpl::reap() {
    if (!closed_some_) return;
    closed_some_ = false;
    for (size_t i = 0; i < connections_.size();) {
        if (connections_[i].connection->state() != Connection::State::Closed) {
            i++;
            continue;
        }
        Own<Connection> gone = std::move(connections_[i].connection);
        connections_[i] = std::move(connections_.back());
        connections_.pop_back();
        Own<ReceiveSlab> slab = gone->take_slab();
        gone.reset(); // destroys the QP: from here on the slab is ours again
        slabs_.push_back(std::move(slab));
    }
}

void NodeImpl::poll() {
    Nanos t = now();
    for (size_t i = 0; i < connections_.size(); i++) {
        Connection& c = *connections_[i].connection;
        if ((c.state() == Connection::State::Connecting ||
             c.state() == Connection::State::AwaitProof) &&
            c.handshake_deadline() <= t)
            c.close(Error::Timeout);
    }
    reap();
    for (size_t i = 0; i < peers_.size(); i++)
        if (peers_[i]) peers_[i]->poll(t);
    reap();
    // Only those there now: a completion that calls again and fails waits for the next round.
    for (size_t n = failed_.count(); n > 0; n--) {
        Call* c = failed_.pop_front();
        finish(c, Fail(c->failure));
    }
}

Nanos NodeImpl::next_deadline() const {
    if (closed_some_ || !const_cast<NodeImpl*>(this)->failed_.empty()) return Nanos{};
    Nanos next = kNever;
    for (auto& e : connections_)
        if (e.connection->state() != Connection::State::Ready)
            next = std::min(next, e.connection->handshake_deadline());
    for (auto& p : peers_)
        if (p) next = std::min(next, p->next_deadline());
    return next;
}

} // namespace tessera::rpc
