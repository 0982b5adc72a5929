// RPC frames. The fuzzer is the other end of an rpc::Node's connections: it knows the cluster key
// (or not, as the input says), connects or is connected to, and then sends segments, with sequence
// numbers, slots and lengths near what is expected, so that sessions are reached and not only the
// parser.
//
// Holds: every call of the node's own ends exactly once, every request is answered or dropped.
#include <deque>
#include <optional>
#include <vector>

#include "base/log.hpp"
#include "net/rpc/handshake.hpp"
#include "net/schema/opcodes.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/net/support/fake_port.hpp"

using namespace tessera;
using namespace tessera::test;
using schema::SegmentKind;

namespace {

constexpr roce::Ipv4 kNode{0x0a4d0064}, kEnemy{0x0a4d0065};
constexpr rpc::Opcode kEcho{0x7001}, kHold{0x7002};

struct World final : roce::QpEvents, roce::Listener {
    World() : node_random(3), enemy_random(4), node_port(net, kNode), enemy_port(net, kEnemy) {
        rpc::NodeOptions o;
        o.self = {rpc::NodeKind::Memory, NodeId(20), Incarnation(11)};
        o.credits = 4;
        o.max_peers = 2;
        node = std::move(*rpc::Node::create(node_port, net.clock, node_random, o));
        ASSERT(node->listen() && enemy_port.listen(rpc::kMonitorService, *this));
        node->handle(kEcho, [](const rpc::Identity&, Bytes request, rpc::Responder r) {
            r.reply(request, request.first(request.size() / 4));
        });
        node->handle(kHold, [this](const rpc::Identity&, Bytes, rpc::Responder r) {
            held.push_back(std::move(r));
        });
        enemy.self = {rpc::NodeKind::Process, NodeId(21), Incarnation(50)};
        enemy.credits = 4;
    }
    ~World() {
        for (roce::Qp* qp : qps)
            enemy_port.destroy_qp(*qp);
        held.clear();
        run_for(seconds(60)); // every deadline is over
        ASSERT(ended == called);
        node.reset();
    }

    void settle() {
        for (int quiet = 0; quiet < 2; quiet++) {
            if (net.deliver()) quiet = 0;
            node->poll();
        }
    }
    void run_for(Nanos t) {
        Nanos end = net.clock.now() + t;
        for (;;) {
            settle();
            if (net.clock.now() >= end) return;
            net.clock.set(
                std::min(end, std::max(node->next_deadline(), net.clock.now() + milliseconds(1))));
        }
    }

    Bytes hello(FuzzInput& in, uint8_t how) {
        ours = rpc::make_hello(enemy, enemy_random);
        if (how & 1) ours.slots = in.word();
        if (how & 2) ours.node = in.byte();
        if (how & 4) ours.kind = in.byte();
        if (how & 8) ours.incarnation = 49 + in.byte() % 4;
        return how & 16 ? bytes_of(ours).first(in.byte() % (sizeof ours + 1)) : bytes_of(ours);
    }
    roce::Qp* make_qp() {
        auto qp = enemy_port.create_qp({}, *this);
        for (uint64_t i = 0; i < 32; i++)
            (void)(*qp)->post_receive(i, receive[i]);
        consumed = 0;
        return *qp;
    }
    void connect(FuzzInput& in) {
        if (qps.size() >= 3) return;
        uint8_t how = in.byte();
        roce::Qp* qp = make_qp();
        qps.push_back(qp);
        std::optional<schema::Welcome> welcome;
        Bytes h = hello(in, how);
        (void)enemy_port.connect(*qp, {kNode, rpc::kMonitorService}, h, kNever,
                                 [&](Result<Bytes> r) {
                                     if (r && r->size() >= sizeof(schema::Welcome))
                                         welcome = load<schema::Welcome>(*r);
                                 });
        net.deliver();
        if (!welcome) return;
        schema::ProofBody p{};
        p.session = how & 32 ? in.byte() : 5;
        rpc::Handshake shake{kEnemy, kNode, ours, welcome->hello};
        rpc::Proof proof = rpc::prove(enemy.key, rpc::Side::Client, shake, p.session);
        std::memcpy(p.proof, proof.data(), proof.size());
        if (how & 64) p.proof[in.byte() % 32] ^= in.byte();
        schema::SegmentHeader s{};
        s.kind = static_cast<unsigned char>(SegmentKind::Proof);
        s.flags = 3;
        s.length = sizeof p;
        send(s, bytes_of(p));
        settle();
    }
    // The node connects to us: what we say to that was decided before.
    void on_incoming(roce::Incoming& request) override {
        Bytes theirs = request.private_data();
        ASSERT(theirs.size() >= sizeof(schema::Hello));
        if (answer & 1) return request.reject({});
        FuzzInput none{nullptr, 0};
        schema::Welcome w{};
        (void)hello(none, answer & 2 ? 4 : 0);
        w.hello = ours;
        w.refusal = answer & 4 ? answer : 0;
        w.session = answer >> 6;
        rpc::Handshake shake{kNode, kEnemy, load<schema::Hello>(theirs), w.hello};
        rpc::Proof proof = rpc::prove(enemy.key, rpc::Side::Server, shake, w.session);
        std::memcpy(w.proof, proof.data(), proof.size());
        if (answer & 8) w.proof[0] ^= 1;
        roce::Qp* qp = make_qp();
        Bytes all = bytes_of(w);
        if (request.accept(*qp, answer & 16 ? all.first(answer % sizeof w) : all))
            qps.push_back(qp);
        else
            enemy_port.destroy_qp(*qp);
    }
    void on_sent(roce::Qp&, uint64_t, roce::Status) override {}
    void on_received(roce::Qp& qp, const roce::Received& r) override {
        consumed++;
        Bytes segment = Bytes(receive[r.id]).first(r.length);
        ASSERT(segment.size() >= sizeof(schema::SegmentHeader));
        auto h = load<schema::SegmentHeader>(segment);
        ASSERT(h.length <= rpc::kMaxMessage);
        if (h.kind == static_cast<unsigned char>(SegmentKind::Request)) asked = h;
        (void)qp.post_receive(r.id, receive[r.id]);
    }
    void on_disconnected(roce::Qp& qp, Error) override {
        std::erase(qps, &qp);
        enemy_port.destroy_qp(qp);
    }

