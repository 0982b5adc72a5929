// CRC-32, reflected polynomial 0xEDB88320 (IEEE 802.3, zlib): the ICRC of RoCEv2 (IBTA 1.4, section
// 7.8.1 and annex A17) and the checksum of GPT. Slicing-by-8: table driven, because x86's crc32
// instruction computes CRC-32C instead.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"

namespace tessera {

// Running form: start with kCrc32Seed, feed pieces, finish by inverting (crc32_finish).
inline constexpr uint32_t kCrc32Seed = 0xffffffffu;
uint32_t crc32_update(uint32_t state, Bytes data);
constexpr uint32_t crc32_finish(uint32_t state) {
    return ~state;
}
inline uint32_t crc32(Bytes data) {
    return crc32_finish(crc32_update(kCrc32Seed, data));
}

} // namespace tessera
