// Time and randomness of unit tests: a clock that moves when told, numbers from a seed.
#pragma once

#include "base/clock.hpp"

namespace tessera::test {

class VirtualClock final : public Clock {
  public:
    Nanos now() override { return now_; }
    void advance(Nanos by) { now_ += by; }
    void set(Nanos to) {
        if (to > now_) now_ = to;
    }

  private:
    Nanos now_ = seconds(1);
};

class SeededRandom final : public Random {
  public:
    explicit SeededRandom(uint64_t seed) : state_(seed) {}
    uint64_t next() override { // splitmix64
        uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

  private:
    uint64_t state_;
};

} // namespace tessera::test
