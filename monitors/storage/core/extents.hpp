// ExtentMap: which blocks of the data area hold which blocks of a file. Sorted, without overlaps,
// neighbours that continue each other merged. Lookup is logarithmic; a change in the middle moves
// the extents behind it (12 bytes each).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera::storage {

struct Extent {
    uint32_t file_block = 0;
    uint32_t disk_block = 0;
    uint32_t count = 0;
    uint64_t end() const { return uint64_t{file_block} + count; }
};

class ExtentMap {
  public:
    // The extent that contains `block`, or else the first one after it; end() if there is none.
    std::vector<Extent>::const_iterator find(uint64_t block) const {
        return std::partition_point(extents_.begin(), extents_.end(),
                                    [block](const Extent& e) { return e.end() <= block; });
    }
    auto begin() const { return extents_.begin(); }
    auto end() const { return extents_.end(); }
    size_t size() const { return extents_.size(); }
    uint64_t blocks() const { return blocks_; }
    size_t memory() const { return extents_.capacity() * sizeof(Extent); }

    uint64_t mapped_in(uint64_t from, uint64_t count) const {
        uint64_t mapped = 0;
        for (auto e = find(from); e != end() && e->file_block < from + count; ++e)
            mapped += std::min(e->end(), from + count) - std::max<uint64_t>(e->file_block, from);
        return mapped;
    }

    // Unmaps [from, from + count); calls freed(disk_block, count) for each run that was mapped.
    template <typename F>
    void punch(uint64_t from, uint64_t count, F&& freed) {
        uint64_t to = from + count;
        size_t i = static_cast<size_t>(find(from) - extents_.begin());
        if (i == extents_.size() || extents_[i].file_block >= to) return;
        Extent& first = extents_[i];
        if (first.file_block < from && first.end() > to) { // a hole inside one extent
            Extent tail{static_cast<uint32_t>(to),
                        static_cast<uint32_t>(first.disk_block + (to - first.file_block)),
                        static_cast<uint32_t>(first.end() - to)};
            freed(static_cast<uint32_t>(first.disk_block + (from - first.file_block)),
                  static_cast<uint32_t>(count));
            first.count = static_cast<uint32_t>(from - first.file_block);
            blocks_ -= count;
            extents_.insert(extents_.begin() + static_cast<std::ptrdiff_t>(i) + 1, tail);
            return;
        }
        if (first.file_block < from) {
            uint32_t keep = static_cast<uint32_t>(from - first.file_block);
            freed(first.disk_block + keep, first.count - keep);
            blocks_ -= first.count - keep;
            first.count = keep;
            i++;
        }
        size_t last = i;
        for (; last < extents_.size() && extents_[last].end() <= to; last++) {
            freed(extents_[last].disk_block, extents_[last].count);
            blocks_ -= extents_[last].count;
        }
        if (last < extents_.size() && extents_[last].file_block < to) {
            Extent& e = extents_[last];
            uint32_t cut = static_cast<uint32_t>(to - e.file_block);
            freed(e.disk_block, cut);
            blocks_ -= cut;
            e.file_block += cut;
            e.disk_block += cut;
            e.count -= cut;
        }
        extents_.erase(extents_.begin() + static_cast<std::ptrdiff_t>(i),
                       extents_.begin() + static_cast<std::ptrdiff_t>(last));
    }

    // The range must be unmapped.
    void insert(Extent e) {
        blocks_ += e.count;
        size_t i = static_cast<size_t>(find(e.file_block) - extents_.begin());
        auto continues = [](const Extent& a, const Extent& b) {
            return a.end() == b.file_block && uint64_t{a.disk_block} + a.count == b.disk_block;
        };
        bool left = i > 0 && continues(extents_[i - 1], e);
        bool right = i < extents_.size() && continues(e, extents_[i]);
        if (left && right) {
            extents_[i - 1].count += e.count + extents_[i].count;
            extents_.erase(extents_.begin() + static_cast<std::ptrdiff_t>(i));
        } else if (left) {
            extents_[i - 1].count += e.count;
        } else if (right) {
            extents_[i].file_block = e.file_block;
            extents_[i].disk_block = e.disk_block;
            extents_[i].count += e.count;
        } else {
            extents_.insert(extents_.begin() + static_cast<std::ptrdiff_t>(i), e);
        }
    }

  private:
    std::vector<Extent> extents_;
    uint64_t blocks_ = 0;
};

} // namespace tessera::storage
