#include "kernel/drivers/pci.hpp"

#include "tests/unit/kernel/drivers/fake_machine.hpp"

namespace tessera::kernel {
namespace {

class Plain final : public FakeFunction {
  public:
    uint64_t read(unsigned bar, uint64_t offset, unsigned) override {
        return bar == 2 ? msix.read(offset) : registers.at(offset / 4);
    }
    void write(unsigned bar, uint64_t offset, unsigned, uint64_t v) override {
        if (bar == 2)
            msix.write(offset, v);
        else
            registers.at(offset / 4) = static_cast<uint32_t>(v);
    }
    std::array<uint32_t, 1024> registers{};
    FakeMsix msix;
};

struct Pci : testing::Test {
    Pci() {
        device.set_identity(0x1234, 0x5678, 0x020000);
        machine.functions[PciAddress{0, 2, 0}] = &device;
    }
    PciFunction function() { return PciFunction(machine, machine, PciAddress{0, 2, 0}); }
    void capability(uint8_t at, uint8_t id, uint8_t next) {
        device.config[at] = id;
        device.config[at + 1] = next;
        device.set16(6, 1 << 4);
    }
    FakeMachine machine;
    Plain device;
};

TEST_F(Pci, ReadsIdentity) {
    EXPECT_EQ(function().vendor(), 0x1234);
    EXPECT_EQ(function().device(), 0x5678);
    EXPECT_EQ(function().class_code(), 0x020000u);
}

TEST_F(Pci, SizesWideBarAndRestoresIt) {
    device.set_bar(0, 0x40'0000'4000, 0x4000);
    device.config[4] = 6;
    auto bar = function().bar(0);
    ASSERT_TRUE(bar);
    EXPECT_EQ(bar->base.value, 0x40'0000'4000u);
    EXPECT_EQ(bar->size, 0x4000u);
    EXPECT_EQ(device.bar_base(0), 0x40'0000'4000u);
    EXPECT_EQ(device.config[4], 6);
}

TEST_F(Pci, RefusesAbsentPortAndMisplacedBars) {
    EXPECT_EQ(function().bar(0).error(), Error::NotFound);
    device.set32(0x10, 0xc001);
    EXPECT_EQ(function().bar(0).error(), Error::NotFound);
    EXPECT_EQ(function().bar(6).error(), Error::NotFound);
    device.set_bar(0, 0x8'0000'1000, 0x4000); // not aligned to its size
    EXPECT_EQ(function().bar(0).error(), Error::Malformed);
    device.set32(0x10, 0x8000'0006); // reserved type
    EXPECT_EQ(function().bar(0).error(), Error::Malformed);
    device.set32(0x24, 0x8000'0004); // 64-bit in the last place
    EXPECT_EQ(function().bar(5).error(), Error::Malformed);
}

TEST_F(Pci, MapsOnlyWhatTheBarHolds) {
    device.set_bar(0, 0x8'0000'0000, 0x1000);
    EXPECT_TRUE(function().map_bar(0, 0x800, 0x800));
    EXPECT_EQ(function().map_bar(0, 0x800, 0x801).error(), Error::Range);
    EXPECT_EQ(function().map_bar(0, 0xffff'ffff'ffff'f000, 0x2000).error(), Error::Range);
    EXPECT_EQ(function().map_bar(0, 0, 0).error(), Error::Range);
}

TEST_F(Pci, FindsCapabilities) {
    EXPECT_EQ(function().find_capability(0x11).error(), Error::NotFound);
    device.config[0x34] = 0x40;
    capability(0x40, 0x05, 0x80);
    capability(0x80, 0x11, 0);
    EXPECT_EQ(function().find_capability(0x11)->offset, 0x80);
    EXPECT_EQ(function().find_capability(0x10).error(), Error::NotFound);
}

TEST_F(Pci, CapabilityLoopsAndBadOffsetsAreMalformed) {
    device.config[0x34] = 0x40;
    capability(0x40, 0x05, 0x80);
    capability(0x80, 0x09, 0x40);
    EXPECT_EQ(function().find_capability(0x11).error(), Error::Malformed);
    capability(0x80, 0x09, 0x10);
    EXPECT_EQ(function().find_capability(0x11).error(), Error::Malformed);
    // Every possible next pointer ends in bounded time.
    for (unsigned next = 0; next < 256; next++) {
        device.config[0x81] = static_cast<uint8_t>(next);
        (void)function().find_capability(0x33);
    }
}

TEST_F(Pci, MsixMasksAssignsAndTurnsOff) {
    device.set_bar(2, 0x8'1000'0000, 0x1000);
    device.config[0x34] = 0x40;
    device.set16(6, 1 << 4);
    FakeMsix::describe(device, 0x40, 0, 8, 2, 0x100);
    // The model's table starts at 0 of the BAR; 0x100 is entry 16 of it.
    int calls = 0;
    {
        auto table = MsixTable::open(function());
        ASSERT_TRUE(table);
        EXPECT_EQ(table->size(), 8u);
        EXPECT_EQ(device.config[0x43] & 0x80, 0x80);
        device.msix.raise(machine, 16 + 1);
        EXPECT_EQ(calls, 0);
        ASSERT_TRUE(table->assign(1, [&] { calls++; }));
        device.msix.raise(machine, 16 + 1);
        EXPECT_EQ(calls, 1);
        EXPECT_EQ(table->assign(8, [] {}).error(), Error::Range);
    }
    EXPECT_EQ(device.config[0x43] & 0x80, 0);
}

TEST_F(Pci, MsixTableOutsideItsBarIsRefused) {
    device.set_bar(2, 0x8'1000'0000, 0x1000);
    device.config[0x34] = 0x40;
    device.set16(6, 1 << 4);
    FakeMsix::describe(device, 0x40, 0, 2048, 2, 0);
    EXPECT_EQ(MsixTable::open(function()).error(), Error::Range);
    FakeMsix::describe(device, 0x40, 0, 4, 7, 0);
    EXPECT_EQ(MsixTable::open(function()).error(), Error::NotFound);
}

TEST_F(Pci, ScanFollowsBridgesOnceAndIsBounded) {
    Plain bridge, behind, multi0, multi3;
    bridge.set_identity(1, 1);
    bridge.config[0x0e] = 1;
    bridge.config[0x19] = 5;
    behind.set_identity(2, 2);
    multi0.set_identity(3, 3);
    multi0.config[0x0e] = 0x80;
    multi3.set_identity(3, 4);
    machine.functions[PciAddress{0, 4, 0}] = &bridge;
    machine.functions[PciAddress{5, 0, 0}] = &behind;
    machine.functions[PciAddress{5, 1, 0}] = &multi0;
    machine.functions[PciAddress{5, 1, 3}] = &multi3;
    std::vector<uint16_t> seen;
    EXPECT_EQ(pci_scan(machine, machine, [&](PciFunction f) { seen.push_back(f.device()); }), 5u);
    EXPECT_EQ(seen, (std::vector<uint16_t>{0x5678, 1, 2, 3, 4}));
    bridge.config[0x19] = 0; // claims its own bus
    EXPECT_EQ(pci_scan(machine, machine, [](PciFunction) {}), 2u);
}

// Ports 0xcf8 and 0xcfc over the fake machine.
class ConfigPorts final : public PortIo {
  public:
    explicit ConfigPorts(FakeMachine& m) : m_(m) {}
    uint8_t in8(uint16_t) override { return 0xff; }
    uint32_t in32(uint16_t port) override {
        return port == 0xcfc ? m_.read32(at(), offset()) : UINT32_MAX;
    }
    void out8(uint16_t, uint8_t) override {}
    void out16(uint16_t, uint16_t) override {}
    void out32(uint16_t port, uint32_t v) override {
        if (port == 0xcf8)
            address_ = v;
        else if (port == 0xcfc)
            m_.write32(at(), offset(), v);
    }

  private:
    PciAddress at() const {
        EXPECT_TRUE(address_ >> 31);
        return {static_cast<uint8_t>(address_ >> 16), static_cast<uint8_t>(address_ >> 11 & 31),
                static_cast<uint8_t>(address_ >> 8 & 7)};
    }
    uint16_t offset() const { return address_ & 0xfc; }
    FakeMachine& m_;
    uint32_t address_ = 0;
};

TEST_F(Pci, PortMechanismReachesTheFunction) {
    ConfigPorts ports(machine);
    PciPortConfig config(ports);
    PciAddress at{0, 2, 0};
    EXPECT_EQ(config.read32(at, 0), 0x5678'1234u);
    EXPECT_EQ(config.read16(at, 2), 0x5678);
    EXPECT_EQ(config.read8(at, 0x0b), 0x02);
    config.write16(at, 0x40, 0xabcd);
    config.write16(at, 0x42, 0x1234);
    EXPECT_EQ(config.read32(at, 0x40), 0x1234'abcdu);
    EXPECT_EQ(config.read32(at, 0x100), UINT32_MAX) << "extended space is not reachable";
    EXPECT_EQ(config.read16({0, 9, 0}, 0), 0xffff);
}

// Configuration space of buses 4 and 5 in memory, each dword reading as its own place.
class ConfigMemory final : public FakeFunction {
  public:
    uint64_t read(unsigned, uint64_t offset, unsigned) override { return offset; }
    void write(unsigned, uint64_t offset, unsigned, uint64_t) override { written = offset; }
    uint64_t written = 0;
};

TEST_F(Pci, MemoryMechanismStaysInItsBuses) {
    ConfigMemory memory;
    memory.set_bar(0, 0x40000000 + (4 << 20), 4 << 20);
    machine.functions[PciAddress{0, 31, 0}] = &memory;
    PciMemoryConfig config(machine, BusAddr(0x40000000), 4, 200);
    EXPECT_EQ(config.read32({4, 0, 0}, 0), 0u);
    EXPECT_EQ(config.read32({5, 3, 2}, 0x104), 1u << 20 | 3u << 15 | 2u << 12 | 0x104u);
    config.write32({5, 1, 0}, 0x10, 7);
    EXPECT_EQ(memory.written, 1u << 20 | 1u << 15 | 0x10u);
    EXPECT_EQ(config.read32({3, 0, 0}, 0), UINT32_MAX);
    EXPECT_EQ(config.read32({201, 0, 0}, 0), UINT32_MAX);
    EXPECT_EQ(config.read32({4, 0, 0}, 0x1000), UINT32_MAX);
    EXPECT_EQ(config.read32({9, 0, 0}, 0), UINT32_MAX) << "covered, but does not map";
}

} // namespace
} // namespace tessera::kernel
