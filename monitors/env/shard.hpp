// Shard: the door to a monitor's state (protocols.md section 8).
//
// A posted job runs when nobody else runs the shard: at once in the poster's own context if the
// shard is idle, otherwise in the context that runs it now. No caller may assume that it has
// happened when post() returns. A job takes no sleeping lock and never blocks.
#pragma once

#include "base/function.hpp"
#include "base/result.hpp"

namespace tessera::env {

class Shard {
  public:
    using Job = Function<void(), 64>;
    // Callable from any thread, not from interrupts. Full: the inbox is full, the job was not
    // taken.
    virtual Result<void> post(Job job) = 0;
    // A thread that is about to sleep for something that only the network brings may call this
    // first: it polls the network for a short bounded time. May do nothing.
    virtual void help() {}

  protected:
    ~Shard() = default;
};

} // namespace tessera::env
