// Join and membership messages: what managers receive from components and clients, what components
// receive from managers, and what answers a component's own calls get. Messages are well-formed
// with fields near those in use, or have bytes of the input appended (which protobuf reads as more
// fields), or are those bytes alone.
//
// Holds: what is asked is answered once or still waits, directory versions only grow.
#include <google/protobuf/stubs/logging.h>

#include <vector>

#include "base/log.hpp"
#include "gmm/service.hpp"
#include "gpm/service.hpp"
#include "gsm/service.hpp"
#include "net/cluster/membership.hpp"
#include "net/schema/opcodes.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/monitors/support/fake_cluster.hpp"
#include "tests/unit/net/support/virtual_clock.hpp"

using namespace tessera;
using namespace tessera::test;
using google::protobuf::MessageLite;
using rpc::NodeKind;

namespace {

constexpr roce::Ipv4 kGpm{2}, kGmm{3}, kGsm{4}, kProcess{5}, kStorage{6}, kEnemy{7};
constexpr roce::Ipv4 kAll[] = {kGpm, kGmm, kGsm, kProcess, kStorage};

struct Component final : cluster::MembershipEvents {
    Component(rpc::FakeNode& node, roce::Ipv4 self, roce::Ipv4 manager, Clock& clock,
              Random& random) {
        cluster::MembershipOptions o;
        o.kind = node.self.kind;
        o.name = node.self.kind == NodeKind::Process ? "p1" : "s1";
        o.self = self;
        o.manager = o.gpm = manager;
        o.incarnation = node.self.incarnation;
        member = std::move(*cluster::Membership::create(node, clock, random, o, *this));
    }
    cluster::Resources resources() override { return {}; }
    size_t inventory(std::span<cluster::Mount> out) override {
        size_t n = std::min(out.size(), mounts.size());
        std::copy_n(mounts.begin(), n, out.begin());
        return n;
    }
    void on_fenced_self() override { fenced = true; }
    void on_mount(const cluster::Mount& m, cluster::Done done) override {
        ASSERT(m.vnode.id);
        if (mounts.size() < 40) mounts.push_back(m);
        done({});
    }
    void on_unmount(VnodeId, cluster::Done done) override {
        if (!mounts.empty()) mounts.pop_back();
        done({});
    }
    void on_mount_storage(VnodeId, std::string_view, bool, cluster::Done done) override {
        done({});
    }
    void on_option(std::string_view name, std::string_view value, cluster::Done done) override {
        ASSERT(name.size() < 32 && value.size() < 64);
        done({});
    }
    Own<cluster::Membership> member;
    std::vector<cluster::Mount> mounts;
    bool fenced = false;
};

// A manager's database lives on from run to run: making one costs more than a run.
net::host::StateDb& empty_db(int which) {
    static Own<net::host::StateDb> dbs[3];
    if (!dbs[which]) dbs[which] = std::move(*net::host::StateDb::open(":memory:"));
    for (const char* table : {"component", "lease", "meta", "mount", "quota", "vnode"})
        if (auto all = dbs[which]->all(table))
            for (auto& r : *all)
                (void)dbs[which]->erase(table, r.key);
    return *dbs[which];
}

struct World {
    World() : random(9) {
        gpm::ServiceOptions o;
        o.gpm = kGpm, o.gmm = kGmm, o.gsm = kGsm;
        o.incarnation = Incarnation(1);
        gpm = std::move(
            *gpm::Service::create(add(kGpm, NodeKind::Gpm), clock, random, empty_db(0), o));
        net::host::ComponentManagerOptions c;
        c.gpm = kGpm;
        c.self = NodeKind::Gmm, c.serves = NodeKind::Memory, c.address = kGmm;
        c.incarnation = Incarnation(2);
        gmm = std::move(
            *gmm::Service::create(add(kGmm, NodeKind::Gmm), clock, random, empty_db(1), c));
        c.self = NodeKind::Gsm, c.serves = NodeKind::Storage, c.address = kGsm;
        c.incarnation = Incarnation(3);
        gsm = std::move(*gsm::Service::create(add(kGsm, NodeKind::Gsm), clock, random, empty_db(2),
                                              c, std::string()));
        // One component follows the real GPM, the other the fuzzer.
        p.emplace(add(kProcess, NodeKind::Process), kProcess, kGpm, clock, random);
        s.emplace(add(kStorage, NodeKind::Storage), kStorage, kEnemy, clock, random);
        enemy = &add(kEnemy, NodeKind::Memory);
        for (rpc::Opcode op : {schema::kJoin, schema::kHeartbeat, schema::kDirectory})
            enemy->handle(op, [this, op](const rpc::Identity&, Bytes, rpc::Responder r) {
                answers.emplace_back(op, std::move(r));
            });
        poll();
    }
    ~World() {
        answers.clear();
        cluster.pump();
    }
    rpc::FakeNode& add(roce::Ipv4 ip, NodeKind kind) {
        rpc::FakeNode& n = cluster.add(ip, kind);
        n.self.incarnation = Incarnation(kind == NodeKind::Process   ? 51
                                         : kind == NodeKind::Storage ? 52
                                                                     : ip.value - 1);
        return n;
    }
    void poll() {
        uint64_t before = gpm->registry().version();
        for (int i = 0; i < 2; i++) {
            gpm->poll();
            gmm->poll();
            gsm->poll();
            p->member->poll();
            s->member->poll();
            cluster.pump();
        }
        ASSERT(gpm->registry().version() >= before);
    }

