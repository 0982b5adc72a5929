// Page messages as a memory monitor receives them: session requests by RPC, and on page connections
// stream operations, writes and reads of one line, in any order, from two peers that proved the
// cluster key. Sequence numbers and tickets are right unless the input says otherwise, so that what
// lies behind those checks is reached too.
//
// Holds: what is answered is answered once, no vNode uses more than its quota, no frame is lost.
#include <algorithm>
#include <deque>
#include <map>

#include "base/log.hpp"
#include "monitors/memory/core/memory_monitor.hpp"
#include "net/schema/page.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/monitors/support/fake_cluster.hpp"
#include "tests/unit/monitors/support/heap_frames.hpp"
#include "tests/unit/net/support/virtual_clock.hpp"

using namespace tessera;
using namespace tessera::test;

namespace {

constexpr VnodeId kVnode{7};
constexpr roce::Ipv4 kMonitor{1};
constexpr uint64_t kQuota = 24;

struct PageQp final : roce::Qp {
    PageQp(const roce::QpOptions& o, roce::QpEvents& e) : options(o), events(e) {}
    Result<void> post_send(const roce::WorkRequest& wr) override {
        if (sends.size() == options.send_depth) return Fail(Error::Full);
        sends.push_back(wr.id);
        return {};
    }
    Result<void> post_receive(uint64_t id, MutableBytes buffer) override {
        if (receives.size() == options.receive_depth) return Fail(Error::Full);
        receives.emplace_back(id, buffer);
        return {};
    }
    uint32_t number() const override { return 17; }
    roce::Ipv4 peer() const override { return roce::Ipv4(3); }
    uint32_t path_mtu() const override { return 4096; }
    unsigned send_room() const override {
        return static_cast<unsigned>(options.send_depth - sends.size());
    }
    roce::QpOptions options;
    roce::QpEvents& events;
    std::deque<uint64_t> sends;
    std::deque<std::pair<uint64_t, MutableBytes>> receives;
};

// The responder's side of a port: queue pairs and regions, whose packets the fuzzer makes.
struct PagePort final : roce::Port {
    Result<roce::Pd> create_pd() override { return roce::Pd(++last_pd); }
    void destroy_pd(roce::Pd) override {}
    Result<roce::Qp*> create_qp(const roce::QpOptions& o, roce::QpEvents& e) override {
        qps.push_back(std::make_unique<PageQp>(o, e));
        return qps.back().get();
    }
    void destroy_qp(roce::Qp& qp) override {
        std::erase_if(qps, [&](auto& q) { return q.get() == &qp; });
    }
    Result<void> connect(roce::Qp&, const roce::Endpoint&, roce::PrivateData, Nanos,
                         Function<void(Result<Bytes>), 64>) override {
        return Fail(Error::Unsupported);
    }
    Result<void> listen(uint16_t, roce::Listener& l) override {
        listener = &l;
        return {};
    }
    void stop_listening(uint16_t) override { listener = nullptr; }
    Result<roce::Rkey> register_memory(roce::Pd, MutableBytes, uint64_t, roce::Access) override {
        return Fail(Error::Unsupported);
    }
    Result<roce::Rkey> register_region(roce::Pd pd, uint64_t base, uint64_t length, roce::Access,
                                       roce::RegionBackend& backend) override {
        if (regions.size() >= 8) return Fail(Error::Full);
        regions[++last_rkey] = {pd, base, length, &backend};
        return roce::Rkey(last_rkey);
    }
    void deregister(roce::Rkey rkey) override { ASSERT(regions.erase(rkey.value) == 1); }
    unsigned poll() override { return 0; }
    Nanos next_deadline() const override { return kNever; }
    roce::Ipv4 address() const override { return kMonitor; }

    bool alive(const roce::Qp* qp) const {
        return std::any_of(qps.begin(), qps.end(), [&](auto& q) { return q.get() == qp; });
    }

