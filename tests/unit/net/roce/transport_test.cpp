// Every operation, clean and under loss, duplication, reordering and corruption.
#include <gtest/gtest.h>

#include "tests/unit/net/roce/endpoints.hpp"

namespace tessera::test {
namespace {

TEST(Transport, SendReceiveBothWays) {
    Pair p(1);
    ASSERT_TRUE(p.connect());
    EXPECT_EQ(p.a.qp->path_mtu(), 4096u);
    EXPECT_EQ(p.a.qp->peer().value, 0x0a000002u);
    auto data = pattern(9001, 1);
    ASSERT_TRUE(p.a.qp->post_send({.id = 5, .op = Op::Send, .pieces = {data}}));
    ASSERT_TRUE(p.a.qp->post_send(
        {.id = 6, .op = Op::SendImmediate, .pieces = {data}, .immediate = 0xabcd}));
    ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == 2; }));
    EXPECT_TRUE(p.a.events.all_ok());
    EXPECT_EQ(p.a.events.sent[0].id, 5u);
    ASSERT_EQ(p.b.events.received.size(), 2u);
    EXPECT_EQ(p.b.events.received[0].length, 9001u);
    EXPECT_FALSE(p.b.events.received[0].immediate);
    EXPECT_EQ(p.b.events.received[1].immediate, 0xabcdu);
    EXPECT_EQ(std::memcmp(p.acceptor.buffers[0].data(), data.data(), data.size()), 0);

    std::vector<std::byte> back(100);
    ASSERT_TRUE(p.a.qp->post_receive(77, back));
    ASSERT_TRUE(p.b.qp->post_send({.id = 1, .op = Op::Send, .pieces = {Bytes(data).first(60)}}));
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.received.empty(); }));
    EXPECT_EQ(p.a.events.received[0].id, 77u);
    EXPECT_EQ(p.a.events.received[0].length, 60u);
}

TEST(Transport, TwoPiecesAreOneMessage) {
    for (size_t split : {0u, 1u, 32u, 600u, 4095u, 4096u, 4097u, 9000u, 9001u}) {
        Pair p(split + 1);
        ASSERT_TRUE(p.connect());
        auto data = pattern(9001, 1);
        Bytes all = data;
        ASSERT_TRUE(
            p.a.qp->post_send({.op = Op::Send, .pieces = {all.first(split), all.subspan(split)}}));
        ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == 1; }));
        EXPECT_EQ(std::memcmp(p.acceptor.buffers[0].data(), data.data(), data.size()), 0) << split;
    }
}

TEST(Transport, WriteAndReadFlatMemory) {
    Pair p(2, kPlain);
    ASSERT_TRUE(p.connect());
    EXPECT_EQ(p.a.qp->path_mtu(), 1024u);
    std::vector<std::byte> memory(100000);
    Rkey rkey = *p.b.port->register_memory(p.b.pd, memory, 0x7000000000, Access::RemoteReadWrite);
    auto data = pattern(70001, 3);
    std::vector<std::byte> back(70001);
    ASSERT_TRUE(p.a.qp->post_send({.id = 1,
                                   .op = Op::WriteImmediate,
                                   .pieces = {data},
                                   .remote_address = 0x7000000000 + 33,
                                   .rkey = rkey,
                                   .immediate = 9}));
    ASSERT_TRUE(p.a.qp->post_send({.id = 2,
                                   .op = Op::Read,
                                   .into = back,
                                   .remote_address = 0x7000000000 + 33,
                                   .rkey = rkey}));
    ASSERT_TRUE(p.a.qp->post_send({.id = 3, .op = Op::Write, .rkey = Rkey(12345)})); // empty
    ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == 3; }));
    EXPECT_TRUE(p.a.events.all_ok());
    EXPECT_EQ(back, data);
    EXPECT_EQ(std::memcmp(memory.data() + 33, data.data(), data.size()), 0);
    ASSERT_EQ(p.b.events.received.size(), 1u);
    EXPECT_TRUE(p.b.events.received[0].write);
    EXPECT_EQ(p.b.events.received[0].immediate, 9u);
    EXPECT_EQ(p.a.port->counters().retransmits, 0u);
    p.b.port->deregister(rkey);
}

TEST(Transport, AReceiveThatComesLateCostsOnlyTime) {
    Pair p(3);
    p.acceptor.receives = 0;
    ASSERT_TRUE(p.connect());
    auto data = pattern(5000, 1);
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send, .pieces = {data}}));
    p.net.run_for(milliseconds(20));
    EXPECT_TRUE(p.a.events.sent.empty());
    EXPECT_GT(p.a.port->counters().rnr_received, 5u);
    std::vector<std::byte> buffer(5000);
    ASSERT_TRUE(p.b.qp->post_receive(1, buffer));
    ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == 1; }));
    EXPECT_TRUE(p.a.events.all_ok());
    EXPECT_EQ(buffer, data);
}

