#include "tests/unit/monitors/support/memory_world.hpp"

namespace tessera::test {

TEST(ExCache, AnonymousMemoryStartsAsZeros) {
    MemoryWorld w({});
    pmon::Space* s = w.new_space();
    EXPECT_EQ(w.get(*s, 0x400000), 0u);
    EXPECT_TRUE(w.put(*s, 0x400000, 42));
    EXPECT_EQ(w.get(*s, 0x400000), 42u);
    EXPECT_EQ(w.cache->counters().zero_fills, 1u);
    EXPECT_TRUE(w.cache->destroy_space(*s));
    w.run_for(seconds(1));
    EXPECT_EQ(w.monitor->counters().frames, 0u);
}

TEST(ExCache, WhatDoesNotFitComesBackFromTheOwner) {
    MemoryWorld w({.lines = 32});
    pmon::Space* s = w.new_space();
    for (uint64_t i = 0; i < 200; i++)
        ASSERT_TRUE(w.put(*s, 0x10000 + i * kPageSize, i + 1)) << i;
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 0; i < 200; i++)
            ASSERT_EQ(w.get(*s, 0x10000 + i * kPageSize), i + 1) << i;
    auto c = w.cache->counters();
    EXPECT_GE(c.remote_reads, 300u);
    EXPECT_GE(c.write_backs, 168u);
    EXPECT_LE(c.lines, 32u);
    EXPECT_EQ(w.monitor->counters().frames, c.lines >= 200 ? 0u : w.monitor->use(kVnode).frames);
    EXPECT_TRUE(w.cache->destroy_space(*s));
    w.run_for(seconds(1));
    EXPECT_EQ(w.monitor->counters().frames, 0u);
    EXPECT_EQ(w.m.frames.counts().free, w.m.frames.counts().total);
}

TEST(ExCache, ForkSharesUntilAWrite) {
    MemoryWorld w({.lines = 64});
    pmon::Space* a = w.new_space();
    for (uint64_t i = 0; i < 100; i++) {
        auto ok = w.put(*a, i * kPageSize + 0x10000, i);
        ASSERT_TRUE(ok) << i << describe(ok.error());
    }
    pmon::Space* b = w.fork(*a);
    for (uint64_t i = 0; i < 100; i += 2)
        ASSERT_TRUE(w.put(*b, i * kPageSize + 0x10000, 1000 + i));
    for (uint64_t i = 1; i < 100; i += 2)
        ASSERT_TRUE(w.put(*a, i * kPageSize + 0x10000, 2000 + i));
    for (uint64_t i = 0; i < 100; i++) {
        ASSERT_EQ(w.get(*a, i * kPageSize + 0x10000), i % 2 ? 2000 + i : i);
        ASSERT_EQ(w.get(*b, i * kPageSize + 0x10000), i % 2 ? i : 1000 + i);
    }
    EXPECT_TRUE(w.cache->destroy_space(*a));
    for (uint64_t i = 0; i < 100; i++)
        ASSERT_EQ(w.get(*b, i * kPageSize + 0x10000), i % 2 ? i : 1000 + i);
    EXPECT_TRUE(w.cache->destroy_space(*b));
    w.run_for(seconds(1));
    EXPECT_EQ(w.monitor->counters().frames, 0u);
}