    struct Region {
        roce::Pd pd;
        uint64_t base, length;
        roce::RegionBackend* backend;
    };
    roce::Listener* listener = nullptr;
    std::vector<std::unique_ptr<PageQp>> qps;
    std::map<uint32_t, Region> regions;
    uint32_t last_pd = 0, last_rkey = 0;
};

struct Request final : roce::Incoming {
    explicit Request(Bytes hello) : hello(hello) {}
    roce::Ipv4 peer() const override { return roce::Ipv4(3); }
    roce::PrivateData private_data() const override { return hello; }
    Result<void> accept(roce::Qp& qp, roce::PrivateData) override {
        accepted = &qp;
        return {};
    }
    void reject(roce::PrivateData) override {}
    Bytes hello;
    roce::Qp* accepted = nullptr;
};

// Files 1 and 2 have three pages; some answers come later.
struct Files final : mmon::PageProvider {
    explicit Files(env::FramePool& f) : frames(f) {}
    void get_page(VnodeId, FileId f, Generation, PageNo page, GotPage done) override {
        ASSERT(page.value < uint64_t{1} << 52); // its byte offset is a number
        if (f.value > 2) return done(Fail(Error::Stale));
        if (page.value == 1) return waiting.push_back(std::move(done));
        answer(page, done);
    }
    void answer(PageNo page, GotPage& done) {
        if (page.value > 3) return done(mmon::FilePage{mmon::FilePage::Kind::End, {}});
        auto frame = frames.allocate();
        if (!frame) return done(Fail(frame.error()));
        done(mmon::FilePage{mmon::FilePage::Kind::Present, *frame});
    }
    void put_page(VnodeId, FileId f, Generation, PageNo page, Bytes data, Stored done) override {
        ASSERT(data.size() == kPageSize && page.value < uint64_t{1} << 52);
        done(f.value > 2 ? Result<void>(Fail(Error::Stale)) : Result<void>());
    }
    uint64_t reclaim(uint64_t) override { return 0; }
    void answer_waiting() {
        for (auto& done : std::exchange(waiting, {}))
            answer(PageNo(1), done);
    }
    env::FramePool& frames;
    std::vector<GotPage> waiting;
};

// A process monitor as the fuzzer plays it.
struct Client {
    rpc::FakeNode* node = nullptr;
    uint64_t session = 0, ticket = 0, executed = 0;
    roce::Qp* qp = nullptr;
};

struct World {
    World() : random(5), frames(200), files(frames) {
        mmon::MemoryMonitorOptions o;
        o.vregion_shift = 21;
        o.window = 4;
        o.max_sessions = 3;
        o.reserve_frames = 4;
        monitor = std::move(*mmon::MemoryMonitor::create(
            port, cluster.add(kMonitor, rpc::NodeKind::Memory), frames, clock, random, &files, o));
        monitor->set_quota(kVnode, kQuota);
        for (uint32_t i = 0; i < 2; i++)
            clients[i].node = &cluster.add(roce::Ipv4(3 + i), rpc::NodeKind::Process);
    }
    ~World() {
        files.answer_waiting();
        transmitted();
        monitor->remove_vnode(kVnode);
        while (monitor->poll()) {
        }
        cluster.pump();
        ASSERT(answered == asked);
        ASSERT(monitor->counters().frames == 0 && monitor->counters().credits == 0);
        monitor.reset();
        ASSERT(port.qps.empty() && port.regions.empty());
        ASSERT(frames.counts().free == frames.counts().total);
    }

