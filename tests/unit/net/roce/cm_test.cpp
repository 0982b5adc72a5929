// Connecting, refusing, disconnecting, and what the network may do to each message of it.
#include <gtest/gtest.h>

#include "net/wire/cm.hpp"
#include "net/wire/roce.hpp"
#include "tests/unit/net/roce/endpoints.hpp"

namespace tessera::test {
namespace {

std::optional<net::CmKind> cm_kind(const FrameBytes& frame) {
    auto p = net::parse_roce_frame(frame);
    if (!p || p->destination_qp != net::kCmQp) return std::nullopt;
    auto m = net::parse_cm(p->payload);
    return m ? std::optional(m->kind) : std::nullopt;
}

TEST(Connect, ExchangesPrivateData) {
    Pair p(1);
    ASSERT_TRUE(p.connect());
    EXPECT_EQ(p.acceptor.hello.size(), kMaxPrivateData);
    EXPECT_EQ(p.acceptor.hello.substr(0, 6), std::string("hello\0", 6));
    EXPECT_EQ(p.acceptor.peer.value, 0x0a000001u);
    EXPECT_EQ(p.answer, "welcome");
    p.net.run_for(milliseconds(10));
    EXPECT_EQ(p.acceptor.established, 1u);
    EXPECT_EQ(p.a.port->counters().connections, 1u);
    EXPECT_EQ(p.b.port->counters().connections, 1u);
}

TEST(Connect, NobodyListens) {
    Pair p(2);
    p.b.port->stop_listening(kService);
    EXPECT_FALSE(p.connect());
    EXPECT_EQ(p.result, Error::NotFound);
}

TEST(Connect, TheConsumerRefuses) {
    Pair p(3);
    p.acceptor.reject = true;
    auto qp = *p.a.port->create_qp({.pd = p.a.pd}, p.a.events);
    std::optional<Error> result;
    std::string reason;
    ASSERT_TRUE(p.a.port->connect(*qp, {Ipv4(0x0a000002), kService}, {},
                                  p.net.clock.now() + seconds(1), [&](Result<Bytes> r) {
                                      result = r.error();
                                      reason = text_of(p.a.port->reject_data().first(8));
                                  }));
    ASSERT_TRUE(p.net.run([&] { return result.has_value(); }));
    EXPECT_EQ(result, Error::NotPermitted);
    EXPECT_EQ(reason, "no entry");
    p.a.port->destroy_qp(*qp);
}

TEST(Connect, NobodyThere) {
    Pair p(4);
    auto qp = *p.a.port->create_qp({.pd = p.a.pd}, p.a.events);
    std::optional<Error> result;
    Nanos start = p.net.clock.now();
    ASSERT_TRUE(p.a.port->connect(*qp, {Ipv4(0x0a000063), kService}, {}, start + seconds(2),
                                  [&](Result<Bytes> r) { result = r.error(); }));
    ASSERT_TRUE(p.net.run([&] { return result.has_value(); }));
    EXPECT_EQ(result, Error::Timeout);
    EXPECT_GE(p.net.clock.now() - start, seconds(2));
    EXPECT_LE(p.net.clock.now() - start, milliseconds(2100));
    p.a.port->destroy_qp(*qp);
}

TEST(Connect, TheQpMayBeDestroyedMeanwhile) {
    Pair p(5);
    auto qp = *p.a.port->create_qp({.pd = p.a.pd}, p.a.events);
    ASSERT_TRUE(p.a.port->connect(*qp, {Ipv4(0x0a000002), kService}, {},
                                  p.net.clock.now() + seconds(2), [](Result<Bytes>) { FAIL(); }));
    p.net.run_for(microseconds(120)); // ARP has been answered, REQ is on its way
    p.a.port->destroy_qp(*qp);
    // The REP finds nobody and is refused, so that the other side learns of it.
    ASSERT_TRUE(p.net.run([&] { return !p.b.events.disconnected.empty(); }));
}

// Each message lost once, or always doubled.
class OneMessage : public testing::TestWithParam<net::CmKind> {};

TEST_P(OneMessage, LostTwiceIsRepeated) {
    Pair p(10);
    unsigned to_lose = 2;
    p.net.filter = [&](const FrameBytes& f) {
        if (cm_kind(f) != GetParam() || to_lose == 0) return true;
        to_lose--;
        return false;
    };
    ASSERT_TRUE(p.connect());
    ASSERT_TRUE(p.net.run([&] { return p.acceptor.established == 1; }));
    EXPECT_EQ(p.acceptor.requests, 1u);
    p.a.port->destroy_qp(*p.a.qp);
    p.a.qp = nullptr;
    ASSERT_TRUE(p.net.run([&] { return !p.b.events.disconnected.empty(); }));
    p.net.run_for(seconds(3));
    EXPECT_EQ(to_lose, 0u);
    EXPECT_EQ(p.b.events.disconnected[0], Error::Disconnected);
    EXPECT_EQ(p.b.events.disconnected.size(), 1u);
}
INSTANTIATE_TEST_SUITE_P(Cm, OneMessage,
                         testing::Values(net::CmKind::Req, net::CmKind::Rep, net::CmKind::Rtu,
                                         net::CmKind::Dreq, net::CmKind::Drep));

TEST(Connect, EverythingTwice) {
    Pair p(11);
    p.net.faults.duplicate = 1000;
    ASSERT_TRUE(p.connect());
    EXPECT_EQ(p.acceptor.requests, 1u);
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.sent.empty(); }));
    EXPECT_EQ(p.b.events.received.size(), 1u);
    EXPECT_EQ(p.acceptor.established, 1u);
}

