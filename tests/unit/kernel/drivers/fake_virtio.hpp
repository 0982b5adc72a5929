// A virtio device model over the modern PCI transport: BAR 0 holds common (0), notify (0x1000) and
// device configuration (0x2000); BAR 2 the MSI-X table.
#pragma once

#include "kernel/drivers/virtqueue.hpp"
#include "tests/unit/kernel/drivers/fake_machine.hpp"

namespace tessera::kernel {

class FakeVirtio : public FakeFunction {
  public:
    struct Queue {
        uint16_t size = 256;
        uint16_t vector = 0xffff;
        bool enabled = false;
        uint64_t descriptors = 0, driver = 0, device = 0;
        uint16_t seen = 0; // of the available ring
        uint16_t used = 0;
        unsigned kicks = 0;
    };
    struct Chain {
        uint16_t head = 0;
        std::vector<MutableBytes> readable, writable;
    };

    FakeVirtio(FakeMachine& m, uint16_t device, uint64_t features)
        : machine(m), offered(features | 1ull << 32) {
        set_identity(0x1af4, device);
        set_bar(0, 0x8'0000'0000, 0x4000);
        set_bar(2, 0x8'1000'0000, 0x1000);
        set16(6, 1 << 4);
        config[0x34] = 0x40;
        capability(0x40, 0x50, 1, 0x0000, 56);
        capability(0x50, 0x64, 2, 0x1000, 0x1000);
        set32(0x60, 4); // notify multiplier
        capability(0x64, 0x78, 4, 0x2000, 64);
        FakeMsix::describe(*this, 0x78, 0, 4, 2, 0);
        m.functions[PciAddress{0, 3, 0}] = this;
    }
    PciFunction function() { return PciFunction(machine, machine, PciAddress{0, 3, 0}); }

    void capability(uint8_t at, uint8_t next, uint8_t type, uint32_t offset, uint32_t length) {
        config[at] = 9;
        config[at + 1] = next;
        config[at + 2] = 16;
        config[at + 3] = type;
        config[at + 4] = 0; // BAR
        set32(at + 8, offset);
        set32(at + 12, length);
    }

    uint64_t read(unsigned bar, uint64_t at, unsigned width) override {
        if (bar == 2) return msix.read(at);
        if (at >= 0x2000) {
            uint64_t v = 0;
            if (at - 0x2000 + width <= device_config.size())
                std::memcpy(&v, &device_config[at - 0x2000], width);
            return v;
        }
        Queue& q = queues[select % queues.size()];
        switch (at) {
            case 4:
                return feature_select < 2 ? static_cast<uint32_t>(offered >> 32 * feature_select)
                                          : 0;
            case 18:
                return queues.size();
            case 20:
                return status;
            case 24:
                return select < queues.size() ? q.size : 0;
            case 26:
                return vectors_work ? q.vector : 0xffff;
            case 30:
                return select;
        }
        return 0;
    }
    void write(unsigned bar, uint64_t at, unsigned width, uint64_t v) override {
        if (bar == 2) return msix.write(at, v);
        if (at >= 0x1000 && at < 0x2000) {
            EXPECT_EQ(width, 2u);
            EXPECT_TRUE(status & 4) << "kicked before DRIVER_OK";
            if (v >= queues.size()) return;
            EXPECT_TRUE(lying || (at - 0x1000) / 4 == v);
            queues[v].kicks++;
            return on_kick(static_cast<unsigned>(v));
        }
        Queue& q = queues[select % queues.size()];
        auto set_half = [&](uint64_t& field, bool high) {
            field = high ? (field & UINT32_MAX) | v << 32 : (field & ~uint64_t{UINT32_MAX}) | v;
        };
        switch (at) {
            case 0:
                feature_select = static_cast<uint32_t>(v);
                break;
            case 8:
                driver_select = static_cast<uint32_t>(v);
                break;
            case 12:
                if (driver_select < 2) set_half(accepted, driver_select == 1);
                break;
            case 20:
                if (v == 0 && !stuck) {
                    status = 0;
                    for (Queue& each : queues)
                        each = Queue{each.size};
                } else if (v != 0) {
                    status = static_cast<uint8_t>(v);
                    if (accepted & ~offered) status &= ~8;
                }
                break;
            case 22:
                select = static_cast<uint16_t>(v);
                break;
            case 24:
                q.size = static_cast<uint16_t>(v);
                break;
            case 26:
                q.vector = static_cast<uint16_t>(v);
                break;
            case 28:
                q.enabled = v;
                break;
            case 32:
            case 36:
                set_half(q.descriptors, at == 36);
                break;
            case 40:
            case 44:
                set_half(q.driver, at == 44);
                break;
            case 48:
            case 52:
                set_half(q.device, at == 52);
                break;
        }
    }
    virtual void on_kick(unsigned queue) {}

