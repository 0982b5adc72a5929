#include "kernel/drivers/virtio_net.hpp"

#include "tests/unit/kernel/drivers/fake_virtio.hpp"

namespace tessera::kernel {
namespace {

struct Sink final : net::LinkSink {
    void on_frame(Bytes f) override { frames.emplace_back(f.begin(), f.end()); }
    std::vector<std::vector<std::byte>> frames;
};

struct Hold final : net::TxHold {
    void transmitted() override { released++; }
    int released = 0;
};

std::vector<std::byte> pattern(size_t n, unsigned seed = 1) {
    std::vector<std::byte> v(n);
    for (size_t i = 0; i < n; i++)
        v[i] = static_cast<std::byte>(i * 7 + seed);
    return v;
}

struct Net : testing::Test {
    void start() {
        auto made = VirtioNet::create(device.function(), [this] { interrupts++; });
        ASSERT_TRUE(made) << describe(made.error());
        nic = std::move(*made);
    }
    FakeMachine machine;
    FakeNic device{machine};
    Own<VirtioNet> nic;
    Sink sink;
    int interrupts = 0;
};

TEST_F(Net, Negotiates) {
    start();
    EXPECT_EQ(device.accepted, 1ull << 32 | 1 << 5 | 1 << 3);
    EXPECT_EQ(nic->mac(), (net::MacAddress{0x52, 0x54, 0, 0x12, 0x34, 0x56}));
    EXPECT_EQ(nic->max_frame(), 9014u);
    EXPECT_EQ(device.status, 1 | 2 | 4 | 8);
    EXPECT_EQ(device.queues[0].kicks, 1u) << "the filled receive queue is announced";
    EXPECT_TRUE(device.bus_master());
}

TEST_F(Net, RefusesHostileDevices) {
    auto error = [&] { return VirtioNet::create(device.function(), [] {}).error(); };
    device.offered &= ~(1ull << 32);
    EXPECT_EQ(error(), Error::Unsupported);
    device.offered = 1ull << 32;
    EXPECT_EQ(error(), Error::Unsupported); // no MAC
    device.offered |= 1 << 5 | 1 << 3;
    device.device_config[0] = 1; // a group address
    EXPECT_EQ(error(), Error::Malformed);
    device.device_config[0] = 2;
    device.device_config[10] = device.device_config[11] = 0; // MTU 0
    EXPECT_EQ(error(), Error::Malformed);
    device.device_config[10] = 0xff;
    device.queues[1].size = 0;
    EXPECT_EQ(error(), Error::NotFound);
    device.queues[1].size = 100;
    EXPECT_EQ(error(), Error::Malformed);
    device.queues[1].size = 256;
    device.vectors_work = false;
    EXPECT_EQ(error(), Error::NoMemory);
    device.vectors_work = true;
    device.set32(0x60, 0xffff'ffff); // doorbells far outside
    EXPECT_EQ(error(), Error::Malformed);
    device.set32(0x60, 4);
    device.set32(0x40 + 8, 0x3ff0); // common structure leaves its BAR
    EXPECT_EQ(error(), Error::Range);
    device.set32(0x40 + 8, 0);
    device.stuck = true;
    device.status = 4;
    EXPECT_EQ(error(), Error::Timeout);
    EXPECT_FALSE(device.bus_master());
    EXPECT_EQ(machine.dma_allocations(), 0u);
}

TEST_F(Net, SurvivesRunningOutOfMemoryAnywhere) {
    for (unsigned n = 0; n < 390; n += n < 8 ? 1 : 61) {
        machine.fail_allocations_after = n;
        EXPECT_EQ(VirtioNet::create(device.function(), [] {}).error(), Error::NoMemory) << n;
        EXPECT_EQ(machine.dma_allocations(), 0u);
        EXPECT_EQ(device.status, 0) << "left running";
    }
}

TEST_F(Net, SendsCopied) {
    start();
    auto head = pattern(42), body = pattern(100, 2), tail = pattern(4, 3);
    ASSERT_TRUE(nic->send({head, body, tail, nullptr}));
    EXPECT_TRUE(device.sent.empty()) << "announced before flush()";
    nic->flush();
    ASSERT_EQ(device.sent.size(), 1u);
    auto whole = head;
    whole.insert(whole.end(), body.begin(), body.end());
    whole.insert(whole.end(), tail.begin(), tail.end());
    EXPECT_EQ(device.sent[0], whole);
    EXPECT_EQ(device.sent_pieces[0], 1u);
    nic->flush();
    EXPECT_EQ(device.queues[1].kicks, 1u) << "nothing new to announce";
}

TEST_F(Net, GathersTheBodyInPlaceAcrossPages) {
    start();
    alignas(kPageSize) static std::byte memory[3 * kPageSize];
    auto content = pattern(sizeof memory);
    std::memcpy(memory, content.data(), sizeof memory);
    Bytes body(memory + 1000, 2 * kPageSize);
    auto head = pattern(58), tail = pattern(4, 9);
    Hold hold;
    device.hold_transmissions = true;
    ASSERT_TRUE(nic->send({head, body, tail, &hold}));
    nic->flush();
    nic->poll(sink, 8);
    EXPECT_EQ(hold.released, 0);
    device.transmit();
    EXPECT_EQ(device.sent_pieces.at(0), 1u + 3 + 1);
    EXPECT_EQ(device.sent[0].size(), 58 + body.size() + 4);
    EXPECT_TRUE(std::equal(body.begin(), body.end(), device.sent[0].begin() + 58));
    EXPECT_TRUE(std::equal(tail.begin(), tail.end(), device.sent[0].end() - 4));
    nic->poll(sink, 8);
    EXPECT_EQ(hold.released, 1);
    EXPECT_EQ(nic->counters().tx_copied, 0u);
}

TEST_F(Net, CopiesABodyItCannotTranslate) {
    start();
    machine.untranslatable = true;
    auto head = pattern(42), body = pattern(4096);
    Hold hold;
    ASSERT_TRUE(nic->send({head, body, {}, &hold}));
    EXPECT_EQ(hold.released, 1);
    nic->flush();
    EXPECT_EQ(device.sent.at(0).size(), 42u + 4096);
    EXPECT_EQ(nic->counters().tx_copied, 1u);
}

TEST_F(Net, FullTakesNothingAndRecovers) {
    start();
    device.hold_transmissions = true;
    auto head = pattern(60);
    std::vector<std::byte> body = pattern(200);
    std::vector<Hold> holds(1000);
    size_t accepted = 0;
    Result<void> r;
    while ((r = nic->send({head, body, {}, &holds[accepted]})) && accepted < 900)
        accepted++;
    EXPECT_EQ(r.error(), Error::Full);
    EXPECT_GE(accepted, 64u);
    for (auto& h : holds)
        EXPECT_EQ(h.released, 0);
    device.transmit();
    ASSERT_TRUE(nic->send({head, body, {}, &holds[accepted]}));
    nic->flush();
    device.transmit();
    nic->poll(sink, 1);
    for (size_t i = 0; i < holds.size(); i++)
        EXPECT_EQ(holds[i].released, i <= accepted ? 1 : 0);
    EXPECT_EQ(device.sent.size(), accepted + 1);
}

TEST_F(Net, ChecksSizes) {
    start();
    auto big = pattern(9015);
    EXPECT_EQ(nic->send({big, {}, {}, nullptr}).error(), Error::TooBig);
    EXPECT_EQ(nic->send({Bytes(big).first(13), {}, {}, nullptr}).error(), Error::InvalidArgument);
    ASSERT_TRUE(nic->send({Bytes(big).first(9014), {}, {}, nullptr}));
    nic->flush();
    EXPECT_EQ(device.sent.at(0).size(), 9014u);
}

TEST_F(Net, HonoursNoNotify) {
    start();
    auto frame = pattern(60);
    device.set_no_notify(device.queues[1], true);
    ASSERT_TRUE(nic->send({frame, {}, {}, nullptr}));
    nic->flush();
    EXPECT_EQ(device.queues[1].kicks, 0u);
    device.transmit();
    EXPECT_EQ(device.sent.size(), 1u);
}

TEST_F(Net, ReceivesForeverAndKicksTheRefill) {
    start();
    unsigned kicks = device.queues[0].kicks;
    for (unsigned i = 0; i < 1000; i++) {
        auto frame = pattern(60 + i % 4300, i);
        ASSERT_TRUE(device.receive(frame));
        ASSERT_EQ(nic->poll(sink, 16), 1u);
        ASSERT_EQ(sink.frames.back(), frame);
    }
    EXPECT_EQ(device.queues[0].kicks, kicks + 1000);
    device.set_no_notify(device.queues[0], true);
    ASSERT_TRUE(device.receive(pattern(60)));
    nic->poll(sink, 16);
    EXPECT_EQ(device.queues[0].kicks, kicks + 1000);
    EXPECT_EQ(nic->counters().rx_frames, 1001u);
}

TEST_F(Net, KeepsToTheBudget) {
    start();
    for (int i = 0; i < 10; i++)
        ASSERT_TRUE(device.receive(pattern(60)));
    EXPECT_EQ(nic->poll(sink, 4), 4u);
    EXPECT_EQ(nic->poll(sink, 64), 6u);
    EXPECT_EQ(nic->poll(sink, 64), 0u);
}

TEST_F(Net, DropsLyingLengths) {
    start();
    for (uint32_t written : {0u, 11u, 12u, 25u, 0x7fff'ffffu, 0xffff'ffffu}) {
        FakeVirtio::Chain c;
        ASSERT_TRUE(device.take(device.queues[0], c));
        device.give_back(device.queues[0], c.head, written);
    }
    device.give_back(device.queues[0], 9999, 60);
    nic->poll(sink, 64);
    EXPECT_TRUE(sink.frames.empty());
    EXPECT_EQ(nic->counters().rx_drops, 6u);
    EXPECT_GE(nic->counters().device_errors, 1u);
    ASSERT_TRUE(device.receive(pattern(60)));
    nic->poll(sink, 64);
    EXPECT_EQ(sink.frames.size(), 1u);
}

TEST_F(Net, NoInterruptIsLost) {
    start();
    ASSERT_TRUE(device.receive(pattern(60)));
    EXPECT_EQ(interrupts, 0) << "they start disabled";
    EXPECT_TRUE(nic->enable_interrupts_and_check()) << "what came before is reported";
    nic->disable_interrupts();
    nic->poll(sink, 8);
    EXPECT_FALSE(nic->enable_interrupts_and_check());
    ASSERT_TRUE(device.receive(pattern(60)));
    EXPECT_EQ(interrupts, 1);
    EXPECT_EQ(nic->counters().interrupts, 1u);
}

TEST_F(Net, AHeldBodyIsReleasedByAPollInTimeWithoutAnInterrupt) {
    start();
    device.hold_transmissions = true;
    auto head = pattern(60), body = pattern(60);
    Hold hold;
    EXPECT_EQ(nic->reap_deadline(Nanos{5}), kNever);
    ASSERT_TRUE(nic->send({head, body, {}, &hold}));
    EXPECT_FALSE(nic->enable_interrupts_and_check()); // flushes, too
    device.transmit();
    EXPECT_EQ(interrupts, 0);
    EXPECT_EQ(nic->reap_deadline(Nanos{5}), Nanos{5} + milliseconds(1));
    nic->poll(sink, 8);
    EXPECT_EQ(hold.released, 1);
    EXPECT_EQ(nic->reap_deadline(Nanos{5}), kNever);
}

TEST_F(Net, ASenderThatRunsOutOfRoomIsWokenByTransmissions) {
    start();
    device.hold_transmissions = true;
    auto frame = pattern(60);
    for (int i = 0; i < 100; i++)
        ASSERT_TRUE(nic->send({frame, {}, {}, nullptr}));
    EXPECT_FALSE(nic->enable_interrupts_and_check());
    device.transmit();
    EXPECT_GE(interrupts, 1);
}

TEST_F(Net, DestructionReleasesHolds) {
    start();
    device.hold_transmissions = true;
    auto head = pattern(60), body = pattern(60);
    Hold hold;
    ASSERT_TRUE(nic->send({head, body, {}, &hold}));
    nic.reset();
    EXPECT_EQ(hold.released, 1);
    EXPECT_EQ(device.status, 0);
    EXPECT_EQ(machine.dma_allocations(), 0u);
}

} // namespace
} // namespace tessera::kernel
