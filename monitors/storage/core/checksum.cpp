#include "monitors/storage/core/checksum.hpp"

#include <bit>

namespace tessera::storage {
namespace {

constexpr uint64_t kP1 = 11400714785074694791ull;
constexpr uint64_t kP2 = 14029467366897019727ull;
constexpr uint64_t kP3 = 1609587929392839161ull;
constexpr uint64_t kP4 = 9650029242287828579ull;
constexpr uint64_t kP5 = 2870177450012600261ull;

uint64_t read64(const std::byte* p) {
    uint64_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

uint64_t mix(uint64_t lane, uint64_t input) {
    return std::rotl(lane + input * kP2, 31) * kP1;
}

uint64_t merge(uint64_t hash, uint64_t lane) {
    return (hash ^ mix(0, lane)) * kP1 + kP4;
}

} // namespace

uint64_t xxh64(Bytes data, uint64_t seed) {
    const std::byte* p = data.data();
    size_t left = data.size();
    uint64_t hash;
    if (left >= 32) {
        uint64_t a = seed + kP1 + kP2, b = seed + kP2, c = seed, d = seed - kP1;
        for (; left >= 32; left -= 32, p += 32) {
            a = mix(a, read64(p));
            b = mix(b, read64(p + 8));
            c = mix(c, read64(p + 16));
            d = mix(d, read64(p + 24));
        }
        hash = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
        hash = merge(merge(merge(merge(hash, a), b), c), d);
    } else {
        hash = seed + kP5;
    }
    hash += data.size();
    for (; left >= 8; left -= 8, p += 8)
        hash = std::rotl(hash ^ mix(0, read64(p)), 27) * kP1 + kP4;
    if (left >= 4) {
        uint32_t v;
        std::memcpy(&v, p, sizeof v);
        hash = std::rotl(hash ^ (v * kP1), 23) * kP2 + kP3;
        left -= 4;
        p += 4;
    }
    for (; left > 0; left--, p++)
        hash = std::rotl(hash ^ (static_cast<uint64_t>(*p) * kP5), 11) * kP1;
    hash = (hash ^ (hash >> 33)) * kP2;
    hash = (hash ^ (hash >> 29)) * kP3;
    return hash ^ (hash >> 32);
}

} // namespace tessera::storage
