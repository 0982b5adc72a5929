#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "kernel/mm/buddy.hpp"

namespace tessera::kernel {
namespace {

class Buddy : public testing::Test {
  protected:
    Buddy() { buddy.adopt(records); }
    std::vector<FrameRecord> records{5000};
    BuddyFrames buddy;
};

TEST_F(Buddy, HandsOutEachFrameOnceAndAllOfThem) {
    buddy.add(3, 1000);
    buddy.add(2000, 777);
    EXPECT_EQ(buddy.total(), 1777u);
    std::vector<uint32_t> frames;
    while (auto f = buddy.allocate())
        frames.push_back(*f);
    EXPECT_EQ(frames.size(), 1777u);
    std::sort(frames.begin(), frames.end());
    EXPECT_EQ(std::unique(frames.begin(), frames.end()), frames.end());
    EXPECT_EQ(frames.front(), 3u);
    EXPECT_EQ(frames.back(), 2776u);
    EXPECT_EQ(buddy.free_count(), 0u);
    for (uint32_t f : frames)
        buddy.free(f);
    EXPECT_EQ(buddy.free_count(), 1777u);
    // Everything merged again: the largest aligned block is whole.
    EXPECT_TRUE(buddy.allocate_block(512).has_value());
}

TEST_F(Buddy, GivesBlocksOfAnySize) {
    buddy.add(1, 4000);
    auto a = buddy.allocate_block(300);
    auto b = buddy.allocate_block(1);
    auto c = buddy.allocate_block(700);
    ASSERT_TRUE(a && b && c);
    EXPECT_EQ(buddy.free_count(), 4000u - 1001);
    EXPECT_EQ(buddy.allocate_block(0).error(), Error::InvalidArgument);
    EXPECT_EQ(buddy.allocate_block(4000).error(), Error::NoMemory);
    buddy.free_block(*c, 700);
    for (uint32_t i = 0; i < 300; i++)
        buddy.free(*a + i); // one by one is fine
    buddy.free(*b);
    EXPECT_EQ(buddy.free_count(), 4000u);
    EXPECT_TRUE(buddy.allocate_block(1024).has_value());
}

TEST_F(Buddy, SurvivesARandomLife) {
    buddy.add(100, 4500);
    std::mt19937 random(7);
    std::vector<std::pair<uint32_t, uint32_t>> held;
    std::vector<bool> used(5000);
    uint64_t in_use = 0;
    for (int step = 0; step < 20'000; step++) {
        if (random() % 2 && !held.empty()) {
            std::swap(held[random() % held.size()], held.back());
            auto [first, count] = held.back();
            held.pop_back();
            for (uint32_t i = 0; i < count; i++)
                used[first + i] = false;
            in_use -= count;
            count == 1 ? buddy.free(first) : buddy.free_block(first, count);
        } else {
            uint32_t count = random() % 4 ? 1 : random() % 200 + 1;
            auto first = count == 1 ? buddy.allocate() : buddy.allocate_block(count);
            if (!first) continue;
            for (uint32_t i = 0; i < count; i++) {
                ASSERT_FALSE(used[*first + i]);
                used[*first + i] = true;
            }
            held.push_back({*first, count});
            in_use += count;
        }
        ASSERT_EQ(buddy.free_count(), 4500 - in_use);
    }
}

TEST_F(Buddy, CatchesDoubleFree) {
    buddy.add(0, 64);
    uint32_t f = *buddy.allocate();
    buddy.free(f);
    EXPECT_DEATH(buddy.free(f), "assertion failed");
    EXPECT_DEATH(buddy.free(4000), "assertion failed"); // never managed
}

} // namespace
} // namespace tessera::kernel
