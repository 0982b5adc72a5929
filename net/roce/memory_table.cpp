#include "net/roce/memory_table.hpp"

namespace tessera::roce {

MemoryTable::MemoryTable(size_t capacity, Random& random)
    : random_(random),
      by_rkey_(capacity),
      slots_(std::make_unique<Region[]>(capacity)),
      capacity_(capacity) {}

MemoryTable::~MemoryTable() = default;

Result<Rkey> MemoryTable::add(Region region) {
    if (region.length == 0 || region.base + region.length < region.base)
        return Fail(Error::InvalidArgument);
    if (by_rkey_.full()) return Fail(Error::NoMemory);
    uint32_t rkey = 0;
    while (rkey == 0 || by_rkey_.find(rkey))
        rkey = static_cast<uint32_t>(random_.next());
    region.rkey = rkey;
    for (size_t i = 0; i < capacity_; i++) {
        if (slots_[i].rkey != 0) continue;
        slots_[i] = region;
        by_rkey_.insert(rkey, slots_[i]);
        return Rkey(rkey);
    }
    return Fail(Error::NoMemory);
}

bool MemoryTable::remove(Rkey rkey) {
    Region* r = by_rkey_.find(rkey.value);
    if (!r) return false;
    by_rkey_.erase(rkey.value);
    *r = {};
    return true;
}

Region* MemoryTable::check(Pd pd, uint32_t rkey, uint64_t address, uint64_t length, Access want) {
    Region* r = by_rkey_.find(rkey);
    if (!r || r->pd != pd) return nullptr;
    auto rights = static_cast<uint8_t>(r->access);
    auto wanted = static_cast<uint8_t>(want);
    if ((rights & wanted) != wanted) return nullptr;
    if (address < r->base || length > r->length || address - r->base > r->length - length)
        return nullptr;
    return r;
}

bool MemoryTable::uses(Pd pd) const {
    for (size_t i = 0; i < capacity_; i++)
        if (slots_[i].rkey != 0 && slots_[i].pd == pd) return true;
    return false;
}

} // namespace tessera::roce
