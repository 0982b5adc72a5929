#include "monitors/storage/core/allocator.hpp"

#include <algorithm>
#include <bit>

#include "base/assert.hpp"

namespace tessera::storage {

Allocator::Allocator(uint64_t blocks)
    : blocks_(blocks),
      free_(blocks),
      words_((blocks + 63) / 64),
      group_free_((blocks + kGroup - 1) / kGroup) {
    for (size_t g = 0; g < group_free_.size(); g++)
        group_free_[g] = static_cast<uint32_t>(std::min(kGroup, blocks - g * kGroup));
    if (blocks % 64) words_.back() = ~uint64_t{0} << (blocks % 64);
}

void Allocator::set(uint64_t block, bool used) {
    uint64_t bit = uint64_t{1} << (block % 64);
    if (used) {
        words_[block / 64] |= bit;
        group_free_[block / kGroup]--;
        free_--;
    } else {
        words_[block / 64] &= ~bit;
        group_free_[block / kGroup]++;
        free_++;
    }
}

bool Allocator::mark(uint64_t first, uint64_t count) {
    if (first > blocks_ || count > blocks_ - first) return false;
    for (uint64_t b = first; b < first + count; b++) {
        if (is_used(static_cast<uint32_t>(b))) return false;
        set(b, true);
    }
    return true;
}

Allocator::Run Allocator::allocate(uint64_t goal, uint32_t want) {
    if (free_ == 0 || want == 0) return {};
    uint64_t at = goal < blocks_ && !is_used(static_cast<uint32_t>(goal)) ? goal : cursor_;
    // Find the first free block at or after `at`, once around.
    for (uint64_t scanned = 0; scanned <= blocks_ + kGroup;) {
        if (at >= blocks_) at = 0;
        if (group_free_[at / kGroup] == 0) {
            uint64_t next = (at / kGroup + 1) * kGroup;
            scanned += next - at;
            at = next;
            continue;
        }
        uint64_t word = ~words_[at / 64] >> (at % 64);
        if (word == 0) {
            uint64_t next = (at / 64 + 1) * 64;
            scanned += next - at;
            at = next;
            continue;
        }
        at += static_cast<uint64_t>(std::countr_zero(word));
        Run run{static_cast<uint32_t>(at), 0};
        while (run.count < want && at < blocks_ && !is_used(static_cast<uint32_t>(at))) {
            set(at, true);
            at++;
            run.count++;
        }
        cursor_ = at;
        return run;
    }
    return {};
}

void Allocator::free(uint32_t first, uint32_t count) {
    for (uint64_t b = first; b < uint64_t{first} + count; b++) {
        ASSERT(is_used(static_cast<uint32_t>(b)));
        set(b, false);
    }
}

void Allocator::free_later(uint32_t first, uint32_t count, uint64_t log_sequence) {
    pending_blocks_ += count;
    if (!pending_.empty()) {
        Pending& last = pending_.back();
        if (last.sequence == log_sequence && last.first + last.count == first) {
            last.count += count;
            return;
        }
    }
    pending_.push_back({first, count, log_sequence});
}

void Allocator::release(uint64_t log_sequence) {
    while (!pending_.empty() && pending_.front().sequence < log_sequence) {
        free(pending_.front().first, pending_.front().count);
        pending_blocks_ -= pending_.front().count;
        pending_.pop_front();
    }
}

} // namespace tessera::storage
