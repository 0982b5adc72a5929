// How boot-time parsers read physical memory: the kernel's direct map, or a buffer in a test.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"

namespace tessera::boot {

class PhysicalMemory {
  public:
    // `size` bytes at `address`, or nothing if any of them is not readable memory.
    virtual Bytes at(uint64_t address, uint64_t size) const = 0;

  protected:
    ~PhysicalMemory() = default;
};

} // namespace tessera::boot