TEST(Connect, DataStandsInForALostRtu) {
    Pair p(12);
    p.net.filter = [](const FrameBytes& f) { return cm_kind(f) != net::CmKind::Rtu; };
    ASSERT_TRUE(p.connect());
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.sent.empty(); }));
    EXPECT_EQ(p.acceptor.established, 1u);
}

TEST(Connect, ThePassiveSideSendsOnlyWhenTheOtherIsReady) {
    Pair p(13);
    p.acceptor.receives = 4;
    std::vector<std::byte> in(10);
    p.net.filter = [](const FrameBytes& f) { return cm_kind(f) != net::CmKind::Rtu; };
    ASSERT_TRUE(p.connect());
    ASSERT_TRUE(p.a.qp->post_receive(1, in));
    ASSERT_TRUE(p.b.qp->post_send({.op = Op::Send}));
    p.net.run_for(milliseconds(50));
    EXPECT_TRUE(p.a.events.received.empty());
    p.net.filter = nullptr; // the repeated REP brings another RTU
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.received.empty(); }));
}

TEST(Connect, APassiveSideThatNeverHearsAgainGivesUp) {
    Pair p(14);
    p.net.filter = [](const FrameBytes& f) { return cm_kind(f) != net::CmKind::Rtu; };
    ASSERT_TRUE(p.connect());
    ASSERT_TRUE(p.net.run([&] { return !p.b.events.disconnected.empty(); }));
    EXPECT_EQ(p.b.events.disconnected[0], Error::Timeout);
}

TEST(Connect, MtuIsNegotiatedDown) {
    for (bool by_link : {false, true}) {
        VirtualNet net(15);
        Node a(net, 0x0a000001, kJumbo, 1), b(net, 0x0a000002, by_link ? kPlain : kJumbo, 2);
        Acceptor acceptor(b);
        acceptor.max_mtu = 1024;
        ASSERT_TRUE(b.port->listen(kService, acceptor));
        a.qp = *a.port->create_qp({.pd = a.pd}, a.events);
        bool connected = false;
        ASSERT_TRUE(a.port->connect(*a.qp, {Ipv4(0x0a000002), kService}, {},
                                    net.clock.now() + seconds(2),
                                    [&](Result<Bytes> r) { connected = r.has_value(); }));
        ASSERT_TRUE(net.run([&] { return connected; })) << by_link;
        EXPECT_EQ(a.qp->path_mtu(), 1024u);
        EXPECT_EQ(b.qp->path_mtu(), 1024u);
    }
}

TEST(Connect, BothEndsMayGoAtOnce) {
    Pair p(16);
    ASSERT_TRUE(p.connect());
    p.a.port->destroy_qp(*p.a.qp);
    p.b.port->destroy_qp(*p.b.qp);
    p.a.qp = p.b.qp = nullptr;
    p.net.run_for(seconds(5));
    EXPECT_TRUE(p.a.events.disconnected.empty()); // destroyed means silent
    EXPECT_EQ(p.a.port->next_deadline(), kNever); // and nothing is left ticking
    EXPECT_EQ(p.b.port->next_deadline(), kNever);
}

