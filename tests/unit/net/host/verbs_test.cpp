#include <gtest/gtest.h>

#include <optional>

#include "net/host/verbs_port.hpp"
#include "net/roce/rping_responder.hpp"
#include "tests/unit/net/host/fake_verbs.hpp"

namespace tessera::net::host {
namespace {

using test::FakeFabric;
using test::FakeVerbs;

constexpr roce::Ipv4 kA{0x0a4d0101}, kB{0x0a4d0102}, kNobody{0x0a4d0109};
constexpr uint16_t kService = 7000;

struct TestClock final : Clock {
    Nanos now() override { return time; }
    Nanos time = seconds(1);
};

struct Events : roce::QpEvents {
    void on_sent(roce::Qp&, uint64_t id, roce::Status s) override { sent.push_back({id, s}); }
    void on_received(roce::Qp&, const roce::Received& r) override { received.push_back(r); }
    void on_disconnected(roce::Qp& qp, Error why) override {
        ended = why;
        if (port) port->destroy_qp(qp);
    }
    std::vector<std::pair<uint64_t, roce::Status>> sent;
    std::vector<roce::Received> received;
    std::optional<Error> ended;
    roce::Port* port = nullptr; // set: destroys the QP inside on_disconnected
};

struct Accepting : roce::Listener {
    void on_incoming(roce::Incoming& r) override {
        hello.assign(r.private_data().begin(), r.private_data().end());
        peer = r.peer();
        if (qp)
            accepted = r.accept(*qp, bytes_of(std::string_view("welcome"))).has_value();
        else
            r.reject(bytes_of(std::string_view("no")));
    }
    void on_established(roce::Qp&) override { established = true; }
    roce::Qp* qp = nullptr;
    std::vector<std::byte> hello;
    roce::Ipv4 peer;
    bool accepted = false, established = false;
};

std::string text(Bytes b) {
    return {reinterpret_cast<const char*>(b.data()), b.size()};
}

struct Verbs : testing::Test {
    FakeFabric fabric{.devices = {}, .addresses = {kA, kB}};
    TestClock clock;
    FakeVerbs *device_a = new FakeVerbs(fabric), *device_b = new FakeVerbs(fabric);
    Own<VerbsPort> a = *VerbsPort::open(kA, clock, Own<VerbsApi>(device_a));
    Own<VerbsPort> b = *VerbsPort::open(kB, clock, Own<VerbsApi>(device_b));
    roce::Pd pd_a = *a->create_pd(), pd_b = *b->create_pd();
    Events events_a, events_b;
    Accepting listener;
    roce::Qp* qp_a = *a->create_qp({.pd = pd_a, .send_depth = 2, .receive_depth = 4}, events_a);
    roce::Qp* qp_b = *b->create_qp({.pd = pd_b, .send_depth = 2, .receive_depth = 4}, events_b);
    std::optional<Result<std::string>> outcome;
    std::string reason;

