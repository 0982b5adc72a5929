#include "monitors/process/memory/vma_tree.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace tessera::pmon {

Vma* VmaTree::next(uint64_t address) {
    auto it = map_.upper_bound(address);
    if (it != map_.begin()) {
        auto before = std::prev(it);
        if (before->second.end > address) return &before->second;
    }
    return it == map_.end() ? nullptr : &it->second;
}

Vma* VmaTree::find(uint64_t address) {
    Vma* v = next(address);
    return v && v->start <= address ? v : nullptr;
}

Vma* VmaTree::before(uint64_t address) {
    auto it = map_.lower_bound(address);
    return it == map_.begin() ? nullptr : &std::prev(it)->second;
}

bool VmaTree::free(uint64_t start, uint64_t end) const {
    Vma* v = const_cast<VmaTree*>(this)->next(start);
    return !v || v->start >= end;
}

bool VmaTree::covered(uint64_t start, uint64_t end) const {
    while (start < end) {
        Vma* v = const_cast<VmaTree*>(this)->find(start);
        if (!v) return false;
        start = v->end;
    }
    return true;
}

void VmaTree::insert(Vma vma) {
    ASSERT(vma.start < vma.end && free(vma.start, vma.end));
    // Anonymous private memory that continues its neighbour is one mapping with it.
    Vma* b = before(vma.start);
    if (b && b->end == vma.start && !b->source && !vma.source && b->protection == vma.protection &&
        b->sharing == vma.sharing && !b->grows_down && !vma.grows_down && b->name == vma.name) {
        b->end = vma.end;
        return;
    }
    uint64_t start = vma.start;
    map_.emplace(start, std::move(vma));
}

void VmaTree::split(uint64_t address, Function<void(CacheObject*), 16> held) {
    Vma* v = find(address);
    if (!v || v->start == address) return;
    Vma upper = *v;
    uint64_t delta = address - v->start;
    upper.start = address;
    upper.offset += delta;
    if (upper.file_bytes != UINT64_MAX) upper.file_bytes -= std::min(upper.file_bytes, delta);
    upper.grows_down = false;
    v->end = address;
    if (upper.source && held) held(upper.source);
    map_.emplace(address, std::move(upper));
}

uint64_t VmaTree::find_gap(uint64_t length, uint64_t bottom, uint64_t top) const {
    uint64_t end = top;
    for (auto it = map_.rbegin(); it != map_.rend(); ++it) {
        const Vma& v = it->second;
        if (v.start >= end) continue;
        if (v.end <= end && end - v.end >= length && end - length >= bottom) return end - length;
        end = std::min(end, v.start);
    }
    return end >= bottom && end - bottom >= length ? end - length : 0;
}

uint64_t VmaTree::total_pages() const {
    uint64_t n = 0;
    for (auto& [start, v] : map_)
        n += v.pages();
    return n;
}

} // namespace tessera::pmon