    void call(Client& c, rpc::Opcode op, Bytes head, Bytes body = {}) {
        asked++;
        (*c.node->peer(kMonitor, 0))->call(op, head, body, {}, [this, &c, op](Result<Bytes> r) {
            answered++;
            if (!r || op != schema::kPageOpen) return;
            auto open = load<schema::PageOpenReply>(*r);
            ASSERT(r->size() == sizeof open + open.refused_count * sizeof(schema::PageRefused));
            c.session = open.session;
            c.ticket = open.ticket;
            c.executed = open.executed;
        });
        cluster.pump();
    }
    void connect(Client& c, FuzzInput& in, bool honest) {
        schema::PageHello hello;
        hello.magic = schema::kPageMagic;
        hello.vnode = kVnode.value;
        hello.session = c.session;
        hello.ticket = honest ? c.ticket : in.byte();
        hello.incarnation = c.node->self.incarnation.value;
        Bytes bytes = bytes_of(hello);
        Request r(honest ? bytes : bytes.first(in.byte() % (sizeof hello + 1)));
        port.listener->on_incoming(r);
        if (r.accepted) c.qp = r.accepted;
    }
    PageQp* qp_of(Client& c) {
        if (!c.qp || !port.alive(c.qp)) return nullptr;
        return static_cast<PageQp*>(c.qp);
    }
    void send(Client& c, Bytes message) {
        PageQp* qp = qp_of(c);
        if (!qp || qp->receives.empty()) return;
        auto [id, buffer] = qp->receives.front();
        qp->receives.pop_front();
        size_t n = std::min(message.size(), buffer.size());
        std::copy_n(message.begin(), n, buffer.begin());
        qp->events.on_received(*qp, {.id = id, .length = static_cast<uint32_t>(n)});
    }
    // What the responder checks before it asks a backend is checked here.
    void access(Client& c, FuzzInput& in, bool write) {
        PageQp* qp = qp_of(c);
        if (!qp || port.regions.empty()) return;
        auto at = port.regions.begin();
        std::advance(at, in.byte() % port.regions.size());
        auto& [rkey, region] = *at;
        uint8_t how = in.byte();
        uint64_t address = (in.byte() % 4) * kPageSize + (how & 1 ? in.byte() : 0);
        size_t length = how & 2 ? in.word() : kPageSize;
        if (region.pd != qp->options.pd || length == 0) return;
        if (address > region.length || length > region.length - address) return;
        if (!write) {
            auto piece = region.backend->read(*qp, region.base + address, length);
            if (piece) ASSERT(!piece->bytes.empty() && piece->bytes.size() <= length);
            if (piece && piece->hold) holds.push_back(piece->hold);
            return;
        }
        if (qp->receives.empty()) return;
        roce::RegionBackend* backend = region.backend;
        auto target = backend->begin_write(*qp, region.base + address, length);
        if (!target) return;
        ASSERT(target->bytes.size() == length);
        std::ranges::fill(target->bytes, std::byte{in.byte()});
        if (how & 4) return backend->abort_write(*qp, target->token);
        std::optional<uint32_t> immediate;
        if (!(how & 8)) immediate = in.byte();
        if (backend->finish_write(*qp, target->token, immediate)) {
            c.executed++;
            uint64_t id = qp->receives.front().first;
            qp->receives.pop_front();
            qp->events.on_received(*qp, {.id = id, .write = true, .immediate = immediate});
        }
    }
    void transmitted() {
        for (net::TxHold* hold : std::exchange(holds, {}))
            hold->transmitted();
    }
    void check() { ASSERT(monitor->use(kVnode).frames + monitor->use(kVnode).credits <= kQuota); }