TEST(Transport, NoReceiveForTooLongBreaksTheConnection) {
    Pair p(4);
    p.acceptor.receives = 0;
    ASSERT_TRUE(p.connect());
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.disconnected.empty(); }));
    ASSERT_EQ(p.a.events.sent.size(), 1u);
    EXPECT_EQ(p.a.events.sent[0].status, Status::RnrExceeded);
}

TEST(Transport, ADeadPeerIsNoticedByElapsedTime) {
    Pair p(5);
    ASSERT_TRUE(p.connect());
    p.b.link.cut = true;
    Nanos start = p.net.clock.now();
    std::vector<std::byte> data(100);
    for (uint64_t i = 0; i < 3; i++)
        ASSERT_TRUE(p.a.qp->post_send({.id = i, .op = Op::Send, .pieces = {data}}));
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.disconnected.empty(); }));
    Nanos took = p.net.clock.now() - start;
    EXPECT_GE(took, seconds(2));
    EXPECT_LE(took, seconds(4));
    ASSERT_EQ(p.a.events.sent.size(), 3u);
    EXPECT_EQ(p.a.events.sent[0].status, Status::Timeout);
    EXPECT_EQ(p.a.events.sent[1].status, Status::Flushed);
    EXPECT_EQ(p.a.events.disconnected[0], Error::Timeout);
    EXPECT_EQ(p.a.qp->post_send({.op = Op::Send}).error(), Error::Disconnected);
}

TEST(Transport, AShortCutIsSurvived) {
    Pair p(6);
    ASSERT_TRUE(p.connect());
    std::vector<std::byte> data(3000);
    p.b.link.cut = true;
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send, .pieces = {data}}));
    p.net.run_for(milliseconds(1500));
    EXPECT_TRUE(p.a.events.sent.empty());
    p.b.link.cut = false;
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.sent.empty(); }));
    EXPECT_TRUE(p.a.events.all_ok());
}

TEST(Transport, FullQueuesSayFull) {
    Pair p(7);
    p.acceptor.receives = 1;
    ASSERT_TRUE(p.connect());
    EXPECT_EQ(p.a.qp->send_room(), 64u);
    for (int i = 0; i < 64; i++)
        ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
    EXPECT_EQ(p.a.qp->post_send({.op = Op::Send}).error(), Error::Full);
    EXPECT_EQ(p.a.qp->send_room(), 0u);
}

TEST(Transport, AFullLinkIsRetried) {
    Pair p(8);
    ASSERT_TRUE(p.connect());
    p.net.queue_limit = 3;
    auto data = pattern(200000, 1);
    std::vector<std::byte> memory(200000);
    Rkey rkey = *p.b.port->register_memory(p.b.pd, memory, 0, Access::RemoteReadWrite);
    std::vector<std::byte> back(200000);
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Write, .pieces = {data}, .rkey = rkey}));
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Read, .into = back, .rkey = rkey}));
    ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == 2; }));
    EXPECT_TRUE(p.a.events.all_ok());
    EXPECT_EQ(back, data);
    EXPECT_GT(p.a.port->counters().link_full, 0u);
}

TEST(Transport, DestroyInsideACallback) {
    Pair p(9);
    ASSERT_TRUE(p.connect());
    p.b.events.then = [&](Qp& qp, const Received&) {
        p.b.port->destroy_qp(qp);
        p.b.qp = nullptr;
    };
    for (int i = 0; i < 5; i++)
        ASSERT_TRUE(p.a.qp->post_send({.op = Op::Send}));
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.disconnected.empty(); }));
    EXPECT_EQ(p.b.events.received.size(), 1u);
    EXPECT_EQ(p.a.events.sent.size(), 5u);
    EXPECT_EQ(p.a.events.disconnected[0], Error::Disconnected);
}

// One lost packet costs a round trip or the shortest timeout, not the longest.
TEST(Transport, LossCostsLittleTime) {
    Pair p(30);
    ASSERT_TRUE(p.connect());
    std::vector<std::byte> memory(4096), page(4096);
    Rkey rkey = *p.b.port->register_memory(p.b.pd, memory, 0, Access::RemoteRead);
    auto thousand_reads = [&] {
        Nanos start = p.net.clock.now();
        for (size_t i = 0; i < 1000; i++) {
            size_t before = p.a.events.sent.size();
            EXPECT_TRUE(p.a.qp->post_send({.op = Op::Read, .into = page, .rkey = rkey}));
            EXPECT_TRUE(p.net.run([&] { return p.a.events.sent.size() > before; }));
        }
        return p.net.clock.now() - start;
    };
    Nanos clean = thousand_reads();
    EXPECT_LE(clean, milliseconds(110)); // two hops of 50 us each
    p.net.faults.loss = 10;
    Nanos lossy = thousand_reads();
    EXPECT_GT(p.net.lost, 5u);
    EXPECT_LE(lossy - clean, milliseconds(8) * static_cast<int64_t>(p.net.lost));
}

struct FaultCase {
    const char* name;
    Faults faults;
    uint32_t max_frame;
    bool selective;
};

class Faulty : public testing::TestWithParam<FaultCase> {};

