// The three managers and one component of each kind, over a network in memory, under virtual time.
#include <gtest/gtest.h>
#include "base/hosted.hpp"
#include "base/log.hpp"

#include <map>

#include "gmm/service.hpp"
#include "gpm/service.hpp"
#include "gsm/service.hpp"
#include "net/cluster/membership.hpp"
#include "net/host/protobuf_rpc.hpp"
#include "net/schema/opcodes.hpp"
#include "tests/unit/net/support/fake_port.hpp"

namespace tessera::test {
namespace {

using cluster::ComponentState;
using net::host::call_proto;
using net::host::StateDb;
using rpc::NodeKind;

constexpr roce::Ipv4 kGpm{0x0a4d0002}, kGmm{0x0a4d0003}, kGsm{0x0a4d0004};
constexpr roce::Ipv4 kClient{0x0a4d0010};
constexpr roce::Ipv4 kP1{0x0a4d0064}, kM1{0x0a4d0065}, kS1{0x0a4d0066};

struct Endpoint {
    Endpoint(FakeNetwork& net, roce::Ipv4 ip, NodeKind kind, uint64_t incarnation)
        : random(incarnation), port(net, ip) {
        rpc::NodeOptions o;
        o.self = {kind, NodeId(0), Incarnation(incarnation)};
        node = std::move(*rpc::Node::create(port, net.clock, random, o));
        EXPECT_TRUE(node->listen());
    }
    SeededRandom random;
    FakePort port;
    Own<rpc::Node> node;
};

struct TestComponent final : cluster::MembershipEvents {
    TestComponent(FakeNetwork& net, NodeKind kind, roce::Ipv4 ip, uint64_t incarnation,
                  const char* name = "")
        : end(net, ip, kind, incarnation), kind(kind) {
        cluster::MembershipOptions o;
        o.kind = kind;
        o.name = name;
        o.self = ip;
        o.manager = kind == NodeKind::Process ? kGpm : kind == NodeKind::Memory ? kGmm : kGsm;
        o.boot_loader = "GRUB 2.06";
        o.incarnation = Incarnation(incarnation);
        member =
            std::move(*cluster::Membership::create(*end.node, net.clock, end.random, o, *this));
    }
    cluster::Resources resources() override {
        cluster::Resources r;
        r.cpus = 1;
        r.memory_bytes = mib(256);
        r.disk_free_bytes = mib(100);
        return r;
    }
    size_t inventory(std::span<cluster::Mount> out) override {
        size_t n = 0;
        for (auto& [id, m] : mounts)
            if (n < out.size()) out[n++] = m;
        return n;
    }
    void on_fenced_self() override { fenced = true; }
    void on_fence(NodeId node, Incarnation, cluster::Done done) override {
        fences.push_back(node);
        done({});
    }
    void on_mount(const cluster::Mount& m, cluster::Done done) override {
        mounts[m.vnode.id.value] = m;
        done({});
    }
    void on_unmount(VnodeId id, cluster::Done done) override {
        mounts.erase(id.value);
        done({});
    }
    void on_reclaim(VnodeId id) override { reclaimed.push_back(id); }
    void on_mount_storage(VnodeId id, std::string_view name, bool release,
                          cluster::Done done) override {
        if (release)
            mounts.erase(id.value);
        else {
            cluster::Mount m;
            m.vnode.id = id;
            m.vnode.name = name;
            mounts[id.value] = m;
        }
        done({});
    }
    void on_option(std::string_view name, std::string_view value, cluster::Done done) override {
        option = std::string(name) + "=" + std::string(value);
        if (name == "excache")
            done({});
        else
            done(Fail(Error::InvalidArgument));
    }
    void on_shutdown(cluster::Done done) override {
        shut_down = true;
        done({});
    }

    Endpoint end;
    NodeKind kind;
    Own<cluster::Membership> member;
    std::map<uint32_t, cluster::Mount> mounts;
    std::vector<NodeId> fences;
    std::vector<VnodeId> reclaimed;
    std::string option;
    bool fenced = false, shut_down = false;
};

template <typename Service>
struct Manager {
    Own<Endpoint> end;
    Own<Service> service;
};

class ClusterTest : public ::testing::Test {
  protected:
    FakeNetwork net;
    std::map<std::string, Own<StateDb>> dbs;
    Manager<gpm::Service> gpm;
    Manager<gmm::Service> gmm;
    Manager<gsm::Service> gsm;
    std::vector<TestComponent*> parts;
    Own<TestComponent> p1, m1, s1, p2;
    Own<Endpoint> client;
    uint64_t boots = 1000;

