// World: virtual time, and everything that happens in it, in one thread.
//
// Two sources of action, taken in order of time: events (a frame arrives, a disk completes, a fault
// strikes; equal times in the order they were asked for) and actors (a host that polls because
// something arrived or a deadline of its own is due; after the events of that time, in the order
// they were added). A step of an actor takes kStep of virtual time, so that nobody runs for ever at
// one moment.
//
// The trace is a hash over what a run did: every frame delivered, disk operation, fault, and
// everything a checker looked at. Two runs of one seed agree on it or something took its order or
// its contents from outside the seed. With `print` it is written to stderr as lines as well.
//
// The first failure ends a run; later ones usually follow from it.
#pragma once

#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/function.hpp"
#include "base/units.hpp"

namespace tessera::sim {

class World;

class Actor {
  public:
    virtual void run() = 0;
    virtual Nanos next_deadline() = 0; // in world time; asked after run()

  protected:
    ~Actor() = default;

  private:
    friend class World;
    Nanos due_ = kNever;
    Nanos ran_{-1};
};

class World {
  public:
    static constexpr Nanos kStep = microseconds(1);
    using Event = Function<void(), 96>;

    explicit World(uint64_t seed) : seed(seed) {}

    Nanos now() const { return now_; }
    void at(Nanos time, Event event); // not before now
    void after(Nanos delay, Event event) { at(now_ + delay, std::move(event)); }
    void add(Actor& a) { actors_.push_back(&a); }
    // The actor runs now (after the events of this time, and a step after it last ran).
    void wake(Actor& a);

    // Until `end` or the first failure.
    void run_until(Nanos end);
    // Until done() holds (asked every `every`) or `limit` has passed; whether it held.
    template <typename F>
    bool run_while_not(F&& done, Nanos limit, Nanos every = milliseconds(10)) {
        Nanos end = now_ + limit;
        while (now_ < end && !failed()) {
            if (done()) return true;
            run_until(now_ + every);
        }
        return done();
    }

    [[gnu::format(printf, 2, 3)]] void fail(const char* format, ...);
    bool failed() const { return !failure_.empty(); }
    const std::string& failure() const { return failure_; }

    // Into the hash. `what` is a short constant word.
    void note(const char* what, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0);
    uint64_t hash() const { return hash_; }
    bool print = false;
    uint64_t notes = 0;

    const uint64_t seed;

  private:
    struct Timed {
        Nanos time;
        uint64_t sequence;
        uint32_t slot;
        bool operator<(const Timed& o) const { // of a heap with the earliest on top
            return time != o.time ? time > o.time : sequence > o.sequence;
        }
    };
    Nanos now_ = seconds(1);
    std::vector<Timed> heap_;
    std::vector<Event> slots_;
    std::vector<uint32_t> free_slots_;
    uint64_t sequence_ = 0;
    std::vector<Actor*> actors_;
    uint64_t hash_ = 0xcbf29ce484222325ull;
    std::string failure_;
};

// A hash of contents, for note().
uint64_t digest(Bytes data);

} // namespace tessera::sim
