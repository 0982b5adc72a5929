#include "net/rpc/handshake.hpp"

#include "tests/unit/net/rpc/world.hpp"

namespace tessera::test {
namespace {

using HandshakeTest = World;

TEST_F(HandshakeTest, ProofDependsOnEveryInput) {
    rpc::Handshake h{};
    h.client = kA, h.server = kB;
    auto base = rpc::prove(key_of(1), rpc::Side::Client, h, 7);
    EXPECT_NE(base, rpc::prove(key_of(2), rpc::Side::Client, h, 7));
    EXPECT_NE(base, rpc::prove(key_of(1), rpc::Side::Server, h, 7));
    EXPECT_NE(base, rpc::prove(key_of(1), rpc::Side::Client, h, 8));
    rpc::Handshake other = h;
    other.client_hello.nonce[3] = 1;
    EXPECT_NE(base, rpc::prove(key_of(1), rpc::Side::Client, other, 7));
    other = h;
    std::swap(other.client, other.server);
    EXPECT_NE(base, rpc::prove(key_of(1), rpc::Side::Client, other, 7));
}

TEST_F(HandshakeTest, RightKeyConnects) {
    TestNode a(net, kA, 11), b(net, kB, 22);
    Outcome o;
    call(a, kB, kTestCount, "x", o);
    ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(1)));
    EXPECT_TRUE(o.ok());
    EXPECT_EQ(b.caller.incarnation, Incarnation(11));
    EXPECT_EQ((*a.node->peer(kB))->identity().incarnation, Incarnation(22));
}

TEST_F(HandshakeTest, WrongKeyIsUnauthenticatedAndExecutesNothing) {
    TestNode a(net, kA, 11, 1), b(net, kB, 22, 2);
    Outcome o;
    call(a, kB, kTestCount, "x", o);
    ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(1)));
    EXPECT_EQ(o.error, Error::Unauthenticated);
    EXPECT_EQ(b.executed, 0);
}

TEST_F(HandshakeTest, OtherBuildIsRefused) {
    TestNode a(net, kA, 11, 1, 100), b(net, kB, 22, 1, 200);
    Outcome o;
    call(a, kB, kTestCount, "x", o);
    ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(1)));
    EXPECT_EQ(o.error, Error::VersionMismatch);
    EXPECT_EQ(b.executed, 0);
}

// Somebody recorded a whole session and plays the client's side again.
struct Replayer final : roce::QpEvents {
    std::vector<std::byte> welcome;
    bool disconnected = false;
    void on_sent(roce::Qp&, uint64_t, roce::Status) override {}
    void on_received(roce::Qp&, const roce::Received&) override {}
    void on_disconnected(roce::Qp&, Error) override { disconnected = true; }
};

TEST_F(HandshakeTest, ReplayedProofAndRequestAreRefused) {
    TestNode b(net, kB, 22);
    std::vector<std::vector<std::byte>> recorded;
    schema::Hello hello;
    {
        TestNode a(net, kA, 11);
        net.sniff = true;
        Outcome o;
        call(a, kB, kTestCount, "pay", o);
        ASSERT_TRUE(run({&a, &b}, [&] { return o.times > 0; }, seconds(1)));
        recorded = net.sniffed;
        net.sniff = false;
        rpc::NodeOptions options;
        options.self = {rpc::NodeKind::Process, NodeId(0), Incarnation(11)};
        options.credits = 16;
        SeededRandom random(11);
        hello = rpc::make_hello(options, random);
    }
    ASSERT_GE(recorded.size(), 2u);
    EXPECT_EQ(b.executed, 1);
    FakePort port(net, kA);
    Replayer replayer;
    auto qp = port.create_qp({}, replayer);
    std::array<std::byte, 4096> sink;
    ASSERT_TRUE((*qp)->post_receive(0, sink));
    bool connected = false;
    ASSERT_TRUE(port.connect(**qp, {kB, rpc::kMonitorService}, bytes_of(hello), kNever,
                             [&](Result<Bytes> r) { connected = r.has_value(); }));
    net.deliver();
    ASSERT_TRUE(connected);
    for (size_t i = 0; i < 2; i++) {
        roce::WorkRequest wr;
        wr.pieces[0] = recorded[i];
        (void)(*qp)->post_send(wr);
    }
    EXPECT_TRUE(run({&b}, [&] { return replayer.disconnected; }, seconds(1)));
    EXPECT_EQ(b.executed, 1);
}

TEST_F(HandshakeTest, RequestBeforeProofIsRefused) {
    TestNode b(net, kB, 22);
    FakePort port(net, kA);
    Replayer r;
    auto qp = port.create_qp({}, r);
    rpc::NodeOptions options;
    options.self = {rpc::NodeKind::Process, NodeId(0), Incarnation(11)};
    SeededRandom random(3);
    ASSERT_TRUE(port.connect(**qp, {kB, rpc::kMonitorService},
                             bytes_of(rpc::make_hello(options, random)), kNever,
                             [](Result<Bytes>) {}));
    net.deliver();
    schema::SegmentHeader h{};
    h.kind = static_cast<unsigned char>(schema::SegmentKind::Request);
    h.flags = 3;
    h.opcode = kTestCount.value;
    h.sequence = 1;
    roce::WorkRequest wr;
    wr.pieces[0] = bytes_of(h);
    ASSERT_TRUE((*qp)->post_send(wr));
    EXPECT_TRUE(run({&b}, [&] { return r.disconnected; }, seconds(1)));
    EXPECT_EQ(b.executed, 0);
}

TEST_F(HandshakeTest, SilentClientIsDroppedAfterTheDeadline) {
    TestNode b(net, kB, 22);
    FakePort port(net, kA);
    Replayer r;
    auto qp = port.create_qp({}, r);
    rpc::NodeOptions options;
    options.self = {rpc::NodeKind::Process, NodeId(0), Incarnation(11)};
    SeededRandom random(3);
    ASSERT_TRUE(port.connect(**qp, {kB, rpc::kMonitorService},
                             bytes_of(rpc::make_hello(options, random)), kNever,
                             [](Result<Bytes>) {}));
    EXPECT_TRUE(run({&b}, [&] { return r.disconnected; }, seconds(10)));
}

} // namespace
} // namespace tessera::test
