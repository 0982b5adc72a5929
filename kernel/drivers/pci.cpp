#include "kernel/drivers/pci.hpp"

#include <bitset>

#include "base/log.hpp"

namespace tessera::kernel {

namespace {

constexpr uint16_t kCommand = 0x04, kStatusRegister = 0x06, kHeaderType = 0x0e, kBars = 0x10,
                   kSecondaryBus = 0x19, kCapabilities = 0x34;
constexpr uint16_t kCommandMemory = 1 << 1, kCommandMaster = 1 << 2, kCommandNoPin = 1 << 10;
constexpr uint16_t kHasCapabilities = 1 << 4;
constexpr uint8_t kMsixId = 0x11;
constexpr uint16_t kNoVendor = 0xffff;

uint32_t all_ones() {
    return 0xffff'ffffu;
}

} // namespace

uint8_t PciConfig::read8(PciAddress at, uint16_t offset) {
    return static_cast<uint8_t>(read32(at, offset & ~3u) >> (8 * (offset & 3)));
}

uint16_t PciConfig::read16(PciAddress at, uint16_t offset) {
    return static_cast<uint16_t>(read32(at, offset & ~3u) >> (8 * (offset & 2)));
}

void PciConfig::write16(PciAddress at, uint16_t offset, uint16_t v) {
    uint16_t base = offset & ~3u;
    uint32_t old = read32(at, base);
    unsigned shift = 8 * (offset & 2);
    uint32_t keep = base == kCommand ? 0 : old & ~(0xffffu << shift);
    write32(at, base, keep | static_cast<uint32_t>(v) << shift);
}

uint32_t PciPortConfig::read32(PciAddress at, uint16_t offset) {
    if (offset >= size()) return all_ones();
    ports_.out32(0xcf8,
                 1u << 31 | at.bus << 16 | at.device << 11 | at.function << 8 | (offset & 0xfcu));
    return ports_.in32(0xcfc);
}

void PciPortConfig::write32(PciAddress at, uint16_t offset, uint32_t v) {
    if (offset >= size()) return;
    ports_.out32(0xcf8,
                 1u << 31 | at.bus << 16 | at.device << 11 | at.function << 8 | (offset & 0xfcu));
    ports_.out32(0xcfc, v);
}

Registers* PciMemoryConfig::bus(uint8_t number) {
    if (number < first_bus_ || number > last_bus_) return nullptr;
    Own<Registers>& window = buses_[number];
    if (!window) {
        auto mapped =
            platform_.map_registers(BusAddr(base_.value + (uint64_t{number} << 20)), mib(1));
        if (mapped) window = std::move(*mapped);
    }
    return window.get();
}

uint32_t PciMemoryConfig::read32(PciAddress at, uint16_t offset) {
    Registers* r = bus(at.bus);
    return r && offset < size() ? r->read32(place(at, offset)) : all_ones();
}

void PciMemoryConfig::write32(PciAddress at, uint16_t offset, uint32_t v) {
    Registers* r = bus(at.bus);
    if (r && offset < size()) r->write32(place(at, offset), v);
}

Result<void> PciFunction::for_each_capability(Function<bool(PciCapability)> f) const {
    if (!(config16(kStatusRegister) & kHasCapabilities)) return Fail(Error::NotFound);
    std::bitset<256> seen;
    uint8_t offset = config8(kCapabilities) & 0xfc;
    while (offset != 0) {
        if (offset < 0x40 || seen[offset]) return Fail(Error::Malformed);
        seen[offset] = true;
        uint16_t head = config16(offset);
        if (!f(PciCapability{static_cast<uint8_t>(head), offset})) return {};
        offset = static_cast<uint8_t>(head >> 8) & 0xfc;
    }
    return {};
}

Result<PciCapability> PciFunction::find_capability(uint8_t id) const {
    std::optional<PciCapability> found;
    TRY(for_each_capability([&](PciCapability c) {
        if (c.id != id) return true;
        found = c;
        return false;
    }));
    if (!found) return Fail(Error::NotFound);
    return *found;
}

Result<PciBar> PciFunction::bar(unsigned index) const {
    if (index > 5 || (config8(kHeaderType) & 0x7f) != 0) return Fail(Error::NotFound);
    uint16_t at = static_cast<uint16_t>(kBars + 4 * index);
    uint32_t low = config32(at);
    bool port = low & 1;
    unsigned type = low >> 1 & 3; // 0: 32 bits, 2: 64 bits
    if (port) return Fail(Error::NotFound);
    if (type != 0 && type != 2) return Fail(Error::Malformed);
    bool wide = type == 2;
    if (wide && index == 5) return Fail(Error::Malformed);
    uint32_t high = wide ? config32(at + 4) : 0;

    uint16_t command = config16(kCommand);
    config_->write16(at_, kCommand, command & ~(kCommandMemory | 1));
    config_->write32(at_, at, all_ones());
    uint32_t low_mask = config32(at);
    config_->write32(at_, at, low);
    uint32_t high_mask = all_ones();
    if (wide) {
        config_->write32(at_, at + 4, all_ones());
        high_mask = config32(at + 4);
        config_->write32(at_, at + 4, high);
    }
    config_->write16(at_, kCommand, command);

    uint64_t mask = static_cast<uint64_t>(high_mask) << 32 | (low_mask & ~0xfu);
    uint64_t base = static_cast<uint64_t>(high) << 32 | (low & ~0xfu);
    if ((low_mask & ~0xfu) == 0 && !wide) return Fail(Error::NotFound);
    uint64_t size = ~mask + 1;
    if (mask == 0 || base == 0) return Fail(Error::NotFound);
    if ((size & (size - 1)) != 0 || (base & (size - 1)) != 0 || base + size < base)
        return Fail(Error::Malformed);
    return PciBar{BusAddr(base), size};
}

Result<Own<Registers>> PciFunction::map_bar(unsigned index, uint64_t offset, uint64_t size) const {
    PciBar b = TRY(bar(index));
    if (size == 0 || size > kMaxMappedBar || offset > b.size || size > b.size - offset)
        return Fail(Error::Range);
    return platform_->map_registers(BusAddr(b.base.value + offset), size);
}

Result<Own<Registers>> PciFunction::map_bar(unsigned index) const {
    PciBar b = TRY(bar(index));
    return platform_->map_registers(b.base, b.size < kMaxMappedBar ? b.size : kMaxMappedBar);
}

void PciFunction::enable_memory_and_dma(bool on) {
    uint16_t command = config16(kCommand);
    if (on)
        command |= kCommandMemory | kCommandMaster | kCommandNoPin;
    else
        command &= ~kCommandMaster;
    config_->write16(at_, kCommand, command);
}

Result<MsixTable> MsixTable::open(PciFunction function) {
    PciCapability c = TRY(function.find_capability(kMsixId));
    uint32_t place = function.config32(c.offset + 4);
    MsixTable t;
    t.count_ = (function.config16(c.offset + 2) & 0x7ff) + 1u;
    t.table_ = TRY(function.map_bar(place & 7, place & ~7u, t.count_ * 16u));
    t.function_ = function;
    t.control_ = static_cast<uint16_t>(c.offset + 2);
    for (unsigned i = 0; i < t.count_; i++)
        t.table_->write32(i * 16 + 12, 1);       // masked
    function.write_config16(t.control_, 0x8000); // on, function not masked
    return t;
}

MsixTable::~MsixTable() {
    if (function_) function_->write_config16(control_, 0);
}

Result<void> MsixTable::assign(unsigned entry, Function<void()> handler) {
    if (entry >= count_) return Fail(Error::Range);
    MsiMessage m = TRY(function_->platform().allocate_interrupt(std::move(handler)));
    table_->write32(entry * 16 + 0, static_cast<uint32_t>(m.address));
    table_->write32(entry * 16 + 4, static_cast<uint32_t>(m.address >> 32));
    table_->write32(entry * 16 + 8, m.data);
    table_->write32(entry * 16 + 12, 0);
    return {};
}

namespace {

struct Scan {
    PciConfig& config;
    Platform& platform;
    Function<void(PciFunction)>& found;
    unsigned count = 0;

