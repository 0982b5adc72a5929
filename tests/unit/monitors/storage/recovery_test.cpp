// Recovery from damage: superblock, partition table, headers, log, snapshot; and parts on their
// own.
#include <gtest/gtest.h>

#include "base/log.hpp"
#include "monitors/storage/core/disk_format.hpp"
#include "monitors/storage/core/extents.hpp"
#include "tests/unit/monitors/storage/store_driver.hpp"

namespace tessera::storage::test {
namespace {

constexpr uint64_t kBlocks = 2048;

uint64_t find_block(const Image& image, uint32_t magic, uint64_t skip) {
    for (auto& [block, data] : image)
        if (load<Le32>(*data) == magic && skip-- == 0) return block;
    return 0;
}

TEST(Recovery, CopiesReplaceDamagedBlocks) {
    StoreDriver s(kBlocks);
    s.make();
    s.file(s.root, "f");
    ASSERT_TRUE(s.sync());
    for (uint64_t block : {0, 1, 2, 3, 4, 5}) { // superblock, partition table, one header slot each
        StoreDriver t(kBlocks, s.disk.image());
        t.root = s.root;
        t.disk.corrupt(block, 20, 1);
        ASSERT_TRUE(t.mount()) << "block " << block;
        EXPECT_TRUE(t.find("f"));
        EXPECT_TRUE(t.check().clean());
    }
    StoreDriver t(kBlocks, s.disk.image());
    t.disk.corrupt(0, 0, 1);
    t.disk.corrupt(kBlocks - 1, 0, 1);
    EXPECT_EQ(t.mount().error(), Error::Malformed);
    StoreDriver empty(kBlocks);
    EXPECT_EQ(empty.mount().error(), Error::Malformed);
    StoreDriver small(8);
    EXPECT_EQ(small.mount().error(), Error::Malformed);
    EXPECT_EQ(small.format().error(), Error::InvalidArgument);
    StoreDriver cut(kBlocks - 1, s.disk.image());
    EXPECT_EQ(cut.mount().error(), Error::Malformed);
}

TEST(Recovery, DamageInTheMiddleOfTheLogIsReported) {
    StoreDriver s(kBlocks);
    s.make();
    for (int i = 0; i < 10; i++) {
        s.file(s.root, "f" + std::to_string(i));
        ASSERT_TRUE(s.sync());
    }
    StoreDriver t(kBlocks, s.disk.image());
    uint64_t middle = find_block(t.disk.image(), kLogMagic, 4);
    ASSERT_NE(middle, 0u);
    t.disk.corrupt(middle, 100, 1);
    EXPECT_EQ(t.mount().error(), Error::Corrupt);
    // A torn last block is an ordinary end.
    StoreDriver u(kBlocks, s.disk.image());
    u.root = s.root;
    u.disk.corrupt(find_block(u.disk.image(), kLogMagic, 9), 100, 1);
    ASSERT_TRUE(u.mount());
    EXPECT_TRUE(u.find("f8"));
    EXPECT_FALSE(u.find("f9"));
}

TEST(Recovery, DamagedSnapshotIsReported) {
    StoreDriver s(kBlocks);
    s.make();
    s.file(s.root, "f");
    ASSERT_TRUE(s.checkpoint());
    StoreDriver t(kBlocks, s.disk.image());
    t.disk.corrupt(find_block(t.disk.image(), kSnapshotMagic, 0), 60, 1);
    EXPECT_EQ(t.mount().error(), Error::Corrupt);
}

TEST(Recovery, ReadOnlyWritesNothing) {
    StoreDriver s(kBlocks);
    s.make();
    s.file(s.root, "f");
    ASSERT_TRUE(s.sync());
    StoreDriver t(kBlocks, s.disk.image());
    t.root = s.root;
    ASSERT_TRUE(t.mount({.read_only = true}));
    EXPECT_TRUE(t.find("f"));
    EXPECT_EQ(t.create(t.root, "g").error(), Error::ReadOnly);
    EXPECT_EQ(t.write(t.find("f")->object, 0, "x").error(), Error::ReadOnly);
    EXPECT_TRUE(t.sync());
    EXPECT_TRUE(t.unmount());
    EXPECT_TRUE(t.disk.events().empty());
}

TEST(Recovery, LostCreatesNeverShareAName) {
    StoreDriver s(kBlocks);
    s.make();
    ASSERT_TRUE(s.sync());
    size_t cut = s.disk.events().size();
    ObjectRef lost = s.file(s.root, "lost"); // never synced
    StoreDriver t(kBlocks, s.disk.cut(cut, 1));
    t.root = s.root;
    ASSERT_TRUE(t.mount());
    ObjectRef other = t.file(t.root, "other");
    EXPECT_NE(other, lost);
    EXPECT_EQ(t.getattr(lost).error(), Error::Stale);
}

TEST(Recovery, GroupCommitSharesFlushes) {
    StoreDriver s(kBlocks);
    s.make();
    s.disk.deferred = true;
    uint64_t before = s.store->counters().flushes;
    int done = 0;
    for (int i = 0; i < 20; i++) {
        s.file(s.root, "f" + std::to_string(i));
        s.store->sync([&done](Result<void> r) { done += r.has_value(); });
    }
    while (done < 20)
        ASSERT_TRUE(s.disk.run_one());
    EXPECT_LE(s.store->counters().flushes - before, 3u);
    uint64_t flushes = s.store->counters().flushes;
    EXPECT_TRUE(s.fsync(s.root)); // nothing new: no flush
    EXPECT_EQ(s.store->counters().flushes, flushes);
}

TEST(Parts, Xxh64MatchesThePublishedValues) {
    EXPECT_EQ(xxh64({}), 0xef46db3751d8e999ull);
    EXPECT_EQ(xxh64(bytes_of(std::string_view("a"))), 0xd24ec4f1a98c6e5bull);
    EXPECT_EQ(xxh64(bytes_of(std::string_view("abc"))), 0x44bc2cf5ad770999ull);
}

TEST(Parts, ExtentsSplitMergeAndCount) {
    ExtentMap m;
    Lcg dice{5};
    std::vector<uint32_t> model(200, 0); // disk block + 1, 0 = hole
    for (int step = 0; step < 3000; step++) {
        uint64_t from = dice.below(200), n = 1 + dice.below(200 - from);
        uint64_t freed = 0, mapped = 0;
        for (uint64_t i = from; i < from + n; i++)
            mapped += model[i] != 0;
        ASSERT_EQ(m.mapped_in(from, n), mapped);
        m.punch(from, n, [&](uint32_t, uint32_t count) { freed += count; });
        ASSERT_EQ(freed, mapped);
        std::fill_n(model.begin() + static_cast<ptrdiff_t>(from), n, 0);
        if (dice.chance(70)) {
            uint32_t disk = static_cast<uint32_t>(dice.below(3) * 1000 + from);
            m.insert({static_cast<uint32_t>(from), disk, static_cast<uint32_t>(n)});
            for (uint64_t i = 0; i < n; i++)
                model[from + i] = disk + static_cast<uint32_t>(i) + 1;
        }
        uint64_t total = 0;
        for (uint64_t i = 0; i < 200; i++) {
            auto e = m.find(i);
            bool here = e != m.end() && e->file_block <= i;
            ASSERT_EQ(here ? e->disk_block + (i - e->file_block) + 1 : 0, model[i]);
            total += model[i] != 0;
        }
        ASSERT_EQ(m.blocks(), total);
    }
}

} // namespace
} // namespace tessera::storage::test
