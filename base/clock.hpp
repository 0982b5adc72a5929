// Where portable code gets time and randomness from: its environment, never the machine.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "base/units.hpp"

namespace tessera {

class Clock {
  public:
    virtual Nanos now() = 0; // monotonic since an unspecified start; never goes back

  protected:
    ~Clock() = default;
};

class Random {
  public:
    // Unpredictable to anyone outside (rkeys, QPNs, PSNs, nonces come from here); in the simulator
    // a pure function of the seed.
    virtual uint64_t next() = 0;
    void fill(MutableBytes out) {
        while (!out.empty()) {
            uint64_t r = next();
            size_t n = out.size() < sizeof r ? out.size() : sizeof r;
            std::memcpy(out.data(), &r, n);
            out = out.subspan(n);
        }
    }

  protected:
    ~Random() = default;
};

} // namespace tessera
