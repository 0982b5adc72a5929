// HaltPoll: keeps the host's CPUs from halting while frames flow.
//
// A round trip between two guests wakes some eight threads one after the other (virtual CPU, QEMU's
// loop, this switch, and back). On a host that is itself a virtual machine each wake-up of a halted
// CPU goes through its hypervisor and costs 30 to 60 us, more than everything else on the way
// together (docs/performance.md). The cure is halt polling, which KVM and Linux's haltpoll know,
// but only root may turn on: here threads of the lowest scheduling class (SCHED_IDLE: whoever else
// wants the CPU gets it at once) spin for kLinger after the last of frames that follow each other
// closely. A quiet cluster costs nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.hpp"

namespace tessera::fabric {

class HaltPoll {
  public:
    static constexpr Nanos kLinger = microseconds(500);
    static constexpr Nanos kClose = milliseconds(1); // frames that are a conversation

    // 0 threads: does nothing. The clock is read in each thread.
    HaltPoll(Clock& clock, unsigned threads);
    ~HaltPoll();
    HaltPoll(const HaltPoll&) = delete;

    void on_traffic(Nanos now);                          // in one thread
    Nanos until() const { return Nanos{until_.load()}; } // CPUs are kept awake

    static unsigned most_threads(); // one per CPU, at most 4
    // The same where halting is expensive and CPUs are few, else 0.
    static unsigned threads_for_this_host();

  private:
    static void pin(unsigned number); // the calling thread
    void spin(unsigned number);

    Clock& clock_;
    Nanos last_{0}; // traffic
    std::atomic<int64_t> until_{0};
    std::atomic<bool> stop_{false};
    std::atomic<unsigned> sleeping_{0};
    std::mutex mutex_;
    std::condition_variable more_;
    std::vector<std::thread> threads_;
};

} // namespace tessera::fabric