    void connect(roce::Ipv4 to, uint16_t service = kService) {
        ASSERT_TRUE(a->connect(*qp_a, {to, service}, bytes_of(std::string_view("hello")),
                               clock.time + seconds(1), [this](Result<Bytes> r) {
                                   reason = text(a->reject_data());
                                   outcome = r ? Result<std::string>(text(*r)) : Fail(r.error());
                               }));
        EXPECT_FALSE(outcome); // never from inside the call
        run();
    }
    void connect_both() {
        listener.qp = qp_b;
        ASSERT_TRUE(b->listen(kService, listener));
        connect(kB);
        ASSERT_TRUE(outcome && *outcome);
    }
    void run() {
        while (a->poll() + b->poll()) {
        }
    }
    void TearDown() override {
        if (qp_a) a->destroy_qp(*qp_a);
        if (qp_b) b->destroy_qp(*qp_b);
        for (FakeVerbs* d : {device_a, device_b}) {
            EXPECT_TRUE(d->qps.empty());
            EXPECT_TRUE(d->regions.empty()) << d->regions.size();
        }
        b->stop_listening(kService);
        EXPECT_TRUE(device_a->ids.empty());
        EXPECT_TRUE(device_b->ids.empty());
    }
};

TEST(VerbsLibrary, SaysThatThereIsNoDevice) {
    TestClock clock;
    auto port = VerbsPort::open(roce::Ipv4(0x7f000001), clock); // loopback never has one
    ASSERT_FALSE(port);
    EXPECT_EQ(port.error(), Error::NoDevice);
}

TEST_F(Verbs, AddressWithoutADevice) {
    auto port = VerbsPort::open(kNobody, clock, std::make_unique<FakeVerbs>(fabric));
    ASSERT_FALSE(port);
    EXPECT_EQ(port.error(), Error::NoDevice);
}

TEST_F(Verbs, ConnectsWithPrivateDataBothWays) {
    connect_both();
    EXPECT_EQ(**outcome, "welcome");
    EXPECT_EQ(text(listener.hello), "hello");
    EXPECT_EQ(listener.peer, kA);
    EXPECT_TRUE(listener.accepted && listener.established);
    EXPECT_EQ(qp_a->path_mtu(), 4096u);
    EXPECT_EQ(qp_a->peer(), kB);
}

TEST_F(Verbs, SendsReadsAndWrites) {
    connect_both();
    std::string in(64, 0), first = "one ", second = "two", far(16, 'f'), here(4, 0);
    ASSERT_TRUE(qp_b->post_receive(5, mutable_bytes_of(in[0]).first(0)));
    qp_b->post_receive(6, {reinterpret_cast<std::byte*>(in.data()), in.size()}).value();
    uint64_t base = reinterpret_cast<uintptr_t>(far.data()) % kPageSize + kPageSize;
    auto rkey = *b->register_memory(pd_b, {reinterpret_cast<std::byte*>(far.data()), far.size()},
                                    base, roce::Access::RemoteReadWrite);
    auto write = roce::WorkRequest{.id = 1,
                                   .op = roce::Op::WriteImmediate,
                                   .pieces = {bytes_of(std::string_view(second))},
                                   .remote_address = base + 4,
                                   .rkey = rkey,
                                   .immediate = 99};
    ASSERT_TRUE(qp_a->post_send(write));
    ASSERT_TRUE(qp_a->post_send(
        {.id = 2,
         .pieces = {bytes_of(std::string_view(first)), bytes_of(std::string_view(second))}}));
    EXPECT_EQ(qp_a->post_send(write).error(), Error::Full);
    EXPECT_EQ(qp_a->send_room(), 0u);
    run();
    ASSERT_EQ(events_b.received.size(), 2u);
    EXPECT_TRUE(events_b.received[0].write);
    EXPECT_EQ(events_b.received[0].immediate, 99u);
    EXPECT_EQ(events_b.received[0].length, 0u);
    EXPECT_EQ(far, "fffftwofffffffff");
    EXPECT_EQ(events_b.received[1].id, 6u);
    EXPECT_EQ(in.substr(0, events_b.received[1].length), "one two");
    ASSERT_TRUE(qp_a->post_send({.id = 3,
                                 .op = roce::Op::Read,
                                 .into = {reinterpret_cast<std::byte*>(here.data()), here.size()},
                                 .remote_address = base + 3,
                                 .rkey = rkey}));
    run();
    EXPECT_EQ(here, "ftwo");
    ASSERT_EQ(events_a.sent.size(), 3u);
    for (uint64_t i = 0; i < 3; i++)
        EXPECT_EQ(events_a.sent[i], (std::pair{i + 1, roce::Status::Ok}));
    b->deregister(rkey);
}

TEST_F(Verbs, RemoteAccessErrorEndsTheConnectionAfterFlushing) {
    connect_both();
    std::byte buffer[8];
    ASSERT_TRUE(qp_a->post_receive(7, buffer));
    for (uint64_t id : {1, 2})
        ASSERT_TRUE(qp_a->post_send(
            {.id = id, .op = roce::Op::Read, .into = buffer, .rkey = roce::Rkey(1)}));
    run();
    ASSERT_EQ(events_a.sent.size(), 2u);
    EXPECT_EQ(events_a.sent[0].second, roce::Status::RemoteAccess);
    EXPECT_EQ(events_a.sent[1].second, roce::Status::Flushed);
    EXPECT_TRUE(events_a.received.empty());
    EXPECT_EQ(events_a.ended, Error::Disconnected);
    EXPECT_EQ(events_b.ended, Error::Disconnected); // was told
    EXPECT_EQ(qp_a->post_send({}).error(), Error::Disconnected);
    EXPECT_EQ(qp_a->post_receive(1, buffer).error(), Error::Disconnected);
}

TEST_F(Verbs, MayBeDestroyedInsideItsLastCallback) {
    connect_both();
    std::byte buffer[8];
    ASSERT_TRUE(qp_b->post_receive(1, buffer));
    events_b.port = b.get();
    a->destroy_qp(*std::exchange(qp_a, nullptr)); // tells the peer
    run();
    EXPECT_TRUE(events_b.ended);
    EXPECT_TRUE(events_a.sent.empty() && !events_a.ended); // silently on this side
    qp_b = nullptr;
}

TEST_F(Verbs, WhyAConnectionFails) {
    connect(kB); // nobody listens
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error(), Error::NotFound);

    ASSERT_TRUE(b->listen(kService, listener)); // rejects
    EXPECT_EQ(b->listen(kService, listener).error(), Error::Exists);
    outcome.reset();
    connect(kB);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error(), Error::NotPermitted);
    EXPECT_EQ(reason, "no");
    EXPECT_TRUE(a->reject_data().empty());

