// The fuzzer's bytes, taken one value after the other; zeros when they are used up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.hpp"

namespace tessera::test {

struct FuzzInput {
    const uint8_t* data;
    size_t left;
    uint8_t byte() { return left ? (left--, *data++) : 0; }
    uint16_t word() { return static_cast<uint16_t>(byte() | byte() << 8); }
    uint32_t dword() { return word() | static_cast<uint32_t>(word()) << 16; }
    uint64_t quad() { return dword() | static_cast<uint64_t>(dword()) << 32; }
    // Mostly small, sometimes anything.
    uint64_t number() {
        uint8_t b = byte();
        if (b < 0xf0) return b;
        if (b < 0xfc) return word();
        return quad();
    }
    Bytes take(size_t n) {
        n = n < left ? n : left;
        Bytes b = std::as_bytes(std::span(data, n));
        data += n;
        left -= n;
        return b;
    }
};

} // namespace tessera::test
