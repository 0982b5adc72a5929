// Where start-up ends: implemented by whatever the image is (kernel/node for the product, tests/kernel for tests).
// Called once with memory, interrupts, clock, scheduler and all processors up, in the first kernel thread.
#pragma once

namespace tessera::kernel {

[[noreturn]] void kernel_main();

} // namespace tessera::kernel