    // A work list instead of recursion: a bridge may claim any bus, but each bus is walked once.
    void run() {
        std::bitset<256> waiting;
        waiting[0] = true;
        // Buses are visited in rising order; firmware numbers a bus behind a bridge above its own.
        for (unsigned bus = 0; bus < 256; bus++) {
            if (waiting[bus]) walk_bus(static_cast<uint8_t>(bus), waiting);
        }
    }

    void walk_bus(uint8_t bus, std::bitset<256>& waiting) {
        for (uint8_t device = 0; device < 32; device++) {
            PciAddress first{bus, device, 0};
            if (config.read16(first, 0) == kNoVendor) continue;
            bool many = config.read8(first, kHeaderType) & 0x80;
            for (uint8_t function = 0; function < (many ? 8 : 1); function++) {
                PciAddress at{bus, device, function};
                if (config.read16(at, 0) == kNoVendor) continue;
                if (count == kMaxFunctions) return;
                count++;
                if ((config.read8(at, kHeaderType) & 0x7f) == 1)
                    waiting[config.read8(at, kSecondaryBus)] = true;
                found(PciFunction(config, platform, at));
            }
        }
    }
};

} // namespace

unsigned pci_scan(PciConfig& config, Platform& platform, Function<void(PciFunction)> f) {
    Scan scan{config, platform, f};
    scan.run();
    return scan.count;
}

} // namespace tessera::kernel
