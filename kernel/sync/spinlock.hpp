// Spinlock: mutual exclusion between CPUs and interrupts, for a few dozen instructions. Switches
// interrupts off while held; so nothing that may sleep, fault or wait happens under it (user_copy
// and Mutex assert it). Not recursive.
#pragma once

#include <atomic>

#include "kernel/arch/contract.hpp"

namespace tessera::kernel {

class Spinlock {
  public:
    Spinlock() = default;
    Spinlock(const Spinlock&) = delete;
    Spinlock& operator=(const Spinlock&) = delete;

    [[nodiscard]] uint64_t lock() {
        uint64_t saved = arch::irq_save();
        while (held_.exchange(true, std::memory_order_acquire)) {
            while (held_.load(std::memory_order_relaxed))
                arch::pause();
        }
        return saved;
    }
    void unlock(uint64_t saved) {
        held_.store(false, std::memory_order_release);
        arch::irq_restore(saved);
    }
    bool held() const { return held_.load(std::memory_order_relaxed); }

  private:
    std::atomic<bool> held_{false};
};

class SpinGuard {
  public:
    explicit SpinGuard(Spinlock& l) : l_(l), saved_(l.lock()) {}
    ~SpinGuard() { l_.unlock(saved_); }
    SpinGuard(const SpinGuard&) = delete;
    SpinGuard& operator=(const SpinGuard&) = delete;

  private:
    Spinlock& l_;
    uint64_t saved_;
};

} // namespace tessera::kernel
