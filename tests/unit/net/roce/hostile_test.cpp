// What strangers and broken peers may send: nothing of it may crash, leak or disturb a connection
// that is not the sender's own.
#include <gtest/gtest.h>

#include "net/wire/roce.hpp"
#include "tests/unit/net/roce/endpoints.hpp"

namespace tessera::test {
namespace {

struct Forge {
    net::RoceHeaders h;
    FrameBytes frame(Bytes payload = {}) const {
        net::BuiltRoce b;
        net::build_roce(b, h, payload);
        FrameBytes f(b.head().begin(), b.head().end());
        f.insert(f.end(), payload.begin(), payload.end());
        f.insert(f.end(), b.tail().begin(), b.tail().end());
        return f;
    }
};

// A connection whose client is played by hand: every frame that b gets is forged here.
struct Hostile : testing::Test {
    Pair p{31};
    Forge forge;
    uint32_t psn = 0; // that b expects

    void SetUp() override {
        std::vector<FrameBytes> seen;
        p.net.recording = &seen;
        ASSERT_TRUE(p.connect());
        ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
        ASSERT_TRUE(p.net.run([&] { return !p.a.events.sent.empty(); }));
        p.net.recording = nullptr;
        for (const FrameBytes& f : seen) {
            auto r = net::parse_roce_frame(f);
            if (!r || r->opcode != net::Opcode::SendOnly) continue;
            psn = (r->psn + 1) & net::kPsnMask;
            forge.h.destination_qp = r->destination_qp;
        }
        forge.h.source_mac = p.a.link.mac();
        forge.h.destination_mac = p.b.link.mac();
        forge.h.source = 0x0a000001;
        forge.h.destination = 0x0a000002;
        forge.h.psn = psn;
        p.b.events.received.clear();
    }
    void give(const FrameBytes& f) {
        p.net.inject(p.b.link, f);
        p.net.run_for(milliseconds(1));
    }
    bool b_alive() { return p.b.events.disconnected.empty(); }
};

TEST_F(Hostile, AnotherSourceIsDroppedFirst) {
    Forge other = forge;
    other.h.source = 0x0a000003;
    give(other.frame());
    other = forge;
    other.h.source_mac[5] = 77;
    give(other.frame());
    EXPECT_EQ(p.b.port->counters().wrong_peer, 2u);
    EXPECT_TRUE(p.b.events.received.empty());
    give(forge.frame()); // the right one
    EXPECT_EQ(p.b.events.received.size(), 1u);
}

TEST_F(Hostile, UnknownQpAndBadIcrcAreDropped) {
    Forge other = forge;
    other.h.destination_qp ^= 0x100;
    give(other.frame());
    EXPECT_EQ(p.b.port->counters().unknown_qp, 1u);
    auto bad = forge.frame();
    bad.back() ^= std::byte{1};
    give(bad);
    EXPECT_EQ(p.b.port->counters().bad_icrc, 1u);
    EXPECT_TRUE(p.b.events.received.empty());
}

TEST_F(Hostile, MessagesOutOfProtocolCloseTheConnection) {
    struct Case {
        net::Opcode opcode;
        size_t size;
        uint32_t dma;
    };
    for (Case c : {Case{net::Opcode::SendMiddle, 4096, 0}, Case{net::Opcode::SendLast, 10, 0},
                   Case{net::Opcode::WriteLast, 10, 0}, Case{net::Opcode::SendFirst, 10, 0},
                   Case{net::Opcode::SendOnly, 4100, 0}, Case{net::Opcode::WriteOnly, 10, 11},
                   Case{net::Opcode::WriteFirst, 4096, 4096}, Case{net::Opcode::FetchAdd, 0, 0},
                   Case{net::Opcode::ReadRequest, 0, 0xffffffff}}) {
        Pair q(40 + static_cast<uint64_t>(c.opcode));
        std::vector<FrameBytes> seen;
        q.net.recording = &seen;
        ASSERT_TRUE(q.connect());
        ASSERT_TRUE(q.a.qp->post_send({.op = Op::Send}));
        ASSERT_TRUE(q.net.run([&] { return !q.a.events.sent.empty(); }));
        q.net.recording = nullptr;
        Forge f = forge;
        for (const FrameBytes& s : seen) {
            auto r = net::parse_roce_frame(s);
            if (!r || r->opcode != net::Opcode::SendOnly) continue;
            f.h.psn = (r->psn + 1) & net::kPsnMask;
            f.h.destination_qp = r->destination_qp;
        }
        f.h.opcode = c.opcode;
        f.h.dma_length = c.dma;
        std::vector<std::byte> payload(c.size);
        q.net.inject(q.b.link, f.frame(payload));
        q.net.run_for(milliseconds(1));
        ASSERT_EQ(q.b.events.disconnected.size(), 1u) << static_cast<int>(c.opcode);
        EXPECT_EQ(q.b.events.disconnected[0], Error::Malformed);
    }
}

TEST_F(Hostile, ASendLongerThanTheBufferClosesTheConnection) {
    auto data = pattern(20001, 1); // the acceptor's buffers have 20000
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send, .pieces = {data}}));
    ASSERT_TRUE(p.net.run([&] { return !p.b.events.disconnected.empty(); }));
    EXPECT_EQ(p.b.events.disconnected[0], Error::TooBig);
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.disconnected.empty(); }));
    EXPECT_EQ(p.a.events.sent.back().status, Status::RemoteInvalid);
}

