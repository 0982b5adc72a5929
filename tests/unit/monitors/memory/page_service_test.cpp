// The page service against a peer that does not follow the protocol: a hand-driven session.
#include <deque>

#include "net/schema/page.hpp"
#include "tests/unit/monitors/support/memory_world.hpp"

namespace tessera::test {

namespace {

using schema::StreamKind;
using schema::StreamOp;

// A process monitor made of raw verbs and RPC calls.
struct RawPeer final : roce::QpEvents {
    RawPeer(MemoryWorld& w) : w(w), pd(*w.p.port->create_pd()) {}
    ~RawPeer() {
        if (qp) w.p.port->destroy_qp(*qp);
    }

    Result<schema::PageOpenReply> open(uint64_t session = 0, VnodeId vnode = kVnode) {
        schema::PageOpenRequest q;
        q.vnode = vnode.value;
        q.session = session;
        Result<schema::PageOpenReply> answer = Fail(Error::Timeout);
        bool done = false;
        w.peer->call(schema::kPageOpen, bytes_of(q), {}, {w.net.clock.now() + seconds(5), true},
                     [&](Result<Bytes> b) {
                         done = true;
                         if (!b)
                             answer = Fail(b.error());
                         else
                             answer = load<schema::PageOpenReply>(*b);
                     });
        w.run([&] { return done; });
        return answer;
    }
    Error error_of(rpc::Opcode opcode, Bytes head, Bytes body = {}) {
        std::optional<Error> answer;
        w.peer->call(opcode, head, body, {w.net.clock.now() + seconds(5), true},
                     [&](Result<Bytes> b) { answer = b ? Error{} : b.error(); });
        w.run([&] { return answer.has_value(); });
        return answer.value_or(Error::Timeout);
    }
    Result<void> connect(uint64_t session, uint64_t ticket) {
        if (qp) w.p.port->destroy_qp(*std::exchange(qp, nullptr));
        gone = false;
        qp = *w.p.port->create_qp({.pd = pd}, *this);
        for (size_t i = 0; i < buffers.size(); i++)
            EXPECT_TRUE(qp->post_receive(i, buffers[i]));
        schema::PageHello h;
        h.magic = schema::kPageMagic;
        h.vnode = kVnode.value;
        h.session = session;
        h.ticket = ticket;
        h.incarnation = 5;
        Result<void> answer = Fail(Error::Timeout);
        bool done = false;
        EXPECT_TRUE(w.p.port->connect(*qp, {roce::Ipv4(0x0a000002), rpc::kPageService}, bytes_of(h),
                                      w.net.clock.now() + seconds(5), [&](Result<Bytes> b) {
                                          done = true;
                                          answer = b ? Result<void>{} : Fail(b.error());
                                      }));
        w.run([&] { return done; });
        return answer;
    }
    void op(StreamKind kind, uint64_t object = 0, uint64_t other = 0, uint64_t first = 0,
            uint64_t pages = 0) {
        StreamOp o;
        o.kind = static_cast<uint16_t>(kind);
        o.sequence = ++sequence;
        o.object = object;
        o.other = other;
        o.first = first;
        o.pages = pages;
        send(bytes_of(o));
    }
    void send(Bytes message) {
        sent.emplace_back(message.begin(), message.end());
        roce::WorkRequest wr;
        wr.pieces[0] = sent.back();
        EXPECT_TRUE(qp->post_send(wr));
        w.run_for(milliseconds(20));
    }
    void write(roce::Rkey rkey, uint64_t address, size_t length, bool immediate = true) {
        sent.emplace_back(length, std::byte('w'));
        roce::WorkRequest wr;
        wr.op = immediate ? roce::Op::WriteImmediate : roce::Op::Write;
        wr.pieces[0] = sent.back();
        wr.remote_address = address;
        wr.rkey = rkey;
        EXPECT_TRUE(qp->post_send(wr));
        if (immediate) sequence++;
        w.run_for(milliseconds(20));
    }
    roce::Status read(roce::Rkey rkey, uint64_t address) {
        statuses.clear();
        roce::WorkRequest wr;
        wr.op = roce::Op::Read;
        wr.into = page;
        wr.remote_address = address;
        wr.rkey = rkey;
        EXPECT_TRUE(qp->post_send(wr));
        w.run([&] { return !statuses.empty(); }, seconds(10));
        return statuses.empty() ? roce::Status::Timeout : statuses.front();
    }
    // Opens, connects, makes object 1 with `credits` and the grant of its first vRegion.
    void set_up(uint64_t credits) {
        opened = *open();
        ASSERT_TRUE(connect(opened.session, opened.ticket));
        op(StreamKind::ObjectCreate, 1);
        op(StreamKind::CreditRequest, 0, 0, 0, credits);
        op(StreamKind::VregionOpen, 1, 0, 0x10);
        ASSERT_NE(rkey.value, 0u);
    }

