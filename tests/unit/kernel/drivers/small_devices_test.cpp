// fw_cfg, the real-time clock, the generator and its sources, and the probe of a whole machine.
#include "kernel/drivers/probe.hpp"
#include "kernel/drivers/rtc.hpp"
#include "tests/unit/kernel/drivers/fake_nvme.hpp"
#include "tests/unit/kernel/drivers/fake_virtio.hpp"

namespace tessera::kernel {
namespace {

class FakePorts final : public PortIo {
  public:
    uint8_t in8(uint16_t port) override {
        if (port == 0x511) {
            auto& item = items[selected];
            return position < item.size() ? static_cast<uint8_t>(item[position++]) : 0;
        }
        if (port == 0x71) {
            if (cmos_index == 0x0a && updating > 0) {
                updating--;
                return 0x80;
            }
            return cmos[cmos_index];
        }
        return 0xff;
    }
    uint32_t in32(uint16_t) override { return UINT32_MAX; }
    void out8(uint16_t port, uint8_t v) override {
        if (port == 0x70) cmos_index = v & 0x7f;
    }
    void out16(uint16_t port, uint16_t v) override {
        if (port == 0x510) {
            selected = v;
            position = 0;
        }
    }
    void out32(uint16_t, uint32_t) override {}

    void add_file(std::string name, std::string content) {
        auto selector = static_cast<uint16_t>(0x20 + files);
        std::string entry(64, '\0');
        entry[0] = static_cast<char>(content.size() >> 24);
        entry[1] = static_cast<char>(content.size() >> 16);
        entry[2] = static_cast<char>(content.size() >> 8);
        entry[3] = static_cast<char>(content.size());
        entry[5] = static_cast<char>(selector);
        std::copy(name.begin(), name.end(), entry.begin() + 8);
        if (files++ == 0) items[0x19] = std::string(4, '\0');
        items[0x19][3] = static_cast<char>(files);
        items[0x19] += entry;
        items[selector] = content;
    }

