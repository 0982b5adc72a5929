// FakeCluster: rpc::Nodes that reach each other through one queue instead of a network. Nothing is
// lost or late; a node can be cut off, and then calls to it end in Timeout. pump() delivers until
// all is quiet.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "net/rpc/responder_target.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::rpc {

class FakeNode;

class FakeCluster final : ResponderTarget {
  public:
    // The address doubles as NodeId. Added again: a new incarnation that knows nothing.
    FakeNode& add(roce::Ipv4 address, NodeKind kind);
    void pump();
    void cut_off(roce::Ipv4 address, bool cut) { cut_[address] = cut; }
    void kill(roce::Ipv4 address) { dead_[address] = true; } // fenced: calls end in Dead
    uint64_t calls() const { return next_; }

  private:
    friend class FakePeer;
    struct Call {
        roce::Ipv4 to;
        Identity from;
        Opcode opcode;
        std::vector<std::byte> request;
        ReplyHandler done;
    };
    void answer(uint64_t token, Error error, Bytes head, Bytes body) override;

    std::map<roce::Ipv4, std::unique_ptr<FakeNode>> nodes_;
    std::map<roce::Ipv4, bool> cut_;
    std::map<roce::Ipv4, bool> dead_;
    std::deque<std::pair<uint64_t, Call>> queue_;
    std::map<uint64_t, ReplyHandler> waiting_;
    struct Reply {
        ReplyHandler done;
        Error error;
        std::vector<std::byte> body;
    };
    std::deque<Reply> replies_;
    uint64_t next_ = 1;
    uint64_t boots_ = 0;
};

class FakePeer final : public Peer {
  public:
    FakePeer(FakeCluster& cluster, FakeNode& from, roce::Ipv4 to)
        : cluster_(cluster), from_(from), to_(to) {}
    void call(Opcode op, Bytes head, Bytes body, const CallOptions&, ReplyHandler done) override;
    roce::Ipv4 address() const override { return to_; }
    const Identity& identity() const override;
    bool connected() const override { return true; }

  private:
    FakeCluster& cluster_;
    FakeNode& from_;
    roce::Ipv4 to_;
};

class FakeNode final : public Node {
  public:
    FakeNode(FakeCluster& cluster, const Identity& self) : cluster_(cluster), self(self) {}
    Result<void> listen(uint16_t) override { return {}; }
    void handle(Opcode op, Handler handler) override { handlers[op] = std::move(handler); }
    Result<Peer*> peer(roce::Ipv4 address, uint16_t) override {
        auto& p = peers_[address];
        if (!p) p = std::make_unique<FakePeer>(cluster_, *this, address);
        return p.get();
    }
    void set_self(const Identity& s) override { self = s; }
    void fence(NodeId, Incarnation) override {}
    void poll() override {}
    Nanos next_deadline() const override { return kNever; }

  private:
    FakeCluster& cluster_;
    std::map<roce::Ipv4, std::unique_ptr<FakePeer>> peers_;

  public:
    Identity self;
    std::map<Opcode, Handler> handlers;
};

inline FakeNode& FakeCluster::add(roce::Ipv4 address, NodeKind kind) {
    Identity self{kind, NodeId(address.value), Incarnation(1000 * ++boots_ + address.value)};
    auto& slot = nodes_[address];
    slot = std::make_unique<FakeNode>(*this, self);
    return *slot;
}

inline const Identity& FakePeer::identity() const {
    static const Identity none;
    auto at = cluster_.nodes_.find(to_);
    return at == cluster_.nodes_.end() ? none : at->second->self;
}

inline void FakePeer::call(Opcode op, Bytes head, Bytes body, const CallOptions&,
                           ReplyHandler done) {
    FakeCluster::Call c{to_, from_.self, op, {}, std::move(done)};
    c.request.assign(head.begin(), head.end());
    c.request.insert(c.request.end(), body.begin(), body.end());
    ASSERT(c.request.size() <= kMaxMessage);
    cluster_.queue_.emplace_back(cluster_.next_++, std::move(c));
}

inline void FakeCluster::answer(uint64_t token, Error error, Bytes head, Bytes body) {
    auto at = waiting_.find(token);
    ASSERT(at != waiting_.end());
    Reply r{std::move(at->second), error, {}};
    r.body.assign(head.begin(), head.end());
    r.body.insert(r.body.end(), body.begin(), body.end());
    ASSERT(r.body.size() <= kMaxMessage);
    waiting_.erase(at);
    replies_.push_back(std::move(r));
}

inline void FakeCluster::pump() {
    while (!queue_.empty() || !replies_.empty()) {
        if (!replies_.empty()) {
            Reply r = std::move(replies_.front());
            replies_.pop_front();
            if (r.error != Error{})
                r.done(std::unexpected(r.error));
            else
                r.done(Bytes(r.body));
            continue;
        }
        auto [token, c] = std::move(queue_.front());
        queue_.pop_front();
        if (dead_[c.to]) {
            c.done(std::unexpected(Error::Dead));
            continue;
        }
        auto node = nodes_.find(c.to);
        if (node == nodes_.end() || cut_[c.to]) {
            c.done(std::unexpected(Error::Timeout));
            continue;
        }
        auto handler = node->second->handlers.find(c.opcode);
        if (handler == node->second->handlers.end()) {
            c.done(std::unexpected(Error::Unsupported));
            continue;
        }
        waiting_[token] = std::move(c.done);
        handler->second(c.from, c.request, Responder(this, token));
    }
}

} // namespace tessera::rpc