    void on_sent(roce::Qp&, uint64_t, roce::Status s) override { statuses.push_back(s); }
    void on_received(roce::Qp& q, const roce::Received& r) override {
        Bytes m = Bytes(buffers[r.id]).first(r.length);
        auto kind = static_cast<schema::PageMessageKind>(load<Le16>(m).get());
        if (kind == schema::PageMessageKind::Status) status = load<schema::PageStatus>(m);
        if (kind == schema::PageMessageKind::Grant)
            rkey = roce::Rkey(load<schema::PageGrant>(m).rkey);
        EXPECT_TRUE(q.post_receive(r.id, buffers[r.id]));
    }
    void on_disconnected(roce::Qp& q, Error) override {
        gone = true;
        w.p.port->destroy_qp(q);
        qp = nullptr;
    }

    MemoryWorld& w;
    roce::Pd pd;
    roce::Qp* qp = nullptr;
    std::array<std::array<std::byte, 256>, 32> buffers;
    std::array<std::byte, kPageSize> page;
    std::deque<std::vector<std::byte>> sent;
    std::vector<roce::Status> statuses;
    schema::PageOpenReply opened;
    schema::PageStatus status;
    roce::Rkey rkey;
    uint64_t sequence = 0;
    bool gone = false;
};

class PageService : public ::testing::Test {
  protected:
    PageService() : w({}), p(w) {
        w.cache->remove_vnode(kVnode); // this test is the process monitor
        w.run_for(milliseconds(10));
    }
    MemoryWorld w;
    RawPeer p;
};

} // namespace

TEST_F(PageService, WritesAreSwappedInReadBackAndCounted) {
    p.set_up(2);
    EXPECT_EQ(p.status.granted, 2u);
    p.write(p.rkey, 0x10000, kPageSize);
    p.write(p.rkey, 0x11000, kPageSize);
    EXPECT_EQ(p.status.executed, 5u);
    EXPECT_EQ(p.status.consumed, 2u);
    p.write(p.rkey, 0x10000, kPageSize); // again: needs nothing
    EXPECT_EQ(p.status.consumed, 2u);
    EXPECT_EQ(p.status.refused_count, 0u);
    p.write(p.rkey, 0x12000, kPageSize); // no credit for it
    EXPECT_EQ(p.status.executed, 7u);
    EXPECT_EQ(p.status.refused_count, 1u);
    EXPECT_EQ(p.status.refused[0].sequence, 7u);
    EXPECT_EQ(p.read(p.rkey, 0x10000), roce::Status::Ok);
    EXPECT_EQ(p.page[100], std::byte('w'));
    EXPECT_EQ(w.monitor->use(kVnode).frames, 2u);
    EXPECT_EQ(p.read(p.rkey, 0x12000), roce::Status::RemoteAccess); // a hole: for enemies
}

TEST_F(PageService, OneTicketOneConnection) {
    auto first = *p.open();
    EXPECT_FALSE(p.connect(first.session, first.ticket + 1));
    EXPECT_TRUE(p.connect(first.session, first.ticket));
    EXPECT_FALSE(p.connect(first.session, first.ticket)); // used
    auto again = *p.open(first.session);
    EXPECT_EQ(again.session, first.session);
    EXPECT_NE(again.ticket, first.ticket);
    EXPECT_EQ(p.open(first.session + 1).error(), Error::Lost);
    EXPECT_EQ(p.open(0, VnodeId(99)).error(), Error::NotPermitted);
}

TEST_F(PageService, NonsenseEndsTheConnectionOnly) {
    p.set_up(4);
    p.write(p.rkey, 0x10000, kPageSize);
    for (int bad = 0; bad < 6; bad++) {
        switch (bad) {
            case 0:
                p.send(bytes_of(std::string_view("hello")));
                break;
            case 1:
                p.sequence += 5, p.op(StreamKind::ObjectCreate, 2);
                break;
            case 2:
                p.op(static_cast<StreamKind>(77), 1);
                break;
            case 3:
                p.op(StreamKind::Discard, 1, 0, 1ull << 36, 1);
                break;
            case 4:
                p.op(StreamKind::ObjectCreate, 1);
                break; // exists
            case 5:
                p.write(p.rkey, 0x10000, kPageSize, false);
                break; // not counted
        }
        EXPECT_TRUE(w.run([&] { return p.gone; }, seconds(10))) << bad;
        auto r = *p.open(p.opened.session);
        p.sequence = r.executed;
        ASSERT_TRUE(p.connect(r.session, r.ticket));
        EXPECT_EQ(p.read(p.rkey, 0x10000), roce::Status::Ok) << bad;
    }
    EXPECT_EQ(w.monitor->use(kVnode).frames, 1u);
}

TEST_F(PageService, WhatDoesNotExistIsRefused) {
    p.set_up(4);
    p.op(StreamKind::Discard, 5, 0, 0, 10);
    EXPECT_EQ(p.status.refused_count, 1u);
    p.op(StreamKind::Fork, 5, 6);
    p.op(StreamKind::ObjectDestroy, 5);
    EXPECT_FALSE(p.gone);
    auto r = *p.open(p.opened.session);
    EXPECT_EQ(r.refused_count, 3u);
    EXPECT_EQ(r.executed, 6u);
}

// Its offset in bytes would wrap around to another page of the file.
TEST_F(PageService, PagesThatNoFileCanHaveAreRefused) {
    p.set_up(4);
    w.files.files[1] = "text";
    schema::PageFetchRequest q{};
    q.vnode = kVnode.value;
    q.count = 2;
    q.session = p.opened.session;
    q.file = 1;
    q.generation = 1;
    q.first = (uint64_t{1} << 52) - 2;
    EXPECT_EQ(p.error_of(schema::kPageFetch, bytes_of(q)), Error{});
    for (uint64_t first : {(uint64_t{1} << 52) - 1, uint64_t{1} << 52, UINT64_MAX - 2}) {
        q.first = first;
        EXPECT_EQ(p.error_of(schema::kPageFetch, bytes_of(q)), Error::Malformed) << first;
    }
    schema::PageStoreRequest store{};
    store.vnode = kVnode.value;
    store.session = p.opened.session;
    store.file = 1;
    store.generation = 1;
    store.page = (uint64_t{1} << 52) + 1;
    EXPECT_EQ(p.error_of(schema::kPageStore, bytes_of(store), p.page), Error::Malformed);
    EXPECT_EQ(w.files.puts, 0);
}

TEST_F(PageService, AFencedPeerHasNoEffectAndLeavesNothing) {
    p.set_up(100);
    for (uint64_t i = 0; i < 20; i++)
        p.write(p.rkey, 0x10000 + i * kPageSize, kPageSize);
    EXPECT_EQ(w.monitor->use(kVnode).frames, 20u);
    w.monitor->fence(kProcessNode, Incarnation(5));
    EXPECT_EQ(w.monitor->use(kVnode).credits, 0u);
    w.run_for(seconds(1));
    EXPECT_EQ(w.m.frames.counts().free, w.m.frames.counts().total);
    EXPECT_EQ(p.open().error(), Error::Dead);
}

TEST_F(PageService, InventoryNamesWhatIsHeld) {
    p.set_up(4);
    p.write(p.rkey, 0x10000, kPageSize);
    int entries = 0;
    w.monitor->inventory([&](const mmon::InventoryEntry& e) {
        entries++;
        EXPECT_EQ(e.object, ObjectId(1));
        EXPECT_EQ(e.pages, 1u);
        EXPECT_EQ(e.node, kProcessNode);
    });
    EXPECT_EQ(entries, 1);
    w.monitor->remove_vnode(kVnode);
    w.run_for(seconds(1));
    EXPECT_EQ(w.m.frames.counts().free, w.m.frames.counts().total);
}

} // namespace tessera::test
