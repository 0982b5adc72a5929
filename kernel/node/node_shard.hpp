// NodeShard: the one shard of a component (protocols.md section 8): network stack, RPC and monitor
// core. A bounded inbox, and whoever finds it idle runs it until it is empty.
#pragma once

#include "base/ring.hpp"
#include "kernel/sync/spinlock.hpp"
#include "monitors/env/shard.hpp"

namespace tessera::node {

class NodeShard final : public env::Shard {
  public:
    static constexpr size_t kInbox = 1024;

    Result<void> post(Job job) override;
    void help() override {
        if (help_) help_();
    }
    // What help() does: one bounded look at the network.
    void set_help(void (*help)()) { help_ = help; }
    bool running() const { return running_; }

  private:
    kernel::Spinlock lock_;
    Ring<Job, kInbox> inbox_;
    bool running_ = false;
    void (*help_)() = nullptr;
};

} // namespace tessera::node
