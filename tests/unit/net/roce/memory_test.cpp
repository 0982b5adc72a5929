// Rights, domains and ranges of memory regions; regions whose pages are served by a backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>

#include "net/roce/id_table.hpp"
#include "net/wire/roce.hpp"
#include "tests/unit/net/roce/endpoints.hpp"

namespace tessera::test {
namespace {

struct Access_ {
    const char* what;
    Op op;
    Access rights;
    uint64_t address;
    size_t size;
    bool own_domain;
    bool good;
};

class Rights : public testing::TestWithParam<Access_> {};

TEST_P(Rights, AreChecked) {
    const Access_& c = GetParam();
    Pair p(1);
    ASSERT_TRUE(p.connect());
    std::vector<std::byte> memory(8192, std::byte{1});
    Pd pd = c.own_domain ? p.b.pd : *p.b.port->create_pd();
    Rkey rkey = *p.b.port->register_memory(pd, memory, 0x10000, c.rights);
    std::vector<std::byte> local(c.size, std::byte{2});
    WorkRequest wr{.op = c.op, .remote_address = c.address, .rkey = rkey};
    if (c.op == Op::Read)
        wr.into = local;
    else
        wr.pieces = {local};
    ASSERT_TRUE(p.a.qp->post_send(wr));
    ASSERT_TRUE(p.a.qp->post_send({.id = 1, .op = Op::Send}));
    ASSERT_TRUE(p.net.run([&] { return p.a.events.sent.size() == 2; }));
    EXPECT_EQ(p.a.events.sent[0].status, c.good ? Status::Ok : Status::RemoteAccess);
    EXPECT_EQ(p.a.events.sent[1].status, c.good ? Status::Ok : Status::Flushed);
    EXPECT_EQ(p.a.events.disconnected.size(), c.good ? 0u : 1u);
    if (!c.good) {
        EXPECT_EQ(memory, std::vector<std::byte>(8192, std::byte{1}));
    }
}

INSTANTIATE_TEST_SUITE_P(
    Regions, Rights,
    testing::Values(
        Access_{"read", Op::Read, Access::RemoteRead, 0x10000, 8192, true, true},
        Access_{"write", Op::Write, Access::RemoteWrite, 0x11000, 4096, true, true},
        Access_{"read_without_right", Op::Read, Access::RemoteWrite, 0x10000, 1, true, false},
        Access_{"write_without_right", Op::Write, Access::RemoteRead, 0x10000, 1, true, false},
        Access_{"before", Op::Read, Access::RemoteRead, 0xffff, 2, true, false},
        Access_{"past_the_end", Op::Read, Access::RemoteRead, 0x11fff, 2, true, false},
        Access_{"wraps", Op::Read, Access::RemoteRead, ~0ull, 2, true, false},
        Access_{"long_write", Op::Write, Access::RemoteWrite, 0x10000, 8193, true, false},
        Access_{"other_domain", Op::Read, Access::RemoteReadWrite, 0x10000, 8, false, false}),
    [](const auto& info) { return info.param.what; });

TEST(Rkeys, AreNeverZeroAndDoNotRepeat) {
    Pair p(2);
    std::vector<std::byte> memory(16);
    std::map<uint32_t, int> seen;
    for (int i = 0; i < 3000; i++) {
        Rkey r = *p.a.port->register_memory(p.a.pd, memory, 0, Access::RemoteRead);
        EXPECT_NE(r.value, 0u);
        seen[r.value]++;
        p.a.port->deregister(r);
    }
    EXPECT_EQ(seen.size(), 3000u);
    EXPECT_EQ(p.a.port->register_memory(p.a.pd, memory, ~0ull, Access::RemoteRead).error(),
              Error::InvalidArgument);
}

TEST(Rkeys, TableIsBounded) {
    Pair p(3, kJumbo, [](SoftPortOptions& o) { o.max_regions = 3; });
    std::vector<std::byte> memory(16);
    auto add = [&] { return p.a.port->register_memory(p.a.pd, memory, 0, Access::RemoteRead); };
    Rkey a = *add();
    ASSERT_TRUE(add() && add());
    EXPECT_EQ(add().error(), Error::NoMemory);
    p.a.port->deregister(a);
    EXPECT_TRUE(add().has_value());
}

TEST(Rkeys, TheThirdBadUseClosesTheConnection) {
    Pair p(4);
    ASSERT_TRUE(p.connect());
    // A peer that does not stop at the first NAK: replay its refused request by hand.
    std::vector<FrameBytes> frames;
    p.net.recording = &frames;
    std::vector<std::byte> local(8);
    ASSERT_TRUE(p.a.qp->post_send({.op = Op::Read, .into = local, .rkey = Rkey(0xbad)}));
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.disconnected.empty(); }));
    p.net.recording = nullptr;
    auto request = std::find_if(frames.begin(), frames.end(), [](const FrameBytes& f) {
        auto r = net::parse_roce_frame(f);
        return r && r->opcode == net::Opcode::ReadRequest;
    });
    ASSERT_NE(request, frames.end());
    for (int i = 0; i < 2; i++) {
        EXPECT_TRUE(p.b.events.disconnected.empty());
        p.net.inject(p.b.link, *request);
        p.net.run_for(milliseconds(1));
    }
    ASSERT_EQ(p.b.events.disconnected.size(), 1u);
    EXPECT_EQ(p.b.events.disconnected[0], Error::NotPermitted);
    EXPECT_EQ(p.b.port->counters().access_errors, 3u);
}

