// A simulated disk with a volatile write cache. It belongs to a host and outlives its boots.
//
// What is written is read back at once; it is durable when a flush that was submitted after its
// completion has completed (or with fua). A power cut leaves of everything else, write by write,
// all, nothing or some of its 512-byte sectors. A reset without a power cut keeps what had
// completed, and of what had not, what the dice say.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "monitors/env/block_device.hpp"
#include "tests/sim/dice.hpp"
#include "tests/sim/world.hpp"

namespace tessera::sim {

class SimDisk final : public env::BlockDevice {
  public:
    SimDisk(World& world, std::string_view name, uint64_t blocks);

    Result<void> submit(env::BlockRequest& request) override;
    uint64_t block_count() const override { return blocks_; }
    uint32_t max_transfer_blocks() const override { return 32; }
    uint32_t queue_depth() const override { return 64; }

    // Completed requests are called back here, in the machine's turn. True: there were some.
    bool poll();
    void plug(Actor* owner) { owner_ = owner; }
    // The machine has stopped. Its requests are forgotten.
    void reset(bool power_cut);

    unsigned read_errors = 0, write_errors = 0; // per mille
    uint64_t reads = 0, writes = 0, flushes = 0;

  private:
    using Block = std::shared_ptr<const std::vector<std::byte>>;
    struct Write {
        uint64_t block;
        Block data, before;
        bool completed = false;
    };
    struct Pending {
        uint64_t id;
        env::BlockRequest request;
        std::vector<uint64_t> writes; // into cache_, by key
        uint64_t covers = 0;          // flush: every write completed by then has a smaller key
        Result<void> how;
    };
    void finish(uint64_t id, uint64_t life);
    void tear(const Write& w);

    World& world_;
    Dice dice_;
    uint64_t blocks_;
    Actor* owner_ = nullptr;
    std::map<uint64_t, Block> durable_, now_;
    std::map<uint64_t, Write> cache_; // in order of submission; not durable yet
    uint64_t next_write_ = 1, next_id_ = 1;
    uint64_t life_ = 0; // resets so far
    std::map<uint64_t, Pending> pending_;
    std::vector<Pending> done_;
};

} // namespace tessera::sim
