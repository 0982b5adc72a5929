// Intrusive hash table: elements chain through a member of their own. Doubles when full; the caller
// supplies hashes and comparisons. Owns the bucket array only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tessera::storage {

template <typename T, T* T::* Next, uint64_t (*Hash)(const T&)>
class HashTable {
  public:
    HashTable() : buckets_(64, nullptr) {}

    size_t size() const { return size_; }
    size_t memory() const { return buckets_.size() * sizeof(T*); }

    template <typename Match>
    T* find(uint64_t hash, Match&& match) const {
        for (T* t = buckets_[hash & (buckets_.size() - 1)]; t; t = t->*Next)
            if (match(*t)) return t;
        return nullptr;
    }
    void insert(T& t) {
        if (size_ >= buckets_.size()) grow();
        T*& bucket = buckets_[Hash(t) & (buckets_.size() - 1)];
        t.*Next = bucket;
        bucket = &t;
        size_++;
    }
    void remove(T& t) {
        for (T** at = &buckets_[Hash(t) & (buckets_.size() - 1)]; *at; at = &((*at)->*Next)) {
            if (*at != &t) continue;
            *at = t.*Next;
            size_--;
            return;
        }
    }

  private:
    void grow() {
        std::vector<T*> old(buckets_.size() * 2, nullptr);
        old.swap(buckets_);
        for (T* t : old) {
            while (t) {
                T* next = t->*Next;
                T*& bucket = buckets_[Hash(*t) & (buckets_.size() - 1)];
                t->*Next = bucket;
                bucket = t;
                t = next;
            }
        }
    }

    std::vector<T*> buckets_;
    size_t size_ = 0;
};

} // namespace tessera::storage