TEST(IdTable, AgreesWithAMapThroughInsertionsAndRemovals) {
    IdTable<int> table(40);
    std::map<uint32_t, int*> model;
    std::array<int, 64> values{};
    SeededRandom dice(9);
    for (int i = 0; i < 20000; i++) {
        auto id = static_cast<uint32_t>(1 + dice.next() % 61) * 0x10001; // collides a lot
        if (model.contains(id)) {
            table.erase(id);
            model.erase(id);
        } else if (!table.full()) {
            table.insert(id, values[id & 63]);
            model[id] = &values[id & 63];
        }
        ASSERT_EQ(table.count(), model.size());
        for (uint32_t k = 1; k <= 61; k++) {
            auto at = model.find(k * 0x10001);
            ASSERT_EQ(table.find(k * 0x10001), at == model.end() ? nullptr : at->second);
        }
        table.erase(0x7fff0000); // not there
    }
    EXPECT_EQ(table.find(0), nullptr);
}

// 4 KiB pages in a map; writes are gathered aside and swapped in when whole.
struct Pages final : RegionBackend, net::TxHold {
    Result<ReadPiece> read(Qp&, uint64_t address, size_t length) override {
        auto page = pages.find(address / 4096);
        if (page == pages.end()) return Fail(Error::NotFound);
        size_t offset = address % 4096;
        held++;
        return ReadPiece{Bytes(page->second).subspan(offset, std::min(length, 4096 - offset)),
                         this};
    }
    void transmitted() override { held--; }
    Result<WriteTarget> begin_write(Qp&, uint64_t address, size_t length) override {
        begun++;
        if (busy > 0) {
            busy--;
            return Fail(Error::NoMemory);
        }
        gathering[++last] = {address, std::vector<std::byte>(length)};
        return WriteTarget{gathering[last].second, last};
    }
    Result<void> finish_write(Qp&, uint64_t token, std::optional<uint32_t> imm) override {
        auto [address, bytes] = std::move(gathering.at(token));
        gathering.erase(token);
        if (refuse) return Fail(Error::Stale);
        bytes.resize(4096);
        pages[address / 4096] = std::move(bytes);
        immediate = imm;
        return {};
    }
    void abort_write(Qp&, uint64_t token) override {
        aborted++;
        gathering.erase(token);
    }
    std::map<uint64_t, std::vector<std::byte>> pages;
    std::map<uint64_t, std::pair<uint64_t, std::vector<std::byte>>> gathering;
    std::optional<uint32_t> immediate;
    uint64_t last = 0;
    int held = 0, busy = 0, begun = 0, aborted = 0;
    bool refuse = false;
};

struct Paged : testing::Test {
    Pair p{5};
    Pages pages;
    Rkey rkey;
    void start() {
        ASSERT_TRUE(p.connect());
        rkey =
            *p.b.port->register_region(p.b.pd, 0x40000000, 1 << 30, Access::RemoteReadWrite, pages);
    }
    Status run(WorkRequest wr) {
        size_t before = p.a.events.sent.size();
        EXPECT_TRUE(p.a.qp->post_send(wr));
        EXPECT_TRUE(p.net.run([&] { return p.a.events.sent.size() > before; }));
        return p.a.events.sent.back().status;
    }
    ~Paged() override {
        if (p.b.qp) p.b.port->destroy_qp(*p.b.qp);
        p.b.qp = nullptr;
        EXPECT_TRUE(pages.gathering.empty());
    }
};

