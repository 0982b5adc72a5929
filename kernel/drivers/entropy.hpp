// Unpredictable numbers: seed sources, and the generator they feed.
//
// EntropyPool gathers seed material from every SeedSource there is (RDRAND, virtio-rng, timing
// jitter) and expands it with ChaCha20 (RFC 8439) in the fast-key-erasure form: each refill
// replaces the key first, so that a captured state reveals nothing given out before. Safe to use
// with the worst source only if one other is good: seeds are mixed, never replaced.
//
// Not thread-safe: one per shard, or guarded by its owner. fork() makes an independent one.
#pragma once

#include "base/clock.hpp"
#include "kernel/drivers/platform.hpp"

namespace tessera::kernel {

// The ChaCha20 block function: 20 rounds over (key, counter, nonce).
void chacha20_block(const uint32_t (&key)[8], uint32_t counter, const uint32_t (&nonce)[3],
                    uint8_t (&out)[64]);

class SeedSource {
  public:
    // Fills some or all of `out` and returns how many bytes; 0 when it has nothing. Bounded time.
    virtual size_t gather(MutableBytes out) = 0;
    virtual const char* name() const = 0;
    // Whether 32 bytes of it are enough on their own.
    virtual bool strong() const { return true; }

  protected:
    ~SeedSource() = default;
};

class EntropyPool final : public Random {
  public:
    // Takes at least 32 bytes from each source that has them.
    void seed_from(SeedSource& source);
    void mix(Bytes seed);
    // Strong sources that gave at least 32 bytes. rkeys, QPNs and nonces wait until it is not 0.
    unsigned sources() const { return sources_; }

    uint64_t next() override;
    EntropyPool fork();

  private:
    void refill();

    uint32_t key_[8] = {};
    uint8_t block_[64 * 8] = {};
    size_t left_ = 0;
    unsigned sources_ = 0;
};

// Differences between a device or memory access and the time-stamp counter: weak, always there.
// Counts as a source only beside others: gives at most 32 bytes from 4096 samples.
class JitterSource final : public SeedSource {
  public:
    using Ticks = uint64_t (*)();
    explicit JitterSource(Ticks ticks) : ticks_(ticks) {}
    size_t gather(MutableBytes out) override;
    const char* name() const override { return "jitter"; }
    bool strong() const override { return false; }

  private:
    Ticks ticks_;
};

} // namespace tessera::kernel
