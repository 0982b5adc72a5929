#include "kernel/sync/thread_record.hpp"

#include "base/assert.hpp"

namespace tessera::kernel {

namespace {
ThreadRecord& of(Thread& t) {
    return static_cast<ThreadRecord&>(t);
}
const ThreadRecord& of(const Thread& t) {
    return static_cast<const ThreadRecord&>(t);
}
} // namespace

void HeldRanks::push(LockRank r) {
    ASSERT(count_ < kMost);
    for (unsigned i = 0; i < count_; i++)
        ASSERT(held_[i] < r); // lock order
    held_[count_++] = r;
}

void HeldRanks::pop(LockRank r) {
    for (unsigned i = count_; i-- > 0;) {
        if (held_[i] != r) continue;
        held_[i] = held_[--count_];
        return;
    }
    ASSERT(!"a lock is released by a thread that does not hold it");
}

bool ThreadRecord::is_kicked(Interruptible how) const {
    uint8_t k = kicks.load();
    if (how == Interruptible::Yes) return k != 0;
    if (how == Interruptible::KillOnly) return k & static_cast<uint8_t>(KickKind::Kill);
    return false;
}

bool Thread::kicked() const {
    return of(*this).is_kicked(Interruptible::Yes);
}

bool Thread::killed() const {
    return of(*this).is_kicked(Interruptible::KillOnly);
}

// A kill stays: the thread is on its way out.
void Thread::clear_kick() {
    of(*this).kicks.fetch_and(static_cast<uint8_t>(KickKind::Kill));
}

void* Thread::owner() const {
    return of(*this).owner_slot;
}

void Thread::set_owner(void* o) {
    of(*this).owner_slot = o;
}

const char* Thread::name() const {
    return of(*this).label;
}

} // namespace tessera::kernel