    outcome.reset();
    connect(kNobody); // cannot be reached
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error(), Error::Timeout);

    device_b->silent = true;
    outcome.reset();
    connect(kB);
    EXPECT_FALSE(outcome);
    EXPECT_EQ(a->next_deadline(), clock.time + seconds(1));
    clock.time += seconds(1);
    run();
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error(), Error::Timeout);
    EXPECT_EQ(a->next_deadline(), kNever);
}

TEST_F(Verbs, RefusesWhatItCannotDo) {
    std::byte buffer[8];
    struct Backend final : roce::RegionBackend {
        Result<ReadPiece> read(roce::Qp&, uint64_t, size_t) override { return Fail(Error::Io); }
        Result<WriteTarget> begin_write(roce::Qp&, uint64_t, size_t) override {
            return Fail(Error::Io);
        }
        Result<void> finish_write(roce::Qp&, uint64_t, std::optional<uint32_t>) override {
            return Fail(Error::Io);
        }
        void abort_write(roce::Qp&, uint64_t) override {}
    } backend;
    EXPECT_EQ(a->register_region(pd_a, 0, 4096, roce::Access::RemoteRead, backend).error(),
              Error::Unsupported);
    EXPECT_EQ(a->register_memory(roce::Pd(99), buffer, 0, roce::Access::RemoteRead).error(),
              Error::InvalidArgument);
    alignas(16) std::byte aligned[8]; // the page offsets differ
    EXPECT_EQ(a->register_memory(pd_a, aligned, 0x1001, roce::Access::RemoteRead).error(),
              Error::InvalidArgument);
    EXPECT_EQ(a->create_qp({.pd = roce::Pd(99)}, events_a).error(), Error::InvalidArgument);
    EXPECT_EQ(qp_a->post_send({}).error(), Error::Disconnected);
    std::byte long_hello[roce::kMaxPrivateData + 1];
    EXPECT_EQ(a->connect(*qp_a, {kB, 1}, long_hello, kNever, [](Result<Bytes>) {}).error(),
              Error::InvalidArgument);
}

TEST_F(Verbs, RpingClientsThatAreSilentMakeRoom) {
    roce::RpingResponder responder(*b, clock);
    ASSERT_TRUE(responder.start());
    std::vector<roce::Qp*> others;
    for (int i = 0; i < 4; i++) {
        others.push_back(qp_a);
        connect(kB, roce::kRpingPort);
        ASSERT_TRUE(outcome && *outcome);
        outcome.reset();
        qp_a = *a->create_qp({.pd = pd_a, .send_depth = 2, .receive_depth = 4}, events_a);
    }
    connect(kB, roce::kRpingPort);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->error(), Error::NotPermitted);
    EXPECT_EQ(reason, "busy");
    clock.time += seconds(10);
    outcome.reset();
    connect(kB, roce::kRpingPort);
    ASSERT_TRUE(outcome);
    EXPECT_TRUE(*outcome);
    EXPECT_EQ(events_a.ended, Error::Disconnected); // one of the silent ones was told
    for (roce::Qp* qp : others)
        a->destroy_qp(*qp);
    a->destroy_qp(*std::exchange(qp_a, nullptr));
    run();
}

TEST_F(Verbs, ServesRping) { // the responder runs on any roce::Port
    roce::RpingResponder responder(*b, clock);
    ASSERT_TRUE(responder.start());
    alignas(kPageSize) char source[] = "ping";
    alignas(kPageSize) char sink[sizeof source] = {};
    auto bytes = [](char* s) { return MutableBytes(reinterpret_cast<std::byte*>(s), 4); };
    auto from = *a->register_memory(pd_a, bytes(source), 0x1000, roce::Access::RemoteRead);
    auto to = *a->register_memory(pd_a, bytes(sink), 0x2000, roce::Access::RemoteReadWrite);
    roce::RpingInfo answers[2], first{0x1000u, from.value, 4u}, second{0x2000u, to.value, 4u};
    for (auto& answer : answers)
        ASSERT_TRUE(qp_a->post_receive(0, mutable_bytes_of(answer)));
    connect(kB, roce::kRpingPort);
    ASSERT_TRUE(outcome && *outcome);
    for (auto* info : {&first, &second}) {
        ASSERT_TRUE(qp_a->post_send({.pieces = {bytes_of(*info)}}));
        run();
    }
    EXPECT_STREQ(sink, "ping");
    EXPECT_EQ(responder.pings(), 1u);
    EXPECT_EQ(events_a.received.size(), 2u);
    a->deregister(from);
    a->deregister(to);
    a->destroy_qp(*std::exchange(qp_a, nullptr));
    run(); // the responder ends its side
}

} // namespace
} // namespace tessera::net::host
