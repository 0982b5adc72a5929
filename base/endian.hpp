// Integers in a stated byte order, for wire and disk structures. Unaligned-safe (alignment 1), so a
// structure made of them has no padding. Every such structure static_asserts its size and offsets.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace tessera {

template <typename T, std::endian Order>
struct Ordered {
    unsigned char raw[sizeof(T)] = {};

    constexpr Ordered() = default;
    constexpr Ordered(T v) { set(v); } // implicit: assigning a number to a field is the point
    constexpr operator T() const { return get(); }

    constexpr T get() const {
        T v = 0;
        for (size_t i = 0; i < sizeof(T); i++) {
            size_t shift = 8 * (Order == std::endian::little ? i : sizeof(T) - 1 - i);
            v = static_cast<T>(v | static_cast<T>(static_cast<T>(raw[i]) << shift));
        }
        return v;
    }
    constexpr void set(T v) {
        for (size_t i = 0; i < sizeof(T); i++) {
            size_t shift = 8 * (Order == std::endian::little ? i : sizeof(T) - 1 - i);
            raw[i] = static_cast<unsigned char>(v >> shift);
        }
    }
};

using Be16 = Ordered<uint16_t, std::endian::big>;
using Be32 = Ordered<uint32_t, std::endian::big>;
using Be64 = Ordered<uint64_t, std::endian::big>;
using Le16 = Ordered<uint16_t, std::endian::little>;
using Le32 = Ordered<uint32_t, std::endian::little>;
using Le64 = Ordered<uint64_t, std::endian::little>;

static_assert(sizeof(Be16) == 2 && alignof(Be16) == 1);
static_assert(sizeof(Le64) == 8 && alignof(Le64) == 1);

} // namespace tessera