    VirtualClock clock;
    SeededRandom random;
    env::HeapFrames frames;
    Files files;
    rpc::FakeCluster cluster;
    PagePort port;
    Own<mmon::MemoryMonitor> monitor;
    Client clients[2];
    std::vector<net::TxHold*> holds;
    uint64_t asked = 0, answered = 0;
};

void step(World& w, FuzzInput& in) {
    uint8_t what = in.byte();
    Client& c = w.clients[what >> 7];
    bool honest = !(what & 0x40);
    switch (what % 16) {
        case 0: {
            schema::PageOpenRequest q{};
            q.vnode = honest ? kVnode.value : in.byte();
            q.session = in.byte() & 1 ? c.session : in.byte() & 1;
            return w.call(c, schema::kPageOpen, bytes_of(q));
        }
        case 1:
            return w.connect(c, in, honest);
        case 2: {
            schema::PageFetchRequest q{};
            q.vnode = kVnode.value;
            q.count = honest ? 1 + in.byte() % 8 : in.dword();
            q.session = c.session;
            q.object = in.byte() % 4;
            q.file = in.byte() % 4;
            q.first = in.number();
            q.after_sequence = c.executed + (honest ? 0 : in.byte());
            return w.call(c, schema::kPageFetch, bytes_of(q));
        }
        case 3: {
            schema::PageStoreRequest q{};
            q.vnode = kVnode.value;
            q.session = c.session;
            q.file = in.byte() % 4;
            q.page = in.number();
            std::vector<std::byte> page(honest ? kPageSize : in.word() % (2 * kPageSize));
            return w.call(c, schema::kPageStore, bytes_of(q), page);
        }
        case 4: {
            schema::PageCloseRequest q{};
            q.vnode = kVnode.value;
            q.session = honest ? c.session : in.byte();
            return w.call(c, schema::kPageClose, bytes_of(q));
        }
        case 5: // not even the right size
            return w.call(c, rpc::Opcode(static_cast<uint16_t>(0x2000 + in.byte() % 4)),
                          in.take(in.byte()));
        case 6:
            if (PageQp* qp = w.qp_of(c)) qp->events.on_disconnected(*qp, Error::Disconnected);
            return;
        case 7:
            if (!honest) w.transmitted();
            if (PageQp* qp = w.qp_of(c); qp && !qp->sends.empty()) {
                uint64_t id = qp->sends.front();
                qp->sends.pop_front();
                qp->events.on_sent(*qp, id, roce::Status::Ok);
            }
            return;
        case 8:
            w.files.answer_waiting();
            w.cluster.pump();
            return;
        case 9:
            w.monitor->revoke_file(kVnode, FileId(in.byte() % 3), Generation(1), PageNo(0), 3,
                                   NodeId(in.byte() % 5), [] {});
            return;
        case 10:
            w.clock.set(w.clock.now() + seconds(in.byte()));
            w.monitor->poll();
            w.cluster.pump();
            return;
        case 11: // a new incarnation, now and then with the old one fenced
            if (!honest) w.monitor->fence(c.node->self.node, c.node->self.incarnation);
            c.node->self.incarnation = Incarnation(c.node->self.incarnation.value + 1);
            return;
        case 12:
            return w.access(c, in, true);
        case 13:
            return w.access(c, in, false);
        default: {
            if (!honest) return w.send(c, in.take(in.byte()));
            schema::StreamOp op{};
            op.kind = in.byte() % 12;
            op.sequence = c.executed + 1;
            op.object = in.byte() % 4;
            op.other = in.number();
            op.first = in.number();
            op.pages = in.number();
            c.executed++;
            return w.send(c, bytes_of(op));
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    set_log_sink([](LogLevel, const char*, std::string_view) {});
    FuzzInput in{data, size};
    World w;
    for (int i = 0; i < 2; i++) { // both begin connected, with some credit
        schema::PageOpenRequest q{};
        q.vnode = kVnode.value;
        w.call(w.clients[i], schema::kPageOpen, bytes_of(q));
        w.connect(w.clients[i], in, true);
        schema::StreamOp op{};
        op.kind = static_cast<uint16_t>(schema::StreamKind::CreditRequest);
        op.pages = 4;
        for (uint64_t object = 1; object <= 3; object++) {
            op.sequence = ++w.clients[i].executed;
            w.send(w.clients[i], bytes_of(op));
            op.kind = static_cast<uint16_t>(object == 1 ? schema::StreamKind::ObjectCreate
                                                        : schema::StreamKind::VregionOpen);
            op.object = 1;
            op.first = 0;
        }
        w.monitor->poll();
    }
    for (int steps = 0; in.left > 0 && steps < 500; steps++) {
        step(w, in);
        if (in.byte() & 1) w.monitor->poll();
        w.check();
    }
    return 0;
}
