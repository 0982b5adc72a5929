// BlockDevice: an asynchronous disk of 4 KiB blocks, as the storage monitor's core sees it.
// Implementations: kernel/drivers/nvme (one queue pair per client), a file (host tools), tests/sim.
//
// Called from one shard; done() comes back in that shard, possibly inside submit() (the file device
// completes at once), in any order. Durability: a completed Write survives a power cut only after a
// Flush submitted later has completed, or if it carried fua.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "base/function.hpp"
#include "base/result.hpp"

namespace tessera::env {

inline constexpr size_t kBlockSize = 4096;

enum class BlockOp : uint8_t { Read, Write, Flush };

struct BlockRequest {
    BlockOp op = BlockOp::Read;
    bool fua = false;         // Write only: durable when done
    uint64_t block = 0;       // in units of kBlockSize
    MutableBytes buffer = {}; // multiple of kBlockSize; owned by the device until done
    Function<void(Result<void>), 64> done;
};

class BlockDevice {
  public:
    // Takes the request. Full: the queue is full, the request was not taken and stays with the
    // caller. Errors of the transfer itself (Io, Range) arrive in done().
    virtual Result<void> submit(BlockRequest& request) = 0;
    virtual uint64_t block_count() const = 0;
    virtual uint32_t max_transfer_blocks() const = 0;
    virtual uint32_t queue_depth() const = 0;

  protected:
    ~BlockDevice() = default;
};

} // namespace tessera::env
