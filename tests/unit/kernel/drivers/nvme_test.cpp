#include "kernel/drivers/nvme.hpp"

#include "tests/unit/kernel/drivers/fake_nvme.hpp"

namespace tessera::kernel {
namespace {

using env::BlockOp;
using env::BlockRequest;

struct NvmeTest : testing::Test {
    void start() {
        auto made = Nvme::create(device.function());
        ASSERT_TRUE(made) << describe(made.error());
        nvme = std::move(*made);
        queue = add_queue();
    }
    NvmeQueue* add_queue() {
        auto made = nvme->create_queue([this] { interrupts++; });
        EXPECT_TRUE(made) << describe(made.error());
        return made ? *made : nullptr;
    }
    // Submits; the outcome appears in results[index].
    size_t submit(BlockOp op, uint64_t block = 0, MutableBytes buffer = {}, bool fua = false) {
        size_t index = results.size();
        results.emplace_back();
        BlockRequest r{op, fua, block, buffer, [this, index](Result<void> x) {
                           EXPECT_FALSE(results[index].has_value()) << "done() twice";
                           results[index] = x;
                       }};
        auto taken = queue->submit(r);
        EXPECT_TRUE(taken);
        return index;
    }
    Result<void> run(BlockOp op, uint64_t block = 0, MutableBytes buffer = {}, bool fua = false) {
        size_t i = submit(op, block, buffer, fua);
        queue->poll();
        if (!results[i]) return Fail(Error::Again);
        return *results[i];
    }
    MutableBytes buffer(size_t blocks, size_t offset = 0) {
        storage.resize((blocks + 2) * kPageSize);
        auto at = align_up(reinterpret_cast<uintptr_t>(storage.data()), kPageSize) + offset;
        return {reinterpret_cast<std::byte*>(at), blocks * kPageSize};
    }
    static void fill(MutableBytes b, unsigned seed) {
        for (size_t i = 0; i < b.size(); i++)
            b[i] = static_cast<std::byte>(i * 31 + (i >> 9) + seed);
    }
    FakeMachine machine;
    FakeNvme device{machine};
    Own<Nvme> nvme;
    NvmeQueue* queue = nullptr;
    std::vector<std::optional<Result<void>>> results;
    std::vector<std::byte> storage;
    int interrupts = 0;
};

TEST_F(NvmeTest, Identifies) {
    start();
    EXPECT_EQ(queue->block_count(), 1024u);
    EXPECT_EQ(queue->max_transfer_blocks(), 128u);
    EXPECT_EQ(queue->queue_depth(), 64u);
    EXPECT_EQ(nvme->lba_size(), 512u);
    EXPECT_STREQ(nvme->serial(), "SN1");
    EXPECT_STREQ(nvme->model(), "Model ?");
}

TEST_F(NvmeTest, WritesAndReadsEveryShape) {
    start();
    for (size_t blocks : {1, 2, 3, 64, 128}) {
        for (size_t offset : {0, 4, 512, 4092}) {
            auto b = buffer(blocks, offset);
            fill(b, static_cast<unsigned>(blocks + offset));
            std::vector<std::byte> copy(b.begin(), b.end());
            ASSERT_TRUE(run(BlockOp::Write, 7, b));
            std::memset(b.data(), 0, b.size());
            ASSERT_TRUE(run(BlockOp::Read, 7, b));
            ASSERT_TRUE(std::equal(b.begin(), b.end(), copy.begin())) << blocks << "+" << offset;
        }
    }
    EXPECT_GT(device.prp_lists, 0u);
    EXPECT_EQ(device.media.begin()->first, 7u * 8);
}

TEST_F(NvmeTest, NamespaceOf4kBlocks) {
    FakeNvme other(machine, 12, 64);
    auto made = Nvme::create(other.function());
    ASSERT_TRUE(made);
    nvme = std::move(*made);
    queue = add_queue();
    EXPECT_EQ(queue->block_count(), 64u);
    auto b = buffer(2);
    fill(b, 1);
    ASSERT_TRUE(run(BlockOp::Write, 62, b));
    EXPECT_TRUE(other.media.contains(63));
    EXPECT_EQ(run(BlockOp::Write, 63, b).error(), Error::Range);
    nvme.reset();
}

TEST_F(NvmeTest, FlushAndFua) {
    start();
    ASSERT_TRUE(run(BlockOp::Flush));
    EXPECT_EQ(device.io_log.back().dword0 & 0xff, 0u);
    EXPECT_EQ(device.io_log.back().namespace_id, 1u);
    ASSERT_TRUE(run(BlockOp::Write, 0, buffer(1), true));
    EXPECT_TRUE(device.io_log.back().dword12 & 1u << 30);
    ASSERT_TRUE(run(BlockOp::Write, 0, buffer(1), false));
    EXPECT_FALSE(device.io_log.back().dword12 & 1u << 30);
    ASSERT_TRUE(run(BlockOp::Read, 0, buffer(1), true));
    EXPECT_FALSE(device.io_log.back().dword12 & 1u << 30);
    EXPECT_EQ(queue->counters().flushes, 1u);
}

TEST_F(NvmeTest, ChecksRequests) {
    start();
    auto b = buffer(130);
    EXPECT_EQ(run(BlockOp::Read, 1024, b.first(4096)).error(), Error::Range);
    EXPECT_EQ(run(BlockOp::Read, 1023, b.first(8192)).error(), Error::Range);
    EXPECT_EQ(run(BlockOp::Read, UINT64_MAX, b.first(8192)).error(), Error::Range);
    EXPECT_EQ(run(BlockOp::Read, 0, b.first(129 * 4096)).error(), Error::TooBig);
    EXPECT_EQ(run(BlockOp::Read, 0, b.first(100)).error(), Error::InvalidArgument);
    EXPECT_EQ(run(BlockOp::Read, 0, {}).error(), Error::InvalidArgument);
    EXPECT_EQ(run(BlockOp::Read, 0, b.subspan(1, 4096)).error(), Error::InvalidArgument);
    machine.untranslatable = true;
    EXPECT_EQ(run(BlockOp::Read, 0, b.first(4096)).error(), Error::BadAddress);
    EXPECT_TRUE(device.io_log.empty());
    EXPECT_EQ(queue->in_flight(), 0u);
}

TEST_F(NvmeTest, DeviceErrorsBecomeErrors) {
    start();
    device.io_status = 0x281; // media: unrecovered read error
    EXPECT_EQ(run(BlockOp::Read, 0, buffer(1)).error(), Error::Io);
    device.io_status = 0x80;
    EXPECT_EQ(run(BlockOp::Read, 0, buffer(1)).error(), Error::Range);
    device.io_status = 0;
    EXPECT_TRUE(run(BlockOp::Read, 0, buffer(1)));
    EXPECT_EQ(queue->counters().errors, 2u);
}

TEST_F(NvmeTest, FullLeavesTheRequestWithTheCaller) {
    start();
    device.paused = true;
    auto b = buffer(1);
    for (int i = 0; i < 64; i++)
        submit(BlockOp::Read, 0, b);
    int called = 0;
    BlockRequest r{BlockOp::Read, false, 0, b, [&](Result<void>) { called++; }};
    EXPECT_EQ(queue->submit(r).error(), Error::Full);
    EXPECT_TRUE(static_cast<bool>(r.done));
    device.paused = false;
    device.run();
    EXPECT_EQ(queue->poll(), 64u);
    EXPECT_EQ(called, 0);
    ASSERT_TRUE(queue->submit(r));
    queue->poll();
    EXPECT_EQ(called, 1);
    for (auto& result : results)
        EXPECT_TRUE(result && *result);
}

TEST_F(NvmeTest, RingsWrapManyTimes) {
    start();
    auto b = buffer(1);
    for (unsigned i = 0; i < 2000; i++) {
        fill(b, i);
        ASSERT_TRUE(run(BlockOp::Write, i % 1024, b)) << i;
    }
    EXPECT_EQ(queue->counters().writes, 2000u);
    EXPECT_EQ(queue->counters().device_errors, 0u);
}

TEST_F(NvmeTest, SubmitsFromDone) {
    start();
    int depth = 0;
    auto b = buffer(1);
    struct Chain {
        NvmeQueue* q;
        MutableBytes b;
        int* depth;
        void operator()(Result<void> r) {
            ASSERT_TRUE(r);
            if (++*depth == 100) return;
            BlockRequest next{BlockOp::Read, false, 1, b, Chain{q, b, depth}};
            ASSERT_TRUE(q->submit(next));
        }
    };
    BlockRequest first{BlockOp::Read, false, 1, b, Chain{queue, b, &depth}};
    ASSERT_TRUE(queue->submit(first));
    for (int i = 0; i < 200 && depth < 100; i++)
        queue->poll();
    EXPECT_EQ(depth, 100);
}

TEST_F(NvmeTest, InterruptsWakeOnlyWhoAsked) {
    start();
    ASSERT_TRUE(run(BlockOp::Flush));
    EXPECT_EQ(interrupts, 0);
    EXPECT_FALSE(queue->enable_interrupts_and_check());
    submit(BlockOp::Flush);
    EXPECT_EQ(interrupts, 1);
    queue->disable_interrupts();
    EXPECT_TRUE(queue->enable_interrupts_and_check()) << "an unpolled completion is reported";
    queue->poll();
    EXPECT_EQ(queue->counters().interrupts, 2u);
}

TEST_F(NvmeTest, BogusCompletionsAreSkipped) {
    start();
    device.corrupt = [](nvme::Completion& e) { e.command_id = 0xffff; };
    size_t i = submit(BlockOp::Flush);
    queue->poll();
    EXPECT_FALSE(results[i]);
    device.corrupt = nullptr;
    device.finish(1, 1, 5, 0); // names a free slot
    queue->poll();
    EXPECT_EQ(queue->counters().device_errors, 2u);
    device.finish(1, 1, 0, 0); // the one in flight has slot 0
    queue->poll();
    EXPECT_TRUE(results[i] && *results[i]);
    device.finish(1, 1, 0, 0); // again
    queue->poll();
    EXPECT_EQ(queue->counters().device_errors, 3u);
}

TEST_F(NvmeTest, AnAbortedCommandFailsAlone) {
    start();
    device.ignored_io = {2};
    device.abort_works = true;
    size_t i = submit(BlockOp::Read, 0, buffer(1));
    EXPECT_EQ(queue->poll(), 0u);
    ASSERT_NE(queue->next_deadline(), kNever);
    machine.clock = queue->next_deadline();
    queue->poll();
    queue->poll();
    ASSERT_TRUE(results[i]);
    EXPECT_EQ(results[i]->error(), Error::Io);
    EXPECT_EQ(queue->counters().timeouts, 1u);
    EXPECT_EQ(nvme->resets(), 0u);
    EXPECT_EQ(queue->next_deadline(), kNever);
}

TEST_F(NvmeTest, AHungQueueIsReset) {
    start();
    NvmeQueue* other = add_queue();
    device.ignored_io = {2};
    size_t first = submit(BlockOp::Read, 0, buffer(1));
    size_t second = submit(BlockOp::Read, 1, buffer(1));
    std::swap(queue, other);
    size_t elsewhere = submit(BlockOp::Read, 1, buffer(1));
    std::swap(queue, other);
    for (int i = 0; i < 10 && !results[first]; i++) {
        machine.clock = queue->next_deadline();
        queue->poll();
    }
    ASSERT_TRUE(results[first] && results[second]);
    EXPECT_EQ(results[first]->error(), Error::Io);
    EXPECT_EQ(results[second]->error(), Error::Io);
    EXPECT_FALSE(results[elsewhere]) << "the other shard has not looked yet";
    EXPECT_EQ(nvme->resets(), 1u);
    EXPECT_EQ(device.resets, 1u);
    device.ignored_io = {};
    auto b = buffer(3);
    fill(b, 3);
    EXPECT_TRUE(run(BlockOp::Write, 5, b)) << "works again";
    EXPECT_EQ(other->poll(), 1u);
    EXPECT_EQ(results[elsewhere]->error(), Error::Io);
    queue = other;
    EXPECT_TRUE(run(BlockOp::Read, 5, b));
}

TEST_F(NvmeTest, ADeadControllerFailsEverything) {
    start();
    auto b = buffer(1);
    device.ignored_io = {0, 1, 2};
    device.ignore_admin = true;
    size_t i = submit(BlockOp::Read, 0, b);
    size_t j = submit(BlockOp::Write, 0, b);
    Nanos begun = machine.clock;
    for (int n = 0; n < 10 && !results[i]; n++) {
        machine.clock = queue->next_deadline();
        queue->poll();
    }
    ASSERT_TRUE(results[i] && results[j]);
    EXPECT_EQ(results[i]->error(), Error::Io);
    EXPECT_TRUE(nvme->dead());
    EXPECT_FALSE(device.bus_master()) << "no DMA into buffers that were given back";
    EXPECT_LT((machine.clock - begun).value, seconds(30).value);
    EXPECT_EQ(run(BlockOp::Flush).error(), Error::Io);
    EXPECT_EQ(nvme->create_queue([] {}).error(), Error::Io);
}

TEST_F(NvmeTest, AControllerThatDoesNotStopIsCutOff) {
    start();
    device.ignored_io = {2};
    device.never_stops = true;
    size_t i = submit(BlockOp::Read, 0, buffer(1));
    for (int n = 0; n < 10 && !results[i]; n++) {
        machine.clock = queue->next_deadline();
        queue->poll();
    }
    ASSERT_TRUE(results[i]);
    EXPECT_TRUE(nvme->dead());
    EXPECT_FALSE(device.bus_master());
}

TEST_F(NvmeTest, RefusesWhatItCannotDrive) {
    auto error = [&] { return Nvme::create(device.function()).error(); };
    auto good = device.capabilities;
    device.capabilities = UINT64_MAX;
    EXPECT_EQ(error(), Error::NoDevice);
    device.capabilities = good & ~(1ull << 37);
    EXPECT_EQ(error(), Error::Unsupported);
    device.capabilities = good | 1ull << 48; // pages of 8 KiB at least
    EXPECT_EQ(error(), Error::Unsupported);
    device.capabilities = good & ~0xffffull; // a ring of one entry
    EXPECT_EQ(error(), Error::Malformed);
    device.capabilities = good;
    device.metadata = 8;
    EXPECT_EQ(error(), Error::Unsupported);
    device.metadata = 0;
    device.ignore_admin = true;
    EXPECT_EQ(error(), Error::Timeout);
    device.ignore_admin = false;
    device.set_identity(0x1b36, 0x0010, 0x010601);
    EXPECT_EQ(error(), Error::NotFound);
    EXPECT_EQ(machine.dma_allocations(), 0u);
}

TEST_F(NvmeTest, QueuesAreLimited) {
    device.queues_granted = 1; // two
    start();
    EXPECT_NE(add_queue(), nullptr);
    EXPECT_EQ(nvme->create_queue([] {}).error(), Error::Full);
}

TEST_F(NvmeTest, DestructionFailsWhatIsInFlight) {
    start();
    device.paused = true;
    size_t i = submit(BlockOp::Read, 0, buffer(1));
    device.paused = false;
    nvme.reset();
    EXPECT_EQ(results[i]->error(), Error::Io);
    EXPECT_EQ(machine.dma_allocations(), 0u);
}

} // namespace
} // namespace tessera::kernel
