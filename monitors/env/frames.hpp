// FramePool: 4 KiB page frames with a share count, as the monitors' cores see physical memory.
//
// The kernel hands out RAM reachable through its direct map; hosted builds and the simulator hand
// out heap pages (and count, so that a test sees every leak). One shard; never blocks.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace tessera::env {

using FrameNo = Id<struct FrameNoTag, uint64_t>; // physical address / 4096 in the kernel; 0 = none

struct FrameCounts {
    uint64_t total = 0;
    uint64_t free = 0;
};

class FramePool {
  public:
    virtual Result<FrameNo> allocate() = 0; // share count 1, contents undefined. NoMemory.
    virtual void share(FrameNo f) = 0;      // count + 1
    virtual bool release(FrameNo f) = 0;    // count - 1; true if that freed it
    virtual uint32_t shares(FrameNo f) const = 0;
    virtual MutableBytes bytes(FrameNo f) = 0; // its 4096 bytes
    virtual FrameCounts counts() const = 0;

  protected:
    ~FramePool() = default;
};

} // namespace tessera::env
