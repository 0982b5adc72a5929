// What a link does to frames: loss, duplication, reordering, corruption, delay, rate. One Pipe per
// port and direction; a pipe with no impairment hands frames straight through and copies nothing.
//
// Pure: time comes from the caller, randomness from a seed mixed with the pipe's name, so that a
// run is repeatable and one link's dice do not depend on another link's traffic. Bounded: a pipe
// holds at most kMaxHeldBytes; what does not fit is dropped and counted.
#pragma once

#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace tessera::fabric {

// Probabilities are in parts per million; 0 everywhere is a perfect link.
struct Impairment {
    uint32_t loss = 0;
    uint32_t duplicate = 0;
    uint32_t reorder = 0; // chance to be held back by `reorder_by` while later frames pass
    uint32_t corrupt = 0; // chance that one to three bits behind the Ethernet header flip
    Nanos delay{0};
    Nanos jitter{0}; // uniform, added to delay; keeps frames in order unless reorder says otherwise
    Nanos reorder_by = milliseconds(2);
    uint64_t rate = 0; // bits per second; 0 = unlimited

    bool none() const {
        return loss == 0 && duplicate == 0 && reorder == 0 && corrupt == 0 && delay.value == 0 &&
               jitter.value == 0 && rate == 0;
    }
};

// Applies one "name=value": loss=5% dup=1% reorder=0.5% corrupt=100ppm delay=10ms jitter=200us
// reorder-by=2ms rate=10mbit. InvalidArgument if the name or the value makes no sense.
Result<void> assign(Impairment& impairment, std::string_view assignment);
// The same as text, only what differs from a perfect link; "none" for one.
std::string to_text(const Impairment& impairment);

// A small seeded generator (splitmix64): not for secrets.
class Dice {
  public:
    explicit Dice(uint64_t seed) : state_(seed) {}
    uint64_t next();
    uint64_t below(uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
    bool chance(uint32_t ppm) { return ppm != 0 && below(1'000'000) < ppm; }

  private:
    uint64_t state_;
};

struct PipeCounters {
    uint64_t lost = 0, duplicated = 0, reordered = 0, corrupted = 0, overflowed = 0;
};

class PipeSink {
  public:
    // `frame` stays valid until the switch's output is flushed.
    virtual void on_pipe_output(uint32_t tag, Bytes frame) = 0;

  protected:
    ~PipeSink() = default;
};

class Pipe {
  public:
    static constexpr size_t kMaxHeldBytes = 16u << 20;

    // `tag` is given back with every frame.
    Pipe(uint32_t tag, uint64_t seed) : tag_(tag), dice_(seed) {}

    // Frames already held keep their times; later ones are not made to wait for old delays.
    void set(const Impairment& impairment) {
        impairment_ = impairment;
        last_due_ = line_free_ = Nanos{0};
    }
    const Impairment& impairment() const { return impairment_; }
    const PipeCounters& counters() const { return counters_; }

    void push(Bytes frame, Nanos now, PipeSink& sink);
    // Gives out what is due. The frames' memory lives until the next release() or forget().
    void release(Nanos now, PipeSink& sink);
    void forget() { given_.clear(); }
    bool empty() const { return held_.empty() && given_.empty(); }
    Nanos next_deadline() const { return held_.empty() ? kNever : held_.top().due; }

  private:
    struct Held {
        Nanos due;
        uint64_t order;
        std::vector<std::byte> frame;
        bool operator<(const Held& o) const { // the heap's top is the earliest
            return due != o.due ? due > o.due : order > o.order;
        }
    };
    void hold(std::vector<std::byte> frame, Nanos due);

    uint32_t tag_;
    Impairment impairment_;
    Dice dice_;
    PipeCounters counters_;
    std::priority_queue<Held> held_;
    std::vector<std::vector<std::byte>> given_;
    size_t held_bytes_ = 0;
    uint64_t order_ = 0;
    Nanos line_free_{0}; // when the rate limit lets the next frame start
    Nanos last_due_{0};  // jitter must not reorder
};

} // namespace tessera::fabric
