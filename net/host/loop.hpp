// Loop: the epoll event loop of a hosted program (managers, tess). Watches file descriptors, runs
// the pollables (SoftPort, rpc::Node, Membership...) after each wake-up, and sleeps until the
// earliest of their deadlines. SIGTERM and SIGINT arrive through a signalfd and end run().
//
// One thread; everything is called from run(). Bounds: kMaxWatches descriptors.
#pragma once

#include <array>
#include <vector>

#include "base/clock.hpp"
#include "base/function.hpp"
#include "base/ref.hpp"
#include "base/result.hpp"

namespace tessera::net::host {

class Loop {
  public:
    explicit Loop(Clock& clock);
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // Blocks SIGTERM and SIGINT for the process and ends run() when one comes, with its number.
    Result<void> catch_signals();
    // Calls `ready` with the epoll event bits. The caller keeps the descriptor open until unwatch.
    Result<void> watch(int fd, uint32_t events, Function<void(uint32_t events)> ready);
    Result<void> change(int fd, uint32_t events);
    void unwatch(int fd);
    // Run after every wake-up, in the order added. `poll` returns how much it did; `deadline` when
    // it must run again.
    void add(Function<unsigned()> poll, Function<Nanos()> deadline);

    // Until stop() or a signal. Returns the signal's number, 0 after stop().
    int run();
    // One round: waits at most `longest`.
    void run_once(Nanos longest);
    void stop() { stopping_ = true; }

  private:
    struct Watch {
        int fd;
        Function<void(uint32_t)> ready;
    };
    struct Pollable {
        Function<unsigned()> poll;
        Function<Nanos()> deadline;
    };

    Clock& clock_;
    int epoll_ = -1;
    int signals_ = -1;
    int signal_ = 0;
    bool stopping_ = false;
    std::vector<Own<Watch>> watches_;
    std::vector<Own<Watch>> dead_; // unwatched inside a round: freed at its end
    std::vector<Own<Pollable>> pollables_;
};

} // namespace tessera::net::host
