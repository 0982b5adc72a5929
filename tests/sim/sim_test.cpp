// The simulator under the sanitizers: a few short runs, and that a run is a function of its seed.
#include <gtest/gtest.h>

#include "tests/sim/cluster.hpp"

namespace tessera::sim {
namespace {

Options small(uint64_t seed) {
    Options o;
    o.seed = seed;
    o.processes = 1, o.memories = 1, o.storages = 1, o.vnodes = 1;
    o.work = milliseconds(1500);
    return o;
}

TEST(Sim, TheSameSeedHasTheSameTrace) {
    for (uint64_t seed : {3, 4}) {
        Outcome a = run(small(seed)), b = run(small(seed)), other = run(small(seed + 100));
        EXPECT_EQ(a.failure, "");
        EXPECT_EQ(a.hash, b.hash);
        EXPECT_EQ(a.notes, b.notes);
        EXPECT_NE(a.hash, other.hash);
        EXPECT_GT(a.pages.operations, 100u);
        EXPECT_GT(a.files.writes, 10u);
    }
}

TEST(Sim, AListedFaultStrikes) {
    Options o = small(5);
    o.draw = false;
    auto list = parse_faults("crash:m1@300+1200,loss:*:20@0+1500,cut:p1>m1@100+200");
    ASSERT_TRUE(list);
    EXPECT_EQ(describe(*list), "crash:m1@300+1200,loss:*:20@0+1500,cut:p1>m1@100+200");
    o.faults = *list;
    Outcome out = run(o);
    EXPECT_EQ(out.failure, "");
    EXPECT_GT(out.pages.lost, 0u); // the programs whose memory was there
}

TEST(Sim, FaultListsThatDoNotParse) {
    for (const char* text : {"crash", "crash:m1", "crash:m1@1", "crash:m1@x+1", "burn:m1@1+1",
                             "loss:*@0+1", "loss:*:x@0+1", "crash:@1+1", ",", "crash:m1@1+1,"})
        EXPECT_EQ(parse_faults(text).has_value(), std::string_view(text) == "crash:m1@1+1,")
            << text;
}

} // namespace
} // namespace tessera::sim
