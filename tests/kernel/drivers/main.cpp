// Drivers against QEMU's devices, in the kernel: booted by tests/kernel/run_drivers, which plays
// the network peer, prepares the disks and counts the lines "test: PASS name" and "test: FAIL name:
// why".
//
// Disk 0 has 512-byte blocks, disk 1 4096-byte blocks, disk 2 fails reads where its second half
// begins, disk 3 reads so slowly that the controller has to be reset.
#include <algorithm>
#include <vector>

#include "base/format.hpp"
#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/drivers/probe.hpp"
#include "kernel/node/kernel_main.hpp"
#include "kernel/sync/event.hpp"
#include "kernel/sync/thread.hpp"

namespace tessera::kernel {
namespace {

using env::BlockOp;
using env::BlockRequest;

unsigned failures = 0;

void report(const char* name, bool pass, const char* why = "") {
    failures += !pass;
    if (pass)
        LOG(Info, "test", "PASS %s", name);
    else
        LOG(Info, "test", "FAIL %s: %s", name, why);
}

#define CHECK(name, condition) report(name, (condition), #condition)

// The hybrid wait every client of a driver uses: poll 20 µs, then sleep until the interrupt.
Nanos wake_by(VirtioNet&) {
    return kNever;
}
Nanos wake_by(NvmeQueue& q) {
    return q.next_deadline();
}

template <typename Device, typename Poll>
bool wait_for(Device& device, Event& event, Nanos deadline, Poll poll) {
    Nanos spin_until = arch::now() + microseconds(20);
    while (!poll()) {
        Nanos now = arch::now();
        if (now > deadline) return false;
        if (now < spin_until) continue;
        if (!device.enable_interrupts_and_check()) event.wait(std::min(deadline, wake_by(device)));
        device.disable_interrupts();
    }
    return true;
}

// --- disks

struct Disk {
    NvmeQueue* queue;
    Event& event;

