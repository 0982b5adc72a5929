// From a cluster's configuration to what has to be started: addresses, the fabric's ports, settings
// files and command lines. Pure: reads nothing, starts nothing, so that it is tested as text.
//
// Addresses in the cluster's /16: managers .0.1 to .0.3, clients .0.64 up, components .1.1 up in
// the order of cluster.toml. A MAC is 02:54:45:53 and the address's last two bytes.
#pragma once

#include <string>
#include <vector>

#include "tools/tess/config.hpp"
#include "tools/tess/paths.hpp"
#include "tools/tess/process.hpp"

namespace tessera::tess {

inline constexpr unsigned kClientPorts = 32;

struct Port {
    std::string name;
    uint32_t ip = 0;
};

struct Machine { // what runs the components
    std::string qemu = "qemu-system-x86_64";
    bool kvm = false;
    std::string uefi; // firmware image; empty: none is installed
};

struct Started {
    std::string name;
    Arguments arguments;
};

struct File {
    std::string path;
    std::string text;
    unsigned mode = 0600;
};

struct Plan {
    std::vector<Port> ports;
    std::vector<File> files; // fabric ports, settings
    Started fabric;
    std::vector<Started> managers;
    std::vector<Started> components;
};

uint32_t manager_ip(const ClusterConfig& config, const std::string& name); // gpm, gmm, gsm
Port client_port(const ClusterConfig& config, unsigned number);            // c0, c1, ...
uint32_t component_ip(const ClusterConfig& config, size_t index);

// `key` is 64 hex digits. A trouble when the configuration cannot be carried out here (no UEFI
// firmware).
Outcome<Plan> make_plan(const ClusterConfig& config, const Paths& paths,
                        const Installation& installation, const Machine& machine,
                        const std::string& key);

} // namespace tessera::tess
