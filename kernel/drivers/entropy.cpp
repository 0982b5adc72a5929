#include "kernel/drivers/entropy.hpp"

#include <bit>

namespace tessera::kernel {

namespace {
constexpr size_t kSeedSize = 32;
} // namespace

void EntropyPool::mix(Bytes seed) {
    while (!seed.empty()) {
        size_t n = seed.size() < kSeedSize ? seed.size() : kSeedSize;
        uint32_t words[8] = {};
        std::memcpy(words, seed.data(), n);
        for (int i = 0; i < 8; i++)
            key_[i] ^= words[i];
        seed = seed.subspan(n);
        refill(); // permutes the key, so that the next chunk does not cancel this one
    }
}

void EntropyPool::seed_from(SeedSource& source) {
    std::byte seed[kSeedSize * 2];
    size_t got = 0;
    while (got < kSeedSize) {
        size_t n = source.gather(MutableBytes(seed).subspan(got));
        if (n == 0) break;
        got += n;
    }
    mix(Bytes(seed, got));
    if (got >= kSeedSize && source.strong()) sources_++;
}

// The first block becomes the next key; the others are given out, each byte once.
void EntropyPool::refill() {
    static constexpr uint32_t kNonce[3] = {};
    uint8_t fresh[64];
    uint32_t key[8];
    std::memcpy(key, key_, sizeof key);
    chacha20_block(key, 0, kNonce, fresh);
    std::memcpy(key_, fresh, sizeof key_);
    for (uint32_t i = 0; i < sizeof block_ / 64; i++) {
        chacha20_block(key, i + 1, kNonce, fresh);
        std::memcpy(block_ + 64 * i, fresh, 64);
    }
    left_ = sizeof block_;
}

uint64_t EntropyPool::next() {
    if (left_ < sizeof(uint64_t)) refill();
    uint8_t* at = block_ + (sizeof block_ - left_);
    uint64_t v;
    std::memcpy(&v, at, sizeof v);
    std::memset(at, 0, sizeof v);
    left_ -= sizeof v;
    return v;
}

EntropyPool EntropyPool::fork() {
    EntropyPool child;
    std::byte seed[kSeedSize];
    fill(seed);
    child.mix(seed);
    child.sources_ = sources_;
    return child;
}

size_t JitterSource::gather(MutableBytes out) {
    constexpr unsigned kSamples = 4096;
    uint64_t state[4] = {};
    uint64_t last = ticks_();
    bool moves = false;
    for (unsigned i = 0; i < kSamples; i++) {
        uint64_t now = ticks_();
        uint64_t delta = now - last;
        moves |= delta != 0;
        last = now;
        uint64_t& s = state[i % 4];
        s = std::rotl(s ^ delta, 11) * 0x9e37'79b9'7f4a'7c15ull + now;
    }
    if (!moves) return 0;
    size_t n = out.size() < sizeof state ? out.size() : sizeof state;
    std::memcpy(out.data(), state, n);
    return n;
}

} // namespace tessera::kernel
