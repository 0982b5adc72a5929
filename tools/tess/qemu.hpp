// QEMU as tess finds and controls it.
#pragma once

#include <optional>
#include <string>

#include "tools/tess/plan.hpp"

namespace tessera::tess {

// Finds QEMU and decides about KVM: not by /dev/kvm alone (it can exist and not run a guest), but
// by CPU flags and by a guest whose first output arrives in time. `note` gets a line for the user,
// or stays empty.
Outcome<Machine> find_machine(Accelerator wanted, const Installation& installation,
                              std::string& note);

// One QMP command, without arguments or with `arguments` as JSON. Gives the reply line back.
Outcome<std::string> qmp(const std::string& socket, const std::string& command,
                         const std::string& arguments = "");

} // namespace tessera::tess
