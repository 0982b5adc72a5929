// env::FramePool on the heap: every frame is an allocation of its own, so that ASan sees what is
// used after its release.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "base/assert.hpp"
#include "monitors/env/frames.hpp"

namespace tessera::env {

class HeapFrames final : public FramePool {
  public:
    explicit HeapFrames(uint64_t total) : total_(total) {}
    ~HeapFrames() { ASSERT(frames_.empty()); }

    Result<FrameNo> allocate() override {
        if (frames_.size() >= total_) return std::unexpected(Error::NoMemory);
        FrameNo f(next_++);
        frames_[f] = {std::make_unique<std::byte[]>(kPageSize), 1};
        return f;
    }
    void share(FrameNo f) override { at(f).shares++; }
    bool release(FrameNo f) override {
        if (--at(f).shares) return false;
        frames_.erase(f);
        return true;
    }
    uint32_t shares(FrameNo f) const override {
        return const_cast<HeapFrames*>(this)->at(f).shares;
    }
    MutableBytes bytes(FrameNo f) override { return {at(f).bytes.get(), kPageSize}; }
    FrameCounts counts() const override { return {total_, total_ - frames_.size()}; }

  private:
    struct Frame {
        std::unique_ptr<std::byte[]> bytes;
        uint32_t shares = 0;
    };
    Frame& at(FrameNo f) {
        auto found = frames_.find(f);
        ASSERT(found != frames_.end());
        return found->second;
    }
    std::map<FrameNo, Frame> frames_;
    uint64_t total_;
    uint64_t next_ = 1;
};

} // namespace tessera::env