// Random operations; at the end the memory and every message must be right. READs go to memory that
// nobody writes: a READ that is repeated may see WRITEs posted behind it (IBTA 10.8.3.3: no fence).
TEST_P(Faulty, EverythingArrivesOnceAndWhole) {
    const FaultCase& c = GetParam();
    for (uint64_t seed = 1; seed <= 8; seed++) {
        SCOPED_TRACE(seed);
        Pair p(seed * 100, c.max_frame, [&](SoftPortOptions& o) {
            o.selective = c.selective;
            o.broken_after = seconds(20);
        });
        p.acceptor.receives = 64;
        ASSERT_TRUE(p.connect());
        p.net.faults = c.faults;
        SeededRandom dice(seed);
        std::vector<std::byte> memory(1 << 18), shadow(1 << 18);
        Rkey rkey = *p.b.port->register_memory(p.b.pd, memory, 0x10000, Access::RemoteReadWrite);
        auto constant = pattern(1 << 18, seed + 77);
        Rkey fixed = *p.b.port->register_memory(p.b.pd, constant, 0x10000, Access::RemoteRead);
        constexpr int kOperations = 60;
        std::vector<std::vector<std::byte>> payloads(kOperations), expected(kOperations);
        std::vector<std::vector<std::byte>> messages;
        size_t immediates = 0;
        for (int i = 0; i < kOperations; i++) {
            size_t size = dice.next() % 3 ? dice.next() % 5000 : dice.next() % 20000;
            uint64_t offset = dice.next() % (memory.size() - size);
            payloads[i] = pattern(size, seed * 1000 + i);
            WorkRequest wr{.id = static_cast<uint64_t>(i),
                           .pieces = {payloads[i]},
                           .remote_address = 0x10000 + offset,
                           .rkey = rkey,
                           .immediate = static_cast<uint32_t>(i)};
            switch (dice.next() % 5) {
                case 0:
                    wr.op = Op::Send;
                    messages.push_back(payloads[i]);
                    break;
                case 1:
                    wr.op = Op::SendImmediate;
                    messages.push_back(payloads[i]);
                    break;
                case 2:
                    wr.op = Op::Write;
                    break;
                case 3:
                    wr.op = Op::WriteImmediate;
                    messages.emplace_back();
                    immediates++;
                    break;
                default:
                    wr.op = Op::Read;
                    expected[i].assign(constant.begin() + offset, constant.begin() + offset + size);
                    wr.rkey = fixed;
                    wr.pieces = {};
                    wr.into = payloads[i];
                    break;
            }
            if (wr.op == Op::Write || wr.op == Op::WriteImmediate)
                std::copy(payloads[i].begin(), payloads[i].end(), shadow.begin() + offset);
            ASSERT_TRUE(p.a.qp->post_send(wr));
        }
        ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == kOperations; }, seconds(60)))
            << p.a.events.sent.size();
        for (int i = 0; i < kOperations; i++) {
            EXPECT_EQ(p.a.events.sent[i].id, static_cast<uint64_t>(i));
            EXPECT_EQ(p.a.events.sent[i].status, Status::Ok);
            EXPECT_TRUE(expected[i].empty() || payloads[i] == expected[i]) << "read " << i;
        }
        EXPECT_TRUE(memory == shadow);
        ASSERT_EQ(p.b.events.received.size(), messages.size());
        for (size_t i = 0; i < messages.size(); i++) {
            const Received& r = p.b.events.received[i];
            EXPECT_EQ(r.id, i);
            EXPECT_EQ(r.length, messages[i].size());
            const auto& buffer = p.acceptor.buffers[i];
            EXPECT_TRUE(std::equal(messages[i].begin(), messages[i].end(), buffer.begin()));
        }
        p.b.port->deregister(rkey);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Net, Faulty,
    testing::Values(
        FaultCase{"clean", {}, kJumbo, true},
        FaultCase{"loss_selective", {.loss = 50}, kJumbo, true},
        FaultCase{"loss_go_back_n", {.loss = 50}, kJumbo, false},
        FaultCase{"loss_small_mtu", {.loss = 30}, kPlain, true},
        FaultCase{"loss_small_mtu_go_back_n", {.loss = 30}, kPlain, false},
        FaultCase{"duplicates", {.duplicate = 300}, kJumbo, true},
        FaultCase{"duplicates_go_back_n", {.duplicate = 300}, kPlain, false},
        FaultCase{"reordering", {.reorder = 200}, kJumbo, true},
        FaultCase{"reordering_go_back_n", {.reorder = 200}, kPlain, false},
        FaultCase{"corruption", {.corrupt = 50}, kJumbo, true},
        FaultCase{"all", {.loss = 30, .duplicate = 30, .reorder = 50, .corrupt = 20}, kPlain, true},
        FaultCase{"all_go_back_n",
                  {.loss = 30, .duplicate = 30, .reorder = 50, .corrupt = 20},
                  kJumbo,
                  false}),
    [](const auto& info) { return info.param.name; });

} // namespace
} // namespace tessera::test
