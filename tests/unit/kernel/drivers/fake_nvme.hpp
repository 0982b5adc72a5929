// An NVMe controller model: admin queue, one namespace in a map, I/O queues. It can be told to
// misbehave.
#pragma once

#include <functional>
#include <optional>
#include <set>

#include "kernel/drivers/nvme_protocol.hpp"
#include "tests/unit/kernel/drivers/fake_machine.hpp"

namespace tessera::kernel {

class FakeNvme final : public FakeFunction {
  public:
    explicit FakeNvme(FakeMachine& m, unsigned lba_shift = 9, uint64_t blocks = 1024)
        : machine(m), shift(lba_shift), lbas(blocks << (12 - lba_shift)) {
        set_identity(0x1b36, 0x0010, 0x010802);
        set_bar(0, 0x9'0000'0000, 0x4000);
        set_bar(2, 0x9'1000'0000, 0x1000);
        set16(6, 1 << 4);
        config[0x34] = 0x40;
        FakeMsix::describe(*this, 0x40, 0, 32, 2, 0);
        m.functions[PciAddress{0, 5, 0}] = this;
    }
    PciFunction function() { return PciFunction(machine, machine, PciAddress{0, 5, 0}); }

    uint64_t capabilities = 2047 | 1ull << 24 | 1ull << 37; // MQES, TO 500 ms, NVM command set

    uint64_t read(unsigned bar, uint64_t at, unsigned) override {
        if (bar == 2) return msix.read(at);
        if (at == 0) return capabilities & UINT32_MAX;
        if (at == 4) return capabilities >> 32;
        if (at == 0x1c) return status;
        return 0;
    }
    void write(unsigned bar, uint64_t at, unsigned, uint64_t v) override {
        if (bar == 2) return msix.write(at, v);
        if (at == 0x14) return configure(static_cast<uint32_t>(v));
        if (at == 0x24) admin_attributes = static_cast<uint32_t>(v);
        if (at >= 0x28 && at < 0x38) {
            uint64_t& base = at < 0x30 ? admin_submission : admin_completion;
            base = at % 8 ? (base & UINT32_MAX) | v << 32 : (base & ~uint64_t{UINT32_MAX}) | v;
        }
        if (at >= 0x1000) {
            unsigned index = static_cast<unsigned>(at - 0x1000) / 4;
            if (index % 2) return; // completion head: we never run out
            if (auto q = submissions.find(index / 2); q != submissions.end()) {
                q->second.tail = static_cast<uint16_t>(v);
                run();
            }
        }
    }

    // --- behaviour under test
    std::set<uint8_t> ignored_io; // opcodes whose commands never complete
    bool ignore_admin = false;    // admin commands never complete
    bool never_stops = false;     // CC.EN = 0 is not answered
    bool abort_works = false;     // an Abort completes an ignored command
    uint16_t io_status = 0;       // status code and type for every I/O command
    bool paused = false;          // completes nothing until run() with paused off
    std::function<void(nvme::Completion&)> corrupt;

    std::map<uint64_t, std::vector<std::byte>> media; // by LBA
    std::vector<nvme::Command> io_log;
    unsigned resets = 0;
    unsigned prp_lists = 0;
    uint8_t mdts = 7;
    uint16_t metadata = 0;
    uint32_t queues_granted = 63;
    uint64_t lbas_reported() const { return lbas; }

    void run() {
        if (!(status & 1) || paused) return;
        for (bool more = true; more;) {
            more = false;
            for (auto& [id, q] : submissions) {
                if (q.head == q.tail) continue;
                more = true;
                auto c = load<nvme::Command>(machine.memory(q.base + 64ull * q.head, 64));
                q.head = static_cast<uint16_t>((q.head + 1) % q.size);
                if (id == 0)
                    run_admin(c);
                else
                    run_io(id, q.completion, c);
                if (!(status & 1)) return;
                break; // the map may have changed
            }
        }
    }
    void finish(unsigned submission, unsigned completion, uint16_t id, uint16_t code,
                uint32_t dword0 = 0) {
        auto found = completions.find(completion);
        if (found == completions.end()) return;
        auto& q = found->second;
        nvme::Completion e{
            dword0, 0, 0, static_cast<uint16_t>(submission), id, static_cast<uint16_t>(code << 1)};
        if (corrupt && completion != 0) corrupt(e);
        e.status = static_cast<uint16_t>((e.status & ~1) | q.phase);
        store(machine.memory(q.base + 16ull * q.tail, 16), e);
        q.tail = static_cast<uint16_t>((q.tail + 1) % q.size);
        if (q.tail == 0) q.phase = !q.phase;
        if (q.vector) msix.raise(machine, *q.vector);
    }

    FakeMachine& machine;
    FakeMsix msix;
    uint32_t status = 0;

  private:
    struct Submission {
        uint64_t base;
        uint16_t size, head, tail;
        unsigned completion;
    };
    struct CompletionQueue {
        uint64_t base;
        uint16_t size, tail;
        bool phase;
        std::optional<unsigned> vector;
    };

