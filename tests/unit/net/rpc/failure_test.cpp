#include "tests/unit/net/rpc/world.hpp"

namespace tessera::test {
namespace {

using FailureTest = World;

// The connection breaks at every possible message, before or after its delivery: each call is
// executed exactly once, in order, and every caller gets the first result.
TEST_F(FailureTest, AtMostOnceWhereverTheConnectionBreaks) {
    for (int before = 0; before < 2; before++)
        for (uint64_t at = 0; at < 40; at++) {
            FakeNetwork fresh;
            net.clock = fresh.clock;
            TestNode a(net, kA, 11), b(net, kB, 22);
            net.messages = 0;
            net.break_at = at;
            net.break_before_delivery = before;
            std::vector<Outcome> outs(12);
            for (size_t i = 0; i < outs.size(); i++)
                call(a, kB, kTestCount, std::string(i % 3 ? 10 : 9000, 'x') + std::to_string(i),
                     outs[i]);
            ASSERT_TRUE(run(
                {&a, &b},
                [&] {
                    for (auto& o : outs)
                        if (!o.times) return false;
                    return true;
                },
                seconds(9)))
                << before << " " << at;
            EXPECT_EQ(b.executed, 12);
            for (size_t i = 0; i < outs.size(); i++) {
                EXPECT_TRUE(outs[i].ok()) << before << " " << at << " " << describe(outs[i].error);
                EXPECT_EQ(outs[i].text, std::to_string(i + 1));
            }
            net.break_at.reset();
        }
}

TEST_F(FailureTest, AnAnswerGivenWhileDisconnectedArrivesLater) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    Outcome o;
    call(a, kB, kTestHold, "", o);
    run({&a, &b}, [&] { return b.held.size() == 1; }, seconds(1));
    net.partition(kA, kB, true);
    net.break_connections(kA, kB);
    b.held[0].reply(bytes_of(std::string_view("kept")));
    run({&a, &b}, [&] { return false; }, seconds(1));
    EXPECT_EQ(o.times, 0);
    net.partition(kA, kB, false);
    ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(8)));
    EXPECT_EQ(o.text, "kept");
    EXPECT_EQ(b.executed, 1);
}

TEST_F(FailureTest, RestartedServerMeansOutcomeUnknownUnlessIdempotent) {
    TestNode a(net, kA, 11);
    auto b = std::make_unique<TestNode>(net, kB, 22);
    Outcome risky, safe;
    call(a, kB, kTestHold, "", risky);
    call(a, kB, kTestHold, "", safe, seconds(10), true);
    run({&a, b.get()}, [&] { return b->held.size() == 2; }, seconds(1));
    b->held.clear(); // answers go nowhere: the node dies in the same moment
    net.events.clear();
    b.reset();
    b = std::make_unique<TestNode>(net, kB, 23);
    ASSERT_TRUE(run(
        {&a, b.get()}, [&] { return risky.times && b->held.size() == 1; }, seconds(9)))
        << risky.times << b->held.size();
}

TEST_F(FailureTest, ServerThatDiesSilently) {
    TestNode a(net, kA, 11);
    auto b = std::make_unique<TestNode>(net, kB, 22);
    Outcome risky, safe, never_sent;
    call(a, kB, kTestHold, "", risky);
    call(a, kB, kTestHold, "", safe, seconds(10), true);
    run({&a, b.get()}, [&] { return b->held.size() == 2; }, seconds(1));
    net.partition(kA, kB, true);
    net.break_connections(kA, kB);
    call(a, kB, kTestCount, "fresh", never_sent);
    std::vector<rpc::Responder> graveyard;
    b = nullptr;
    b = std::make_unique<TestNode>(net, kB, 23);
    net.partition(kA, kB, false);
    ASSERT_TRUE(run(
        {&a, b.get()}, [&] { return risky.times && never_sent.times && b->held.size(); },
        seconds(9)));
    EXPECT_EQ(risky.error, Error::OutcomeUnknown);
    EXPECT_TRUE(never_sent.ok());
    b->held[0].reply(bytes_of(std::string_view("again")));
    run({&a, b.get()}, [&] { return safe.times > 0; }, seconds(1));
    EXPECT_EQ(safe.text, "again");
}

TEST_F(FailureTest, RestartedClientStartsAFreshSession) {
    auto a = std::make_unique<TestNode>(net, kA, 11);
    TestNode b(net, kB, 22);
    Outcome one, two;
    call(*a, kB, kTestCount, "", one);
    run({a.get(), &b}, [&] { return one.times > 0; }, seconds(1));
    a = nullptr;
    a = std::make_unique<TestNode>(net, kA, 12);
    call(*a, kB, kTestCount, "", two);
    run({a.get(), &b}, [&] { return two.times > 0; }, seconds(2));
    EXPECT_EQ(two.text, "2");
}