TEST_F(Hostile, AcknowledgementsOfWhatWasNeverSentAreIgnored) {
    Forge ack = forge;
    ack.h.opcode = net::Opcode::Acknowledge;
    for (uint8_t syndrome : {0x1f, 0x20, 0x60, 0x61, 0x62, 0x63, 0x40, 0xff}) {
        ack.h.syndrome = syndrome;
        for (uint32_t d : {0u, 1u, 1000u, 0x7fffffu, 0x800000u, 0xfffff0u}) {
            ack.h.psn = (psn + d) & net::kPsnMask;
            give(ack.frame());
        }
    }
    Forge response = forge;
    for (auto o : {net::Opcode::ReadResponseOnly, net::Opcode::ReadResponseMiddle,
                   net::Opcode::AtomicAcknowledge}) {
        response.h.opcode = o;
        give(response.frame());
    }
    EXPECT_TRUE(b_alive());
    give(forge.frame());
    EXPECT_EQ(p.b.events.received.size(), 1u);
}

// Mutations of everything that a busy connection sends, from the peer's own address.
TEST(HostileMutations, NeverCrashAndOnlyEverEndTheirOwnConnection) {
    for (uint64_t seed = 1; seed <= 30; seed++) {
        Pair p(seed);
        p.acceptor.receives = 64;
        std::vector<FrameBytes> seen;
        p.net.recording = &seen;
        ASSERT_TRUE(p.connect());
        std::vector<std::byte> memory(65536), local(9000);
        Rkey rkey = *p.b.port->register_memory(p.b.pd, memory, 0, Access::RemoteReadWrite);
        for (Op op : {Op::Send, Op::SendImmediate, Op::Write, Op::WriteImmediate, Op::Read}) {
            WorkRequest wr{.op = op, .rkey = rkey};
            if (op == Op::Read)
                wr.into = local;
            else
                wr.pieces = {local};
            ASSERT_TRUE(p.a.qp->post_send(wr));
        }
        ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == 5; }));
        p.net.recording = nullptr;
        SeededRandom dice(seed);
        for (int i = 0; i < 400; i++) {
            FrameBytes f = seen[dice.next() % seen.size()];
            for (uint64_t n = dice.next() % 4; n > 0; n--)
                f[dice.next() % f.size()] = static_cast<std::byte>(dice.next());
            if (dice.next() % 8 == 0) f.resize(dice.next() % f.size());
            // Half of them get a right checksum, so that they come past it.
            if (f.size() > 70 && dice.next() % 2) {
                Be16 zero = uint16_t{0};
                std::memcpy(f.data() + 24, &zero, 2);
                Be16 sum = net::internet_checksum(Bytes(f).subspan(14, 20));
                std::memcpy(f.data() + 24, &sum, 2);
                Le32 crc = net::compute_icrc(Bytes(f).subspan(14, f.size() - 18), {}, {});
                std::memcpy(f.data() + f.size() - 4, &crc, 4);
            }
            p.net.inject(dice.next() % 2 ? p.a.link : p.b.link, f);
            if (i % 16 == 0) p.net.run_for(milliseconds(1));
        }
        p.net.run_for(seconds(1));
        // Whatever became of that connection, another one works.
        if (p.a.qp) p.a.port->destroy_qp(*p.a.qp);
        p.a.qp = nullptr;
        size_t before = p.a.events.sent.size();
        ASSERT_TRUE(p.connect()) << seed;
        ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
        ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() > before; }));
        EXPECT_EQ(p.a.events.sent.back().status, Status::Ok);
        p.b.port->deregister(rkey);
    }
}

} // namespace
} // namespace tessera::test