    VirtualClock clock;
    SeededRandom random;
    rpc::FakeCluster cluster;
    Own<gpm::Service> gpm;
    Own<gmm::Service> gmm;
    Own<gsm::Service> gsm;
    std::optional<Component> p, s;
    rpc::FakeNode* enemy;
    std::vector<std::pair<rpc::Opcode, rpc::Responder>> answers; // that the fuzzer owes
};

std::string name(FuzzInput& in) {
    static constexpr const char* kNames[] = {"p1", "s1", "m1", "home", "", "gmm"};
    uint8_t b = in.byte();
    return b < 0xf0 ? kNames[b % 6] : std::string(in.byte(), static_cast<char>(in.byte()));
}

uint64_t incarnation(FuzzInput& in) {
    uint8_t b = in.byte();
    return b < 0xf0 ? 49 + b % 8 : in.number();
}

uint32_t node(FuzzInput& in) {
    uint8_t b = in.byte();
    return b < 0xf0 ? b % 20 : in.dword();
}

void fill(control::Vnode& v, FuzzInput& in) {
    v.set_vnode(in.byte() % 4);
    v.set_name(name(in));
    v.set_state(static_cast<control::VnodeState>(in.byte() % 7));
    v.set_storage_node(node(in));
    v.set_storage_ip(in.byte());
    v.set_mount_epoch(in.byte());
    for (int n = in.byte() % 10; n > 0; n--) {
        auto* h = v.add_homes();
        h->set_node(node(in));
        h->set_ip(in.byte());
        h->set_quota_pages(in.number());
    }
    v.mutable_limits()->set_memory_pages(in.number());
}

void fill(control::Resources& r, FuzzInput& in) {
    r.set_memory_bytes(in.byte() * (uint64_t{1} << 24));
    r.set_memory_free_bytes(in.number());
    r.set_disk_free_bytes(in.number());
    r.set_load_permille(in.byte());
}

void fill(control::Component& c, FuzzInput& in) {
    c.set_node(node(in));
    c.set_kind(static_cast<control::Kind>(in.byte() % 9));
    c.set_ip(in.byte() % 9);
    c.set_incarnation(incarnation(in));
    c.set_state(static_cast<control::ComponentState>(in.byte() % 7));
    c.set_name(name(in));
    c.set_version(in.number());
}

// The bytes of a message, spoilt as the input says.
std::string spoil(const MessageLite& m, FuzzInput& in) {
    std::string all = m.SerializeAsString();
    uint8_t how = in.byte();
    if (how < 0xd0) return all;
    Bytes more = in.take(in.byte());
    if (how < 0xe8) all.clear();
    all.append(text_of(more));
    if (how & 1 && !all.empty()) all.resize(in.word() % all.size());
    return all;
}

void request(World& w, FuzzInput& in) {
    uint8_t who = in.byte();
    w.enemy->self.kind = static_cast<NodeKind>(who % 8);
    w.enemy->self.incarnation = Incarnation(incarnation(in));
    roce::Ipv4 to = kAll[in.byte() % std::size(kAll)];
    auto send = [&](rpc::Opcode op, const MessageLite& m) {
        std::string bytes = spoil(m, in);
        (*w.enemy->peer(to, 0))
            ->call(op, bytes_of(std::string_view(bytes)), {}, {}, [](Result<Bytes>) {});
        w.cluster.pump();
    };
    switch (in.byte() % 16) {
        case 0:
        case 1: {
            control::JoinRequest m;
            m.set_kind(static_cast<control::Kind>(who % 9));
            m.set_name(name(in));
            m.set_ip(in.byte() % 9);
            m.set_incarnation(in.byte() < 0xe0 ? w.enemy->self.incarnation.value : in.byte());
            m.set_node(node(in));
            fill(*m.mutable_resources(), in);
            for (int n = in.byte() % 4; n > 0; n--) {
                auto* h = m.add_held();
                fill(*h->mutable_vnode(), in);
                h->set_pid_first(in.dword());
                h->set_pid_count(in.dword());
            }
            m.set_directory_version(in.number());
            m.set_uptime_ms(in.dword());
            return send(schema::kJoin, m);
        }
        case 2: {
            control::HeartbeatRequest m;
            m.set_node(node(in));
            m.set_incarnation(w.enemy->self.incarnation.value);
            fill(*m.mutable_resources(), in);
            m.set_directory_version(in.number());
            for (int n = in.byte() % 3; n > 0; n--) {
                auto* r = m.add_reports();
                r->set_node(node(in));
                r->set_incarnation(incarnation(in));
                r->set_state(static_cast<control::ComponentState>(in.byte() % 7));
            }
            return send(schema::kHeartbeat, m);
        }
        case 3: {
            control::DirectoryRequest m;
            m.set_known_version(in.number());
            m.set_known_lineage(in.byte() & 1 ? w.gpm->registry().lineage() : 1);
            return send(schema::kDirectory, m);
        }
        case 4: {
            control::LeaveRequest m;
            m.set_node(node(in));
            m.set_incarnation(incarnation(in));
            return send(schema::kLeave, m);
        }
        case 5: {
            control::FenceRequest m;
            m.set_node(node(in));
            m.set_incarnation(incarnation(in));
            return send(schema::kFence, m);
        }
        case 6: {
            control::MountVnodeRequest m;
            fill(*m.mutable_vnode(), in);
            m.set_pid_first(in.dword());
            m.set_pid_count(in.dword());
            return send(schema::kMountVnode, m);
        }
        case 7: {
            control::UnmountVnodeRequest m;
            m.set_vnode(in.byte() % 4);
            return send(schema::kUnmountVnode, m);
        }
        case 8: {
            control::SetOptionRequest m;
            m.set_component(name(in));
            m.set_name(name(in));
            m.set_value(name(in));
            return send(schema::kSetOption, m);
        }
        case 9: {
            control::ShutdownRequest m;
            m.set_component(name(in));
            m.set_deadline_ms(in.dword());
            return send(schema::kShutdown, m);
        }
        case 10: {
            control::VnodeCreateRequest m;
            m.set_name(name(in));
            m.set_ip(in.byte());
            m.set_storage(name(in));
            m.mutable_limits()->set_memory_pages(in.number());
            m.set_exists_ok(in.byte() & 1);
            return send(schema::kVnodeCreate, m);
        }
        case 11: {
            control::VnodeRemoveRequest m;
            m.set_name(name(in));
            return send(in.byte() & 1 ? schema::kVnodeRemove : schema::kVnodeList, m);
        }
        case 12: {
            control::PlaceProgramRequest m;
            m.set_vnode(name(in));
            m.set_component(name(in));
            return send(schema::kPlaceProgram, m);
        }
        case 13: {
            control::GrantMemoryRequest m;
            fill(*m.mutable_vnode(), in);
            m.set_node(node(in));
            m.set_pages(in.number());
            m.set_release(in.byte() & 1);
            return send(schema::kGrantMemory, m);
        }
        case 14: {
            control::MountStorageRequest m;
            m.set_vnode(in.byte() % 4);
            m.set_name(name(in));
            m.set_storage(name(in));
            m.set_release(in.byte() & 1);
            return send(schema::kMountStorage, m);
        }
        default:
            return send(schema::kStatus, control::StatusRequest());
    }
}

// Answers the oldest call that a component made to the fuzzer.
void answer(World& w, FuzzInput& in) {
    if (w.answers.empty()) return;
    auto [op, r] = std::move(w.answers.front());
    w.answers.erase(w.answers.begin());
    if (in.byte() > 0xe0) {
        r.fail(static_cast<Error>(1 + in.byte() % 20));
        return w.cluster.pump();
    }
    auto reply = [&](const MessageLite& m) {
        std::string bytes = spoil(m, in);
        r.reply(bytes_of(std::string_view(bytes)));
        w.cluster.pump();
    };
    if (op == schema::kJoin) {
        control::JoinReply m;
        m.set_node(node(in));
        m.set_heartbeat_ms(static_cast<uint32_t>(in.number()));
        m.set_gpm_ip(in.byte() & 1 ? kEnemy.value : kGpm.value);
        m.set_cluster_time_ns(in.number());
        m.set_name(name(in));
        for (int n = in.byte() % 18; n > 0; n--)
            m.add_reclaim_vnodes(in.byte() % 4);
        return reply(m);
    }
    if (op == schema::kHeartbeat) {
        control::HeartbeatReply m;
        m.set_verdict(static_cast<control::HeartbeatVerdict>(in.byte() % 16 < 14 ? in.byte() % 2
                                                                                 : in.byte() % 4));
        m.set_directory_version(in.number());
        m.set_directory_lineage(in.byte() % 3);
        return reply(m);
    }
    control::DirectoryReply m;
    m.set_version(in.number());
    m.set_lineage(in.byte() % 3);
    m.set_restart(in.byte() & 1);
    m.set_more(in.byte() & 1);
    for (int n = in.byte() % 18; n > 0; n--)
        fill(*m.add_components(), in);
    for (int n = in.byte() % 18; n > 0; n--)
        fill(*m.add_vnodes(), in);
    reply(m);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    set_log_sink([](LogLevel, const char*, std::string_view) {});
    google::protobuf::SetLogHandler(nullptr); // names that are no UTF-8
    FuzzInput in{data, size};
    World w;
    for (int steps = 0; in.left > 0 && steps < 200; steps++) {
        uint8_t what = in.byte();
        if (what < 0x90) {
            request(w, in);
        } else if (what < 0xe0) {
            answer(w, in);
        } else {
            w.clock.advance(milliseconds(in.word() % 8000));
            w.poll();
        }
        if (what & 1) w.poll();
    }
    return 0;
}
