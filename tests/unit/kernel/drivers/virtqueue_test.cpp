#include "kernel/drivers/virtqueue.hpp"

#include "tests/unit/kernel/drivers/fake_machine.hpp"

namespace tessera::kernel {
namespace {

struct Queue : testing::Test {
    void SetUp() override { q = std::move(*Virtqueue::create(machine, 8)); }
    MutableBytes used() { return machine.memory(q->used_at().value, Virtqueue::used_size(8)); }
    MutableBytes available() {
        return machine.memory(q->available_at().value, Virtqueue::available_size(8));
    }
    void finish(uint32_t id, uint32_t size = 0) {
        store(used().subspan(4 + 8 * (used_index % 8)), Virtqueue::UsedElement{id, size});
        used_index++;
        store(used().subspan(2), used_index);
    }
    uint16_t head(unsigned i) { return load<uint16_t>(available().subspan(4 + 2 * (i % 8))); }
    Result<void> add(unsigned pieces, uint32_t token) {
        std::vector<Virtqueue::Piece> p(pieces, {BusAddr(0x1000), 64, false});
        return q->add(p, token);
    }
    FakeMachine machine;
    Own<Virtqueue> q;
    uint16_t used_index = 0;
};

TEST_F(Queue, RefusesBadSizes) {
    for (uint16_t size : {0, 3, 100})
        EXPECT_EQ(Virtqueue::create(machine, size).error(), Error::InvalidArgument);
    machine.fail_allocations_after = 0;
    EXPECT_EQ(Virtqueue::create(machine, 8).error(), Error::NoMemory);
}

TEST_F(Queue, LinksAChain) {
    Virtqueue::Piece p[] = {
        {BusAddr(0x1000), 10, false}, {BusAddr(0x2000), 20, false}, {BusAddr(0x3000), 30, true}};
    ASSERT_TRUE(q->add(p, 42));
    EXPECT_EQ(load<uint16_t>(available().subspan(2)), 0) << "visible before publish()";
    q->publish();
    EXPECT_EQ(load<uint16_t>(available().subspan(2)), 1);
    uint16_t at = head(0);
    for (int i = 0; i < 3; i++) {
        auto d =
            load<Virtqueue::Descriptor>(machine.memory(q->descriptors_at().value + 16 * at, 16));
        EXPECT_EQ(d.address, p[i].at.value);
        EXPECT_EQ(d.size, p[i].size);
        EXPECT_EQ(d.flags, (i < 2 ? 1 : 0) | (p[i].device_writes ? 2 : 0));
        at = d.next;
    }
    EXPECT_EQ(q->free_descriptors(), 5u);
    finish(head(0), 30);
    Virtqueue::Used u;
    ASSERT_TRUE(q->take_used(u));
    EXPECT_EQ(u.token, 42u);
    EXPECT_EQ(u.written, 30u);
    EXPECT_EQ(q->free_descriptors(), 8u);
    EXPECT_FALSE(q->take_used(u));
}

TEST_F(Queue, IsFullWhenDescriptorsRunOut) {
    ASSERT_TRUE(add(5, 1));
    EXPECT_EQ(add(4, 2).error(), Error::Full);
    ASSERT_TRUE(add(3, 3));
    EXPECT_EQ(add(1, 4).error(), Error::Full);
    EXPECT_EQ(add(0, 4).error(), Error::InvalidArgument);
}

TEST_F(Queue, WrapsManyTimesOutOfOrder) {
    unsigned published = 0;
    for (unsigned round = 0; round < 40'000; round++) {
        ASSERT_TRUE(add(1 + round % 3, 2 * round));
        ASSERT_TRUE(add(1, 2 * round + 1));
        q->publish();
        uint16_t first = head(published), second = head(published + 1);
        published += 2;
        finish(second);
        finish(first);
        Virtqueue::Used u;
        ASSERT_TRUE(q->take_used(u));
        ASSERT_EQ(u.token, 2 * round + 1);
        ASSERT_TRUE(q->take_used(u));
        ASSERT_EQ(u.token, 2 * round);
        ASSERT_EQ(q->free_descriptors(), 8u);
    }
    EXPECT_EQ(q->violations(), 0u);
}

TEST_F(Queue, SkipsBogusUsedEntries) {
    ASSERT_TRUE(add(2, 7));
    q->publish();
    uint16_t chain = head(0);
    finish(8);                // no such descriptor
    finish(0xffff'ffff);      // nor this
    finish((chain + 1u) % 8); // the middle of a chain, or free
    finish(chain);
    finish(chain); // twice
    Virtqueue::Used u;
    ASSERT_TRUE(q->take_used(u));
    EXPECT_EQ(u.token, 7u);
    EXPECT_FALSE(q->take_used(u));
    EXPECT_EQ(q->violations(), 4u);
    EXPECT_EQ(q->free_descriptors(), 8u);
}

TEST_F(Queue, ARunawayIndexCostsLittle) {
    store(used().subspan(2), static_cast<uint16_t>(0x8000));
    Virtqueue::Used u;
    EXPECT_FALSE(q->take_used(u));
    EXPECT_LE(q->violations(), 1u);
    EXPECT_FALSE(q->used_ready());
}

TEST_F(Queue, DeviceCannotRelinkOurDescriptors) {
    ASSERT_TRUE(add(3, 1));
    q->publish();
    auto d = machine.memory(q->descriptors_at().value, 16 * 8);
    for (int i = 0; i < 8; i++) // every link now points outside
        store(d.subspan(16 * i + 14), static_cast<uint16_t>(0xfff0));
    finish(head(0));
    Virtqueue::Used u;
    ASSERT_TRUE(q->take_used(u));
    EXPECT_EQ(q->free_descriptors(), 8u);
    EXPECT_TRUE(add(8, 2));
}

TEST_F(Queue, FlagsForNotificationAndInterrupts) {
    EXPECT_TRUE(q->should_notify());
    store(used(), uint16_t{1});
    EXPECT_FALSE(q->should_notify());
    EXPECT_EQ(load<uint16_t>(available()), 1) << "interrupts start off";
    q->set_interrupts(true);
    EXPECT_EQ(load<uint16_t>(available()), 0);
}

} // namespace
} // namespace tessera::kernel
