// PageRadix: a sparse map from page numbers to non-zero 64-bit values (0 means absent), for objects
// of any size: 64-way nodes of 512 bytes, as high as the largest key needs. Visits go in key order.
//
// One owner (a shard); not thread-safe. Nodes come from operator new; empty ones go back at once,
// so memory follows what is stored.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>

#include "base/assert.hpp"

namespace tessera {

class PageRadix {
  public:
    PageRadix() = default;
    ~PageRadix() { clear(); }
    PageRadix(const PageRadix&) = delete;
    PageRadix& operator=(const PageRadix&) = delete;
    PageRadix(PageRadix&& o) noexcept
        : root_(std::exchange(o.root_, nullptr)),
          height_(std::exchange(o.height_, 0)),
          size_(std::exchange(o.size_, 0)) {}

    uint64_t get(uint64_t key) const {
        if (!fits(key)) return 0;
        const Node* n = root_;
        for (unsigned level = height_ - 1; n && level > 0; level--)
            n = child(*n, slot(key, level));
        return n ? n->values[slot(key, 0)] : 0;
    }

    // value 0 removes. Returns what was there.
    uint64_t set(uint64_t key, uint64_t value) {
        if (value == 0) return remove(key);
        while (!fits(key))
            grow();
        if (!root_) root_ = new Node;
        Node* n = root_;
        for (unsigned level = height_ - 1; level > 0; level--) {
            unsigned s = slot(key, level);
            if (!n->values[s]) put(*n, s, reinterpret_cast<uint64_t>(new Node));
            n = child(*n, s);
        }
        uint64_t old = n->values[slot(key, 0)];
        put(*n, slot(key, 0), value);
        if (!old) size_++;
        return old;
    }

    // Calls f(key, value&) for every key in [first, last], ascending. f may change the value to
    // another non-zero one; it must not call back into this radix. Returns false as soon as f does.
    template <typename F>
    bool visit(uint64_t first, uint64_t last, F&& f) {
        if (!root_ || first > last) return true;
        return walk(*root_, height_ - 1, 0, first, last, f);
    }
    template <typename F>
    bool visit_all(F&& f) {
        return visit(0, UINT64_MAX, f);
    }
    // The smallest key >= from that is present; false if there is none.
    bool next(uint64_t from, uint64_t* key, uint64_t* value) {
        bool found = false;
        visit(from, UINT64_MAX, [&](uint64_t k, uint64_t& v) {
            *key = k;
            *value = v;
            found = true;
            return false;
        });
        return found;
    }

    void clear() {
        if (root_) free_tree(root_, height_ - 1);
        root_ = nullptr;
        height_ = 0;
        size_ = 0;
    }
    uint64_t size() const { return size_; }
    bool empty() const { return size_ == 0; }

  private:
    struct Node {
        uint64_t values[64] = {};
        uint64_t present = 0;
    };
    static unsigned slot(uint64_t key, unsigned level) {
        return static_cast<unsigned>(key >> (6 * level)) & 63;
    }
    static Node* child(const Node& n, unsigned s) { return reinterpret_cast<Node*>(n.values[s]); }
    static void put(Node& n, unsigned s, uint64_t v) {
        n.values[s] = v;
        if (v)
            n.present |= 1ull << s;
        else
            n.present &= ~(1ull << s);
    }
    bool fits(uint64_t key) const {
        return height_ >= 11 || (height_ > 0 && (key >> (6 * height_)) == 0);
    }
    void grow() {
        height_++;
        if (!root_) return;
        Node* top = new Node;
        put(*top, 0, reinterpret_cast<uint64_t>(root_));
        root_ = top;
    }
    uint64_t remove(uint64_t key) {
        if (!fits(key) || !root_) return 0;
        Node* path[11];
        Node* n = root_;
        for (unsigned level = height_ - 1; level > 0; level--) {
            path[level] = n;
            n = child(*n, slot(key, level));
            if (!n) return 0;
        }
        uint64_t old = n->values[slot(key, 0)];
        if (!old) return 0;
        put(*n, slot(key, 0), 0);
        size_--;
        for (unsigned level = 1; !n->present; level++) {
            delete n;
            if (level == height_) {
                root_ = nullptr;
                height_ = 0;
                break;
            }
            n = path[level];
            put(*n, slot(key, level), 0);
        }
        return old;
    }
    template <typename F>
    static bool walk(Node& n, unsigned level, uint64_t base, uint64_t first, uint64_t last, F& f) {
        for (uint64_t bits = n.present; bits; bits &= bits - 1) {
            unsigned s = static_cast<unsigned>(std::countr_zero(bits));
            uint64_t low = base | static_cast<uint64_t>(s) << (6 * level);
            uint64_t high = level ? low + ((1ull << (6 * level)) - 1) : low;
            if (high < first) continue;
            if (low > last) return true;
            if (level == 0) {
                if (!f(low, n.values[s])) return false;
            } else if (!walk(*child(n, s), level - 1, low, first, last, f)) {
                return false;
            }
        }
        return true;
    }
    static void free_tree(Node* n, unsigned level) {
        if (level)
            for (uint64_t bits = n->present; bits; bits &= bits - 1)
                free_tree(child(*n, static_cast<unsigned>(std::countr_zero(bits))), level - 1);
        delete n;
    }

    Node* root_ = nullptr;
    unsigned height_ = 0;
    uint64_t size_ = 0;
};

} // namespace tessera
