#include <gtest/gtest.h>

#include "gmm/core/quota.hpp"
#include "gpm/core/fencing.hpp"
#include "gpm/core/placement.hpp"
#include "gpm/core/registry.hpp"
#include "gsm/core/mounts.hpp"
#include "net/cluster/directory.hpp"
#include "net/cluster/lease_table.hpp"

namespace tessera::test {
namespace {

TEST(LeaseTable, ExpiresOnceAfterTheMissedHeartbeats) {
    cluster::LeaseTable t(seconds(1), 5);
    t.renew(NodeId(16), Nanos{});
    for (int i = 1; i < 5; i++)
        EXPECT_TRUE(t.tick(seconds(i)).empty());
    EXPECT_EQ(t.tick(seconds(5)), std::vector{NodeId(16)});
    EXPECT_TRUE(t.tick(seconds(6)).empty());
    EXPECT_FALSE(t.holds(NodeId(16)));
    t.renew(NodeId(16), seconds(6));
    EXPECT_TRUE(t.holds(NodeId(16)));
}

TEST(LeaseTable, SubtractsItsOwnStall) {
    cluster::LeaseTable t(seconds(1), 5);
    (void)t.tick(seconds(1));
    t.renew(NodeId(16), seconds(1));
    // The detector itself stood still for a minute: nobody is declared late because of that.
    EXPECT_TRUE(t.tick(seconds(61)).empty());
    EXPECT_TRUE(t.tick(seconds(62)).empty());
    for (int i = 63; i < 66; i++)
        EXPECT_TRUE(t.tick(seconds(i)).empty());
    EXPECT_FALSE(t.tick(seconds(66)).empty());
}

TEST(LeastLoaded, CountsWhatWasPlacedSinceTheReport) {
    gpm::LeastLoaded policy;
    EXPECT_FALSE(policy.choose({}));
    std::vector<gpm::Candidate> c(2);
    c[0].node = NodeId(16), c[0].resources.cpus = 1, c[0].resources.load_permille = 100;
    c[1].node = NodeId(17), c[1].resources.cpus = 4, c[1].resources.load_permille = 200;
    EXPECT_EQ(*policy.choose(c), 0u);
    c[0].placed = 1;
    EXPECT_EQ(*policy.choose(c), 1u);
    c[0] = c[1];
    c[0].node = NodeId(18);
    c[1].mounted = false, c[0].mounted = true;
    EXPECT_EQ(*policy.choose(c), 0u);
}

TEST(QuotaBook, GrantsHalfOfWhatIsLeftAndExtendsToTheReserve) {
    gmm::QuotaBook book;
    gmm::MostFree policy;
    EXPECT_EQ(book.grant(VnodeId(1), 0, policy).error(), Error::NoDevice);
    book.set_pool(NodeId(16), roce::Ipv4(1), 1600);
    book.set_pool(NodeId(17), roce::Ipv4(2), 3200);
    auto homes = book.grant(VnodeId(1), 0, policy);
    ASSERT_TRUE(homes);
    ASSERT_EQ(homes->size(), 2u);
    EXPECT_EQ((*homes)[0].node, NodeId(17)); // most free first
    EXPECT_EQ((*homes)[0].quota_pages, 1500u);
    EXPECT_EQ(*book.extend(VnodeId(1), NodeId(17), 10000, 0), 3000u); // a sixteenth stays
    EXPECT_EQ(book.extend(VnodeId(1), NodeId(17), 1, 0).error(), Error::NoSpace);
    EXPECT_TRUE(book.grant(VnodeId(2), 0, policy)); // the other still has some
    book.release(VnodeId(1));
    EXPECT_EQ(book.pools()[1].granted, 0u);
    EXPECT_EQ(*book.grant(VnodeId(1), 0, policy), book.homes(VnodeId(1)));
}

TEST(QuotaBook, KeepsToTheVnodesLimit) {
    gmm::QuotaBook book;
    gmm::MostFree policy;
    book.set_pool(NodeId(16), roce::Ipv4(1), 16000);
    EXPECT_EQ((*book.grant(VnodeId(1), 100, policy))[0].quota_pages, 100u);
    EXPECT_EQ(book.extend(VnodeId(1), NodeId(16), 1, 100).error(), Error::NoSpace);
}

TEST(Configured, WishThenConfigurationThenRoom) {
    std::vector<gsm::Store> stores = {{NodeId(16), roce::Ipv4(1), "s1", 100},
                                      {NodeId(17), roce::Ipv4(2), "s2", 200}};
    gsm::Configured any(""), fixed("s1");
    EXPECT_EQ(*any.choose(stores, ""), 1u);
    EXPECT_EQ(*fixed.choose(stores, ""), 0u);
    EXPECT_EQ(*fixed.choose(stores, "s2"), 1u);
    EXPECT_FALSE(fixed.choose(stores, "s3"));
    stores[0].usable = false;
    EXPECT_FALSE(fixed.choose(stores, ""));
}

TEST(Fencing, WaitsForEveryHolderButNotForThoseFencedThemselves) {
    gpm::Fencing f;
    f.start(NodeId(16), Incarnation(1), {NodeId(17), NodeId(18), NodeId(19)});
    EXPECT_EQ(f.due().size(), 3u);
    EXPECT_TRUE(f.due().empty()); // asked already
    f.acknowledged(Incarnation(1), NodeId(17));
    f.unanswered(Incarnation(1), NodeId(18));
    ASSERT_EQ(f.due().size(), 1u);
    EXPECT_TRUE(f.finished().empty());
    // 18 dies too: neither waits for the other.
    f.start(NodeId(18), Incarnation(2), {NodeId(16), NodeId(17), NodeId(19)});
    f.acknowledged(Incarnation(1), NodeId(19));
    auto done = f.finished();
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].incarnation, Incarnation(1));
    f.acknowledged(Incarnation(2), NodeId(17));
    f.acknowledged(Incarnation(2), NodeId(19));
    EXPECT_EQ(f.finished().size(), 1u);
    EXPECT_TRUE(f.finished().empty());
}

