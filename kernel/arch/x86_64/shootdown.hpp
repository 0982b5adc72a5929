// Keeping every CPU's TLB in step with the page tables.
#pragma once

#include <cstdint>

#include "kernel/mm/address.hpp"

namespace tessera::kernel::arch {

// Loads a root on this CPU (interrupts off), remembering it for shootdowns. No-op if it is loaded.
void load_root(uint64_t root);

// When this returns, no CPU uses an old translation of the pages in the table `root`. Interrupts
// on.
void flush_translations(uint64_t root, VirtAddr page, uint64_t pages);
// This CPU only, whatever is loaded.
void flush_local(VirtAddr page);
// When this returns, no CPU has `root` loaded. Interrupts on.
void unload_root(uint64_t root);

void on_flush_interrupt();

} // namespace tessera::kernel::arch