TEST_F(Paged, WriteImmediateSwapsAPageInAndReadReturnsIt) {
    start();
    auto line = pattern(4096, 1);
    EXPECT_EQ(run({.op = Op::WriteImmediate,
                   .pieces = {line},
                   .remote_address = 0x40003000,
                   .rkey = rkey,
                   .immediate = 42}),
              Status::Ok);
    EXPECT_EQ(pages.immediate, 42u);
    EXPECT_EQ(pages.pages.at(0x40003), line);
    ASSERT_EQ(p.b.events.received.size(), 1u);
    EXPECT_TRUE(p.b.events.received[0].write);
    std::vector<std::byte> back(4096);
    EXPECT_EQ(run({.op = Op::Read, .into = back, .remote_address = 0x40003000, .rkey = rkey}),
              Status::Ok);
    EXPECT_EQ(back, line);
    p.net.run_for(milliseconds(1));
    EXPECT_EQ(pages.held, 0);
}

TEST_F(Paged, ReadsAcrossPagesAreGathered) {
    start();
    std::vector<std::byte> all;
    for (uint64_t i = 0; i < 5; i++) {
        pages.pages[0x40000 + i] = pattern(4096, i);
        all.insert(all.end(), pages.pages[0x40000 + i].begin(), pages.pages[0x40000 + i].end());
    }
    std::vector<std::byte> back(15000);
    EXPECT_EQ(run({.op = Op::Read, .into = back, .remote_address = 0x40000000 + 777, .rkey = rkey}),
              Status::Ok);
    EXPECT_TRUE(std::equal(back.begin(), back.end(), all.begin() + 777));
    EXPECT_EQ(pages.held, 0);
}

TEST_F(Paged, AnAbsentPageIsARemoteAccessError) {
    start();
    pages.pages[0x40000] = pattern(4096, 1);
    std::vector<std::byte> back(8192);
    EXPECT_EQ(run({.op = Op::Read, .into = back, .remote_address = 0x40000000, .rkey = rkey}),
              Status::RemoteAccess);
}

TEST_F(Paged, NoFrameNowIsTriedAgain) {
    start();
    pages.busy = 3;
    auto line = pattern(4096, 1);
    EXPECT_EQ(run({.op = Op::Write, .pieces = {line}, .remote_address = 0x40000000, .rkey = rkey}),
              Status::Ok);
    EXPECT_EQ(pages.begun, 4);
}

TEST_F(Paged, ARefusedSwapIsARemoteOperationError) {
    start();
    pages.refuse = true;
    auto line = pattern(4096, 1);
    EXPECT_EQ(run({.op = Op::Write, .pieces = {line}, .remote_address = 0x40000000, .rkey = rkey}),
              Status::RemoteOperation);
    EXPECT_TRUE(pages.pages.empty());
}

TEST_F(Paged, AHalfWrittenPageIsAborted) {
    start();
    int packets = 0;
    p.net.filter = [&](const FrameBytes& f) { return f.size() < 1000 || ++packets == 1; };
    auto lines = pattern(16384, 1);
    ASSERT_TRUE(p.a.qp->post_send(
        {.op = Op::Write, .pieces = {lines}, .remote_address = 0x40000000, .rkey = rkey}));
    p.net.run_for(milliseconds(3));
    EXPECT_EQ(pages.gathering.size(), 1u);
    p.a.port->destroy_qp(*p.a.qp);
    p.a.qp = nullptr;
    ASSERT_TRUE(p.net.run([&] { return !p.b.events.disconnected.empty(); }));
    EXPECT_EQ(pages.aborted, 1);
    EXPECT_TRUE(pages.pages.empty());
}

TEST_F(Paged, DeregisteringInTheMiddleRefusesTheRest) {
    start();
    int packets = 0;
    p.net.filter = [&](const FrameBytes& f) { return f.size() < 1000 || ++packets != 2; };
    auto lines = pattern(16384, 1);
    ASSERT_TRUE(p.a.qp->post_send(
        {.op = Op::Write, .pieces = {lines}, .remote_address = 0x40000000, .rkey = rkey}));
    p.net.run_for(microseconds(60));
    p.b.port->deregister(rkey);
    EXPECT_EQ(pages.aborted, 1);
    ASSERT_TRUE(p.net.run([&] { return !p.a.events.sent.empty(); }));
    EXPECT_NE(p.a.events.sent[0].status, Status::Ok);
    EXPECT_EQ(pages.begun, 1);
}

} // namespace
} // namespace tessera::test
