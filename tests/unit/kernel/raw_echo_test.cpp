#include "kernel/node/raw_echo.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <optional>

#include "tests/unit/net/roce/virtual_net.hpp"

namespace tessera::node {
namespace {

using test::VirtualNet;

constexpr roce::Ipv4 kA{0x0a4d0101}, kB{0x0a4d0102};

struct Pair : testing::Test {
    VirtualNet net{1};
    VirtualNet::Port& link_a = net.add_port(9014);
    VirtualNet::Port& link_b = net.add_port(9014);
    RawEcho a{link_a, net.clock, kA}, b{link_b, net.clock, kB};
    std::optional<Result<void>> outcome;

    Result<void> measure(roce::Ipv4 target, uint32_t rounds) {
        return a.measure(target, rounds, [this](Result<void> how) { outcome = how; });
    }
    void run_until(Nanos end) {
        while (net.clock.now() < end && !outcome) {
            net.advance_to(net.clock.now() + microseconds(10));
            link_a.poll(a, 16);
            link_b.poll(b, 16);
            a.poll();
            b.poll();
        }
    }
};

TEST_F(Pair, MeasuresEachRoundTrip) {
    ASSERT_TRUE(measure(kB, 100));
    EXPECT_EQ(measure(kB, 1).error(), Error::Busy);
    run_until(net.clock.now() + seconds(5));
    ASSERT_TRUE(outcome);
    EXPECT_TRUE(*outcome);
    EXPECT_EQ(a.times().count(), 100u); // the one that looked for the target is not among them
    EXPECT_GE(a.times().percentile(500), microseconds(10));
    EXPECT_LT(a.times().percentile(990), milliseconds(1));
    EXPECT_EQ(a.next_deadline(), kNever);
}

TEST_F(Pair, AsksAgainAfterALossAndDoesNotCountTheRepeat) {
    net.faults.loss = 200;
    ASSERT_TRUE(measure(kB, 50));
    run_until(net.clock.now() + seconds(20));
    ASSERT_TRUE(outcome);
    EXPECT_TRUE(*outcome);
    EXPECT_LT(a.times().count(), 50u);
    EXPECT_GT(a.times().count(), 5u);
    EXPECT_LT(a.times().percentile(1000), milliseconds(1)); // no retry's 20 ms in it
}

TEST_F(Pair, GivesUpOnATargetThatIsNotThere) {
    ASSERT_TRUE(measure(roce::Ipv4(0x0a4d0107), 3));
    run_until(net.clock.now() + seconds(5));
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error(), Error::Timeout);
    EXPECT_EQ(a.times().count(), 0u);
    outcome.reset();
    EXPECT_TRUE(measure(kB, 1)); // and can be used again
    run_until(net.clock.now() + seconds(5));
    ASSERT_TRUE(outcome);
    EXPECT_TRUE(*outcome);
}

TEST_F(Pair, RefusesNonsense) {
    EXPECT_EQ(measure({}, 1).error(), Error::InvalidArgument);
    EXPECT_EQ(measure(kA, 1).error(), Error::InvalidArgument);
    EXPECT_EQ(measure(kB, 0).error(), Error::InvalidArgument);
    EXPECT_EQ(measure(kB, RawEcho::kMostRounds + 1).error(), Error::InvalidArgument);
    std::array<std::byte, 64> junk{};
    for (size_t n = 0; n <= junk.size(); n++)
        a.on_frame(Bytes(junk).first(n));
    EXPECT_FALSE(outcome);
}

} // namespace
} // namespace tessera::node
