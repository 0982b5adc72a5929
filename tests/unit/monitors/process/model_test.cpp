// Random programs against a reference: several address spaces write, read, fork, discard, move and
// exit through a tiny cache while the network misbehaves. After all have gone, every frame on both
// sides is free and every credit is accounted for.
#include <cstdlib>
#include <set>

#include "tests/unit/monitors/support/memory_world.hpp"

namespace tessera::test {

namespace {

constexpr uint64_t kPages = 24; // in each of the two areas
constexpr uint64_t kAreas[] = {0x10, 0x7fff'f000};

struct Program {
    pmon::Space* space;
    std::map<uint64_t, uint64_t> memory; // page -> value; absent = zero
};

struct Run {
    uint64_t seed = 1;
    int operations = 2000;
    Faults faults;
    int break_every = 0; // operations between broken connections; 0: never
    uint32_t lines = 32;
    uint64_t quota = 3000;
};

void model(const Run& o) {
    SCOPED_TRACE("seed " + std::to_string(o.seed));
    MemoryWorld w({.seed = o.seed, .lines = o.lines, .quota = o.quota});
    w.net.faults = o.faults;
    SeededRandom random(o.seed * 77 + 5);
    std::vector<Program> programs;
    programs.push_back({w.new_space(), {}});
    auto any_page = [&] { return kAreas[random.next() % 2] + random.next() % kPages; };
    uint64_t value = 1;
    // Retries what has no room in the stream now.
    auto surely = [&](auto&& f) {
        for (int i = 0; i < 10000; i++) {
            auto r = f();
            if (r || r.error() != Error::Again) return r;
            w.run_for(milliseconds(5));
        }
        return f();
    };
    for (int n = 0; n < o.operations; n++) {
        if (::testing::Test::HasFatalFailure()) break;
        Program& p = programs[random.next() % programs.size()];
        unsigned what = random.next() % 100;
        if (o.break_every && n % o.break_every == o.break_every - 1) {
            w.net.faults.loss = 1000; // long enough for both ends to give the connection up
            w.run_for(seconds(3));
            w.net.faults = o.faults;
        }
        if (what < 45) {
            uint64_t page = any_page();
            auto ok = w.put(*p.space, page * kPageSize + 16, value);
            ASSERT_TRUE(ok) << n << ": " << describe(ok.error());
            p.memory[page] = value++;
        } else if (what < 85) {
            uint64_t page = any_page();
            auto got = w.get(*p.space, page * kPageSize + 16);
            ASSERT_TRUE(got) << n << ": " << describe(got.error());
            ASSERT_EQ(*got, p.memory.contains(page) ? p.memory[page] : 0) << n << " page " << page;
        } else if (what < 90) {
            uint64_t first = any_page(), pages = 1 + random.next() % 6;
            p.space->generation++;
            ASSERT_TRUE(surely([&] { return w.cache->discard(*p.space, first, pages); }));
            for (uint64_t i = 0; i < pages; i++)
                p.memory.erase(first + i);
        } else if (what < 93) {
            uint64_t area = random.next() % 2, pages = 1 + random.next() % 6;
            uint64_t from = kAreas[area] + random.next() % (kPages / 2 - 6);
            uint64_t to = kAreas[random.next() % 2] + kPages / 2 + random.next() % (kPages / 2 - 6);
            p.space->generation++;
            ASSERT_TRUE(surely([&] { return w.cache->move(*p.space, from, pages, to); }));
            for (uint64_t i = 0; i < pages; i++) {
                p.memory.erase(to + i);
                auto it = p.memory.find(from + i);
                if (it == p.memory.end()) continue;
                p.memory[to + i] = it->second;
                p.memory.erase(it);
            }
        } else if (what < 96 && programs.size() < 6) {
            FakeMappers mappers;
            auto mapper = *mappers.create();
            auto child = surely([&] { return w.cache->fork_space(*p.space, mapper); });
            ASSERT_TRUE(child) << n << ": " << describe(child.error());
            Program copy{*child, p.memory};
            programs.push_back(std::move(copy));
        } else if (what < 98 && programs.size() > 1) {
            ASSERT_TRUE(surely([&] { return w.cache->destroy_space(*p.space); }));
            programs.erase(programs.begin() + (&p - programs.data()));
        } else {
            w.run_for(microseconds(static_cast<int64_t>(random.next() % 3000)));
        }
        auto use = w.monitor->use(kVnode);
        ASSERT_LE(use.frames + use.credits, o.quota);
    }
    w.net.faults = {};
    for (Program& p : programs)
        for (uint64_t area : kAreas)
            for (uint64_t page = area; page < area + kPages; page++) {
                auto got = w.get(*p.space, page * kPageSize + 16);
                ASSERT_TRUE(got) << describe(got.error());
                ASSERT_EQ(*got, p.memory.contains(page) ? p.memory[page] : 0) << "page " << page;
            }
    for (Program& p : programs)
        ASSERT_TRUE(surely([&] { return w.cache->destroy_space(*p.space); }));
    w.run_for(seconds(10));
    auto m = w.monitor->counters();
    EXPECT_EQ(m.frames, 0u);
    EXPECT_EQ(m.objects, 0u);
    EXPECT_EQ(m.violations, 0u);
    EXPECT_EQ(m.refused, 0u);
    EXPECT_EQ(w.cache->counters().lines, 0u);
    EXPECT_EQ(w.p.frames.counts().free, w.p.frames.counts().total);
    EXPECT_EQ(w.m.frames.counts().free, w.m.frames.counts().total);
    // Every credit the owner has promised is in the cache's pool.
    EXPECT_EQ(static_cast<int64_t>(m.credits), w.client->pool());
    if (o.break_every) EXPECT_GT(m.resumed, 0u);
}

uint64_t scale() {
    const char* s = std::getenv("TESSERA_MODEL_SCALE"); // 10: ten times as much
    return s ? std::strtoull(s, nullptr, 10) : 1;
}

} // namespace

TEST(MemoryModel, QuietNetwork) {
    for (uint64_t seed = 1; seed <= 6 * scale(); seed++)
        ASSERT_NO_FATAL_FAILURE(model({.seed = seed, .operations = 4000}));
}

TEST(MemoryModel, BadNetwork) {
    for (uint64_t seed = 101; seed <= 100 + 4 * scale(); seed++)
        ASSERT_NO_FATAL_FAILURE(model({.seed = seed,
                                       .operations = 2000,
                                       .faults = {.loss = 30, .duplicate = 20, .reorder = 20}}));
}

TEST(MemoryModel, BrokenConnections) {
    for (uint64_t seed = 201; seed <= 200 + 6 * scale(); seed++)
        ASSERT_NO_FATAL_FAILURE(
            model({.seed = seed, .operations = 2000, .faults = {.loss = 10}, .break_every = 100}));
}

TEST(MemoryModel, BarelyEnoughQuota) {
    // Six programs of 48 pages need at most 288 frames.
    for (uint64_t seed = 301; seed <= 300 + 4 * scale(); seed++)
        ASSERT_NO_FATAL_FAILURE(model({.seed = seed, .operations = 3000, .quota = 400}));
}

} // namespace tessera::test
