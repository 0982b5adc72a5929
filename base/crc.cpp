#include "base/crc.hpp"

#include <array>

namespace tessera {
namespace {

using Tables = std::array<std::array<uint32_t, 256>, 8>;

consteval Tables make_tables() {
    Tables t{};
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = (c & 1) ? (c >> 1) ^ 0xedb88320u : c >> 1;
        t[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (size_t k = 1; k < 8; k++)
            t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xff];
    return t;
}

constexpr Tables kTables = make_tables();

uint32_t by_tables(uint32_t c, Bytes data) {
    const std::byte* p = data.data();
    size_t n = data.size();
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        std::memcpy(&v, p, 8);
        v ^= c;
        c = kTables[7][v & 0xff] ^ kTables[6][(v >> 8) & 0xff] ^ kTables[5][(v >> 16) & 0xff] ^
            kTables[4][(v >> 24) & 0xff] ^ kTables[3][(v >> 32) & 0xff] ^
            kTables[2][(v >> 40) & 0xff] ^ kTables[1][(v >> 48) & 0xff] ^ kTables[0][v >> 56];
    }
    for (; n > 0; p++, n--)
        c = (c >> 8) ^ kTables[0][(c ^ static_cast<uint32_t>(*p)) & 0xff];
    return c;
}

constexpr size_t kAhead = 5; // words that a word reaches
constexpr size_t kLong = 256;

} // namespace

// Long data without tables: one load for eight bytes instead of nine, which is what counts under an
// emulator. x^300 + x^155 + x^117 + x^89 + 1 is a multiple of the CRC's polynomial, so a bit may be
// replaced by the four bits 145, 183, 211 and 300 behind it (300 - 155, - 117, - 89, - 0) without a
// change of the remainder. Each word is moved that way into the words behind it, and only the last
// ones are left to the tables.
uint32_t crc32_update(uint32_t crc, Bytes data) {
    if (data.size() < kLong) return by_tables(crc, data);
    const std::byte* p = data.data();
    size_t n = data.size();
    uint64_t c0 = crc, c1 = 0, c2 = 0, c3 = 0,
             c4 = 0; // what the words from p on are to be changed by
#pragma clang loop unroll_count(5)
    for (; n >= (kAhead + 1) * 8; p += 8, n -= 8) {
        uint64_t w;
        std::memcpy(&w, p, 8);
        w ^= c0;
        c0 = c1;
        c1 = c2 ^ (w << 17) ^ (w << 55);
        c2 = c3 ^ (w >> 47) ^ (w >> 9) ^ (w << 19);
        c3 = c4 ^ (w >> 45) ^ (w << 44);
        c4 = w >> 20;
    }
    std::array<uint64_t, kAhead> last;
    std::memcpy(last.data(), p, sizeof last);
    const uint64_t changes[kAhead] = {c0, c1, c2, c3, c4};
    for (size_t i = 0; i < kAhead; i++)
        last[i] ^= changes[i];
    uint32_t c = by_tables(0, bytes_of(last));
    return by_tables(c, data.subspan(data.size() - n + sizeof last));
}

} // namespace tessera
