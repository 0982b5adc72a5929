#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/endian.hpp"
#include "tools/fabric/control.hpp"
#include "tools/fabric/switch.hpp"

namespace tessera::fabric {
namespace {

struct FakeClock final : Clock {
    Nanos time{1'000'000};
    Nanos now() override { return time; }
};

struct Recorder final : FabricOutput, FabricHost {
    std::map<PortNo, std::vector<std::string>> got;
    std::map<PortNo, unsigned> captures;
    std::vector<std::pair<PortNo, Bytes>> pending;
    void transmit(PortNo port, Bytes frame) override { pending.push_back({port, frame}); }
    void flush() override { // copied only here, as the sockets do: finds frames freed too early
        for (auto& [port, frame] : pending)
            got[port].emplace_back(text_of(frame));
        pending.clear();
    }
    void captured(PortNo port, Bytes) override { captures[port]++; }
    Result<void> open_port(PortNo, std::string_view) override { return {}; }
    void close_port(PortNo) override {}
    Result<void> capture_to(PortNo, std::string_view) override { return {}; }
};

using Mac = net::MacAddress;
Mac mac(uint8_t n) {
    return {0x52, 0x54, 0, 0, 0, n};
}

// An IPv4 frame as far as the switch looks; `mark` makes it recognisable.
std::string ip_frame(Mac to, Mac from, uint32_t source, std::string_view mark, size_t size = 60) {
    std::string f(size, '\0');
    std::copy(to.begin(), to.end(), f.begin());
    std::copy(from.begin(), from.end(), f.begin() + 6);
    f[12] = 8;
    Be32 s = source;
    std::memcpy(f.data() + 14 + 12, s.raw, 4);
    std::copy(mark.begin(), mark.end(), f.begin() + 34);
    return f;
}
std::string mark_of(const std::string& frame) {
    return frame.substr(34, frame.find('\0', 34) - 34);
}

struct SwitchTest : testing::Test {
    FakeClock clock;
    Recorder out;
    Switch s{clock, out, 42};
    PortNo a = *s.add_port("a", {{mac(1)}, {0x0a000001}});
    PortNo b = *s.add_port("b", {{mac(2)}, {0x0a000002}});
    PortNo c = *s.add_port("c", {}); // learned

