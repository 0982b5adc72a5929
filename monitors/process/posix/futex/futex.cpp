#include "monitors/process/posix/futex/futex.hpp"

#include "monitors/process/posix/process/process.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

Result<void> FutexTable::wait(AddressSpace& s, UserAddress a, uint32_t expected, uint32_t bitset,
                              bool process_private, Nanos deadline) {
    Waiter me{TRY(s.word_key(a, process_private)), bitset, false, {}};
    for (;;) {
        // The word is looked at under the lock, without faulting; if its page is away, fetch and
        // retry.
        {
            MutexGuard guard(mutex_);
            Result<uint32_t> now = s.load_word(a);
            if (now) {
                if (*now != expected) return Fail(Error::Again);
                waiters_.push_back(me);
                while (!me.woken) {
                    Result<void> r = block_or_fail(queue_, mutex_, deadline);
                    if (r || me.woken) continue;
                    waiters_.remove(me);
                    return r;
                }
                return {};
            }
            if (now.error() != Error::Again) return Fail(now.error());
        }
        uint32_t word;
        TRY(s.read(a, mutable_bytes_of(word)));
    }
}

Result<uint32_t> FutexTable::wake(AddressSpace& s, UserAddress a, uint32_t most, uint32_t bitset,
                                  bool process_private) {
    auto key = TRY(s.word_key(a, process_private));
    MutexGuard guard(mutex_);
    uint32_t n = 0;
    for (Waiter& w : waiters_) {
        if (n >= most) break;
        if (!(w.key == key) || !(w.bitset & bitset)) continue;
        waiters_.remove(w);
        w.woken = true;
        n++;
    }
    if (n) queue_.wake_all();
    return n;
}

Result<uint32_t> FutexTable::requeue(AddressSpace& s, UserAddress a, UserAddress to,
                                     uint32_t wake_most, uint32_t move_most, bool check,
                                     uint32_t expected, bool process_private) {
    auto from = TRY(s.word_key(a, process_private));
    auto target = TRY(s.word_key(to, process_private));
    uint32_t word;
    if (check) TRY(s.read(a, mutable_bytes_of(word))); // brings the page
    MutexGuard guard(mutex_);
    if (check && TRY(s.load_word(a)) != expected) return Fail(Error::Again);
    uint32_t woken = 0, moved = 0;
    for (Waiter& w : waiters_) {
        if (!(w.key == from)) continue;
        if (woken < wake_most) {
            waiters_.remove(w);
            w.woken = true;
            woken++;
        } else if (moved < move_most) {
            w.key = target;
            moved++;
        }
    }
    if (woken) queue_.wake_all();
    return woken + moved;
}

} // namespace tessera::posix
