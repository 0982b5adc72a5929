// Hostile devices: the input is a configuration space with a few bytes changed, then a script of
// what driver and device do in turn, the device lying about indexes, lengths and ids. Nothing may
// crash, leak or touch memory that is not the driver's; request and hold callbacks come exactly
// once.
#include <gtest/gtest.h>

#include "kernel/drivers/nvme.hpp"
#include "kernel/drivers/virtio_net.hpp"
#include "tests/unit/kernel/drivers/fake_nvme.hpp"
#include "tests/unit/kernel/drivers/fake_virtio.hpp"

using namespace tessera;
using namespace tessera::kernel;

namespace {

struct Input {
    const uint8_t* data;
    size_t left;

    uint8_t byte() {
        if (left == 0) return 0;
        left--;
        return *data++;
    }
    uint32_t word() {
        uint32_t v = 0;
        for (int i = 0; i < 4; i++)
            v = v << 8 | byte();
        return v;
    }
};

// Changes up to three bytes of configuration space, but not where the BARs are.
void change_config(Input& in, FakeFunction& f) {
    for (unsigned n = in.byte() % 4; n > 0; n--) {
        uint8_t at = in.byte();
        uint8_t v = in.byte();
        if (at < 0x10 || at >= 0x28) f.config[at] = v;
    }
}

struct Sink final : net::LinkSink {
    void on_frame(Bytes f) override {
        unsigned sum = 0;
        for (std::byte b : f)
            sum += static_cast<unsigned>(b);
        total += sum;
    }
    unsigned total = 0;
};

struct Hold final : net::TxHold {
    void transmitted() override { released++; }
    unsigned released = 0;
};

void run_nic(Input& in) {
    FakeMachine machine;
    FakeNic device(machine);
    device.lying = true;
    change_config(in, device);
    device.device_config[in.byte() % 12] = in.byte();
    if (in.byte() & 1) device.queues[0].size = device.queues[1].size = 1 << in.byte() % 17;
    Sink sink;
    std::vector<Hold> holds;
    holds.reserve(256);
    unsigned expected = 0;
    static std::byte payload[9100];
    {
        auto made = VirtioNet::create(device.function(), [] {});
        if (!made) return;
        VirtioNet& nic = **made;
        while (in.left > 0) {
            switch (in.byte() % 8) {
                case 0:
                    if (holds.size() == 256) break;
                    holds.emplace_back();
                    if (nic.send({Bytes(payload, 14 + in.byte()),
                                  Bytes(payload, in.byte() * 40u),
                                  {},
                                  &holds.back()}))
                        expected++;
                    break;
                case 1:
                    nic.flush();
                    break;
                case 2:
                    nic.poll(sink, in.byte());
                    break;
                case 3:
                    device.receive(Bytes(payload, 14 + in.byte() * 30u % 8000));
                    break;
                case 4:
                    device.give_back(device.queues[in.byte() & 1], in.word(), in.word());
                    break;
                case 5:
                    device.give_back(device.queues[in.byte() & 1], in.byte(), in.byte());
                    break;
                case 6: // the used ring, index and flags included
                    if (auto& q = device.queues[in.byte() & 1]; true) {
                        auto ring = machine.memory(q.device, Virtqueue::used_size(q.size));
                        ring[in.word() % ring.size()] = std::byte{in.byte()};
                    }
                    break;
                case 7:
                    device.hold_transmissions = in.byte() & 1;
                    if (in.byte() & 1)
                        nic.disable_interrupts();
                    else
                        nic.enable_interrupts_and_check();
                    break;
            }
        }
    }
    unsigned released = 0;
    for (Hold& h : holds) {
        ASSERT_LE(h.released, 1u);
        released += h.released;
    }
    ASSERT_EQ(released, expected);
    ASSERT_EQ(machine.dma_allocations(), 0u);
}

void run_nvme(Input& in) {
    FakeMachine machine;
    FakeNvme device(machine);
    change_config(in, device);
    device.capabilities ^= 1ull << in.byte() % 64;
    device.mdts = in.byte();
    device.queues_granted = in.byte();
    unsigned taken = 0, done = 0;
    static std::byte buffer[140 * kPageSize];
    {
        auto made = Nvme::create(device.function());
        if (!made) return;
        auto q = (*made)->create_queue([] {});
        if (!q) return;
        NvmeQueue& queue = **q;
        while (in.left > 0) {
            switch (in.byte() % 7) {
                case 0: {
                    env::BlockRequest r{
                        static_cast<env::BlockOp>(in.byte() % 3), false, in.word() % 1100,
                        MutableBytes(buffer + in.byte() * 4, in.byte() % 131 * kPageSize),
                        [&](Result<void>) { done++; }};
                    if (queue.submit(r)) taken++;
                    break;
                }
                case 1:
                    queue.poll();
                    break;
                case 2:
                    device.finish(in.byte() % 3, in.byte() % 3,
                                  static_cast<uint16_t>(in.byte() % 70), in.byte());
                    break;
                case 3:
                    machine.clock += milliseconds(in.byte() * 50);
                    break;
                case 4:
                    device.ignored_io = {static_cast<uint8_t>(in.byte() % 4)};
                    break;
                case 5: {
                    uint8_t flags = in.byte();
                    device.paused = flags & 1;
                    device.ignore_admin = flags & 2;
                    device.never_stops = (flags & 12) == 12;
                    device.abort_works = flags & 16;
                    device.io_status = flags & 32 ? in.byte() : 0;
                    device.run();
                    break;
                }
                case 6:
                    device.corrupt = in.byte() & 1 ? [](nvme::Completion& e) { e.command_id ^= 1; }
                                                   : device.corrupt;
                    break;
            }
        }
    }
    ASSERT_EQ(done, taken);
    ASSERT_EQ(machine.dma_allocations(), 0u);
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    GTEST_FLAG_SET(break_on_failure, true);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input in{data, size};
    if (in.byte() & 1)
        run_nic(in);
    else
        run_nvme(in);
    return 0;
}
