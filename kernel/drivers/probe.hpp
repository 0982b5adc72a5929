// What a component finds on its machine: its network port, its disks, its entropy, the host's
// configuration.
//
//   DriverSet devices = probe_devices([] { network_event.signal(); });
//   devices.network->mac(); devices.disks[0]->create_queue([] { disk_event.signal(); });
//
// Called once, in a thread, after interrupts and the heap work. A device that fails to start is
// logged and left out: whoever needs it says so.
#pragma once

#include <optional>
#include <vector>

#include "kernel/drivers/entropy.hpp"
#include "kernel/drivers/fw_cfg.hpp"
#include "kernel/drivers/nvme.hpp"
#include "kernel/drivers/virtio_net.hpp"
#include "kernel/drivers/virtio_rng.hpp"

namespace tessera::kernel {

struct DriverSet {
    Own<VirtioNet> network;            // the first port; null if there is none
    std::vector<Own<Nvme>> disks;      // in bus order
    EntropyPool entropy;               // seeded; entropy.sources() says by how many
    std::optional<FwCfg> fw_cfg;       // absent outside QEMU
    std::optional<int64_t> wall_clock; // seconds since 1970 at the time of the probe
};

// `on_network_interrupt` runs in interrupt context: it only signals. `cpu_random` is the CPU's own
// generator, null if it has none.
DriverSet probe_devices(Platform& platform, PciConfig& config, PortIo& ports,
                        SeedSource* cpu_random, SeedSource& jitter,
                        Function<void()> on_network_interrupt);

// The same on the machine we run on; supplied by machine_platform.cpp (kernel tree only).
DriverSet probe_devices(Function<void()> on_network_interrupt);

} // namespace tessera::kernel
