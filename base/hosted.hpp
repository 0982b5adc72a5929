// What a hosted program supplies to portable code: the machine's clock and entropy, a log on
// stderr.
#pragma once

#include "base/clock.hpp"

namespace tessera {

class HostClock final : public Clock {
  public:
    Nanos now() override; // CLOCK_MONOTONIC
};

class HostRandom final : public Random {
  public:
    uint64_t next() override; // getrandom(2), buffered
  private:
    uint64_t buffer_[32];
    unsigned left_ = 0;
};

// Log lines go to stderr as "gpm: text"; `program` prefixes them and must outlive the program.
void log_to_stderr(const char* program);

} // namespace tessera