    void send(PortNo port, const std::string& frame) {
        s.receive(port, bytes_of(std::string_view(frame)));
        s.flush_output();
    }
    void a_to_b(std::string_view mark) { send(a, ip_frame(mac(2), mac(1), 0x0a000001, mark)); }
    void pass(Nanos t) {
        clock.time += t;
        s.poll();
    }
    std::string statistic(const std::string& name) {
        std::string all = s.statistics();
        size_t at = ("\n" + all).find("\n" + name + " ");
        if (at == std::string::npos) return "0";
        size_t start = at + name.size() + 1;
        return all.substr(start, all.find('\n', start) - start);
    }
    Answer run(std::string_view line) { return execute(s, out, line); }
};

TEST_F(SwitchTest, SendsUnicastToItsPortAndFloodsBroadcastAndUnknown) {
    a_to_b("x");
    EXPECT_EQ(out.got[b].size(), 1u);
    EXPECT_EQ(out.got[c].size(), 0u);
    Mac broadcast{255, 255, 255, 255, 255, 255};
    send(a, ip_frame(broadcast, mac(1), 0x0a000001, "all"));
    EXPECT_EQ(out.got[b].size(), 2u);
    EXPECT_EQ(out.got[c].size(), 1u);
    EXPECT_EQ(out.got[a].size(), 0u);
    send(a, ip_frame(mac(9), mac(1), 0x0a000001, "who"));
    EXPECT_EQ(out.got[c].size(), 2u);
    // Once 9 has spoken from c, b hears no more of what is for it.
    send(c, ip_frame(mac(1), mac(9), 0x0a000009, "me"));
    send(a, ip_frame(mac(9), mac(1), 0x0a000001, "you"));
    EXPECT_EQ(out.got[b].size(), 3u);
    EXPECT_EQ(out.got[c].size(), 3u);
}

TEST_F(SwitchTest, RefusesForgedSourcesAndCountsThem) {
    send(a, ip_frame(mac(2), mac(7), 0x0a000001, "mac"));
    send(a, ip_frame(mac(2), mac(1), 0x0a000063, "ip"));
    std::string arp = ip_frame(mac(2), mac(1), 0, "");
    arp[12] = 8, arp[13] = 6;
    Mac me = mac(1);
    std::copy(me.begin(), me.end(), arp.begin() + 22);
    std::string forged = arp;
    forged[28 + 3] = 99;
    send(a, forged); // sender address 0.0.0.99
    send(a, arp);    // an address probe: allowed
    std::string six = ip_frame(mac(2), mac(1), 0x0a000001, "v6");
    six[12] = static_cast<char>(0x86), six[13] = static_cast<char>(0xdd);
    send(a, six);
    send(a, "short");
    send(a, ip_frame(mac(2), mac(1), 0x0a000001, "long", kMaxFrame + 1));
    EXPECT_EQ(out.got[b].size(), 1u);
    EXPECT_EQ(statistic("a.spoofed_mac"), "1");
    EXPECT_EQ(statistic("a.spoofed_ip"), "2");
    EXPECT_EQ(statistic("a.foreign"), "1");
    EXPECT_EQ(statistic("a.malformed"), "2");
    // A learned port cannot take a pinned station's place.
    send(c, ip_frame(mac(1), mac(2), 0x0a000002, "thief"));
    EXPECT_EQ(out.got[a].size(), 0u);
    EXPECT_EQ(statistic("c.spoofed_mac"), "1");
}

TEST_F(SwitchTest, LosesAboutAsManyAsAskedAndRepeatsWithTheSameSeed) {
    ASSERT_TRUE(run("set a in loss=5%").ok);
    for (int i = 0; i < 10000; i++)
        a_to_b("x");
    size_t arrived = out.got[b].size();
    EXPECT_GT(arrived, 9300u);
    EXPECT_LT(arrived, 9700u);
    EXPECT_EQ(statistic("a.in.lost"), std::to_string(10000 - arrived));
    Recorder again;
    Switch twin(clock, again, 42);
    PortNo ta = *twin.add_port("a", {{mac(1)}, {}});
    PortNo tb = *twin.add_port("b", {{mac(2)}, {}});
    Impairment five;
    five.loss = 50'000;
    twin.impair(ta, Direction::In, five);
    std::string f = ip_frame(mac(2), mac(1), 0x0a000001, "x");
    for (int i = 0; i < 10000; i++)
        twin.receive(ta, bytes_of(std::string_view(f)));
    twin.flush_output();
    EXPECT_EQ(again.got[tb].size(), arrived);
}

TEST_F(SwitchTest, DuplicatesAndCorrupts) {
    ASSERT_TRUE(run("set b out dup=100%").ok);
    a_to_b("twice");
    ASSERT_EQ(out.got[b].size(), 2u);
    EXPECT_EQ(out.got[b][0], out.got[b][1]);
    ASSERT_TRUE(run("clear b").ok);
    ASSERT_TRUE(run("set b out corrupt=100%").ok);
    std::string sent = ip_frame(mac(2), mac(1), 0x0a000001, "bits");
    for (int i = 0; i < 50; i++) {
        send(a, sent);
        const std::string& got = out.got[b].back();
        EXPECT_EQ(got.substr(0, 14), sent.substr(0, 14)); // the Ethernet header stays
        EXPECT_EQ(got.size(), sent.size());
    }
    EXPECT_EQ(statistic("b.out.corrupted"), "50");
    unsigned changed = 0;
    for (size_t i = 2; i < out.got[b].size(); i++)
        changed += out.got[b][i] != sent;
    EXPECT_GE(changed, 49u); // two flips may cancel
}

TEST_F(SwitchTest, ReordersByHoldingFramesBack) {
    ASSERT_TRUE(run("set a in reorder=100% reorder-by=1ms").ok);
    a_to_b("first");
    ASSERT_TRUE(run("set a in reorder=0").ok);
    a_to_b("second");
    pass(milliseconds(2));
    ASSERT_EQ(out.got[b].size(), 2u);
    EXPECT_EQ(mark_of(out.got[b][0]), "second");
    EXPECT_EQ(mark_of(out.got[b][1]), "first");
}

TEST_F(SwitchTest, DelaysInOrderEvenWithJitter) {
    ASSERT_TRUE(run("set a in delay=10ms jitter=5ms").ok);
    for (int i = 0; i < 20; i++)
        a_to_b(std::to_string(i));
    EXPECT_EQ(out.got[b].size(), 0u);
    EXPECT_LE(s.next_deadline(), clock.time + milliseconds(15));
    pass(milliseconds(9));
    EXPECT_EQ(out.got[b].size(), 0u);
    pass(milliseconds(7));
    ASSERT_EQ(out.got[b].size(), 20u);
    for (int i = 0; i < 20; i++)
        EXPECT_EQ(mark_of(out.got[b][static_cast<size_t>(i)]), std::to_string(i));
    EXPECT_EQ(s.next_deadline(), kNever);
}

TEST_F(SwitchTest, LimitsTheRateAndDropsWhatDoesNotFit) {
    ASSERT_TRUE(run("set a in rate=1mbit").ok); // 125 bytes per ms
    std::string frame = ip_frame(mac(2), mac(1), 0x0a000001, "r", 1250);
    for (int i = 0; i < 10; i++)
        send(a, frame);
    pass(milliseconds(49));
    EXPECT_EQ(out.got[b].size(), 4u);
    pass(milliseconds(51));
    EXPECT_EQ(out.got[b].size(), 10u);
    std::string big = ip_frame(mac(2), mac(1), 0x0a000001, "r", 9000);
    for (int i = 0; i < 2000; i++)
        send(a, big);
    EXPECT_NE(statistic("a.in.overflowed"), "0");
}

TEST_F(SwitchTest, PartitionsBothWaysAndHeals) {
    ASSERT_TRUE(run("partition a b").ok);
    a_to_b("x");
    send(b, ip_frame(mac(1), mac(2), 0x0a000002, "y"));
    EXPECT_TRUE(out.got[a].empty() && out.got[b].empty());
    send(c, ip_frame(mac(1), mac(9), 0x0a000009, "z")); // others are not affected
    EXPECT_EQ(out.got[a].size(), 1u);
    ASSERT_TRUE(run("heal a b").ok);
    a_to_b("x");
    EXPECT_EQ(out.got[b].size(), 1u);
    ASSERT_TRUE(run("link b down").ok);
    a_to_b("x");
    EXPECT_EQ(out.got[b].size(), 1u);
    ASSERT_TRUE(run("clear all").ok);
    a_to_b("x");
    EXPECT_EQ(out.got[b].size(), 2u);
}

TEST_F(SwitchTest, AnswersWrongCommandsWithAReasonAndChangesNothing) {
    EXPECT_FALSE(run("set nobody loss=5%").ok);
    EXPECT_NE(run("set nobody loss=5%").text.find("there are: a b c"), std::string::npos);
    EXPECT_FALSE(run("set a loss=500%").ok);
    EXPECT_FALSE(run("set a delay=5%").ok);
    EXPECT_FALSE(run("set a dup=1% loss=x").ok);
    EXPECT_TRUE(s.impairment(a, Direction::In).none());
    EXPECT_FALSE(run("port add a").ok);
    EXPECT_FALSE(run("port add ../x").ok);
    EXPECT_FALSE(run("port add q mac=52:54").ok);
    EXPECT_FALSE(run("port add q ip=1.2.3.256").ok);
    EXPECT_FALSE(run("frobnicate").ok);
    EXPECT_TRUE(run("  # comment").ok);
    EXPECT_TRUE(run("").ok);
    EXPECT_TRUE(run("port remove c").ok);
    a_to_b("still");
    EXPECT_EQ(out.got[b].size(), 1u);
    EXPECT_EQ(run("show").text, "a in: none; out: none\nb in: none; out: none\n");
}

TEST_F(SwitchTest, RemembersWhatItWasTold) {
    ASSERT_TRUE(run("set a loss=0.5% delay=1.5ms rate=2.5mbit").ok);
    EXPECT_EQ(to_text(s.impairment(a, Direction::Out)),
              "loss=5000ppm delay=1500us rate=2500000bit");
    ASSERT_TRUE(run("pcap a somewhere").ok);
    a_to_b("x");
    EXPECT_EQ(out.captures[a], 1u);
}

} // namespace
} // namespace tessera::fabric
