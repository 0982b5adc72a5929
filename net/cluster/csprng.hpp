// Csprng: unpredictable numbers for rkeys, QPNs, nonces and AT_RANDOM, as HMAC_DRBG over SHA-256
// (NIST SP 800-90A, BearSSL's) from a seed that the environment gathered (protocols.md section 7:
// RDRAND, virtio-rng, jitter). The simulator seeds it with its own seed: then it is a pure
// function.
//
// Owner: whoever composes a node. Not thread-safe: one per shard, or under a lock.
#pragma once

#include <bearssl.h>

#include "base/clock.hpp"

namespace tessera::cluster {

class Csprng final : public Random {
  public:
    static constexpr size_t kMinSeed = 32;
    // `seed` has at least kMinSeed bytes that nobody outside can guess.
    explicit Csprng(Bytes seed);

    uint64_t next() override;
    // More entropy, whenever some turns up; never makes the state worse.
    void stir(Bytes entropy);

  private:
    br_hmac_drbg_context drbg_;
    uint64_t buffer_[16] = {}; // one generate call serves 16 numbers
    unsigned left_ = 0;
};

} // namespace tessera::cluster
