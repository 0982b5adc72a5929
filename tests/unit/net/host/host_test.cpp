#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <fstream>

#include "net/host/fabric_link.hpp"
#include "net/host/loop.hpp"
#include "net/host/manager_program.hpp"

namespace tessera::net::host {
namespace {

struct Folder {
    Folder() { path = mkdtemp(name); }
    ~Folder() { (void)!system(("rm -rf " + path).c_str()); }
    char name[32] = "/tmp/tess-test-XXXXXX";
    std::string path;
};

struct Sink final : LinkSink {
    std::vector<std::vector<std::byte>> frames;
    void on_frame(Bytes f) override { frames.emplace_back(f.begin(), f.end()); }
};

TEST(HostFabric, CarriesFramesBothWaysAndSurvivesAnAbsentSwitch) {
    Folder d;
    HostClock clock;
    auto a = HostFabric::open({d.path + "/b", d.path + "/a", mac_for(1), 9000});
    ASSERT_TRUE(a);
    std::vector<std::byte> head(14, std::byte{1}), body(9000, std::byte{2}), tail(1);
    EXPECT_TRUE((*a)->send({head, body, {}, nullptr})); // nobody there: lost
    EXPECT_EQ((*a)->lost(), 1u);
    EXPECT_EQ((*a)->send({head, body, tail, nullptr}).error(), Error::TooBig);
    auto b = HostFabric::open({d.path + "/a", d.path + "/b", mac_for(2), 9000});
    ASSERT_TRUE(b);
    EXPECT_EQ(HostFabric::open({d.path + "/a", d.path + "/b", {}, 9000}).error(), Error::Exists);
    EXPECT_TRUE((*a)->send({head, body, {}, nullptr}));
    Loop loop(clock);
    Sink sink;
    ASSERT_TRUE(loop.watch((*b)->fd(), EPOLLIN, [&](uint32_t) { (*b)->poll(sink, 16); }));
    loop.run_once(seconds(2));
    ASSERT_EQ(sink.frames.size(), 1u);
    EXPECT_EQ(sink.frames[0].size(), 9014u);
    EXPECT_EQ(HostFabric::open({d.path + "/a", std::string(120, 'x'), {}, 9000}).error(),
              Error::NameTooLong);
}

TEST(StateDb, KeepsReplacesErasesAndSetsADamagedFileAside) {
    Folder d;
    std::string file = d.path + "/x.db";
    {
        auto db = StateDb::open(file);
        ASSERT_TRUE(db);
        EXPECT_TRUE((*db)->fresh());
        ASSERT_TRUE((*db)->put("a", 1, "one") && (*db)->put("a", 1, "uno") &&
                    (*db)->put("b", 1, "x"));
        ASSERT_TRUE((*db)->put("a", 2, "two") && (*db)->erase("a", 2));
    }
    {
        auto db = StateDb::open(file);
        EXPECT_FALSE((*db)->fresh());
        auto all = (*db)->all("a");
        ASSERT_EQ(all->size(), 1u);
        EXPECT_EQ((*all)[0].value, "uno");
    }
    std::ofstream(file) << std::string(8192, '!');
    auto db = StateDb::open(file);
    ASSERT_TRUE(db);
    EXPECT_TRUE((*db)->fresh());
    EXPECT_EQ(StateDb::open(d.path + "/no/such/x.db").error(), Error::AccessDenied);
}

TEST(Incarnations, RiseThoughTheClockWasSetBackOrTheDatabaseIsGone) {
    auto db = *StateDb::open(":memory:");
    auto first = *next_incarnation(*db), second = *next_incarnation(*db);
    EXPECT_LT(first, second);
    EXPECT_LT(second, *next_incarnation(**StateDb::open(":memory:")));
    uint64_t ahead = second.value + 3'600'000'000'000; // the clock has been set back an hour since
    ASSERT_TRUE(db->put("incarnation", 0, {reinterpret_cast<const char*>(&ahead), sizeof ahead}));
    EXPECT_EQ(*next_incarnation(*db), Incarnation(ahead + 1));
    EXPECT_EQ(*next_incarnation(*db), Incarnation(ahead + 2));
}

TEST(Options, AddressesAndKeys) {
    EXPECT_EQ(*parse_ipv4("10.77.0.2"), 0x0a4d0002u);
    for (const char* bad : {"", "10", "10.77.0", "10.77.0.256", "10.77.0.2x", "a.b.c.d"})
        EXPECT_FALSE(parse_ipv4(bad)) << bad;
    EXPECT_EQ(*parse_mac("02:54:45:53:00:02"), mac_for(0x0a4d0002));
    EXPECT_FALSE(parse_mac("02:54:45:53:00"));
    Folder d;
    std::ofstream(d.path + "/hex") << std::string(64, 'a') << "\n";
    EXPECT_EQ((*read_key(d.path + "/hex"))[31], std::byte{0xaa});
    std::ofstream(d.path + "/short") << "abc";
    EXPECT_EQ(read_key(d.path + "/short").error(), Error::Malformed);
    EXPECT_EQ(read_key(d.path + "/none").error(), Error::NotFound);
}

} // namespace
} // namespace tessera::net::host