TEST(ExCache, FileTextIsFetchedOnceAndCopiedOnWrite) {
    MemoryWorld w({});
    w.files.files[11] = std::string(3 * kPageSize + 100, 'x');
    pmon::CacheObject* f = *w.cache->file_object(kVnode, FileId(11), Generation(1));
    pmon::Space* a = w.new_space();
    pmon::Space* b = w.new_space();
    auto mapping = [&](pmon::PageRequest& r) {
        r.source = f;
        r.source_page = r.page - 0x400;
        r.private_copy = true;
    };
    EXPECT_EQ(**w.touch(*a, 0x401000, false, mapping), std::byte('x'));
    int gets = w.files.gets;
    EXPECT_EQ(**w.touch(*b, 0x401000, false, mapping), std::byte('x'));
    EXPECT_EQ(w.files.gets, gets);
    **w.touch(*b, 0x401000, true, mapping) = std::byte('y');
    EXPECT_EQ(**w.touch(*a, 0x401000, false, mapping), std::byte('x'));
    EXPECT_EQ(**w.touch(*b, 0x401000, false, mapping), std::byte('y'));
    EXPECT_EQ(w.touch(*a, 0x404000, false, mapping).error(), Error::Range);
    // The page where the segment's file part ends: the rest is zero.
    auto partial = [&](pmon::PageRequest& r) {
        mapping(r);
        r.source_bytes = 10;
    };
    std::byte* at = *w.touch(*a, 0x402000, false, partial);
    EXPECT_EQ(at[9], std::byte('x'));
    EXPECT_EQ(at[10], std::byte(0));
    w.cache->patch_file(kVnode, FileId(11), Generation(1), kPageSize,
                        bytes_of(std::string_view("zz")));
    EXPECT_EQ(**w.touch(*a, 0x401000, false, mapping), std::byte('z'));
    EXPECT_TRUE(w.cache->destroy_space(*a));
    EXPECT_TRUE(w.cache->destroy_space(*b));
    EXPECT_TRUE(w.cache->release(*f));
}

TEST(ExCache, SharedFileMappingsAreStored) {
    MemoryWorld w({});
    w.files.files[11] = std::string(2 * kPageSize, 'a');
    pmon::CacheObject* f = *w.cache->file_object(kVnode, FileId(11), Generation(1));
    pmon::Space* a = w.new_space();
    auto mapping = [&](pmon::PageRequest& r) {
        r.source = f;
        r.source_page = r.page - 0x400;
    };
    **w.touch(*a, 0x400000, true, mapping) = std::byte('b');
    EXPECT_TRUE(w.run([&] { return w.cache->flush_file(kVnode, FileId(11), Generation(1)) == 0; }));
    EXPECT_EQ(w.files.files[11].substr(0, 2), "ba");
    EXPECT_TRUE(w.cache->destroy_space(*a));
    EXPECT_TRUE(w.cache->release(*f));
}

TEST(ExCache, RevokedFilePagesAreFetchedAgain) {
    MemoryWorld w({});
    w.files.files[11] = std::string(kPageSize, 'a');
    pmon::CacheObject* f = *w.cache->file_object(kVnode, FileId(11), Generation(1));
    pmon::Space* a = w.new_space();
    auto mapping = [&](pmon::PageRequest& r) {
        r.source = f;
        r.source_page = 0;
        r.private_copy = true;
    };
    EXPECT_EQ(**w.touch(*a, 0x400000, false, mapping), std::byte('a'));
    w.files.files[11] = std::string(kPageSize, 'b');
    bool done = false;
    w.monitor->revoke_file(kVnode, FileId(11), Generation(1), PageNo(0), 1, NodeId(99),
                           [&] { done = true; });
    EXPECT_FALSE(done);
    EXPECT_TRUE(w.run([&] { return done; }));
    EXPECT_EQ(**w.touch(*a, 0x400000, false, mapping), std::byte('b'));
    EXPECT_TRUE(w.cache->destroy_space(*a));
    EXPECT_TRUE(w.cache->release(*f));
}

TEST(ExCache, WithoutCreditAFaultFails) {
    MemoryWorld w({.lines = 64, .quota = 40});
    pmon::Space* s = w.new_space();
    Result<void> last;
    uint64_t n = 0;
    for (; n < 100 && last; n++)
        last = w.put(*s, 0x10000 + n * kPageSize, n);
    EXPECT_EQ(last.error(), Error::NoMemory);
    EXPECT_EQ(n, 41u);
    EXPECT_EQ(w.get(*s, 0x10000 + 5 * kPageSize), 5u);
    // What is given up can be had again.
    EXPECT_TRUE(w.cache->discard(*s, 0x10, 20));
    EXPECT_TRUE(w.put(*s, 0x10000 + 60 * kPageSize, 1));
    EXPECT_TRUE(w.cache->destroy_space(*s));
}

TEST(ExCache, ALostOwnerIsSaidSo) {
    MemoryWorld w({.lines = 32});
    pmon::Space* s = w.new_space();
    for (uint64_t i = 0; i < 100; i++)
        ASSERT_TRUE(w.put(*s, 0x10000 + i * kPageSize, i));
    w.cache->owner_dead(roce::Ipv4(0x0a000002));
    EXPECT_EQ(w.get(*s, 0x10000).error(), Error::Lost);
    EXPECT_TRUE(w.cache->destroy_space(*s));
    w.monitor->fence(kProcessNode, Incarnation(5));
    w.run_for(seconds(1));
    EXPECT_EQ(w.m.frames.counts().free, w.m.frames.counts().total);
}