    void configure(uint32_t v) {
        if ((v & 1) && !(status & 1)) {
            EXPECT_EQ(v >> 20 & 0xf, 4u);
            EXPECT_EQ(v >> 16 & 0xf, 6u);
            submissions[0] = {admin_submission,
                              static_cast<uint16_t>((admin_attributes & 0xfff) + 1), 0, 0, 0};
            completions[0] = {
                admin_completion, static_cast<uint16_t>((admin_attributes >> 16) + 1), 0, true, {}};
            status = 1;
        } else if (!(v & 1)) {
            if (never_stops) return;
            if (status & 1) resets++;
            submissions.clear();
            completions.clear();
            stuck.clear();
            status = 0;
        }
    }
    void run_admin(const nvme::Command& c) {
        if (ignore_admin) return;
        auto id = static_cast<uint16_t>(c.dword0 >> 16);
        uint32_t dword0 = 0;
        uint16_t code = 0;
        switch (c.dword0 & 0xff) {
            case 0x06:
                identify(c);
                break;
            case 0x09:
                dword0 = queues_granted << 16 | queues_granted;
                break;
            case 0x05: {
                unsigned q = c.dword10 & 0xffff;
                std::optional<unsigned> vector;
                if (c.dword11 & 2) vector = c.dword11 >> 16;
                completions[q] = {c.prp1, static_cast<uint16_t>((c.dword10 >> 16) + 1), 0, true,
                                  vector};
                break;
            }
            case 0x01: {
                unsigned q = c.dword10 & 0xffff;
                EXPECT_TRUE(completions.contains(c.dword11 >> 16));
                submissions[q] = {c.prp1, static_cast<uint16_t>((c.dword10 >> 16) + 1), 0, 0,
                                  c.dword11 >> 16};
                break;
            }
            case 0x08: {
                auto key = std::pair(c.dword10 & 0xffff, c.dword10 >> 16);
                dword0 = 1;
                if (abort_works && stuck.erase(key)) {
                    dword0 = 0;
                    finish(key.first, key.first, static_cast<uint16_t>(key.second), 7);
                }
                break;
            }
            default:
                code = 1;
        }
        finish(0, 0, id, code, dword0);
    }
    void identify(const nvme::Command& c) {
        auto out = machine.memory(c.prp1, 4096);
        std::memset(out.data(), 0, 4096);
        if (c.dword10 == 1) {
            std::memset(out.data() + 4, ' ', 60);
            std::memcpy(out.data() + 4, "SN1", 3);
            std::memcpy(out.data() + 24, "Model \x01", 7);
            out[77] = static_cast<std::byte>(mdts);
        } else {
            store(out, lbas);
            out[25] = std::byte{0};
            store(out.subspan(128), shift << 16 | metadata);
        }
    }
    void run_io(unsigned queue, unsigned completion, const nvme::Command& c) {
        io_log.push_back(c);
        auto id = static_cast<uint16_t>(c.dword0 >> 16);
        uint8_t opcode = static_cast<uint8_t>(c.dword0);
        if (ignored_io.contains(opcode)) {
            stuck.insert({queue, id});
            return;
        }
        uint16_t code = io_status;
        if (opcode != 0 && code == 0) {
            uint64_t lba = c.dword10 | static_cast<uint64_t>(c.dword11) << 32;
            uint64_t count = (c.dword12 & 0xffff) + 1;
            if (lba + count > lbas)
                code = 0x80;
            else
                transfer(c, lba, count, opcode == 1);
        }
        finish(queue, completion, id, code);
    }
    void transfer(const nvme::Command& c, uint64_t lba, uint64_t count, bool write) {
        size_t left = count << shift;
        std::vector<MutableBytes> pieces;
        size_t n = std::min<size_t>(left, 4096 - c.prp1 % 4096);
        pieces.push_back(machine.memory(c.prp1, n));
        left -= n;
        if (left > 4096) {
            prp_lists++;
            for (unsigned i = 0; left > 0; i++) {
                ASSERT_LT(i, 512u);
                auto at = load<uint64_t>(machine.memory(c.prp2 + 8 * i, 8));
                EXPECT_EQ(at % 4096, 0u);
                n = std::min<size_t>(left, 4096);
                pieces.push_back(machine.memory(at, n));
                left -= n;
            }
        } else if (left > 0) {
            pieces.push_back(machine.memory(c.prp2, left));
        }
        std::vector<std::byte> data;
        if (write) {
            for (auto p : pieces)
                data.insert(data.end(), p.begin(), p.end());
            for (uint64_t i = 0; i < count; i++)
                media[lba + i].assign(data.begin() + (i << shift),
                                      data.begin() + ((i + 1) << shift));
        } else {
            for (uint64_t i = 0; i < count; i++) {
                auto& sector = media[lba + i];
                sector.resize(1ull << shift);
                data.insert(data.end(), sector.begin(), sector.end());
            }
            size_t at = 0;
            for (auto p : pieces) {
                std::memcpy(p.data(), data.data() + at, p.size());
                at += p.size();
            }
        }
    }

    unsigned shift;
    uint64_t lbas;
    uint32_t admin_attributes = 0;
    uint64_t admin_submission = 0, admin_completion = 0;
    std::map<unsigned, Submission> submissions;
    std::map<unsigned, CompletionQueue> completions;
    std::set<std::pair<unsigned, unsigned>> stuck;
};

} // namespace tessera::kernel
