// VmaTree: the mappings of one address space, in order and never overlapping. Pure data structure:
// its owner locks it. Neighbours that say the same are merged.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.hpp"
#include "monitors/process/core/line.hpp"
#include "monitors/process/posix/address_space.hpp"

namespace tessera::pmon {

struct Vma {
    uint64_t start = 0; // bytes, page aligned
    uint64_t end = 0;
    posix::Protection protection = posix::Protection::None;
    posix::Sharing sharing = posix::Sharing::Private;
    bool grows_down = false;
    CacheObject* source = nullptr; // file or shared object; the VMA holds one reference
    posix::FileRef file;           // of a file
    uint64_t offset = 0;           // in source, of `start`
    uint64_t file_bytes =
        UINT64_MAX; // of the mapping that come from the file, counted from `start`
    std::string name;

    uint64_t pages() const { return (end - start) / kPageSize; }
};

class VmaTree {
  public:
    using Map = std::map<uint64_t, Vma>; // by start

    Vma* find(uint64_t address);   // the one that contains it
    Vma* next(uint64_t address);   // the first that ends behind it
    Vma* before(uint64_t address); // the last that ends at or before it
    bool free(uint64_t start, uint64_t end) const;
    bool covered(uint64_t start, uint64_t end) const; // no hole
    void insert(Vma vma);                             // the range is free
    // Cuts VMAs so that none straddles `address`. `held(source)` is called for each new reference.
    void split(uint64_t address, Function<void(CacheObject*), 16> held);
    Map& all() { return map_; }
    const Map& all() const { return map_; }
    // Top-down first fit below `top`, not below `bottom`; 0 if there is none.
    uint64_t find_gap(uint64_t length, uint64_t bottom, uint64_t top) const;
    uint64_t total_pages() const;

  private:
    Map map_;
};

} // namespace tessera::pmon