    // The next available chain, or false.
    bool take(Queue& q, Chain& out) {
        auto ring = machine.memory(q.driver, Virtqueue::available_size(q.size));
        if (load<uint16_t>(ring.subspan(2)) == q.seen) return false;
        out = {};
        uint16_t at = out.head = load<uint16_t>(ring.subspan(4 + 2 * (q.seen % q.size)));
        q.seen++;
        for (unsigned i = 0; i < q.size; i++) {
            auto d = load<Virtqueue::Descriptor>(machine.memory(q.descriptors + 16 * at, 16));
            (d.flags & 2 ? out.writable : out.readable)
                .push_back(machine.memory(d.address, d.size));
            if (!(d.flags & 1)) break;
            at = d.next;
        }
        return true;
    }
    void give_back(Queue& q, uint32_t head, uint32_t written) {
        auto ring = machine.memory(q.device, Virtqueue::used_size(q.size));
        store(ring.subspan(4 + 8 * (q.used % q.size)), Virtqueue::UsedElement{head, written});
        q.used++;
        store(ring.subspan(2), q.used);
        bool wanted = !(load<uint16_t>(machine.memory(q.driver, 2)) & 1);
        if (wanted && q.vector != 0xffff) msix.raise(machine, q.vector);
    }
    void set_no_notify(Queue& q, bool on) {
        store(machine.memory(q.device, 2), static_cast<uint16_t>(on));
    }

    FakeMachine& machine;
    uint64_t offered;
    uint64_t accepted = 0;
    std::array<Queue, 2> queues;
    std::array<uint8_t, 64> device_config{};
    FakeMsix msix;
    uint8_t status = 0;
    bool stuck = false; // never leaves reset
    bool vectors_work = true;
    bool lying = false; // its configuration space has been changed: kicks come anywhere

  private:
    uint32_t feature_select = 0, driver_select = 0;
    uint16_t select = 0;
};

class FakeNic final : public FakeVirtio {
  public:
    explicit FakeNic(FakeMachine& m, uint16_t mtu = 9000)
        : FakeVirtio(m, 0x1041, 1 << 5 | 1 << 3 | 1 << 0) {
        device_config = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
        std::memcpy(&device_config[10], &mtu, 2);
    }
    void on_kick(unsigned queue) override {
        if (queue == 1 && !hold_transmissions) transmit();
    }
    void transmit() {
        Chain c;
        while (take(queues[1], c)) {
            std::vector<std::byte> frame;
            for (auto piece : c.readable)
                frame.insert(frame.end(), piece.begin(), piece.end());
            EXPECT_TRUE(c.writable.empty());
            EXPECT_GE(frame.size(), 12u);
            sent_pieces.push_back(c.readable.size());
            sent.emplace_back(frame.begin() + 12, frame.end());
            give_back(queues[1], c.head, 0);
        }
    }
    // False: no buffer, or it does not fit.
    bool receive(Bytes frame) {
        Chain c;
        if (!take(queues[0], c)) return false;
        EXPECT_EQ(c.writable.size(), 1u);
        if (12 + frame.size() > c.writable.at(0).size()) {
            give_back(queues[0], c.head, 0);
            return false;
        }
        std::memcpy(c.writable[0].data() + 12, frame.data(), frame.size());
        give_back(queues[0], c.head, static_cast<uint32_t>(12 + frame.size()));
        return true;
    }
    std::vector<std::vector<std::byte>> sent;
    std::vector<size_t> sent_pieces;
    bool hold_transmissions = false;
};

} // namespace tessera::kernel