    StateDb& db(const std::string& name) {
        if (!dbs[name]) dbs[name] = std::move(*StateDb::open(":memory:"));
        return *dbs[name];
    }
    void start_gpm() {
        gpm.end = std::make_unique<Endpoint>(net, kGpm, NodeKind::Gpm, ++boots);
        gpm::ServiceOptions o;
        o.gpm = kGpm, o.gmm = kGmm, o.gsm = kGsm;
        o.incarnation = Incarnation(boots);
        o.realtime = [this] { return 1'000'000'000'000 + net.clock.now().value; };
        gpm.service = std::move(
            *gpm::Service::create(*gpm.end->node, net.clock, gpm.end->random, db("gpm"), o));
    }
    void stop_gpm() { gpm.end = nullptr, gpm.service = nullptr; }
    template <typename S, typename... A>
    void start(Manager<S>& m, roce::Ipv4 ip, NodeKind self, NodeKind serves, const char* name,
               A... a) {
        m.end = std::make_unique<Endpoint>(net, ip, self, ++boots);
        net::host::ComponentManagerOptions o;
        o.self = self, o.serves = serves, o.address = ip, o.gpm = kGpm;
        o.incarnation = Incarnation(boots);
        m.service =
            std::move(*S::create(*m.end->node, net.clock, m.end->random, db(name), o, a...));
    }
    void start_gmm() { start(gmm, kGmm, NodeKind::Gmm, NodeKind::Memory, "gmm"); }
    void start_gsm() { start(gsm, kGsm, NodeKind::Gsm, NodeKind::Storage, "gsm", std::string()); }
    template <typename S>
    void stop(Manager<S>& m) {
        m.end = nullptr, m.service = nullptr;
    }

    void start_all() {
        if (getenv("TEST_LOG")) log_to_stderr("test"), set_log_level(LogLevel::Debug);
        start_gpm();
        start_gmm();
        start_gsm();
        p1 = std::make_unique<TestComponent>(net, NodeKind::Process, kP1, 51);
        m1 = std::make_unique<TestComponent>(net, NodeKind::Memory, kM1, 52);
        s1 = std::make_unique<TestComponent>(net, NodeKind::Storage, kS1, 53);
        parts = {p1.get(), m1.get(), s1.get()};
        client = std::make_unique<Endpoint>(net, kClient, NodeKind::Client, 99);
        ASSERT_TRUE(run([&] { return joined(); }, seconds(10)));
    }
    bool joined() {
        for (auto* p : parts)
            if (!p->member->joined() ||
                p->member->directory().components().size() < parts.size() + 2)
                return false;
        return true;
    }
    void TearDown() override {
        client = nullptr;
        for (auto* part : {&p1, &m1, &s1, &p2})
            part->reset();
        // Services refer to nodes and hold responders; nodes refer to ports.
        gpm.end ? gpm.end->node.reset() : void();
        gmm.end ? gmm.end->node.reset() : void();
        gsm.end ? gsm.end->node.reset() : void();
    }

    bool run(const std::function<bool()>& until, Nanos longest) {
        Nanos end = net.clock.now() + longest;
        for (int rounds = 0; rounds < 200'000; rounds++) {
            Nanos next = end;
            for (int twice = 0; twice < 2; twice++) {
                net.deliver();
                auto one = [&](auto& x) {
                    if (!x.end) return;
                    x.end->node->poll();
                    x.service->poll();
                    next =
                        std::min({next, x.end->node->next_deadline(), x.service->next_deadline()});
                };
                one(gpm), one(gmm), one(gsm);
                for (auto* p : parts) {
                    p->end.node->poll();
                    p->member->poll();
                    next =
                        std::min({next, p->end.node->next_deadline(), p->member->next_deadline()});
                }
                if (client) {
                    client->node->poll();
                    next = std::min(next, client->node->next_deadline());
                }
            }
            if (net.events.empty() && until()) return true;
            if (net.clock.now() >= end) return false;
            net.clock.set(std::min(end, std::max(next, net.clock.now() + microseconds(100))));
        }
        return false;
    }

