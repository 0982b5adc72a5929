// LatencyHistogram: how long something takes, in constant memory. Log-linear buckets: exact below
// 16 ns, then 16 to each power of two, so a percentile is off by at most 3 %.
//
// record() may be called by any thread at any time; a percentile taken meanwhile is that of about
// then.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "base/units.hpp"

namespace tessera {

class LatencyHistogram {
  public:
    void record(Nanos took) {
        uint64_t v = took.value > 0 ? static_cast<uint64_t>(took.value) : 0;
        buckets_[bucket_of(v)].fetch_add(1, std::memory_order_relaxed);
    }

    uint64_t count() const {
        uint64_t n = 0;
        for (const auto& b : buckets_)
            n += b.load(std::memory_order_relaxed);
        return n;
    }

    // The value that `permille` of all samples do not exceed: 500 is the median. 0 without samples.
    Nanos percentile(unsigned permille) const {
        uint64_t all = count();
        uint64_t rank = (all * permille + 999) / 1000, seen = 0;
        for (size_t i = 0; i < kBuckets && all; i++) {
            seen += buckets_[i].load(std::memory_order_relaxed);
            if (seen >= rank && seen) return {static_cast<int64_t>(middle_of(i))};
        }
        return {};
    }

    void clear() {
        for (auto& b : buckets_)
            b.store(0, std::memory_order_relaxed);
    }

  private:
    static constexpr unsigned kBits = 4; // of precision
    static constexpr size_t kSteps = 1 << kBits;
    static constexpr size_t kBuckets = (64 - kBits) * kSteps;

    static size_t bucket_of(uint64_t v) {
        if (v < kSteps) return v;
        unsigned shift = static_cast<unsigned>(std::bit_width(v)) - 1 - kBits;
        return (shift + 1) * kSteps + ((v >> shift) & (kSteps - 1));
    }
    static uint64_t middle_of(size_t i) {
        if (i < kSteps) return i;
        size_t shift = i / kSteps - 1;
        return ((kSteps + i % kSteps) << shift) + ((uint64_t{1} << shift) >> 1);
    }

    std::array<std::atomic<uint32_t>, kBuckets> buckets_{};
};

} // namespace tessera
