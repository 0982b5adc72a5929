// MemoryTable: registered memory by rkey. An rkey is 32 random bits; a use is checked for
// protection domain, rights and range (IBTA 9.7.4.1.3 to .5) before anything is touched.
#pragma once

#include "base/clock.hpp"
#include "base/pool.hpp"
#include "net/roce/id_table.hpp"
#include "net/roce/verbs.hpp"

namespace tessera::roce {

struct Region {
    Pd pd;
    uint32_t rkey = 0;
    uint64_t base = 0;
    uint64_t length = 0;
    Access access = Access::None;
    std::byte* memory = nullptr;      // flat, or
    RegionBackend* backend = nullptr; // paged
};

class MemoryTable {
  public:
    MemoryTable(size_t capacity, Random& random);
    ~MemoryTable();

    Result<Rkey> add(Region region); // InvalidArgument: the range wraps; NoMemory: table full
    bool remove(Rkey rkey);
    // The region if [address, address + length) may be used with `want` by domain pd.
    Region* check(Pd pd, uint32_t rkey, uint64_t address, uint64_t length, Access want);
    bool uses(Pd pd) const;

  private:
    Random& random_;
    IdTable<Region> by_rkey_;
    std::unique_ptr<Region[]> slots_;
    size_t capacity_;
};

} // namespace tessera::roce