    std::map<uint16_t, std::string> items{{0, "QEMU"}};
    uint16_t selected = 0;
    size_t position = 0;
    unsigned files = 0;
    std::array<uint8_t, 128> cmos{};
    uint8_t cmos_index = 0;
    uint64_t updating = 0;
};

TEST(FwCfg, ReadsNamedFiles) {
    FakePorts ports;
    ports.add_file("etc/acpi/tables", std::string(300'000, 'x'));
    ports.add_file("opt/tessera/config", "role=mcomponent");
    auto cfg = FwCfg::open(ports);
    ASSERT_TRUE(cfg);
    EXPECT_EQ(cfg->files().size(), 2u);
    auto content = cfg->read_file("opt/tessera/config");
    ASSERT_TRUE(content);
    EXPECT_EQ(text_of(*content), "role=mcomponent");
    EXPECT_EQ(cfg->read_file("opt/tessera/conf").error(), Error::NotFound);
    EXPECT_EQ(cfg->read_file("etc/acpi/tables").error(), Error::TooBig);
    EXPECT_EQ(*cfg->file_size("etc/acpi/tables"), 300'000u);
    EXPECT_EQ(cfg->read_file("opt/tessera/config", 14).error(), Error::TooBig);
}

TEST(FwCfg, RefusesNonsense) {
    FakePorts ports;
    ports.items[0] = "BOCH";
    EXPECT_EQ(FwCfg::open(ports).error(), Error::NoDevice);
    ports.items[0] = "QEMU";
    ports.items[0x19] = "\xff\xff\xff\xff";
    EXPECT_EQ(FwCfg::open(ports).error(), Error::Malformed);
    FakePorts empty;
    ASSERT_TRUE(FwCfg::open(empty)); // no directory at all: no files
    FakePorts unterminated;
    unterminated.add_file(std::string(56, 'a'), "");
    unterminated.add_file("", "");
    unterminated.add_file("good", "yes");
    auto cfg = FwCfg::open(unterminated);
    ASSERT_TRUE(cfg);
    EXPECT_EQ(cfg->files().size(), 1u);
}

TEST(FwCfg, EntryParserChecksEverything) {
    std::array<std::byte, 64> e{};
    e[8] = std::byte{'a'};
    e[5] = std::byte{0x20};
    EXPECT_TRUE(parse_fw_cfg_entry(e));
    EXPECT_EQ(parse_fw_cfg_entry(Bytes(e).first(63)).error(), Error::Malformed);
    e[5] = std::byte{0x19};
    EXPECT_EQ(parse_fw_cfg_entry(e).error(), Error::Malformed);
    e[4] = std::byte{0x80};
    EXPECT_EQ(parse_fw_cfg_entry(e).error(), Error::Malformed);
}

RtcReading bcd_reading() {
    return {0x56, 0x34, 0x12, 0x29, 0x02, 0x24, 0x20, 0x02};
}

TEST(Rtc, DecodesBcdBinaryAndTwelveHours) {
    EXPECT_EQ(*decode_rtc(bcd_reading()), 1709210096); // 2024-02-29 12:34:56 UTC
    EXPECT_EQ(*decode_rtc({56, 34, 12, 29, 2, 24, 20, 6}), 1709210096);
    RtcReading r = bcd_reading();
    r.format = 0;
    r.hour = 0x92; // 12 p.m.
    EXPECT_EQ(*decode_rtc(r), 1709210096);
    r.hour = 0x12; // 12 a.m.
    EXPECT_EQ(*decode_rtc(r), 1709210096 - 12 * 3600);
    r.hour = 0x81; // 1 p.m.
    EXPECT_EQ(*decode_rtc(r), 1709210096 + 3600);
    r = bcd_reading();
    r.century = 0; // not there
    EXPECT_EQ(*decode_rtc(r), 1709210096);
    EXPECT_EQ(*decode_rtc({0x59, 0x59, 0x23, 0x31, 0x12, 0x99, 0x20, 2}), 4102444799); // 2099-12-31
}

TEST(Rtc, RefusesImpossibleTimes) {
    auto with = [](auto change) {
        RtcReading r = bcd_reading();
        change(r);
        auto t = decode_rtc(r);
        return !t && t.error() == Error::Malformed;
    };
    EXPECT_TRUE(with([](auto& r) { r.second = 0x60; }));
    EXPECT_TRUE(with([](auto& r) { r.second = 0x1a; }));
    EXPECT_TRUE(with([](auto& r) { r.minute = 0xff; }));
    EXPECT_TRUE(with([](auto& r) { r.hour = 0x24; }));
    EXPECT_TRUE(with([](auto& r) { r.day = 0; }));
    EXPECT_TRUE(with([](auto& r) { r.day = 0x30; }));
    EXPECT_TRUE(with([](auto& r) { r.month = 0x13; }));
    EXPECT_TRUE(with([](auto& r) { r.month = 0; }));
    EXPECT_TRUE(with([](auto& r) { r.year = 0x23; })); // 29 February 2023
    EXPECT_TRUE(with([](auto& r) { r.year = 0x19; }));
    EXPECT_TRUE(with([](auto& r) { r.hour = 0, r.format = 0; }));
}

TEST(Rtc, WaitsForUpdatesButNotForever) {
    FakePorts ports;
    ports.cmos[0] = 0x56, ports.cmos[2] = 0x34, ports.cmos[4] = 0x12, ports.cmos[7] = 0x29,
    ports.cmos[8] = 2, ports.cmos[9] = 0x24, ports.cmos[0x32] = 0x20, ports.cmos[0x0b] = 2;
    ports.updating = 100;
    EXPECT_EQ(*read_rtc(ports), 1709210096);
    ports.updating = UINT64_MAX;
    EXPECT_EQ(read_rtc(ports).error(), Error::Timeout);
}

TEST(Entropy, ChaCha20OfRfc8439) { // section 2.3.2
    uint32_t key[8];
    for (uint32_t i = 0; i < 8; i++)
        key[i] = 0x03020100 + 0x04040404 * i;
    const uint32_t nonce[3] = {0x09000000, 0x4a000000, 0};
    uint8_t out[64];
    chacha20_block(key, 1, nonce, out);
    const uint8_t expected[64] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd,
                                  0x1f, 0xa3, 0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0,
                                  0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2,
                                  0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2, 0xd7, 0x05,
                                  0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e,
                                  0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e};
    EXPECT_EQ(std::memcmp(out, expected, 64), 0);
}

class FixedSource final : public SeedSource {
  public:
    explicit FixedSource(uint8_t v, size_t per_call = 64) : v_(v), per_call_(per_call) {}
    size_t gather(MutableBytes out) override {
        size_t n = std::min(out.size(), per_call_);
        std::memset(out.data(), v_, n);
        return n;
    }
    const char* name() const override { return "fixed"; }

  private:
    uint8_t v_;
    size_t per_call_;
};

TEST(Entropy, MixesAndCountsSources) {
    FixedSource a(1), b(2, 8), silent(0, 0);
    EntropyPool one, two;
    one.seed_from(a);
    two.seed_from(a);
    EXPECT_EQ(one.next(), two.next());
    one.seed_from(b);
    EXPECT_NE(one.next(), two.next());
    one.seed_from(silent);
    EXPECT_EQ(one.sources(), 2u);
    // The same seed twice does not cancel itself.
    EntropyPool twice, none;
    twice.seed_from(a);
    twice.seed_from(a);
    EXPECT_NE(twice.next(), none.next());
}

TEST(Entropy, NeverRepeatsAndForksApart) {
    FixedSource a(1);
    EntropyPool pool;
    pool.seed_from(a);
    EntropyPool child = pool.fork();
    EXPECT_EQ(child.sources(), 1u);
    std::set<uint64_t> seen;
    for (int i = 0; i < 20'000; i++) {
        EXPECT_TRUE(seen.insert(pool.next()).second);
        EXPECT_TRUE(seen.insert(child.next()).second);
    }
}

TEST(Entropy, JitterIsWeakAndAStuckCounterGivesNothing) {
    JitterSource stuck([]() -> uint64_t { return 5; });
    std::byte out[32];
    EXPECT_EQ(stuck.gather(out), 0u);
    JitterSource moving([]() -> uint64_t {
        static uint64_t t = 0;
        return t += 3 + t % 5;
    });
    EntropyPool pool;
    pool.seed_from(moving);
    EXPECT_EQ(pool.sources(), 0u);
}

class FakeRng final : public FakeVirtio {
  public:
    explicit FakeRng(FakeMachine& m) : FakeVirtio(m, 0x1044, 0) {}
    void on_kick(unsigned q) override {
        Chain c;
        while (!silent && take(queues[q], c)) {
            std::memset(c.writable[0].data(), 0xab, c.writable[0].size());
            give_back(queues[q], c.head,
                      lie ? 0xffff'ffff : static_cast<uint32_t>(c.writable[0].size()));
        }
    }
    bool silent = false, lie = false;
};

TEST(VirtioRng, GathersChecksAndGivesUp) {
    FakeMachine machine;
    FakeRng device(machine);
    auto rng = VirtioRng::create(device.function());
    ASSERT_TRUE(rng);
    std::array<std::byte, 32> out{};
    EXPECT_EQ((*rng)->gather(out), 32u);
    EXPECT_EQ(out[31], std::byte{0xab});
    device.lie = true;
    EXPECT_EQ((*rng)->gather(out), 32u);
    device.silent = true;
    EXPECT_EQ((*rng)->gather(out), 0u);
    device.silent = device.lie = false;
    device.on_kick(0);
    EXPECT_EQ((*rng)->gather(MutableBytes(out).first(8)), 8u) << "the late answer is used";
}

TEST(Probe, FindsEverythingAndLeavesOutTheBroken) {
    FakeMachine machine;
    FakeNic nic(machine);
    machine.functions[PciAddress{0, 3, 0}] = &nic;
    FakeNvme good(machine), bad(machine);
    bad.metadata = 8;
    bad.set_bar(0, 0xa'0000'0000, 0x4000);
    bad.set_bar(2, 0xa'1000'0000, 0x1000);
    machine.functions[PciAddress{0, 5, 0}] = &bad;
    machine.functions[PciAddress{0, 6, 0}] = &good;
    FakePorts ports;
    ports.add_file("opt/tessera/config", "x");
    FixedSource cpu(7), jitter(9);
    auto set = probe_devices(machine, machine, ports, &cpu, jitter, [] {});
    ASSERT_TRUE(set.network);
    EXPECT_EQ(set.disks.size(), 1u);
    EXPECT_EQ(set.entropy.sources(), 2u);
    EXPECT_TRUE(set.fw_cfg);
    EXPECT_FALSE(set.wall_clock) << "an empty CMOS is not a time";
}

TEST(Probe, ASecondPortTakesTheFirstOnesPlace) {
    FakeMachine machine;
    FakeNic broken(machine), good(machine);
    broken.device_config[0] = 1; // a group address; found after the handler was taken
    broken.set_bar(0, 0xa'0000'0000, 0x4000);
    broken.set_bar(2, 0xa'1000'0000, 0x1000);
    machine.functions[PciAddress{0, 3, 0}] = &broken;
    machine.functions[PciAddress{0, 4, 0}] = &good;
    FakePorts ports;
    FixedSource jitter(9);
    int interrupts = 0;
    auto set = probe_devices(machine, machine, ports, nullptr, jitter, [&] { interrupts++; });
    ASSERT_TRUE(set.network);
    EXPECT_FALSE(set.network->enable_interrupts_and_check());
    std::array<std::byte, 60> frame{};
    ASSERT_TRUE(good.receive(frame));
    EXPECT_EQ(interrupts, 1);
}

} // namespace
} // namespace tessera::kernel
