#include "tools/fabric/halt_poll.hpp"

#include <gtest/gtest.h>

#include "base/hosted.hpp"

namespace tessera::fabric {
namespace {

TEST(HaltPoll, SpinsOnlyWhileFramesFollowEachOtherClosely) {
    HostClock clock;
    HaltPoll halt_poll(clock, 1);
    Nanos t = clock.now();
    halt_poll.on_traffic(t);
    EXPECT_EQ(halt_poll.until(), Nanos{0}) << "one frame is no conversation";
    t = t + HaltPoll::kClose;
    halt_poll.on_traffic(t);
    EXPECT_EQ(halt_poll.until(), Nanos{0}) << "frames far apart are none either";
    t = t + microseconds(300);
    halt_poll.on_traffic(t);
    EXPECT_EQ(halt_poll.until(), t + HaltPoll::kLinger);
} // and its thread ends

TEST(HaltPoll, WithoutThreadsItDoesNothing) {
    HostClock clock;
    HaltPoll halt_poll(clock, 0);
    halt_poll.on_traffic(Nanos{1000});
    halt_poll.on_traffic(Nanos{1001});
    EXPECT_EQ(halt_poll.until(), Nanos{0});
}

} // namespace
} // namespace tessera::fabric