    template <typename Reply>
    Result<Reply> ask(rpc::Opcode op, const google::protobuf::MessageLite& m, roce::Ipv4 to = kGpm,
                      Nanos within = seconds(8)) {
        std::optional<Result<Reply>> out;
        call_proto<Reply>(**client->node->peer(to), op, m, net.clock.now() + within,
                          [&](Result<Reply> r) { out.emplace(std::move(r)); });
        run([&] { return out.has_value(); }, within + seconds(1));
        return out ? *out : Result<Reply>(Fail(Error::Timeout));
    }
    Result<control::VnodeCreateReply> create(const char* name) {
        control::VnodeCreateRequest m;
        m.set_name(name);
        return ask<control::VnodeCreateReply>(schema::kVnodeCreate, m);
    }
    Result<control::PlaceProgramReply> place(const char* name) {
        control::PlaceProgramRequest m;
        m.set_vnode(name);
        return ask<control::PlaceProgramReply>(schema::kPlaceProgram, m);
    }
};

TEST_F(ClusterTest, JoinCreatePlaceStatusRemove) {
    start_all();
    EXPECT_GE(p1->member->node().value, 16u);
    auto made = create("home");
    ASSERT_TRUE(made) << describe(made.error());
    EXPECT_EQ(made->vnode().storage_ip(), kS1.value);
    ASSERT_EQ(made->vnode().homes_size(), 1);
    EXPECT_GT(made->vnode().homes(0).quota_pages(), 1000u);
    EXPECT_EQ(create("home").error(), Error::Exists);
    EXPECT_EQ(s1->mounts.size(), 1u);
    EXPECT_EQ(m1->mounts.size(), 1u);
    auto placed = place("home");
    ASSERT_TRUE(placed) << describe(placed.error());
    EXPECT_EQ(placed->ip(), kP1.value);
    ASSERT_EQ(p1->mounts.size(), 1u);
    EXPECT_EQ(p1->mounts.begin()->second.pid_first, Pid(1));
    EXPECT_EQ(p1->mounts.begin()->second.vnode.storage_ip, kS1);
    EXPECT_EQ(place("nowhere").error(), Error::NotFound);

    p1->mounts.begin()->second.processes = 3;
    run([] { return false; }, seconds(3));
    auto status = ask<control::StatusReply>(schema::kStatus, control::StatusRequest());
    ASSERT_TRUE(status);
    EXPECT_EQ(status->vnodes(0).processes(), 3u);
    EXPECT_EQ(status->components_size(), 5);
    ASSERT_EQ(status->vnodes_size(), 1);
    EXPECT_EQ(status->vnodes(0).mounted_on(0), "p1");
    bool grub = false;
    for (auto& c : status->components())
        grub |= c.component().name() == "p1" && c.boot_loader() == "GRUB 2.06";
    EXPECT_TRUE(grub);
    ASSERT_TRUE(
        run([&] { return p1->member->directory().vnode_named("home") != nullptr; }, seconds(5)));

    control::SetOptionRequest option;
    option.set_component("p1"), option.set_name("excache"), option.set_value("16M");
    ASSERT_TRUE(ask<control::StatusRequest>(schema::kSetOption, option));
    EXPECT_EQ(p1->option, "excache=16M");
    option.set_name("nonsense");
    EXPECT_EQ(ask<control::StatusRequest>(schema::kSetOption, option).error(),
              Error::InvalidArgument);

    control::VnodeRemoveRequest remove;
    remove.set_name("home");
    ASSERT_TRUE(ask<control::StatusRequest>(schema::kVnodeRemove, remove));
    EXPECT_TRUE(p1->mounts.empty() && s1->mounts.empty());
    EXPECT_EQ(place("home").error(), Error::NotFound);
    ASSERT_TRUE(run([&] { return !p1->member->directory().vnode_named("home"); }, seconds(5)));
}

TEST_F(ClusterTest, ManagersRestartWithoutDisturbing) {
    start_all();
    ASSERT_TRUE(create("home") && place("home"));
    NodeId before = p1->member->node();
    stop_gpm(), stop(gmm), stop(gsm);
    run([] { return false; }, seconds(60));
    EXPECT_TRUE(p1->member->joined()); // nobody stops on its own clock
    EXPECT_FALSE(p1->fenced || m1->fenced || s1->fenced);
    start_gpm(), start_gmm(), start_gsm();
    ASSERT_TRUE(run(
        [&] {
            return net.clock.now() - p1->member->last_contact() < seconds(2) &&
                   net.clock.now() - m1->member->last_contact() < seconds(2);
        },
        seconds(30)));
    run([] { return false; }, seconds(20));
    EXPECT_FALSE(p1->fenced || m1->fenced || s1->fenced);
    EXPECT_EQ(p1->member->node(), before);
    ASSERT_TRUE(place("home"));
    ASSERT_TRUE(create("second"));
    EXPECT_EQ(m1->mounts.size(), 2u);
}

TEST_F(ClusterTest, ADeletedDatabaseIsRebuiltFromInventories) {
    start_all();
    auto made = create("home");
    ASSERT_TRUE(made && place("home"));
    NodeId p = p1->member->node(), m = m1->member->node();
    stop_gpm();
    dbs["gpm"] = nullptr;
    start_gpm();
    ASSERT_TRUE(run(
        [&] {
            auto* v = gpm.service->registry().vnode_named("home");
            return v && gpm.service->registry().member(m) && v->leases.size() == 1;
        },
        seconds(30)));
    EXPECT_EQ(p1->member->node(), p);
    EXPECT_EQ(gpm.service->registry().vnode_named("home")->entry.id.value, made->vnode().vnode());
    EXPECT_FALSE(p1->fenced || m1->fenced);
    ASSERT_TRUE(place("home"));
    EXPECT_EQ(p1->mounts.begin()->second.pid_first, Pid(1));
    // Followers take the new lineage.
    ASSERT_TRUE(
        run([&] { return p1->member->directory().lineage() == gpm.service->registry().lineage(); },
            seconds(10)));
}

TEST_F(ClusterTest, ADeadPComponentIsFencedBeforeItIsDead) {
    start_all();
    ASSERT_TRUE(create("home") && place("home"));
    NodeId p = p1->member->node();
    parts = {m1.get(), s1.get()};
    net.partition(kGpm, kP1, true);
    net.partition(kGpm, kM1, true); // one holder cannot acknowledge yet
    net.break_connections(kGpm, kM1);
    ASSERT_TRUE(run([&] { return !s1->fences.empty(); }, seconds(20)));
    EXPECT_EQ(gpm.service->registry().member(p)->entry.state, ComponentState::Suspect);
    net.partition(kGpm, kM1, false);
    ASSERT_TRUE(
        run([&] { return gpm.service->registry().member(p)->entry.state == ComponentState::Dead; },
            seconds(20)));
    EXPECT_EQ(m1->fences, std::vector{p});
    EXPECT_TRUE(gpm.service->registry().vnode_named("home")->leases.empty());
    EXPECT_EQ(place("home").error(), Error::NoDevice);
    // It was only partitioned: it learns that it is dead, and comes back as a new incarnation.
    net.partition(kGpm, kP1, false);
    parts.push_back(p1.get());
    ASSERT_TRUE(run([&] { return p1->fenced; }, seconds(20)));
    parts.pop_back();
    p1 = nullptr;
    p1 = std::make_unique<TestComponent>(net, NodeKind::Process, kP1, 61);
    parts.push_back(p1.get());
    ASSERT_TRUE(run([&] { return p1->member->joined(); }, seconds(20)));
    EXPECT_EQ(p1->member->node(), p);
    auto placed = place("home");
    ASSERT_TRUE(placed) << describe(placed.error());
}

TEST_F(ClusterTest, GmmDetectsAndGpmDeclaresADeadMComponent) {
    start_all();
    ASSERT_TRUE(create("home") && place("home"));
    NodeId m = m1->member->node();
    parts = {p1.get(), s1.get()};
    for (auto ip : {kGpm, kGmm, kP1})
        net.partition(ip, kM1, true);
    ASSERT_TRUE(
        run([&] { return gpm.service->registry().member(m)->entry.state == ComponentState::Dead; },
            seconds(30)));
    EXPECT_EQ(p1->fences, std::vector{m});
    EXPECT_EQ(gpm.service->registry().vnode_named("home")->entry.home_count, 0);
    ASSERT_TRUE(run([&] { return gmm.service->quotas().pools().empty(); }, seconds(10)));
    EXPECT_EQ(place("home").error(), Error::NoDevice);
}

TEST_F(ClusterTest, ShutdownGoesDownTheLayers) {
    start_all();
    auto down = ask<control::ShutdownReply>(schema::kShutdown, control::ShutdownRequest());
    ASSERT_TRUE(down);
    EXPECT_EQ(down->failed_size(), 0);
    EXPECT_TRUE(p1->shut_down && m1->shut_down && s1->shut_down);
}

TEST_F(ClusterTest, MoreQuotaOnRequest) {
    start_all();
    auto made = create("home");
    ASSERT_TRUE(made);
    uint64_t got = 0;
    m1->member->request_quota(VnodeId(made->vnode().vnode()), 64, net.clock.now() + seconds(5),
                              [&](Result<uint64_t> r) { got = r ? *r : 0; });
    run([&] { return got > 0; }, seconds(5));
    EXPECT_EQ(got, made->vnode().homes(0).quota_pages() + 64);
}

TEST_F(ClusterTest, GarbageIsMalformed) {
    start_all();
    for (uint16_t op = 0x0100; op <= 0x0114; op++) {
        std::optional<Error> e;
        std::string junk = "\xff\xff\xff\xff\xff junk";
        (*client->node->peer(kGpm))
            ->call(rpc::Opcode{op}, bytes_of(std::string_view(junk)), {},
                   {net.clock.now() + seconds(5), true},
                   [&](Result<Bytes> r) { e = r ? Error{} : r.error(); });
        run([&] { return e.has_value(); }, seconds(6));
        EXPECT_TRUE(e == Error::Malformed || e == Error::Unsupported) << op;
    }
}

} // namespace
} // namespace tessera::test
