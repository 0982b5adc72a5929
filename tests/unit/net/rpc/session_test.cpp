#include "tests/unit/net/rpc/world.hpp"

namespace tessera::test {
namespace {

using SessionTest = World;

std::string pattern(size_t n) {
    std::string s(n, 0);
    for (size_t i = 0; i < n; i++)
        s[i] = static_cast<char>('a' + i * 7 % 26);
    return s;
}

TEST_F(SessionTest, EchoesEverySizeUpToTheLargest) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    for (size_t n : {size_t{0}, size_t{1}, size_t{4071}, size_t{4072}, size_t{4073}, size_t{8144},
                     size_t{8145}, rpc::kMaxMessage}) {
        Outcome o;
        std::string text = pattern(n);
        call(a, kB, kTestEcho, text, o);
        ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(1))) << n;
        EXPECT_TRUE(o.ok());
        EXPECT_EQ(o.text, text);
    }
    EXPECT_EQ(net.rnr, 0u);
    Outcome big;
    call(a, kB, kTestEcho, pattern(rpc::kMaxMessage + 1), big);
    EXPECT_EQ(big.times, 0); // never from inside call()
    run({&a, &b}, [&] { return big.times > 0; }, seconds(1));
    EXPECT_EQ(big.error, Error::TooBig);
}

TEST_F(SessionTest, ManyLargeCallsBothWaysStayWithinReceiveBuffers) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    std::vector<Outcome> outs(120);
    std::string text = pattern(rpc::kMaxMessage);
    for (size_t i = 0; i < outs.size(); i++)
        call(i % 2 ? a : b, i % 2 ? kB : kA, kTestEcho, text, outs[i]);
    ASSERT_TRUE(run(
        {&a, &b},
        [&] {
            for (auto& o : outs)
                if (o.times == 0) return false;
            return true;
        },
        seconds(10)));
    for (auto& o : outs) {
        EXPECT_TRUE(o.ok()) << describe(o.error);
        EXPECT_EQ(o.text, text);
    }
    EXPECT_EQ(net.rnr, 0u);
}

TEST_F(SessionTest, UnknownOpcodeAndDroppedResponderAreUnsupported) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    Outcome unknown, dropped;
    call(a, kB, rpc::Opcode{0x7fff}, "", unknown);
    call(a, kB, kTestHold, "", dropped);
    run({&a, &b}, [&] { return unknown.times && b.held.size() == 1; }, seconds(1));
    b.held.clear();
    run({&a, &b}, [&] { return dropped.times > 0; }, seconds(1));
    EXPECT_EQ(unknown.error, Error::Unsupported);
    EXPECT_EQ(dropped.error, Error::Unsupported);
}

TEST_F(SessionTest, ASlowCallHoldsUpOneSlotOnly) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    Outcome slow;
    call(a, kB, kTestHold, "", slow, seconds(100));
    for (int i = 0; i < 200; i++) {
        Outcome o;
        call(a, kB, kTestEcho, "quick", o);
        ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(1)));
        ASSERT_TRUE(o.ok());
    }
    EXPECT_EQ(slow.times, 0);
    b.held[0].reply(bytes_of(std::string_view("late")));
    run({&a, &b}, [&] { return slow.times > 0; }, seconds(1));
    EXPECT_EQ(slow.text, "late");
}

TEST_F(SessionTest, RequestsKeepTheirOrderAndNeverExceedTheServersSlots) {
    TestNode a(net, kA, 11, 1, 0, 16), b(net, kB, 22, 1, 0, 2);
    std::vector<Outcome> outs(50);
    for (size_t i = 0; i < outs.size(); i++)
        call(a, kB, kTestCount, std::to_string(i), outs[i]);
    ASSERT_TRUE(run({&a, &b}, [&] { return outs.back().times > 0; }, seconds(1)));
    for (size_t i = 0; i < outs.size(); i++)
        EXPECT_EQ(b.order[i], std::to_string(i));
}

TEST_F(SessionTest, TimesOutUnderVirtualTimeAndCancels) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    Outcome o;
    Nanos start = net.clock.now();
    call(a, kB, kTestHold, "", o, milliseconds(700));
    ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(5)));
    EXPECT_EQ(o.error, Error::Timeout);
    EXPECT_EQ((net.clock.now() - start).value, milliseconds(700).value);
    // The late answer of the cancelled call reaches nobody, also not the slot's next user.
    Outcome next;
    call(a, kB, kTestHold, "", next);
    run({&a, &b}, [&] { return b.held.size() == 2; }, seconds(1));
    b.held[0].reply(bytes_of(std::string_view("old")));
    b.held[1].reply(bytes_of(std::string_view("new")));
    run({&a, &b}, [&] { return next.times > 0; }, seconds(1));
    EXPECT_EQ(next.text, "new");
    EXPECT_EQ(o.times, 1);
}

TEST_F(SessionTest, TooManyCallsAreFull) {
    TestNode a(net, kA, 11);
    std::vector<Outcome> outs(400);
    for (auto& o : outs)
        call(a, kB, kTestEcho, "x", o, seconds(3));
    run({&a}, [&] { return outs.back().times > 0; }, seconds(1));
    EXPECT_EQ(outs.back().error, Error::Full);
    EXPECT_EQ(outs.front().times, 0);
    run({&a}, [&] { return outs.front().times > 0; }, seconds(5));
    EXPECT_EQ(outs.front().error, Error::Timeout);
}

TEST_F(SessionTest, IdentityFollowsTheJoin) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    Outcome one, two;
    call(a, kB, kTestCount, "", one);
    run({&a, &b}, [&] { return one.times > 0; }, seconds(1));
    EXPECT_EQ(b.caller.node, NodeId(0));
    a.node->set_self({rpc::NodeKind::Process, NodeId(16), Incarnation(11)});
    call(a, kB, kTestCount, "", two);
    run({&a, &b}, [&] { return two.times > 0; }, seconds(1));
    EXPECT_EQ(b.caller.node, NodeId(16));
}

} // namespace
} // namespace tessera::test
