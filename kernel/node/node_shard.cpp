#include "kernel/node/node_shard.hpp"

namespace tessera::node {

Result<void> NodeShard::post(Job job) {
    {
        kernel::SpinGuard guard(lock_);
        if (running_) {
            if (!inbox_.push(std::move(job))) return std::unexpected(Error::Full);
            return {};
        }
        running_ = true;
    }
    job();
    for (;;) {
        Job next;
        {
            kernel::SpinGuard guard(lock_);
            if (inbox_.empty()) {
                running_ = false;
                return {};
            }
            next = inbox_.pop();
        }
        next();
    }
}

} // namespace tessera::node