// What runs on has its text from another home, once there is a mount epoch that says which.
TEST(ExCache, FilesOfALostOwnerGoOnAtAnother) {
    MemoryWorld w({.lines = 64});
    MemoryWorld::Second& second = w.add_second();
    constexpr roce::Ipv4 kFirst(0x0a000002), kSecond(0x0a000003);
    std::vector<roce::Ipv4> homes{kFirst, kSecond};
    uint64_t id = 10; // of a file whose home is the second
    while (homes[schema::home_index(FileId(id), homes)] != kSecond)
        id++;
    w.files.files[id] = second.files.files[id] = std::string(3 * kPageSize, 'x');
    pmon::CacheObject* f = *w.cache->file_object(kVnode, FileId(id), Generation(1));
    pmon::Space* a = w.new_space();
    auto mapping = [&](pmon::PageRequest& r) {
        r.source = f;
        r.source_page = r.page - 0x400;
        r.private_copy = true;
    };
    ASSERT_TRUE(w.put(*a, 0x10000, 5));
    EXPECT_EQ(**w.touch(*a, 0x400000, false, mapping), std::byte('x'));
    EXPECT_EQ(second.files.gets, 1);
    w.files.files[id][kPageSize] = 'y';
    w.cache->owner_dead(kSecond);
    w.cache->set_file_homes(kVnode, {kFirst});
    EXPECT_EQ(**w.touch(*a, 0x401000, false, mapping), std::byte('y'));
    EXPECT_EQ(**w.touch(*a, 0x400000, false, mapping), std::byte('x'));
    EXPECT_EQ(second.files.gets, 1);
    EXPECT_EQ(w.get(*a, 0x10000), 5u);
    EXPECT_TRUE(w.cache->destroy_space(*a));
    EXPECT_TRUE(w.cache->release(*f));
}

TEST(ExCache, AFileWrittenThroughAMappingIsLostWithItsHome) {
    MemoryWorld w({.lines = 64});
    MemoryWorld::Second& second = w.add_second();
    constexpr roce::Ipv4 kFirst(0x0a000002), kSecond(0x0a000003);
    std::vector<roce::Ipv4> homes{kFirst, kSecond};
    uint64_t id = 10;
    while (homes[schema::home_index(FileId(id), homes)] != kSecond)
        id++;
    w.files.files[id] = second.files.files[id] = std::string(kPageSize, 'x');
    pmon::CacheObject* f = *w.cache->file_object(kVnode, FileId(id), Generation(1));
    pmon::Space* a = w.new_space();
    auto mapping = [&](pmon::PageRequest& r) {
        r.source = f;
        r.source_page = r.page - 0x400;
    };
    **w.touch(*a, 0x400000, true, mapping) = std::byte('b');
    w.cache->owner_dead(kSecond);
    w.cache->set_file_homes(kVnode, {kFirst});
    EXPECT_EQ(w.touch(*a, 0x400000, false, mapping).error(), Error::Lost);
    EXPECT_TRUE(w.cache->destroy_space(*a));
    EXPECT_TRUE(w.cache->release(*f));
}

TEST(ExCache, ShrinksAndGrowsWhileRunning) {
    MemoryWorld w({.lines = 128});
    pmon::Space* s = w.new_space();
    for (uint64_t i = 0; i < 120; i++)
        ASSERT_TRUE(w.put(*s, 0x10000 + i * kPageSize, i));
    EXPECT_FALSE(w.cache->set_limit(10));
    EXPECT_TRUE(w.cache->set_limit(40));
    EXPECT_TRUE(w.run([&] { return w.cache->counters().lines <= 40; }));
    EXPECT_TRUE(w.cache->set_limit(300));
    for (uint64_t i = 0; i < 120; i++)
        ASSERT_EQ(w.get(*s, 0x10000 + i * kPageSize), i);
    EXPECT_TRUE(w.cache->destroy_space(*s));
}

} // namespace tessera::test
