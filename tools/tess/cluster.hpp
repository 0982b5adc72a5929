// A cluster's life on this host: up, down, and what is left of an earlier one.
//
// Everything started is findable by pidfile, so that a tess killed at any point, or a cluster whose
// host was rebooted, is cleaned up by the next up or down. Progress goes to stderr. SIGINT, SIGTERM
// and SIGHUP during up stop everything again.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "tools/tess/config.hpp"
#include "tools/tess/paths.hpp"

namespace tessera::tess {

struct UpOptions {
    ClusterConfig config;
    std::string config_text; // kept beside the state, as booted
    bool restart = false;    // stop one that is already up, instead of refusing
};

// What up needs from the control plane; main supplies it from client.hpp, tests supply their own.
struct ControlPlane {
    // Names of the components that have joined. A trouble means "ask again".
    std::function<Outcome<std::vector<std::string>>()> joined;
    // Makes sure that the vNodes of the configuration exist.
    std::function<Outcome<void>()> create_vnodes;
    // Asks everything to flush and power off; returns when that is done or its deadline has passed.
    std::function<Outcome<void>()> shutdown;
};

Outcome<void> up(const Paths& paths, const UpOptions& options, const ControlPlane& control);
// Fine with nothing running. `control.shutdown` is tried when managers are alive.
Outcome<void> down(const Paths& paths, const ControlPlane& control, bool quiet = false);

// True when `up` has finished and something of it is alive.
bool is_up(const Paths& paths);
// The configuration it was booted with. A trouble that says how to boot when none is up.
Outcome<ClusterConfig> booted_config(const Paths& paths);

// Starts one process of a cluster that is up again, as it was started: after `tess kill`.
Outcome<void> start_again(const Paths& paths, const ClusterConfig& config, const std::string& name);

// One command to the fabric's control socket; its answer without the closing "ok".
Outcome<std::string> fabric_command(const Paths& paths, const std::string& line);

// Set by SIGINT, SIGTERM, SIGHUP once catch_interrupts() has been called; the signal's number.
int interrupted();
void catch_interrupts();

} // namespace tessera::tess
