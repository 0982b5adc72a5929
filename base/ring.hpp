// Fixed-capacity FIFO without allocation. Full is an answer (push returns false), never a surprise.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include "base/assert.hpp"

namespace tessera {

template <typename T, size_t Capacity>
class Ring {
  public:
    bool empty() const { return count_ == 0; }
    bool full() const { return count_ == Capacity; }
    size_t count() const { return count_; }
    static constexpr size_t capacity() { return Capacity; }

    [[nodiscard]] bool push(T v) {
        if (full()) return false;
        items_[(first_ + count_) % Capacity] = std::move(v);
        count_++;
        return true;
    }
    T pop() {
        ASSERT(!empty());
        T v = std::move(items_[first_]);
        first_ = (first_ + 1) % Capacity;
        count_--;
        return v;
    }
    T& front() {
        ASSERT(!empty());
        return items_[first_];
    }
    // i counts from the oldest.
    T& operator[](size_t i) {
        ASSERT(i < count_);
        return items_[(first_ + i) % Capacity];
    }
    void clear() {
        while (!empty())
            pop();
    }

  private:
    std::array<T, Capacity> items_{};
    size_t first_ = 0;
    size_t count_ = 0;
};

} // namespace tessera