    void send(schema::SegmentHeader h, Bytes body) {
        if (qps.empty()) return;
        sent.emplace_back();
        auto& bytes = sent.back();
        Bytes head = bytes_of(h);
        bytes.assign(head.begin(), head.end());
        bytes.insert(bytes.end(), body.begin(), body.end());
        send_raw(bytes);
    }
    void send_raw(Bytes bytes) {
        roce::WorkRequest wr;
        wr.pieces[0] = bytes;
        (void)qps.back()->post_send(wr);
        net.deliver();
    }
    void segment(FuzzInput& in) {
        uint8_t how = in.byte();
        schema::SegmentHeader h{};
        h.kind = how & 1 ? static_cast<unsigned char>(SegmentKind::Request)
                         : static_cast<unsigned char>(in.byte() % 9);
        h.flags = how & 2 ? 3 : in.byte() & 3;
        h.opcode = in.byte() & 1 ? kEcho.value : kHold.value;
        h.slot = how & 4 ? in.byte() % 4 : in.byte();
        h.sequence = how & 8 ? ++sequence : in.byte();
        if (h.kind == static_cast<unsigned char>(SegmentKind::Reply) && how & 4) {
            h.slot = asked.slot;
            h.sequence = asked.sequence;
            h.error = in.byte();
        }
        h.consumed = how & 16 ? in.byte() : consumed;
        if (h.kind == static_cast<unsigned char>(SegmentKind::Ack)) {
            Bytes entries = in.take(in.byte());
            h.length = static_cast<uint32_t>(entries.size());
            return send(h, entries);
        }
        size_t size = how & 32 ? in.word() % 4073 : in.byte();
        h.length = how & 64 ? static_cast<uint32_t>(in.number()) : static_cast<uint32_t>(size);
        static const std::vector<std::byte> zeros(4096);
        send(h, Bytes(zeros).first(std::min<size_t>(size, 4072)));
    }
    void call(FuzzInput& in) {
        answer = in.byte();
        auto peer = node->peer(kEnemy);
        if (!peer) return;
        called++;
        std::vector<std::byte> body(in.byte() & 1 ? 100 : in.word() % rpc::kMaxMessage);
        (*peer)->call(kEcho, body, {},
                      {net.clock.now() + milliseconds(1 + in.word() % 20'000), (answer & 32) != 0},
                      [this](Result<Bytes>) { ended++; });
    }

    FakeNetwork net;
    SeededRandom node_random, enemy_random;
    FakePort node_port, enemy_port;
    rpc::NodeOptions enemy;
    schema::Hello ours{};
    std::array<std::array<std::byte, schema::kSegmentSize>, 32> receive;
    std::deque<std::vector<std::byte>> sent; // stays until it has gone
    std::vector<roce::Qp*> qps;
    Own<rpc::Node> node;
    std::vector<rpc::Responder> held; // goes before the node it answers through
    schema::SegmentHeader asked{};    // the last request of the node
    uint32_t consumed = 0;
    uint64_t sequence = 0, called = 0, ended = 0;
    uint8_t answer = 0;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    set_log_sink([](LogLevel, const char*, std::string_view) {});
    FuzzInput in{data, size};
    World w;
    for (int steps = 0; in.left > 0 && steps < 400; steps++) {
        switch (in.byte() % 16) {
            case 0:
                w.connect(in);
                break;
            case 1:
                w.call(in);
                break;
            case 2:
                w.run_for(milliseconds(in.number() % 5000));
                break;
            case 3:
                if (!w.held.empty()) {
                    if (in.byte() & 1) w.held.back().fail(Error::Stale);
                    w.held.pop_back();
                }
                break;
            case 4:
                if (!w.qps.empty()) {
                    w.enemy_port.destroy_qp(*w.qps.back());
                    w.qps.pop_back();
                }
                break;
            case 5:
                if (!w.qps.empty()) {
                    Bytes raw = in.take(in.byte());
                    w.sent.emplace_back(raw.begin(), raw.end());
                    w.send_raw(w.sent.back());
                }
                break;
            case 6: // the enemy starts again
                w.enemy.self.incarnation = Incarnation(50 + in.byte() % 4);
                break;
            case 7:
                w.node->fence(NodeId(in.byte() % 30), Incarnation(49 + in.byte() % 5));
                break;
            default:
                w.segment(in);
        }
        w.settle();
    }
    return 0;
}