TEST(Directory, AnotherLineageReplacesEverythingOnceReadToTheEnd) {
    cluster::Directory d;
    cluster::Component c;
    c.node = NodeId(16), c.state = cluster::ComponentState::Up;
    d.begin(7, true);
    ASSERT_TRUE(d.put(c));
    c.node = NodeId(17);
    ASSERT_TRUE(d.put(c));
    d.end(DirectoryVersion(2), false);
    d.begin(8, true);
    c.node = NodeId(18);
    ASSERT_TRUE(d.put(c));
    d.end(DirectoryVersion(10), true);
    EXPECT_TRUE(d.component(NodeId(16))); // still there: more is coming
    d.begin(8, false);
    c.node = NodeId(17);
    ASSERT_TRUE(d.put(c));
    d.end(DirectoryVersion(11), false);
    EXPECT_FALSE(d.component(NodeId(16)));
    EXPECT_TRUE(d.component(NodeId(17)));
    c.state = cluster::ComponentState::Left;
    d.begin(8, false);
    ASSERT_TRUE(d.put(c));
    d.end(DirectoryVersion(12), false);
    EXPECT_FALSE(d.component(NodeId(17)));
}

struct NullJournal final : gpm::Journal {
    bool fails = false;
    Result<void> save(const gpm::Member&) override { return answer(); }
    Result<void> save(const gpm::VnodeRecord&) override { return answer(); }
    Result<void> answer() {
        if (fails) return Fail(Error::NoSpace);
        return {};
    }
};

gpm::JoinInfo pcomponent(const char* name, uint32_t ip, uint64_t incarnation) {
    gpm::JoinInfo i;
    i.entry.kind = rpc::NodeKind::Process;
    i.entry.name = name;
    i.entry.ip = roce::Ipv4(ip);
    i.entry.incarnation = Incarnation(incarnation);
    return i;
}

TEST(Registry, NamesIdsAndIncarnations) {
    NullJournal journal;
    gpm::Registry r(journal, 1, 0);
    auto a = r.join(pcomponent("", 100, 1));
    ASSERT_TRUE(a);
    EXPECT_EQ(a->member->entry.node, NodeId(16));
    EXPECT_EQ(a->member->entry.name.view(), "p1");
    EXPECT_EQ(r.join(pcomponent("", 100, 1))->member, a->member); // a repeat
    auto again = r.join(pcomponent("p1", 100, 2));
    EXPECT_EQ(again->member->entry.node, NodeId(16));
    EXPECT_EQ(again->replaced, Incarnation(1));
    EXPECT_EQ(r.join(pcomponent("p1", 101, 3)).error(), Error::Exists);
    ASSERT_TRUE(r.set_state(*again->member, cluster::ComponentState::Dead));
    EXPECT_EQ(r.join(pcomponent("p1", 100, 2)).error(), Error::Stale);
    EXPECT_TRUE(r.join(pcomponent("p1", 101, 3)));
}

TEST(Registry, WhatCannotBeRecordedIsRefused) {
    NullJournal journal;
    gpm::Registry r(journal, 1, 0);
    auto a = r.join(pcomponent("p1", 100, 1));
    auto v = r.create_vnode("one", {});
    ASSERT_TRUE(a && v);
    uint64_t version = r.version();
    journal.fails = true;
    EXPECT_EQ(r.join(pcomponent("p2", 101, 2)).error(), Error::NoSpace);
    EXPECT_EQ(r.create_vnode("two", {}).error(), Error::NoSpace);
    EXPECT_EQ(r.lease_pids(**v, *a->member).error(), Error::NoSpace);
    EXPECT_EQ(r.members().size(), 1u);
    EXPECT_EQ(r.vnodes().size(), 1u);
    EXPECT_TRUE((*v)->leases.empty());
    EXPECT_GE(r.version(), version);
}

TEST(Registry, LosingAHomeRaisesTheMountEpoch) {
    NullJournal journal;
    gpm::Registry r(journal, 1, 0);
    auto* v = *r.create_vnode("one", {});
    v->entry.mount_epoch = OwnershipEpoch(1);
    v->entry.homes[0].node = NodeId(20);
    v->entry.homes[1].node = NodeId(21);
    v->entry.home_count = 2;
    uint64_t version = r.version();
    r.drop_holdings(NodeId(30), Incarnation(1)); // somebody else
    EXPECT_EQ(v->entry.mount_epoch, OwnershipEpoch(1));
    r.drop_holdings(NodeId(20), Incarnation(1));
    EXPECT_EQ(v->entry.mount_epoch, OwnershipEpoch(2));
    ASSERT_EQ(v->entry.home_count, 1);
    EXPECT_EQ(v->entry.homes[0].node, NodeId(21));
    EXPECT_GT(v->version, version);
}

TEST(Registry, PidLeasesNeverOverlap) {
    NullJournal journal;
    gpm::Registry r(journal, 1, 0);
    auto* v = *r.create_vnode("one", {});
    auto* p1 = r.join(pcomponent("p1", 100, 1))->member;
    auto* p2 = r.join(pcomponent("p2", 101, 2))->member;
    auto first = **r.lease_pids(*v, *p1);
    auto second = **r.lease_pids(*v, *p2);
    EXPECT_EQ(first.first, Pid(1));
    EXPECT_EQ(second.first.value, first.first.value + first.count);
    EXPECT_EQ((*r.lease_pids(*v, *p1))->first, first.first);
}

} // namespace
} // namespace tessera::test
