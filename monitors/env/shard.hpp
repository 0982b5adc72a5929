// Shard: where a monitor core's state may be touched (protocols.md section 8). Posting is how to
// enter: if nobody is inside, the caller runs the step (and whatever else is posted meanwhile) at
// once; otherwise whoever is inside runs it soon. So a caller never waits for a shard, and must not
// assume that its step has run when post() returns.
//
// A step takes no lock, touches no user memory, blocks never, and is short.
// Implementations: kernel/node (components), tests (direct, or under TSan with threads).
#pragma once

#include "base/function.hpp"
#include "base/result.hpp"

namespace tessera::env {

class Shard {
  public:
    // From threads, not from interrupts. Full: the inbox is full and the step was dropped.
    virtual Result<void> post(Function<void(), 64> step) = 0;

  protected:
    ~Shard() = default;
};

} // namespace tessera::env
