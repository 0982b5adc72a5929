// The host has no interrupts to switch off: a spinlock there is one between threads, and the holder
// may be preempted, so who waits for it gives its processor away.
#include <sched.h>

#include "kernel/arch/contract.hpp"

namespace tessera::kernel::arch {

uint64_t irq_save() {
    return 0;
}

void irq_restore(uint64_t) {}

void pause() {
    sched_yield();
}

} // namespace tessera::kernel::arch
