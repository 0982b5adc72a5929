#include "tests/unit/net/support/fake_port.hpp"

#include <algorithm>

namespace tessera::test {

using roce::Ipv4;

roce::Ipv4 FakeQp::peer() const {
    return other ? other->port.address() : Ipv4{};
}

Result<void> FakeQp::post_send(const roce::WorkRequest& wr) {
    if (!other || !events) return Fail(Error::Disconnected);
    if (send_room() == 0) return Fail(Error::Full);
    sends.push_back(wr);
    return {};
}

Result<void> FakeQp::post_receive(uint64_t id, MutableBytes buffer) {
    if (receives.size() >= options.receive_depth) return Fail(Error::Full);
    receives.emplace_back(id, buffer);
    return {};
}

static void disconnect(FakeQp& qp, Error why) {
    if (!qp.events) return;
    qp.other = nullptr;
    roce::QpEvents* e = qp.events;
    auto sends = std::move(qp.sends);
    qp.sends.clear();
    for (auto& s : sends)
        e->on_sent(qp, s.id, roce::Status::Flushed);
    qp.events = nullptr;
    e->on_disconnected(qp, why);
}

void FakeNetwork::partition(Ipv4 a, Ipv4 b, bool on) {
    if (on)
        cuts.insert(std::minmax(a, b));
    else
        cuts.erase(std::minmax(a, b));
}

bool FakeNetwork::cut(Ipv4 a, Ipv4 b) const {
    return cuts.contains(std::minmax(a, b));
}

void FakeNetwork::break_connections(Ipv4 a, Ipv4 b) {
    std::vector<FakeQp*> hit;
    for (FakeQp* q : qps)
        if (q->other &&
            std::minmax(q->port.address(), q->other->port.address()) == std::minmax(a, b))
            hit.push_back(q);
    for (FakeQp* q : hit)
        if (qps.contains(q)) disconnect(*q, Error::Timeout);
}

unsigned FakeNetwork::deliver() {
    unsigned done = 0;
    for (bool moved = true; moved;) {
        moved = false;
        while (!events.empty()) {
            auto e = std::move(events.front());
            events.pop_front();
            e();
            done++, moved = true;
        }
        std::vector<FakeQp*> snapshot(qps.begin(), qps.end());
        std::sort(snapshot.begin(), snapshot.end(),
                  [](FakeQp* a, FakeQp* b) { return a->port.address() < b->port.address(); });
        for (FakeQp* q : snapshot) {
            if (!qps.contains(q) || !q->other || q->sends.empty()) continue;
            if (cut(q->port.address(), q->other->port.address())) continue;
            FakeQp* to = q->other;
            if (to->receives.empty()) {
                rnr++;
                continue;
            }
            moved = true, done++;
            bool breaks = break_at && messages >= *break_at;
            if (breaks) break_at.reset();
            if (breaks && break_before_delivery) {
                break_connections(q->port.address(), to->port.address());
                continue;
            }
            roce::WorkRequest wr = q->sends.front();
            q->sends.pop_front();
            std::vector<std::byte> bytes;
            for (Bytes piece : wr.pieces)
                bytes.insert(bytes.end(), piece.begin(), piece.end());
            if (sniff) sniffed.push_back(bytes);
            auto [id, buffer] = to->receives.front();
            to->receives.pop_front();
            messages++;
            if (bytes.size() > buffer.size()) {
                break_connections(q->port.address(), to->port.address());
                continue;
            }
            std::copy(bytes.begin(), bytes.end(), buffer.begin());
            q->events->on_sent(*q, wr.id, roce::Status::Ok);
            if (qps.contains(to) && to->events)
                to->events->on_received(*to, {id, static_cast<uint32_t>(bytes.size()), false, {}});
            if (breaks && qps.contains(q) && q->other)
                break_connections(q->port.address(), q->other->port.address());
        }
    }
    return done;
}

Result<roce::Qp*> FakePort::create_qp(const roce::QpOptions& o, roce::QpEvents& e) {
    auto qp = std::make_unique<FakeQp>(*this, o, e);
    FakeQp* raw = qp.get();
    owned[raw] = std::move(qp);
    net.qps.insert(raw);
    return raw;
}

void FakePort::destroy_qp(roce::Qp& qp) {
    auto& q = static_cast<FakeQp&>(qp);
    net.qps.erase(&q);
    if (FakeQp* other = q.other) {
        q.other = nullptr;
        other->other = nullptr;
        FakeNetwork* n = &net;
        n->events.push_back([n, other] {
            if (n->qps.contains(other)) disconnect(*other, Error::Disconnected);
        });
    }
    owned.erase(&qp);
}

namespace {

struct FakeIncoming final : roce::Incoming {
    FakeNetwork* net;
    FakeQp* from;
    FakePort* to;
    std::vector<std::byte> hello;
    std::shared_ptr<Function<void(Result<Bytes>), 64>> done;

    Ipv4 peer() const override { return from->port.address(); }
    roce::PrivateData private_data() const override { return hello; }
    Result<void> accept(roce::Qp& qp, roce::PrivateData reply) override {
        if (!net->qps.contains(from)) return Fail(Error::Disconnected);
        auto& mine = static_cast<FakeQp&>(qp);
        mine.other = from;
        from->other = &mine;
        std::vector<std::byte> copy(reply.begin(), reply.end());
        net->events.push_back([n = net, f = from, d = done, copy] {
            if (n->qps.contains(f)) (*d)(Bytes(copy));
        });
        return {};
    }
    void reject(roce::PrivateData) override {
        net->events.push_back([n = net, f = from, d = done] {
            if (n->qps.contains(f)) (*d)(Fail(Error::NotPermitted));
        });
    }
};

} // namespace

Result<void> FakePort::connect(roce::Qp& qp, const roce::Endpoint& to, roce::PrivateData hello,
                               Nanos, Function<void(Result<Bytes>), 64> done) {
    auto incoming = std::make_shared<FakeIncoming>();
    incoming->net = &net;
    incoming->from = static_cast<FakeQp*>(&qp);
    incoming->hello.assign(hello.begin(), hello.end());
    incoming->done = std::make_shared<Function<void(Result<Bytes>), 64>>(std::move(done));
    net.events.push_back([incoming, to] {
        FakeNetwork* n = incoming->net;
        if (!n->qps.contains(incoming->from)) return;
        if (n->cut(incoming->from->port.address(), to.address)) return; // the deadline ends it
        auto port = n->ports.find(to.address);
        if (port == n->ports.end()) return;
        auto listener = port->second->listeners.find(to.service);
        if (listener == port->second->listeners.end())
            return (*incoming->done)(Fail(Error::NotFound));
        incoming->to = port->second;
        listener->second->on_incoming(*incoming);
    });
    return {};
}

} // namespace tessera::test
