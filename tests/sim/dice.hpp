// Dice: randomness split by purpose. Each consumer has a stream that is a function of (seed,
// purpose) only, so that one more draw here shifts nothing there and a shrunk fault list replays
// against the same world.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.hpp"

namespace tessera::sim {

class Dice final : public Random {
  public:
    Dice(uint64_t seed, std::string_view purpose) : state_(seed * 0x2545f4914f6cdd1dull + 1) {
        for (char c : purpose)
            state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
        next();
    }
    uint64_t next() override { // splitmix64
        uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    uint64_t below(uint64_t n) { return next() % n; }
    uint64_t between(uint64_t least, uint64_t most) { return least + below(most - least + 1); }
    bool per_mille(uint64_t n) { return n && below(1000) < n; }

  private:
    uint64_t state_;
};

} // namespace tessera::sim