    Result<void> run(BlockOp op, uint64_t block, MutableBytes buffer, bool fua = false) {
        bool finished = false;
        Result<void> outcome;
        BlockRequest r{op, fua, block, buffer, [&](Result<void> x) {
                           outcome = x;
                           finished = true;
                       }};
        TRY(queue->submit(r));
        bool in_time = wait_for(*queue, event, arch::now() + seconds(20), [&] {
            queue->poll();
            return finished;
        });
        if (!in_time)
            return Fail(Error::Timeout); // the buffers stay the device's: the caller ends the test
        return outcome;
    }
};

void fill(MutableBytes b, uint64_t seed) {
    for (size_t i = 0; i < b.size(); i++)
        b[i] = static_cast<std::byte>((i * 31 + (i >> 12) * 7 + seed) & 0xff);
}

bool filled(Bytes b, uint64_t seed) {
    for (size_t i = 0; i < b.size(); i++) {
        if (b[i] != static_cast<std::byte>((i * 31 + (i >> 12) * 7 + seed) & 0xff)) return false;
    }
    return true;
}

void test_disk(const char* name, Disk disk) {
    std::vector<std::byte> storage(66 * kPageSize);
    MutableBytes whole(storage);
    char label[64];
    auto check = [&](const char* what, bool pass) {
        format_text(label, sizeof label, "%s/%s", name, what);
        report(label, pass, "see the log above");
    };

    bool shapes = true;
    for (size_t blocks : {1, 2, 3, 64}) {
        for (size_t offset : {size_t{0}, size_t{4}, size_t{1024}}) {
            MutableBytes b = whole.subspan(offset, blocks * kPageSize);
            fill(b, blocks + offset);
            auto w = disk.run(BlockOp::Write, 100, b, blocks == 2);
            std::memset(b.data(), 0, b.size());
            auto r = disk.run(BlockOp::Read, 100, b);
            if (!w || !r || !filled(b, blocks + offset)) {
                LOG(Failure, "test", "%zu blocks at offset %zu: write %d, read %d", blocks, offset,
                    w.has_value(), r.has_value());
                shapes = false;
            }
        }
    }
    check("write-read", shapes);
    check("flush", disk.run(BlockOp::Flush, 0, {}).has_value());

    uint64_t last = disk.queue->block_count() - 1;
    auto r = disk.run(BlockOp::Read, last, whole.first(kPageSize));
    check("last-block", r.has_value());
    r = disk.run(BlockOp::Read, last, whole.first(2 * kPageSize));
    check("beyond-the-end", !r && r.error() == Error::Range);

    // As many requests as the queue takes, several rounds.
    unsigned finished = 0, failed = 0, taken = 0;
    constexpr unsigned kRequests = 1000;
    while (taken < kRequests) {
        BlockRequest w{BlockOp::Write, false, 200 + taken % 64,
                       whole.subspan(taken % 64 * kPageSize, kPageSize),
                       [&](Result<void> x) { finished++, failed += !x; }};
        if (disk.queue->submit(w)) {
            taken++;
            continue;
        }
        unsigned before = finished;
        bool some = wait_for(*disk.queue, disk.event, arch::now() + seconds(20), [&] {
            disk.queue->poll();
            return finished > before;
        });
        if (!some) break;
    }
    bool drained = wait_for(*disk.queue, disk.event, arch::now() + seconds(20), [&] {
        disk.queue->poll();
        return finished == taken;
    });
    check("deep-queue", drained && taken == kRequests && failed == 0);

    std::vector<int64_t> times;
    for (int i = 0; i < 200; i++) {
        Nanos start = arch::now();
        if (!disk.run(BlockOp::Read, 100 + i % 60, whole.first(kPageSize))) break;
        times.push_back((arch::now() - start).value);
    }
    std::sort(times.begin(), times.end(), [](int64_t a, int64_t b) { return a < b; });
    if (times.size() == 200)
        LOG(Info, "test", "%s: 4 KiB read at queue depth 1: median %lld us, best %lld us", name,
            static_cast<long long>(times[100] / 1000), static_cast<long long>(times[0] / 1000));
    auto c = disk.queue->counters();
    LOG(Info, "test", "%s: %llu reads, %llu writes, %llu interrupts, %llu timeouts", name,
        static_cast<unsigned long long>(c.reads), static_cast<unsigned long long>(c.writes),
        static_cast<unsigned long long>(c.interrupts), static_cast<unsigned long long>(c.timeouts));
    check("well-behaved", c.device_errors == 0 && c.timeouts == 0);
    check("interrupts-come", c.interrupts > 0);

    // A stack is not contiguous in physical memory: refused, not mangled.
    std::byte on_stack[kPageSize];
    r = disk.run(BlockOp::Read, 0, on_stack);
    check("stack-is-refused", !r && r.error() == Error::BadAddress);

    // What the script finds in the image afterwards.
    fill(whole.first(kPageSize), 42);
    check("mark", disk.run(BlockOp::Write, 10, whole.first(kPageSize)).has_value() &&
                      disk.run(BlockOp::Flush, 0, {}).has_value());
}

void test_failing_disk(Disk disk) {
    std::vector<std::byte> storage(kPageSize);
    uint64_t bad = disk.queue->block_count() / 2;
    auto r = disk.run(BlockOp::Read, bad, storage);
    CHECK("disk2/error-is-Io", !r && r.error() == Error::Io);
    CHECK("disk2/goes-on", disk.run(BlockOp::Read, 0, storage).has_value());
}

// Reads are throttled so hard that the second one outlives the driver's patience.
void test_stalling_disk(Nvme& nvme, Disk disk) {
    std::vector<std::byte> storage(64 * kPageSize);
    (void)disk.run(BlockOp::Read, 0, storage);
    Nanos start = arch::now();
    auto r = disk.run(BlockOp::Read, 64, storage);
    Nanos took = arch::now() - start;
    CHECK("disk3/stall-is-Io", !r && r.error() == Error::Io);
    CHECK("disk3/in-bounded-time", took < seconds(15));
    CHECK("disk3/was-reset", nvme.resets() == 1 && !nvme.dead());
    fill(storage, 3);
    CHECK("disk3/goes-on", disk.run(BlockOp::Write, 0, storage).has_value() &&
                               disk.run(BlockOp::Flush, 0, {}).has_value());
}

// --- network

constexpr uint16_t kEcho = 0x88b5, kBurst = 0x88b6; // EtherTypes for experiments

struct Collector final : net::LinkSink {
    void on_frame(Bytes f) override {
        frames++;
        bytes += f.size();
        if (f.size() > sizeof last) return;
        std::memcpy(last, f.data(), f.size());
        last_size = f.size();
    }
    unsigned frames = 0;
    uint64_t bytes = 0;
    std::byte last[9100];
    size_t last_size = 0;
};

struct Hold final : net::TxHold {
    void transmitted() override { released++; }
    unsigned released = 0;
};

void make_header(VirtioNet& nic, uint16_t type, std::byte (&head)[14]) {
    std::memset(head, 0xff, 6);
    std::memcpy(head + 6, nic.mac().data(), 6);
    head[12] = static_cast<std::byte>(type >> 8);
    head[13] = static_cast<std::byte>(type);
}

// Sends head + body + tail and waits for the same payload back.
bool echo(VirtioNet& nic, Event& event, Collector& sink, MutableBytes body, Hold* hold,
          uint64_t seed) {
    std::byte head[14];
    make_header(nic, kEcho, head);
    std::byte tail[4] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    fill(body, seed);
    unsigned before = sink.frames;
    if (!nic.send({head, body, tail, hold})) return false;
    nic.flush();
    bool came = wait_for(nic, event, arch::now() + seconds(5), [&] {
        nic.poll(sink, 64);
        return sink.frames > before;
    });
    return came && sink.last_size == 14 + body.size() + 4 &&
           filled(Bytes(sink.last, sink.last_size).subspan(14, body.size()), seed) &&
           std::memcmp(sink.last + 14 + body.size(), tail, 4) == 0;
}

void test_network(VirtioNet& nic, Event& event) {
    static Collector sink;
    std::vector<std::byte> storage(9200);
    MutableBytes whole(storage);
    CHECK("net/jumbo", nic.max_frame() == 9014);
    Hold hold;
    bool copied = true, gathered = true;
    unsigned sent = 0;
    for (size_t size : {46, 1000, 1496, 4200, 8996}) {
        copied = copied && echo(nic, event, sink, whole.subspan(3, size), nullptr, size);
        gathered = gathered && echo(nic, event, sink, whole.subspan(5, size), &hold, size + 1);
        sent++;
    }
    CHECK("net/echo-copied", copied);
    CHECK("net/echo-gathered", gathered);
    wait_for(nic, event, arch::now() + seconds(2), [&] {
        nic.poll(sink, 64);
        return hold.released == sent;
    });
    CHECK("net/holds-released", hold.released == sent);

    std::vector<int64_t> times;
    bool all = true;
    for (int i = 0; i < 500 && all; i++) {
        Nanos start = arch::now();
        all = echo(nic, event, sink, whole.first(46), nullptr, static_cast<uint64_t>(i));
        times.push_back((arch::now() - start).value);
    }
    CHECK("net/500-round-trips", all);
    std::sort(times.begin(), times.end(), [](int64_t a, int64_t b) { return a < b; });
    LOG(Info, "test", "net: 64 B to the script and back: median %lld us, best %lld us",
        static_cast<long long>(times[times.size() / 2] / 1000),
        static_cast<long long>(times[0] / 1000));

    // More frames than the ring holds, with the guest asleep in between: the refill must be
    // announced.
    constexpr unsigned kFrames = 2000;
    std::byte head[14];
    make_header(nic, kBurst, head);
    std::byte count[50] = {};
    count[0] = static_cast<std::byte>(kFrames & 0xff);
    count[1] = static_cast<std::byte>(kFrames >> 8);
    unsigned before = sink.frames;
    bool asked = nic.send({head, count, {}, nullptr}).has_value();
    nic.flush();
    bool came = asked && wait_for(nic, event, arch::now() + seconds(30), [&] {
                    nic.poll(sink, 16);
                    return sink.frames - before >= kFrames;
                });
    CHECK("net/burst", came);

    auto c = nic.counters();
    LOG(Info, "test",
        "net: rx %llu tx %llu drops %llu full %llu copied %llu kicks %llu interrupts %llu errors "
        "%llu",
        static_cast<unsigned long long>(c.rx_frames), static_cast<unsigned long long>(c.tx_frames),
        static_cast<unsigned long long>(c.rx_drops), static_cast<unsigned long long>(c.tx_full),
        static_cast<unsigned long long>(c.tx_copied), static_cast<unsigned long long>(c.kicks),
        static_cast<unsigned long long>(c.interrupts),
        static_cast<unsigned long long>(c.device_errors));
    CHECK("net/bodies-in-place", c.tx_copied == 0);
    std::byte on_stack[200];
    Hold stack_hold;
    CHECK("net/stack-is-copied", echo(nic, event, sink, on_stack, &stack_hold, 5) &&
                                     stack_hold.released == 1 && nic.counters().tx_copied == 1);
    CHECK("net/well-behaved", c.device_errors == 0 && c.rx_drops == 0);
    CHECK("net/interrupts-come", c.interrupts > 0);
}

// --- the rest

void test_small(DriverSet& set) {
    CHECK("entropy/sources", set.entropy.sources() >= 1);
    CHECK("entropy/differs", set.entropy.next() != set.entropy.next());
    // The script passes the host's time; the RTC of a guest started just now is near it.
    std::string_view told = boot::command_line_option(boot::boot_info().command_line.view(), "now");
    int64_t now = 0;
    for (char c : told)
        now = now * 10 + (c - '0');
    CHECK("rtc/right",
          set.wall_clock && *set.wall_clock >= now - 5 && *set.wall_clock <= now + 120);
    CHECK("fw_cfg/there", set.fw_cfg.has_value());
    if (!set.fw_cfg) return;
    auto file = set.fw_cfg->read_file("opt/tessera/test");
    CHECK("fw_cfg/file", file && text_of(*file) == "forty-two bytes from the host, give or take");
    CHECK("fw_cfg/no-such-file",
          set.fw_cfg->read_file("opt/tessera/none").error() == Error::NotFound);
}

void run_tests() {
    // Interrupt handlers refer to all of it for ever.
    Event& network_event = *new Event;
    Event& disk_event = *new Event;
    DriverSet& set = *new DriverSet(probe_devices([&] { network_event.signal(); }));
    test_small(set);
    CHECK("probe/disks", set.disks.size() == 4);
    std::vector<NvmeQueue*> queues;
    for (auto& disk : set.disks) {
        auto q = disk->create_queue([&] { disk_event.signal(); });
        if (q) queues.push_back(*q);
    }
    CHECK("probe/queues", queues.size() == set.disks.size());
    const char* names[] = {"disk0", "disk1"};
    for (size_t i = 0; i < queues.size() && i < 2; i++)
        test_disk(names[i], {queues[i], disk_event});
    if (queues.size() > 2) test_failing_disk({queues[2], disk_event});
    if (queues.size() > 3) test_stalling_disk(*set.disks[3], {queues[3], disk_event});
    CHECK("probe/network", set.network != nullptr);
    if (set.network) test_network(*set.network, network_event);
}

} // namespace

void kernel_main() {
    // In a thread of its own: the boot stack is part of the kernel image and so translatable.
    auto thread = Thread::start("tests", [] { run_tests(); });
    if (thread) (*thread)->join();
    LOG(Info, "test", "DONE %u failed", failures);
    arch::power_off(failures == 0 ? 0x10 : 0x11);
}

} // namespace tessera::kernel