TEST(Connect, ManyTimesLeavesNothingBehind) {
    Pair p(17, kJumbo, [](SoftPortOptions& o) { o.max_qps = 4; });
    for (int i = 0; i < 200; i++) {
        ASSERT_TRUE(p.connect()) << i;
        ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
        size_t before = p.b.events.disconnected.size();
        ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == size_t(i) + 1; }));
        p.a.port->destroy_qp(*p.a.qp);
        p.a.qp = nullptr;
        ASSERT_TRUE(p.net.run([&] { return p.b.events.disconnected.size() > before; }));
        p.b.port->destroy_qp(*p.b.qp);
        p.b.qp = nullptr;
        p.net.run_for(milliseconds(1));
    }
}

TEST(Connect, TablesAreBounded) {
    Pair p(18, kJumbo, [](SoftPortOptions& o) { o.max_qps = 2; });
    Qp* first = *p.a.port->create_qp({.pd = p.a.pd}, p.a.events);
    Qp* second = *p.a.port->create_qp({.pd = p.a.pd}, p.a.events);
    EXPECT_EQ(p.a.port->create_qp({.pd = p.a.pd}, p.a.events).error(), Error::NoMemory);
    p.a.port->destroy_qp(*first);
    EXPECT_TRUE((first = *p.a.port->create_qp({.pd = p.a.pd}, p.a.events)));
    EXPECT_EQ(p.b.port->listen(kService, p.acceptor).error(), Error::Exists);
    p.a.port->destroy_qp(*first);
    p.a.port->destroy_qp(*second);
}

// ARP has no checksum: an answer damaged on the way must not keep two hosts apart for good.
TEST(Connect, AWrongNeighbourIsAskedForAgain) {
    Pair p(41);
    bool damaged = false;
    p.net.filter = [&](const FrameBytes& f) {
        if (damaged) return true;
        auto arp = net::parse_arp(*net::parse_ethernet(f));
        if (!arp || arp->operation != net::kArpReply) return true;
        damaged = true;
        FrameBytes bad = f;
        bad[24] ^= std::byte{4}; // in the sender's MAC
        p.net.inject(p.a.link, bad);
        return false;
    };
    EXPECT_TRUE(p.connect());
    EXPECT_TRUE(damaged);
}

TEST(Arp, AnswersAndLearns) {
    Pair p(20);
    std::vector<FrameBytes> seen;
    p.net.recording = &seen;
    ASSERT_TRUE(p.connect());
    unsigned requests = 0, replies = 0;
    for (const FrameBytes& f : seen) {
        auto arp = net::parse_arp(*net::parse_ethernet(f));
        if (!arp) continue;
        EXPECT_GE(f.size(), net::kMinimumFrame);
        requests += arp->operation == net::kArpRequest;
        replies += arp->operation == net::kArpReply;
    }
    EXPECT_EQ(requests, 1u);
    EXPECT_EQ(replies, 1u);
}

TEST(Icmp, EchoIsAnswered) {
    Pair p(21);
    std::vector<FrameBytes> seen;
    p.net.recording = &seen;
    FrameBytes ping(14 + 20 + 8 + 33, std::byte{0x5a});
    net::EthernetHeader e{p.b.link.mac(), p.a.link.mac(), net::kEtherTypeIpv4};
    auto ip = net::make_ipv4_header(0x0a000001, 0x0a000002, net::kProtocolIcmp, 41, 7);
    net::IcmpHeader icmp{net::kIcmpEchoRequest, 0, uint16_t{0}, uint16_t{0x1234}, uint16_t{1}};
    std::memcpy(ping.data(), &e, 14);
    std::memcpy(ping.data() + 14, &ip, 20);
    std::memcpy(ping.data() + 34, &icmp, 8);
    icmp.checksum = net::internet_checksum(Bytes(ping).subspan(34));
    std::memcpy(ping.data() + 34, &icmp, 8);
    p.net.inject(p.b.link, ping);
    ping[40] ^= std::byte{1}; // a bad checksum gets no answer
    p.net.inject(p.b.link, ping);
    p.net.run_for(milliseconds(1));
    ASSERT_EQ(seen.size(), 1u);
    auto reply = net::parse_ipv4(*net::parse_ethernet(seen[0]));
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->header.destination, 0x0a000001u);
    EXPECT_EQ(net::internet_checksum(reply->payload), 0);
    EXPECT_EQ(reply->payload[0], std::byte{0});
    EXPECT_EQ(reply->payload.size(), 41u);
}

} // namespace
} // namespace tessera::test
