// Data: reads, writes, holes, truncation, quotas, full disks, corruption, device errors, and a
// random run against a model in memory, with many operations under way at once.
#include <gtest/gtest.h>

#include "tests/unit/monitors/storage/store_driver.hpp"

namespace tessera::storage::test {
namespace {

std::string noise(Lcg& dice, size_t n) {
    std::string s(n, 0);
    for (char& c : s)
        c = static_cast<char>(dice.next());
    return s;
}

TEST(Data, HolesEdgesAndTruncation) {
    StoreDriver s(2048);
    s.make();
    ObjectRef f = s.file(s.root, "f");
    ASSERT_EQ(*s.write(f, 100000, "end"), 3u);
    EXPECT_EQ(s.getattr(f)->size, 100003u);
    EXPECT_EQ(s.getattr(f)->blocks, 1u);
    EXPECT_EQ(*s.read(f, 99990, 100), std::string(10, '\0') + "end");
    EXPECT_EQ(*s.read(f, 100003, 10), "");
    ASSERT_TRUE(s.write(f, 4090, "across blocks"));
    EXPECT_EQ(*s.read(f, 4088, 17), std::string(2, '\0') + "across blocks" + std::string(2, '\0'));
    // What was cut off does not come back.
    ASSERT_TRUE(s.resize(f, 4093));
    ASSERT_TRUE(s.resize(f, 5000));
    EXPECT_EQ(*s.read(f, 4088, 12), std::string(2, '\0') + "acr" + std::string(7, '\0'));
    ASSERT_TRUE(s.resize(f, 0));
    EXPECT_EQ(s.getattr(f)->blocks, 0u);
    EXPECT_EQ(s.write(f, kMaxFileSize, "x").error(), Error::TooBig);
    EXPECT_EQ(s.write(s.root, 0, "x").error(), Error::IsDirectory);
    EXPECT_TRUE(s.check().clean());
    EXPECT_TRUE(s.unmount());
}

TEST(Data, QuotaAndFullDiskLeaveAWayOut) {
    StoreDriver s(2048);
    s.make();
    ObjectRef limited = s.create_root(2, 40960)->object;
    ObjectRef f = s.file(limited, "f");
    EXPECT_TRUE(s.write(f, 0, std::string(40960, 'q')));
    EXPECT_EQ(s.write(f, 40960, "x").error(), Error::NoSpace);
    EXPECT_TRUE(s.write(f, 5, "over what is there"));
    EXPECT_EQ(s.statfs(2).free_bytes, 0u);
    // Fill everything, then remove, then fill again.
    for (int round = 0; round < 3; round++) {
        ObjectRef big = s.file(s.root, "big");
        uint64_t at = 0;
        for (;;) {
            Result<size_t> n = s.write(big, at, std::string(65536, static_cast<char>('a' + round)));
            if (!n) {
                EXPECT_EQ(n.error(), Error::NoSpace);
                break;
            }
            at += *n;
        }
        EXPECT_GT(at, 3u << 20);
        EXPECT_TRUE(s.resize(big, at - 100)); // still possible
        EXPECT_TRUE(s.unlink(s.root, "big"));
        EXPECT_TRUE(s.check().clean());
    }
    EXPECT_TRUE(s.remount());
    EXPECT_TRUE(s.check().clean());
    EXPECT_TRUE(s.unmount());
}

TEST(Data, MemoryBudgetIsNoSpace) {
    StoreDriver s(4096);
    s.make({}, {.memory_budget = kib(400)});
    Error last{};
    int made = 0;
    for (; made < 10000 && last == Error{}; made++) {
        Result<CreateResult> r = s.create(s.root, "f" + std::to_string(made));
        if (!r) last = r.error();
    }
    EXPECT_EQ(last, Error::NoSpace);
    EXPECT_GT(made, 100);
    EXPECT_TRUE(s.unlink(s.root, "f1"));
    EXPECT_TRUE(s.remount({.memory_budget = kib(400)}));
    EXPECT_TRUE(s.unmount());
    EXPECT_EQ(s.mount({.memory_budget = kib(100)}).error(), Error::NoMemory);
}

TEST(Data, CorruptBlocksAreNeverServed) {
    StoreDriver s(2048);
    s.make();
    ObjectRef f = s.file(s.root, "f"), g = s.file(s.root, "g");
    ASSERT_TRUE(s.write(f, 0, std::string(20000, 'F')));
    ASSERT_TRUE(s.write(g, 0, std::string(20000, 'G')));
    ASSERT_TRUE(s.sync());
    uint64_t bad = 0;
    for (auto& [block, data] : s.disk.image())
        if ((*data)[0] == std::byte{'F'} && (*data)[4095] == std::byte{'F'}) bad = block;
    ASSERT_NE(bad, 0u);
    s.disk.corrupt(bad, 77, 4);
    EXPECT_EQ(s.read(f, 0, 20000).error(), Error::Corrupt);
    EXPECT_EQ(*s.read(g, 0, 20000), std::string(20000, 'G'));
    EXPECT_EQ(s.check().problem_count, 1u);
    EXPECT_EQ(s.store->counters().checksum_errors, 2u);
    EXPECT_TRUE(s.unmount());
}

TEST(Data, DeviceErrorsReachTheirCaller) {
    StoreDriver s(2048);
    s.make();
    ObjectRef f = s.file(s.root, "f");
    ASSERT_TRUE(s.write(f, 0, "good"));
    ASSERT_TRUE(s.sync());
    for (uint64_t b = 390; b < 2040; b++)
        s.disk.bad_writes.insert(b); // all of the data area
    EXPECT_EQ(s.write(f, 0, "bad").error(), Error::Io);
    EXPECT_EQ(*s.read(f, 0, 10), "good");
    s.disk.bad_writes.clear();
    EXPECT_TRUE(s.write(f, 0, "fine"));
    s.disk.flush_fails = true;
    EXPECT_EQ(s.fsync(f).error(), Error::Io);
    s.disk.flush_fails = false;
    EXPECT_EQ(s.fsync(f).error(), Error::Io); // never a success over a loss
    EXPECT_EQ(s.create(s.root, "g").error(), Error::Io);
    EXPECT_EQ(*s.read(f, 0, 10), "fine");
    EXPECT_TRUE(s.mount());
    EXPECT_TRUE(s.check().clean());
    EXPECT_TRUE(s.create(s.root, "g"));
    EXPECT_TRUE(s.unmount());
}

// Random operations on a few files, compared with strings in memory; the device completes late and
// in any order, and the log is small, so that checkpoints run meanwhile.
TEST(Data, RandomRunAgainstAModel) {
    for (uint64_t seed = 1; seed <= 4; seed++) {
        StoreDriver s(3000);
        s.make({.log_blocks = 256});
        s.disk.record = false;
        s.disk.deferred = true;
        s.disk.random = Lcg{seed};
        Lcg dice{seed * 1000};
        std::vector<std::pair<ObjectRef, std::string>> model;
        for (int i = 0; i < 5; i++)
            model.emplace_back(s.file(s.root, "f" + std::to_string(i)), "");
        for (int step = 0; step < 400; step++) {
            auto& [f, content] = model[dice.below(model.size())];
            size_t at = dice.below(120000);
            switch (dice.below(6)) {
                case 0: {
                    at /= 2;
                    ASSERT_TRUE(s.resize(f, at));
                    content.resize(at);
                    break;
                }
                case 1:
                case 2: {
                    std::string data = noise(dice, 1 + dice.below(30000));
                    ASSERT_EQ(*s.write(f, at, data), data.size());
                    if (content.size() < at + data.size()) content.resize(at + data.size());
                    content.replace(at, data.size(), data);
                    break;
                }
                case 3: // several at once: disjoint writes and a read of the whole
                {
                    size_t pending = 0;
                    std::vector<std::string> data;
                    for (int k = 0; k < 6; k++)
                        data.push_back(noise(dice, 1 + dice.below(9000)));
                    for (int k = 0; k < 6; k++) {
                        size_t place = static_cast<size_t>(k) * 9000 + at / 3;
                        pending++;
                        s.store->write(kRootUser, f, place, bytes_of(std::string_view(data[k])),
                                       [&pending](Result<size_t> r) {
                                           ASSERT_TRUE(r);
                                           pending--;
                                       });
                        size_t end = place + data[k].size();
                        if (content.size() < end) content.resize(end);
                        content.replace(place, data[k].size(), data[k]);
                    }
                    while (pending > 0)
                        ASSERT_TRUE(s.disk.run_one());
                    break;
                }
                case 4:
                    if (dice.chance(30)) ASSERT_TRUE(s.fsync(f));
                    break;
                default: {
                    size_t n = dice.below(60000);
                    std::string expected = at < content.size() ? content.substr(at, n) : "";
                    ASSERT_EQ(*s.read(f, at, n), expected) << "seed " << seed << " step " << step;
                }
            }
        }
        for (auto& [f, content] : model)
            ASSERT_EQ(*s.read(f, 0, content.size() + 10), content);
        CheckReport report = s.check();
        ASSERT_TRUE(report.clean()) << report.problems[0];
        EXPECT_GT(s.store->counters().log_records, 300u);
        ASSERT_TRUE(s.remount());
        for (auto& [f, content] : model)
            ASSERT_EQ(*s.read(f, 0, content.size() + 10), content);
        ASSERT_TRUE(s.unmount());
    }
}

// Thousands of operations through a small log: it wraps, checkpoints follow each other, all while
// requests are waiting.
TEST(Data, LogWrapsUnderLoad) {
    StoreDriver s(3000);
    s.make({.log_blocks = 256});
    s.disk.record = false;
    s.disk.deferred = true;
    size_t pending = 0, failed = 0;
    std::vector<std::string> names;
    for (int i = 0; i < 15000; i++)
        names.push_back("file-with-a-rather-long-name-" + std::to_string(i % 300));
    for (int i = 0; i < 15000; i++) {
        pending++;
        auto count = [&](bool good) {
            pending--;
            failed += !good;
        };
        if (i / 300 % 2 == 0)
            s.store->create(kRootUser, s.root, names[i], {},
                            [count](Result<CreateResult> r) { count(r.has_value()); });
        else
            s.store->unlink(kRootUser, s.root, names[i],
                            [count](Result<Attributes> r) { count(r.has_value()); });
        if (i % 50 == 0) {
            pending++;
            s.store->sync([count](Result<void> r) { count(r.has_value()); });
        }
        while (pending > 200)
            ASSERT_TRUE(s.disk.run_one());
    }
    while (pending > 0)
        ASSERT_TRUE(s.disk.run_one());
    EXPECT_EQ(failed, 0u);
    EXPECT_GE(s.store->counters().checkpoints, 2u);
    while (s.disk.run_one()) {
    }
    EXPECT_TRUE(s.check().clean());
    EXPECT_TRUE(s.list(s.root).empty());
    uint64_t before = s.digest();
    EXPECT_TRUE(s.remount());
    EXPECT_EQ(s.digest(), before);
    EXPECT_TRUE(s.unmount());
}

} // namespace
} // namespace tessera::storage::test
