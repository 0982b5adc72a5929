// A simulated machine's page frames and page tables.
//
// Frames are one arena for the life of the machine's boot: memory that was freed can still be read
// by a device that is late, but no longer holds what it held. Page tables remember what they were
// told, as an MMU would.
#pragma once

#include <stdlib.h>

#include <map>
#include <vector>

#include "base/assert.hpp"
#include "monitors/env/frames.hpp"
#include "monitors/env/page_mapper.hpp"

namespace tessera::sim {

inline constexpr size_t kPage = 4096;

class SimFrames final : public env::FramePool {
  public:
    explicit SimFrames(uint64_t total)
        : memory_(static_cast<std::byte*>(calloc(total, kPage))), shares_(total) {
        ASSERT(memory_);
        for (uint64_t i = total; i > 0; i--)
            free_.push_back(i);
    }
    ~SimFrames() { ::free(memory_); }
    SimFrames(const SimFrames&) = delete;
    SimFrames& operator=(const SimFrames&) = delete;

    Result<env::FrameNo> allocate() override {
        if (free_.empty()) return Fail(Error::NoMemory);
        uint64_t f = free_.back();
        free_.pop_back();
        shares_[f - 1] = 1;
        return env::FrameNo(f);
    }
    void share(env::FrameNo f) override { count(f)++; }
    bool release(env::FrameNo f) override {
        if (--count(f)) return false;
        std::memset(at(f).data(), 0xdd, kPage);
        free_.push_back(f.value);
        return true;
    }
    uint32_t shares(env::FrameNo f) const override { return shares_.at(f.value - 1); }
    MutableBytes bytes(env::FrameNo f) override {
        count(f);
        return at(f);
    }
    env::FrameCounts counts() const override { return {shares_.size(), free_.size()}; }
    bool holds(const std::byte* p) const {
        return p >= memory_ && p < memory_ + shares_.size() * kPage;
    }

  private:
    uint32_t& count(env::FrameNo f) {
        uint32_t& n = shares_.at(f.value - 1);
        ASSERT(n > 0); // used after it was freed
        return n;
    }
    MutableBytes at(env::FrameNo f) { return {memory_ + (f.value - 1) * kPage, kPage}; }

    std::byte* memory_;
    std::vector<uint32_t> shares_;
    std::vector<uint64_t> free_;
};

class SimMapper final : public env::PageMapper {
  public:
    struct Entry {
        env::FrameNo frame;
        env::PageRights rights;
        bool accessed = false;
    };
    Result<void> map(uint64_t page, env::FrameNo f, env::PageRights rights) override {
        table[page] = {f, rights, false};
        return {};
    }
    void unmap(uint64_t page) override { table.erase(page); }
    void remove_write(uint64_t page) override { table.at(page).rights.write = false; }
    bool test_and_clear_accessed(uint64_t page) override {
        return std::exchange(table.at(page).accessed, false);
    }
    void activate() override {}
    void leave() override {}

    std::map<uint64_t, Entry> table; // by address
};

} // namespace tessera::sim
