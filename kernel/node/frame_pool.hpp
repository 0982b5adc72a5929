// The kernel's frames as env::FramePool: a share count beside each, and a limit on how many are
// used.
//
// One shard, like every FramePool. The counts cover all physical memory below the highest frame
// (four bytes each).
#pragma once

#include <memory>

#include "monitors/env/frames.hpp"

namespace tessera::node {

class KernelFramePool final : public env::FramePool {
  public:
    // Uses at most `limit` frames; frames for kernel objects stay outside.
    explicit KernelFramePool(uint64_t limit);

    Result<env::FrameNo> allocate() override;
    void share(env::FrameNo f) override;
    bool release(env::FrameNo f) override;
    uint32_t shares(env::FrameNo f) const override;
    MutableBytes bytes(env::FrameNo f) override;
    env::FrameCounts counts() const override;

  private:
    uint64_t limit_;
    uint64_t used_ = 0;
    uint64_t highest_ = 0; // frame numbers are below this
    std::unique_ptr<uint32_t[]> shares_;
};

} // namespace tessera::node
