// FutexTable: threads that wait for a word of user memory to change. WAIT and WAKE (with bitsets),
// REQUEUE. Keys are (memory object, offset), so processes that share memory meet.
// One lock of rank Futex; the word is compared under it through AddressSpace::load_word (a UserPin,
// which does not fault).
#pragma once

#include "base/list.hpp"
#include "kernel/sync/wait_queue.hpp"
#include "monitors/process/posix/address_space.hpp"

namespace tessera::posix {

class FutexTable {
  public:
    // Errors: Again (the word is not `expected`), Timeout, Interrupted, BadAddress.
    Result<void> wait(AddressSpace& s, UserAddress a, uint32_t expected, uint32_t bitset,
                      bool process_private, Nanos deadline);
    Result<uint32_t> wake(AddressSpace& s, UserAddress a, uint32_t most, uint32_t bitset,
                          bool process_private);
    // Wakes `wake_most`, moves up to `move_most` others to `to`. check: the word at `a` must be
    // `expected` (CMP_REQUEUE). Returns woken + moved.
    Result<uint32_t> requeue(AddressSpace& s, UserAddress a, UserAddress to, uint32_t wake_most,
                             uint32_t move_most, bool check, uint32_t expected,
                             bool process_private);

  private:
    struct Waiter {
        AddressSpace::WordKey key;
        uint32_t bitset;
        bool woken = false;
        ListLink link;
    };
    kernel::Mutex mutex_{kernel::LockRank::Futex};
    kernel::WaitQueue queue_;
    List<Waiter, &Waiter::link> waiters_; // oldest first
};

} // namespace tessera::posix
