// Physical and virtual addresses, never to be mixed up. Page-sized arithmetic lives here too.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace tessera::kernel {

template <typename Tag>
struct Address {
    uint64_t value = 0;

    constexpr Address() = default;
    constexpr explicit Address(uint64_t v) : value(v) {}
    constexpr auto operator<=>(const Address&) const = default;
    constexpr Address operator+(uint64_t bytes) const { return Address(value + bytes); }
    constexpr Address operator-(uint64_t bytes) const { return Address(value - bytes); }
    constexpr uint64_t operator-(Address o) const { return value - o.value; }
    constexpr Address& operator+=(uint64_t bytes) {
        value += bytes;
        return *this;
    }
    constexpr Address page() const { return Address(align_down(value, kPageSize)); }
    constexpr uint64_t page_offset() const { return value & (kPageSize - 1); }
};

using PhysAddr = Address<struct PhysAddrTag>;
using VirtAddr = Address<struct VirtAddrTag>;

// User addresses are [kUserStart, kUserEnd): page 0 stays unmapped, and the last page below the
// canonical hole too, so that no user rip can run into the hole (SYSRET).
inline constexpr VirtAddr kUserStart{0x1000};
inline constexpr VirtAddr kUserEnd{0x0000'7fff'ffff'f000};

constexpr bool is_user_range(VirtAddr start, uint64_t size) {
    return start >= kUserStart && start <= kUserEnd && size <= kUserEnd - start;
}

} // namespace tessera::kernel
