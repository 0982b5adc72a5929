// TestDisk: a block device in memory that remembers every write and flush, so that a test can ask
// for the disk as a power cut at any moment would have left it. Completes at once, or, when
// `deferred`, when run() is called, in an order drawn from a seed. Faults can be injected per
// block.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/assert.hpp"
#include "monitors/env/block_device.hpp"

namespace tessera::storage::test {

using Block = std::shared_ptr<const std::vector<std::byte>>;
using Image = std::map<uint64_t, Block>; // blocks absent are zero

struct Lcg { // splitmix64: a test's randomness, a function of its seed
    uint64_t state;
    uint64_t next() {
        uint64_t z = (state += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    uint64_t below(uint64_t n) { return next() % n; }
    bool chance(uint64_t percent) { return below(100) < percent; }
};

class TestDisk final : public env::BlockDevice {
  public:
    explicit TestDisk(uint64_t blocks, Image image = {}) : blocks_(blocks), now_(std::move(image)) {
        start_ = now_;
    }

    Result<void> submit(env::BlockRequest& request) override {
        if (deferred && waiting_.size() >= depth) return std::unexpected(Error::Full);
        if (deferred) {
            waiting_.push_back(std::move(request));
            return {};
        }
        execute(request);
        return {};
    }
    uint64_t block_count() const override { return blocks_; }
    uint32_t max_transfer_blocks() const override { return max_transfer; }
    uint32_t queue_depth() const override { return depth; }

    // Completes one waiting request; false if there is none.
    bool run_one() {
        if (waiting_.empty()) return false;
        size_t i = random.below(waiting_.size());
        // A flush covers what completed before it was submitted only; any order is allowed.
        env::BlockRequest r = std::move(waiting_[i]);
        waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(i));
        execute(r);
        return true;
    }

    // --- history
    struct Event {
        bool flush = false;
        uint64_t block = 0;
        Block data;
    };
    const std::vector<Event>& events() const { return events_; }
    const Image& image() const { return now_; }

    // The disk after a cut when `count` events had happened: everything before the last flush is
    // there, of the later writes each is there, missing or torn between its sectors, as the seed
    // says.
    Image cut(size_t count, uint64_t seed) const {
        Lcg dice{seed};
        size_t safe = 0;
        for (size_t i = 0; i < count; i++)
            if (events_[i].flush) safe = i;
        Image image = start_;
        for (size_t i = 0; i < count; i++) {
            const Event& e = events_[i];
            if (e.flush) continue;
            uint64_t luck = i < safe ? 0 : dice.below(10);
            if (luck < 5) {
                image[e.block] = e.data;
            } else if (luck < 8) {
                auto old = image.find(e.block);
                auto torn = std::make_shared<std::vector<std::byte>>(env::kBlockSize);
                if (old != image.end()) *torn = *old->second;
                for (size_t sector = 0; sector < 8; sector++)
                    if (dice.chance(50))
                        std::copy_n(e.data->begin() + static_cast<ptrdiff_t>(sector * 512), 512,
                                    torn->begin() + static_cast<ptrdiff_t>(sector * 512));
                image[e.block] = torn;
            }
        }
        return image;
    }

    void corrupt(uint64_t block, size_t byte, uint8_t with) {
        auto data = std::make_shared<std::vector<std::byte>>(env::kBlockSize);
        if (now_.contains(block)) *data = *now_[block];
        (*data)[byte] ^= std::byte{with};
        now_[block] = data;
    }

    bool deferred = false;
    uint32_t depth = 16;
    uint32_t max_transfer = 32;
    Lcg random{1};
    std::set<uint64_t> bad_reads, bad_writes;
    bool flush_fails = false;
    bool record = true;

  private:
    void execute(env::BlockRequest& r) {
        Result<void> result;
        uint64_t n = r.buffer.size() / env::kBlockSize;
        if (r.op == env::BlockOp::Flush) {
            if (flush_fails) result = std::unexpected(Error::Io);
            if (record) events_.push_back({.flush = true});
        } else if (r.block > blocks_ || n > blocks_ - r.block ||
                   r.buffer.size() % env::kBlockSize) {
            result = std::unexpected(Error::Range);
        }
        for (uint64_t i = 0; result && i < n; i++) {
            uint64_t b = r.block + i;
            std::byte* at = r.buffer.data() + i * env::kBlockSize;
            if (r.op == env::BlockOp::Read) {
                if (bad_reads.contains(b)) {
                    result = std::unexpected(Error::Io);
                    break;
                }
                auto found = now_.find(b);
                if (found == now_.end())
                    std::fill_n(at, env::kBlockSize, std::byte{0});
                else
                    std::copy_n(found->second->begin(), env::kBlockSize, at);
            } else {
                if (bad_writes.contains(b)) {
                    result = std::unexpected(Error::Io);
                    break;
                }
                auto data = std::make_shared<std::vector<std::byte>>(at, at + env::kBlockSize);
                now_[b] = data;
                if (record) events_.push_back({.block = b, .data = data});
            }
        }
        auto done = std::move(r.done);
        done(result);
    }

    uint64_t blocks_;
    Image now_, start_;
    std::vector<Event> events_;
    std::deque<env::BlockRequest> waiting_;
};

} // namespace tessera::storage::test
