// IdTable<T>: random 32-bit ids (QPNs, rkeys) to borrowed T*, open addressing over a table
// allocated once. Id 0 is never stored. Lookups touch one or two cache lines; nothing allocates
// after set-up.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/assert.hpp"

namespace tessera::roce {

template <typename T>
class IdTable {
  public:
    explicit IdTable(size_t capacity)
        : capacity_(capacity),
          mask_(std::bit_ceil(capacity * 2 + 2) - 1),
          slots_(std::make_unique<Slot[]>(mask_ + 1)) {}

    bool full() const { return count_ == capacity_; }
    size_t count() const { return count_; }

    T* find(uint32_t id) const {
        if (id == 0) return nullptr;
        for (size_t i = home(id); slots_[i].id; i = (i + 1) & mask_)
            if (slots_[i].id == id) return slots_[i].value;
        return nullptr;
    }
    void insert(uint32_t id, T& value) {
        ASSERT(!full() && id != 0);
        size_t i = home(id);
        while (slots_[i].id)
            i = (i + 1) & mask_;
        slots_[i] = {id, &value};
        count_++;
    }
    void erase(uint32_t id) {
        size_t i = home(id);
        while (slots_[i].id != id) {
            if (!slots_[i].id) return;
            i = (i + 1) & mask_;
        }
        count_--;
        // Close the hole: move back every later entry of the run that may stand here.
        for (size_t j = (i + 1) & mask_; slots_[j].id; j = (j + 1) & mask_) {
            if (((j - home(slots_[j].id)) & mask_) >= ((j - i) & mask_)) {
                slots_[i] = slots_[j];
                i = j;
            }
        }
        slots_[i] = {};
    }

  private:
    struct Slot {
        uint32_t id = 0;
        T* value = nullptr;
    };
    size_t home(uint32_t id) const { return (id * 0x9e3779b1u >> 7) & mask_; }

    size_t capacity_;
    size_t count_ = 0;
    size_t mask_;
    std::unique_ptr<Slot[]> slots_;
};

} // namespace tessera::roce