TEST_F(FailureTest, BothCallAtOnce) {
    for (uint64_t seed = 1; seed < 30; seed++) {
        TestNode a(net, kA, 11 + seed), b(net, kB, 1000 + seed);
        Outcome x, y;
        call(a, kB, kTestCount, "", x);
        call(b, kA, kTestCount, "", y);
        ASSERT_TRUE(run({&a, &b}, [&] { return x.times && y.times; }, seconds(9)));
        EXPECT_TRUE(x.ok() && y.ok());
        EXPECT_EQ(a.executed, 1);
        EXPECT_EQ(b.executed, 1);
    }
}

TEST_F(FailureTest, FencedIncarnationIsRefusedAndItsCallsFail) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    Outcome held, after, theirs;
    call(b, kA, kTestHold, "", held, seconds(30));
    run({&a, &b}, [&] { return a.held.size() == 1; }, seconds(1));
    b.node->fence(NodeId(5), Incarnation(11));
    run({&a, &b}, [&] { return held.times > 0; }, seconds(1));
    EXPECT_EQ(held.error, Error::Dead);
    call(b, kA, kTestCount, "", after);
    call(a, kB, kTestCount, "", theirs);
    run({&a, &b}, [&] { return after.times && theirs.times; }, seconds(5));
    EXPECT_EQ(after.error, Error::Dead);
    EXPECT_EQ(theirs.error, Error::Stale);
    EXPECT_EQ(b.executed, 0);
}

// Two incarnations of a manager live at once (one was stopped, say): the newer one counts.
TEST_F(FailureTest, AnOlderManagerIsNeitherAnsweredNorAsked) {
    constexpr roce::Ipv4 kOld{0x0a4d0002}, kNew{0x0a4d0003}, kOther{0x0a4d0004};
    auto manager = [&](roce::Ipv4 ip, uint64_t incarnation, rpc::NodeKind kind) {
        return TestNode(net, ip, incarnation, 1, 0, 16, kind);
    };
    TestNode a(net, kA, 500), old = manager(kOld, 100, rpc::NodeKind::Gpm),
                              gmm = manager(kOther, 50, rpc::NodeKind::Gmm);
    Outcome early, waiting, late, other, newer, to_old;
    call(old, kA, kTestEcho, "obeyed", early);
    call(gmm, kA, kTestEcho, "another kind", other);
    run({&a, &old, &gmm}, [&] { return early.times && other.times; }, seconds(1));
    EXPECT_TRUE(early.ok());
    call(old, kA, kTestHold, "", waiting, seconds(20));
    run({&a, &old, &gmm}, [&] { return !a.held.empty(); }, seconds(1));

    TestNode fresh = manager(kNew, 200, rpc::NodeKind::Gpm);
    call(fresh, kA, kTestEcho, "the newer one", newer);
    run({&a, &old, &gmm, &fresh}, [&] { return newer.times > 0; }, seconds(1));
    EXPECT_TRUE(newer.ok());
    call(old, kA, kTestCount, "late", late, seconds(20));
    call(a, kOld, kTestEcho, "asked", to_old, seconds(5));
    run(
        {&a, &old, &gmm, &fresh}, [&] { return late.times && waiting.times && to_old.times; },
        seconds(30));
    EXPECT_EQ(late.error, Error::Stale);
    EXPECT_EQ(waiting.error, Error::Stale);
    EXPECT_EQ(to_old.error, Error::Timeout);
    EXPECT_EQ(a.executed, 1); // what was held; nothing of the older one since

    Outcome still;
    call(gmm, kA, kTestEcho, "another kind has numbers of its own", still);
    run({&a, &gmm}, [&] { return still.times > 0; }, seconds(1));
    EXPECT_TRUE(still.ok());
}

TEST_F(FailureTest, NobodyThereTimesOutAndABackoffKeepsAttemptsRare) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    b.node = nullptr; // port up, nobody listens
    Outcome o;
    int attempts = 0;
    call(a, kB, kTestEcho, "", o, seconds(20));
    Nanos last{};
    run(
        {&a},
        [&] {
            if (net.clock.now() > last) attempts++, last = net.clock.now();
            return o.times > 0;
        },
        seconds(30));
    EXPECT_EQ(o.error, Error::Timeout);
    EXPECT_LT(attempts, 80);
}

} // namespace
} // namespace tessera::test
