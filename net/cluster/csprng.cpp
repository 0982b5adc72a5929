#include "net/cluster/csprng.hpp"

#include "base/assert.hpp"

namespace tessera::cluster {

Csprng::Csprng(Bytes seed) {
    ASSERT(seed.size() >= kMinSeed);
    br_hmac_drbg_init(&drbg_, &br_sha256_vtable, seed.data(), seed.size());
}

uint64_t Csprng::next() {
    if (left_ == 0) {
        br_hmac_drbg_generate(&drbg_, buffer_, sizeof buffer_);
        left_ = sizeof buffer_ / sizeof buffer_[0];
    }
    uint64_t v = buffer_[--left_];
    buffer_[left_] = 0; // what was handed out is not kept
    return v;
}

void Csprng::stir(Bytes entropy) {
    br_hmac_drbg_update(&drbg_, entropy.data(), entropy.size());
    left_ = 0;
}

} // namespace tessera::cluster
