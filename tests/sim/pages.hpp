// Page traffic: programs of one vNode on one pComponent, and the model they are checked against.
//
// A program is an address space and a few threads that read, write, discard, move, pin, fork and
// exit. An access is what an MMU and a trap handler make of it: use the translation if it allows
// that, otherwise ask the cache and try again. What is written names itself (a number never used
// before, in all eight sectors of the page), and the model takes it over at that same moment; so a
// fork's image is exactly the parent's model then, however many faults are under way.
//
// Checked: every read sees what the model says, in all sectors; an error only where a fault
// explains it; every request is answered in time. A program that loses its memory dies, as by
// SIGBUS, and another starts.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "tests/sim/roles.hpp"

namespace tessera::sim {

struct PageStats {
    uint64_t operations = 0; // reads, writes
    uint64_t faults = 0;     // of those, asked the cache
    uint64_t forks = 0, exits = 0, moves = 0, discards = 0, pins = 0;
    uint64_t lost = 0; // programs that lost their memory
};

class PageLoad final : public Load {
  public:
    static constexpr uint64_t kPages = 24; // of each of two areas
    static constexpr size_t kMostPrograms = 5;
    static constexpr unsigned kThreads = 2;

    PageLoad(ProcessBoot& p, VnodeId vnode, PageStats& stats);
    ~PageLoad() override;

    void poll() override;
    Nanos next_deadline() override;

    VnodeId vnode() const { return vnode_; }
    // From now on programs only end. ended(): they all have.
    void stop() { stopping_ = true; }
    bool ended() const { return stopping_ && programs_.empty(); }
    uint64_t operations() const { return operations_; }

  private:
    struct Program;
    struct Thread {
        Program* program = nullptr;
        Nanos wake_at = kNever;
        bool waiting = false; // for the cache
        bool write = false;
        uint64_t page = 0; // of the access under way
        bool busy = false; // an access is under way (perhaps not its first try)
        unsigned tries = 0;
        unsigned burst = 1; // operations until it rests
        Nanos began{};
        pmon::PageRequest request;
        pmon::LineId pinned = pmon::kNoLine;
        Nanos pinned_until{};
    };
    struct Program {
        uint64_t id;
        pmon::Space* space;
        std::array<std::array<uint64_t, kPages>, 2> model{};
        std::array<Thread, kThreads> threads;
        bool ending = false;
        uint64_t troubles; // of owner and self when it began
        roce::Ipv4 owner;
        SimMapper& table() { return static_cast<SimMapper&>(*space->mapper); }
        uint64_t& expected(uint64_t page);
    };

    void start_program();
    Program& adopt(pmon::Space& space);
    void run(Thread& t);
    bool access(Thread& t);                // false: waits
    bool touch(Thread& t, env::FrameNo f); // the access itself
    void choose(Thread& t);                // the next thing to do
    void answered(Thread& t, Result<void> how);
    void fork(Program& p);
    void rearrange(Program& p, bool move);
    void end(Program& p);
    bool try_end(Program& p); // true: gone
    uint64_t troubles(roce::Ipv4 owner) const;
    uint64_t any_page() { return (dice_.below(2) ? 0x7ffff000 : 0x10) + dice_.below(kPages); }
    void unpin(Thread& t);
    Nanos now() { return p_.host.clock.now(); }

    ProcessBoot& p_;
    World& world_;
    VnodeId vnode_;
    PageStats& stats_;
    Dice dice_;
    std::vector<std::unique_ptr<Program>> programs_;
    uint64_t next_program_ = 1;
    uint64_t next_value_ = 1;
    uint64_t operations_ = 0;
    Nanos start_at_{};
    bool stopping_ = false;
};

} // namespace tessera::sim
