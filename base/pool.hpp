// Pool<T>: a fixed number of T, allocated once when it is built, handed out and returned in
// constant time. An empty pool is an Error (NoMemory), never an allocation. Not thread-safe: its
// owner is a shard or holds a lock.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include "base/assert.hpp"

namespace tessera {

template <typename T>
class Pool {
  public:
    explicit Pool(size_t capacity)
        : slots_(std::make_unique<Slot[]>(capacity)), capacity_(capacity) {
        for (size_t i = capacity; i > 0; i--)
            release_slot(slots_[i - 1]);
    }
    ~Pool() { ASSERT(in_use_ == 0); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    // nullptr when the pool is empty.
    template <typename... Args>
    [[nodiscard]] T* create(Args&&... args) {
        if (!free_) return nullptr;
        Slot* s = free_;
        free_ = s->next;
        in_use_++;
        return new (s->storage) T(std::forward<Args>(args)...);
    }
    void destroy(T* t) {
        t->~T();
        in_use_--;
        release_slot(*reinterpret_cast<Slot*>(t));
    }

    size_t in_use() const { return in_use_; }
    size_t capacity() const { return capacity_; }

  private:
    union Slot {
        Slot() : next(nullptr) {}
        Slot* next;
        alignas(T) unsigned char storage[sizeof(T)];
    };
    void release_slot(Slot& s) {
        s.next = free_;
        free_ = &s;
    }

    std::unique_ptr<Slot[]> slots_;
    Slot* free_ = nullptr;
    size_t capacity_;
    size_t in_use_ = 0;
};

} // namespace tessera
