#include "kernel/sync/thread.hpp"
#include "tests/unit/monitors/process/memory_threads.hpp"

namespace tessera::test {

using posix::Advice;
using posix::MapPlace;
using posix::MapRequest;
using posix::Protection;
using posix::Sharing;

namespace {
constexpr auto kReadWrite = Protection::Read | Protection::Write;

MapRequest anonymous(uint64_t length, Protection p = kReadWrite) {
    MapRequest q;
    q.length = length;
    q.protection = p;
    return q;
}
MapRequest fixed(uint64_t at, uint64_t length, Protection p = kReadWrite) {
    MapRequest q = anonymous(length, p);
    q.address = at;
    q.place = MapPlace::Fixed;
    return q;
}
Result<void> put(posix::AddressSpace& s, uint64_t at, uint64_t value) {
    return s.write(at, bytes_of(value));
}
Result<uint64_t> get(posix::AddressSpace& s, uint64_t at) {
    uint64_t value = 0;
    TRY(s.read(at, mutable_bytes_of(value)));
    return value;
}
std::vector<std::pair<uint64_t, uint64_t>> ranges(posix::AddressSpace& s) {
    std::vector<std::pair<uint64_t, uint64_t>> r;
    s.for_each_mapping([&](const posix::Mapping& m) { r.emplace_back(m.start, m.end); });
    return r;
}
} // namespace

TEST(AddressSpace, MapWriteReadUnmap) {
    MemoryThreads t;
    auto s = t.space();
    uint64_t a = *s->map(anonymous(3 * kPageSize + 1));
    EXPECT_EQ(a % kPageSize, 0u);
    EXPECT_EQ(get(*s, a + 8), 0u);
    EXPECT_TRUE(put(*s, a + kPageSize - 4, 0x1122334455667788)); // across two pages
    EXPECT_EQ(get(*s, a + kPageSize - 4), 0x1122334455667788u);
    EXPECT_EQ(s->use().virtual_pages, 4u);
    EXPECT_TRUE(s->unmap(a + kPageSize, kPageSize));
    EXPECT_EQ(ranges(*s).size(), 2u);
    EXPECT_EQ(get(*s, a + kPageSize).error(), Error::BadAddress);
    EXPECT_TRUE(s->map(fixed(a + kPageSize, kPageSize)));
    EXPECT_EQ(get(*s, a + kPageSize), 0u);    // nothing of before is left
    EXPECT_TRUE(s->unmap(0x5000, kPageSize)); // nothing there is fine
    EXPECT_EQ(s->unmap(0x5001, kPageSize).error(), Error::InvalidArgument);
    EXPECT_EQ(s->unmap(0x5000, 0).error(), Error::InvalidArgument);
}

TEST(AddressSpace, BadRequests) {
    MemoryThreads t;
    auto s = t.space();
    EXPECT_EQ(s->map(anonymous(0)).error(), Error::InvalidArgument);
    EXPECT_EQ(s->map(anonymous(1ull << 48)).error(), Error::InvalidArgument);
    EXPECT_EQ(s->map(anonymous(0x7fff'ff00'0000)).error(), Error::NoMemory);
    EXPECT_FALSE(s->map(fixed(0x7fff'ffff'f000, kPageSize)));
    EXPECT_FALSE(s->map(fixed(0, kPageSize)));
    EXPECT_EQ(s->map(fixed(0x10001, kPageSize)).error(), Error::InvalidArgument);
    EXPECT_TRUE(s->map(fixed(0x10000, kPageSize)));
    MapRequest q = fixed(0x10000, kPageSize);
    q.place = MapPlace::FixedNoReplace;
    EXPECT_EQ(s->map(q).error(), Error::Exists);
    EXPECT_EQ(s->fault(0xffff'8000'0000'0000, Protection::Read).error(), Error::BadAddress);
    EXPECT_EQ(get(*s, UINT64_MAX - 3).error(), Error::BadAddress);
}

TEST(AddressSpace, ProtectionIsEnforced) {
    MemoryThreads t;
    auto s = t.space();
    uint64_t a = *s->map(fixed(0x100000, 4 * kPageSize));
    EXPECT_TRUE(s->fault(a, Protection::Write));
    EXPECT_EQ(s->fault(a, Protection::Execute).error(), Error::AccessDenied);
    EXPECT_TRUE(s->protect(a + kPageSize, 2 * kPageSize, Protection::Read));
    EXPECT_EQ(ranges(*s).size(), 3u);
    EXPECT_EQ(s->fault(a + kPageSize, Protection::Write).error(), Error::AccessDenied);
    EXPECT_EQ(put(*s, a + kPageSize, 1).error(), Error::BadAddress);
    EXPECT_TRUE(put(*s, a, 7));
    EXPECT_TRUE(s->protect(a, kPageSize, Protection::None));
    EXPECT_EQ(s->fault(a, Protection::Read).error(), Error::AccessDenied);
    EXPECT_TRUE(s->protect(a, kPageSize, kReadWrite));
    EXPECT_EQ(get(*s, a), 7u);
    EXPECT_EQ(s->protect(a, 64 * kPageSize, Protection::Read).error(), Error::NoMemory);
}

TEST(AddressSpace, RemapGrowsMovesAndShrinks) {
    MemoryThreads t;
    auto s = t.space();
    uint64_t a = *s->map(fixed(0x100000, 2 * kPageSize));
    EXPECT_TRUE(put(*s, a, 1));
    EXPECT_TRUE(put(*s, a + kPageSize, 2));
    EXPECT_EQ(s->remap(a, 2 * kPageSize, 3 * kPageSize, false, false, 0), a); // room behind it
    EXPECT_TRUE(put(*s, a + 2 * kPageSize, 3));
    EXPECT_TRUE(s->map(fixed(a + 3 * kPageSize, kPageSize, Protection::Read)));
    EXPECT_EQ(s->remap(a, 3 * kPageSize, 4 * kPageSize, false, false, 0).error(), Error::NoMemory);
    uint64_t b = *s->remap(a, 3 * kPageSize, 5 * kPageSize, true, false, 0);
    EXPECT_NE(a, b);
    for (uint64_t i = 0; i < 3; i++)
        EXPECT_EQ(get(*s, b + i * kPageSize), i + 1);
    EXPECT_EQ(get(*s, b + 4 * kPageSize), 0u);
    EXPECT_EQ(get(*s, a).error(), Error::BadAddress);
    EXPECT_EQ(s->remap(b, 5 * kPageSize, kPageSize, false, false, 0), b);
    EXPECT_EQ(get(*s, b + kPageSize).error(), Error::BadAddress);
    EXPECT_EQ(s->remap(b, kPageSize, kPageSize, true, true, 0x900000), 0x900000u);
    EXPECT_EQ(get(*s, 0x900000), 1u);
    EXPECT_EQ(s->remap(0x900000, kPageSize, 2 * kPageSize, true, true, 0x900000).error(),
              Error::InvalidArgument);
    EXPECT_EQ(s->remap(0x700000, kPageSize, kPageSize, true, false, 0).error(), Error::BadAddress);
}

TEST(AddressSpace, BreakGrowsAndShrinks) {
    MemoryThreads t;
    auto s = t.space();
    s->set_brk_start(0x500010);
    EXPECT_EQ(s->brk(0), 0x500010u);
    EXPECT_EQ(s->brk(0x502000), 0x502000u);
    EXPECT_TRUE(put(*s, 0x501ff0, 9));
    EXPECT_EQ(s->brk(0x501000), 0x501000u);
    EXPECT_EQ(get(*s, 0x501ff0).error(), Error::BadAddress);
    EXPECT_EQ(s->brk(0x502000), 0x502000u);
    EXPECT_EQ(get(*s, 0x501ff0), 0u);
    EXPECT_TRUE(s->map(fixed(0x510000, kPageSize)));
    EXPECT_EQ(s->brk(0x520000), 0x502000u); // something is in the way
    EXPECT_EQ(ranges(*s).size(), 2u);       // growing did not add mappings
}

TEST(AddressSpace, StackGrowsDown) {
    MemoryThreads t;
    auto s = t.space();
    MapRequest q = fixed(0x7fff'fff0'0000, 4 * kPageSize);
    q.grows_down = true;
    EXPECT_TRUE(s->map(q));
    EXPECT_TRUE(s->fault(0x7fff'fff0'0000 - 40 * kPageSize, Protection::Write));
    EXPECT_EQ(ranges(*s).front().first, 0x7fff'fff0'0000 - 40 * kPageSize);
    EXPECT_EQ(s->fault(0x7fff'fff0'0000 - mib(9), Protection::Write).error(), Error::BadAddress);
}

TEST(AddressSpace, DontNeedForgets) {
    MemoryThreads t;
    auto s = t.space();
    uint64_t a = *s->map(anonymous(4 * kPageSize));
    for (uint64_t i = 0; i < 4; i++)
        EXPECT_TRUE(put(*s, a + i * kPageSize, i + 1));
    EXPECT_TRUE(s->advise(a + kPageSize, 2 * kPageSize, Advice::DontNeed));
    EXPECT_EQ(get(*s, a), 1u);
    EXPECT_EQ(get(*s, a + kPageSize), 0u);
    EXPECT_EQ(get(*s, a + 3 * kPageSize), 4u);
    EXPECT_EQ(s->advise(a, 64 * kPageSize, Advice::DontNeed).error(), Error::NoMemory);
}

TEST(AddressSpace, ForkCopiesPrivateAndSharesShared) {
    MemoryThreads t({.lines = 64});
    auto s = t.space();
    uint64_t a = *s->map(anonymous(8 * kPageSize));
    MapRequest q = anonymous(2 * kPageSize);
    q.sharing = Sharing::Shared;
    uint64_t b = *s->map(q);
    EXPECT_TRUE(put(*s, a, 1));
    EXPECT_TRUE(put(*s, b, 2));
    auto child = *s->fork();
    EXPECT_TRUE(put(*s, a, 10));
    EXPECT_TRUE(put(*child, b, 20));
    EXPECT_EQ(get(*child, a), 1u);
    EXPECT_EQ(get(*s, b), 20u);
    EXPECT_EQ(*s->word_key(b, false), *child->word_key(b, false));
    EXPECT_FALSE(*s->word_key(a, false) == *child->word_key(a, false));
    s->destroy();
    EXPECT_EQ(get(*child, a), 1u);
    EXPECT_EQ(get(*child, b), 20u);
    child->destroy();
    EXPECT_TRUE(t.settled([&] { return t.world.monitor->counters().objects == 0; }));
    EXPECT_EQ(t.world.monitor->counters().frames, 0u);
    EXPECT_EQ(t.world.cache->counters().lines, 0u);
}

TEST(AddressSpace, ProgramSegmentsComeFromTheFile) {
    MemoryThreads t;
    std::string text(2 * kPageSize + 500, 't');
    t.world.files.files[5] = text;
    auto s = t.space();
    MapRequest q = fixed(0x400000, 4 * kPageSize, kReadWrite | Protection::Execute);
    q.file = {FileId(5), Generation(1)};
    q.file_bytes = text.size();
    q.name = "/bin/prog";
    ASSERT_TRUE(s->map(q));
    char c = 0;
    EXPECT_TRUE(s->read(0x400000, mutable_bytes_of(c)));
    EXPECT_EQ(c, 't');
    EXPECT_TRUE(s->read(0x400000 + text.size() - 1, mutable_bytes_of(c)));
    EXPECT_EQ(c, 't');
    EXPECT_TRUE(s->read(0x400000 + text.size(), mutable_bytes_of(c)));
    EXPECT_EQ(c, 0); // bss
    EXPECT_EQ(get(*s, 0x403000), 0u);
    EXPECT_TRUE(put(*s, 0x400008, 5)); // a private copy
    EXPECT_EQ(t.world.files.files[5], text);
    // The far half after a split is still right.
    EXPECT_TRUE(s->protect(0x402000, kPageSize, Protection::Read));
    EXPECT_TRUE(s->read(0x402000 + 499, mutable_bytes_of(c)));
    EXPECT_EQ(c, 't');
    EXPECT_TRUE(s->read(0x402000 + 500, mutable_bytes_of(c)));
    EXPECT_EQ(c, 0);
    // Mapped beyond the end of the file.
    MapRequest far = fixed(0x800000, 4 * kPageSize, Protection::Read);
    far.file = {FileId(5), Generation(1)};
    ASSERT_TRUE(s->map(far));
    EXPECT_TRUE(s->read(0x800000 + 2 * kPageSize, mutable_bytes_of(c)));
    EXPECT_EQ(s->fault(0x800000 + 3 * kPageSize, Protection::Read).error(), Error::Range);
}

TEST(AddressSpace, SharedFileMappingIsSynced) {
    MemoryThreads t;
    t.world.files.files[5] = std::string(kPageSize, 'a');
    auto s = t.space();
    MapRequest q = fixed(0x400000, kPageSize);
    q.file = {FileId(5), Generation(1)};
    q.sharing = Sharing::Shared;
    ASSERT_TRUE(s->map(q));
    EXPECT_TRUE(s->write(0x400000, bytes_of(std::string_view("hello"))));
    EXPECT_TRUE(s->sync(0x400000, kPageSize));
    EXPECT_EQ(t.world.files.files[5].substr(0, 6), "helloa");
}

TEST(AddressSpace, StringsAndWords) {
    MemoryThreads t;
    auto s = t.space();
    uint64_t a = *s->map(fixed(0x100000, 2 * kPageSize));
    std::string text(50, 'x');
    EXPECT_TRUE(s->write(a + kPageSize - 20, bytes_of(std::string_view(text))));
    EXPECT_EQ(*s->read_string(a + kPageSize - 20, 100), text);
    EXPECT_EQ(*s->read_string(a + kPageSize - 20, 50), text);
    EXPECT_EQ(s->read_string(a + kPageSize - 20, 49).error(), Error::TooBig);
    EXPECT_EQ(s->read_string(0x900000, 10).error(), Error::BadAddress);
    uint32_t expected = 1;
    EXPECT_EQ(*s->compare_exchange_word(a, expected, 5), false);
    EXPECT_EQ(expected, 0u);
    EXPECT_EQ(*s->compare_exchange_word(a, expected, 5), true);
    EXPECT_EQ(*s->load_word(a), 5u);
    EXPECT_FALSE(s->load_word(a + 2));
}

TEST(AddressSpace, AKillEndsAPageWait) {
    MemoryThreads t;
    auto s = t.space();
    t.world.files.files[5] = std::string(kPageSize, 'a');
    MapRequest q = fixed(0x400000, kPageSize, Protection::Read);
    q.file = {FileId(5), Generation(1)};
    ASSERT_TRUE(s->map(q));
    t.paused = true; // the page cannot come
    Result<void> how;
    kernel::Thread* thread =
        *kernel::Thread::start("waiter", [&] { how = s->fault(0x400000, Protection::Read); });
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    thread->kick(kernel::KickKind::Kill);
    thread->join();
    EXPECT_EQ(how.error(), Error::Interrupted);
    t.paused = false;
    EXPECT_TRUE(s->fault(0x400000, Protection::Read));
}

TEST(AddressSpace, ThreadsShareASmallCache) {
    MemoryThreads t({.lines = 128, .quota = 3500});
    constexpr int kThreads = 8;
    constexpr uint64_t kPagesEach = 40;
    auto s = t.space();
    std::atomic<int> wrong{0};
    std::vector<kernel::Thread*> threads;
    for (int n = 0; n < kThreads; n++) {
        threads.push_back(*kernel::Thread::start("worker", [&, n] {
            for (int round = 0; round < 5; round++) {
                auto at = s->map(anonymous(kPagesEach * kPageSize));
                if (!at) return void(wrong++);
                for (uint64_t i = 0; i < kPagesEach; i++)
                    if (!put(*s, *at + i * kPageSize, i * 100 + n)) wrong++;
                if (n == 0 && round % 2) {
                    auto child = s->fork();
                    if (!child)
                        wrong++;
                    else if (get(**child, *at) != 0u + n)
                        wrong++;
                    if (child) (*child)->destroy();
                }
                for (uint64_t i = 0; i < kPagesEach; i++)
                    if (get(*s, *at + i * kPageSize) != i * 100 + n) wrong++;
                if (!s->unmap(*at, kPagesEach * kPageSize)) wrong++;
            }
        }));
    }
    for (auto* thread : threads)
        thread->join();
    EXPECT_EQ(wrong, 0);
    s->destroy();
    EXPECT_TRUE(t.settled([&] { return t.world.monitor->counters().objects == 0; }));
    EXPECT_EQ(t.world.monitor->counters().frames, 0u);
}

} // namespace tessera::test
