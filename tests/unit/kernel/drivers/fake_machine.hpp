// A machine made of device models, for driver tests. DMA memory, buses and interrupts work; a model
// that touches memory nobody gave it fails the test.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <map>
#include <vector>

#include "kernel/drivers/pci.hpp"

namespace tessera::kernel {

// A PCI function with registers in BARs. Configuration space is a plain array that the model fills
// in.
class FakeFunction {
  public:
    virtual ~FakeFunction() = default;
    virtual uint64_t read(unsigned bar, uint64_t offset, unsigned width) = 0;
    virtual void write(unsigned bar, uint64_t offset, unsigned width, uint64_t v) = 0;

    std::array<uint8_t, 256> config{};
    std::array<uint64_t, 6> bar_size{};

    void set16(size_t at, uint16_t v) { std::memcpy(&config[at], &v, 2); }
    void set32(size_t at, uint32_t v) { std::memcpy(&config[at], &v, 4); }
    void set_identity(uint16_t vendor, uint16_t device, uint32_t class_code = 0) {
        set16(0, vendor);
        set16(2, device);
        set32(8, class_code << 8);
    }
    // 64-bit memory BAR at a fixed bus address.
    void set_bar(unsigned index, uint64_t base, uint64_t size) {
        set32(0x10 + 4 * index, static_cast<uint32_t>(base) | 4);
        set32(0x14 + 4 * index, static_cast<uint32_t>(base >> 32));
        bar_size[index] = size;
    }
    uint64_t bar_base(unsigned index) const {
        uint32_t low, high;
        std::memcpy(&low, &config[0x10 + 4 * index], 4);
        std::memcpy(&high, &config[0x14 + 4 * index], 4);
        return (static_cast<uint64_t>(high) << 32 | low) & ~0xfull;
    }
    bool bus_master() const { return config[4] & 4; }
};

class FakeMachine final : public Platform, public PciConfig {
  public:
    // --- PciConfig
    std::map<PciAddress, FakeFunction*> functions;

    uint32_t read32(PciAddress at, uint16_t offset) override {
        auto f = functions.find(at);
        if (f == functions.end() || offset + 4 > 256) return UINT32_MAX;
        uint32_t v;
        std::memcpy(&v, &f->second->config[offset], 4);
        return v;
    }
    void write32(PciAddress at, uint16_t offset, uint32_t v) override {
        auto f = functions.find(at);
        if (f == functions.end() || offset + 4 > 256) return;
        if (offset >= 0x10 && offset < 0x28 && v == UINT32_MAX)
            v = sizing_answer(*f->second, offset);
        if (offset == 4) v &= 0xffff; // status bits are not set by writing
        uint32_t keep = offset == 4 ? read32(at, 4) & 0xffff0000 : 0;
        f->second->set32(offset, v | keep);
    }
    uint16_t size() const override { return 256; }

