// 24-bit packet sequence numbers (IBTA 9.2.5): addition and comparison modulo 2^24.
#pragma once

#include <cstdint>

namespace tessera::roce {

inline constexpr uint32_t kPsnModulus = 1u << 24;

constexpr uint32_t psn_add(uint32_t psn, uint32_t n) {
    return (psn + n) & (kPsnModulus - 1);
}
// a - b as a signed distance in -2^23 .. 2^23-1.
constexpr int32_t psn_difference(uint32_t a, uint32_t b) {
    return static_cast<int32_t>((a - b) << 8) >> 8;
}
// Packets that `length` bytes take; an empty message is one packet.
constexpr uint32_t packets_of(uint64_t length, uint32_t mtu) {
    return length == 0 ? 1 : static_cast<uint32_t>((length + mtu - 1) / mtu);
}

static_assert(psn_add(0xffffff, 1) == 0);
static_assert(psn_difference(0, 0xffffff) == 1 && psn_difference(0xffffff, 0) == -1);

} // namespace tessera::roce
