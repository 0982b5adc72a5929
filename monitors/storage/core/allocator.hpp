// Allocator: which blocks of the data area are free. In memory only; rebuilt from the extents at
// mount.
//
// A freed block is not reused at once: the record that freed it must be durable, and a durable log
// block must say so (log.hpp). Until then recovery may go back to a state in which the block still
// belongs to its file, or may want to read it to judge the log's tail.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace tessera::storage {

class Allocator {
  public:
    explicit Allocator(uint64_t blocks);

    // Up to `want` contiguous blocks, at `goal` if that is free, else the next run found. Count 0:
    // none.
    struct Run {
        uint32_t first = 0;
        uint32_t count = 0;
    };
    Run allocate(uint64_t goal, uint32_t want);
    void free(uint32_t first, uint32_t count); // never referred to by a record
    void free_later(uint32_t first, uint32_t count, uint64_t log_sequence);
    // Everything freed by log blocks below `log_sequence` may be reused.
    void release(uint64_t log_sequence);

    // For mount and check: false if some of it was marked before or is out of range.
    bool mark(uint64_t first, uint64_t count);
    bool is_used(uint32_t block) const { return words_[block / 64] >> (block % 64) & 1; }

    uint64_t blocks() const { return blocks_; }
    uint64_t free_blocks() const { return free_; }
    uint64_t pending_blocks() const { return pending_blocks_; }

  private:
    static constexpr uint64_t kGroup =
        4096; // blocks whose free count is kept, to skip full stretches
    void set(uint64_t block, bool used);

    struct Pending {
        uint32_t first;
        uint32_t count;
        uint64_t sequence;
    };
    uint64_t blocks_;
    uint64_t free_;
    uint64_t pending_blocks_ = 0;
    uint64_t cursor_ = 0;
    std::vector<uint64_t> words_;
    std::vector<uint32_t> group_free_;
    std::deque<Pending> pending_; // sequences never fall
};

} // namespace tessera::storage
