// The three roles. Each starts its monitor on a component and returns only on an error, which it
// has logged; otherwise the component runs until it is told to power off.
#pragma once

#include "kernel/node/component.hpp"

namespace tessera::node {

Result<void> run_process_role(Component& c);
Result<void> run_memory_role(Component& c);
Result<void> run_storage_role(Component& c);

} // namespace tessera::node