    // --- Platform
    Result<DmaMemory> allocate_dma(size_t size) override {
        if (fail_allocations_after == 0) return Fail(Error::NoMemory);
        fail_allocations_after--;
        size = align_up(size, kPageSize);
        auto* p = static_cast<std::byte*>(std::aligned_alloc(kPageSize, size));
        std::memset(p, 0, size);
        uint64_t bus = next_bus_;
        next_bus_ += size + kPageSize;
        dma_[bus] = {p, size};
        return DmaMemory(*this, p, BusAddr(bus), size);
    }
    void free_dma(std::byte* data, size_t) override {
        for (auto i = dma_.begin(); i != dma_.end(); ++i) {
            if (i->second.data() != data) continue;
            dma_.erase(i);
            std::free(data);
            return;
        }
        ADD_FAILURE() << "freed DMA memory that was not allocated";
    }
    // Ordinary memory: neighbouring pages are never neighbours on the bus.
    Result<BusAddr> bus_address(const void* p) override {
        auto v = reinterpret_cast<uint64_t>(p);
        if (untranslatable) return Fail(Error::BadAddress);
        return BusAddr(kScattered | (v >> 12) * 2 << 12 | (v & 0xfff));
    }
    Result<Own<Registers>> map_registers(BusAddr at, uint64_t size) override {
        for (auto& [address, f] : functions) {
            for (unsigned bar = 0; bar < 6; bar++) {
                if (f->bar_size[bar] == 0) continue;
                uint64_t base = f->bar_base(bar);
                if (at.value >= base && at.value + size <= base + f->bar_size[bar])
                    return Own<Registers>(new Window(*f, bar, at.value - base, size));
            }
        }
        return Fail(Error::Range);
    }
    Result<MsiMessage> allocate_interrupt(Function<void()> handler) override {
        handlers.push_back(std::move(handler));
        return MsiMessage{0xfee0'0000, static_cast<uint32_t>(handlers.size() - 1)};
    }
    Nanos now() override { return clock; }
    void relax() override { clock += microseconds(100); }

    // --- for models
    // Memory as the device reaches it; empty (and a failed test) if it was not given to it.
    MutableBytes memory(uint64_t bus, size_t size) {
        if (bus & kScattered) {
            uint64_t page = (bus & ~kScattered) >> 12;
            EXPECT_EQ(page % 2, 0u);
            EXPECT_LE((bus & 0xfff) + size, kPageSize) << "crosses into a page that is elsewhere";
            return {reinterpret_cast<std::byte*>(page / 2 << 12 | (bus & 0xfff)), size};
        }
        auto i = dma_.upper_bound(bus);
        if (i != dma_.begin()) {
            --i;
            if (bus - i->first <= i->second.size() && size <= i->second.size() - (bus - i->first))
                return i->second.subspan(bus - i->first, size);
        }
        ADD_FAILURE() << "device reaches for memory that is not its own";
        return {};
    }
    size_t dma_allocations() const { return dma_.size(); }

    Nanos clock{1'000'000'000};
    std::vector<Function<void()>> handlers;
    bool untranslatable = false;
    unsigned fail_allocations_after = UINT32_MAX;

  private:
    static constexpr uint64_t kScattered = 1ull << 62;

    class Window final : public Registers {
      public:
        Window(FakeFunction& f, unsigned bar, uint64_t start, uint64_t size)
            : f_(f), bar_(bar), start_(start), size_(size) {}
        uint8_t read8(uint64_t o) override { return static_cast<uint8_t>(read(o, 1)); }
        uint16_t read16(uint64_t o) override { return static_cast<uint16_t>(read(o, 2)); }
        uint32_t read32(uint64_t o) override { return static_cast<uint32_t>(read(o, 4)); }
        void write8(uint64_t o, uint8_t v) override { write(o, 1, v); }
        void write16(uint64_t o, uint16_t v) override { write(o, 2, v); }
        void write32(uint64_t o, uint32_t v) override { write(o, 4, v); }
        uint64_t size() const override { return size_; }

      private:
        uint64_t read(uint64_t o, unsigned width) {
            return o + width <= size_ ? f_.read(bar_, start_ + o, width) : UINT64_MAX;
        }
        void write(uint64_t o, unsigned width, uint64_t v) {
            if (o + width <= size_) f_.write(bar_, start_ + o, width, v);
        }
        FakeFunction& f_;
        unsigned bar_;
        uint64_t start_, size_;
    };

    static uint32_t sizing_answer(const FakeFunction& f, uint16_t offset) {
        unsigned index = (offset - 0x10) / 4;
        if (f.bar_size[index] != 0)
            return static_cast<uint32_t>(~(f.bar_size[index] - 1)) | (f.config[offset] & 0xf);
        bool upper_half = index > 0 && f.bar_size[index - 1] != 0;
        return upper_half ? static_cast<uint32_t>(~(f.bar_size[index - 1] - 1) >> 32) : 0;
    }

    std::map<uint64_t, MutableBytes> dma_;
    uint64_t next_bus_ = 0x1'0000'0000;
};

// MSI-X table memory that a model embeds.
class FakeMsix {
  public:
    // The capability at `offset` of the model's configuration: table at `table_offset` of `bar`.
    static void describe(FakeFunction& f, uint8_t offset, uint8_t next, unsigned entries,
                         unsigned bar, uint32_t table_offset) {
        f.config[offset] = 0x11;
        f.config[offset + 1] = next;
        f.set16(offset + 2, static_cast<uint16_t>(entries - 1));
        f.set32(offset + 4, table_offset | bar);
    }
    uint64_t read(uint64_t offset) const { return words_.at(offset / 4); }
    void write(uint64_t offset, uint64_t v) { words_.at(offset / 4) = static_cast<uint32_t>(v); }
    void raise(FakeMachine& m, unsigned entry) {
        if (entry >= words_.size() / 4 || words_[entry * 4 + 3] & 1) return;
        if (words_[entry * 4] != 0xfee0'0000u) return; // never set up
        m.handlers.at(words_[entry * 4 + 2])();
    }

  private:
    std::array<uint32_t, 1024> words_{}; // a page, as the models' BARs
};

} // namespace tessera::kernel
