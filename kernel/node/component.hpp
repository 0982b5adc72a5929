// Component: what every role is made of: devices, network port, RPC node, membership, and the loop
// that polls them in the component's shard.
//
// Made once by kernel_main's thread; lives until power-off. Roles (process_role.cpp,
// memory_role.cpp, storage_role.cpp) add their monitor by implementing RoleMonitor.
#pragma once

#include <atomic>

#include "base/clock.hpp"
#include "kernel/drivers/probe.hpp"
#include "kernel/node/node_shard.hpp"
#include "kernel/node/raw_echo.hpp"
#include "kernel/node/settings.hpp"
#include "kernel/sync/event.hpp"
#include "net/cluster/csprng.hpp"
#include "net/cluster/membership.hpp"
#include "net/roce/rping_responder.hpp"
#include "net/roce/soft_port.hpp"

namespace tessera::node {

class MachineClock final : public Clock {
  public:
    Nanos now() override;
};

// CLOCK_REALTIME of the component: starts from the RTC, follows the cluster's time, never goes
// back.
class RealTime {
  public:
    void start(int64_t wall_seconds);
    void follow(int64_t realtime_ns); // cluster time now
    int64_t now();
    int64_t offset() const {
        return offset_.load(std::memory_order_relaxed);
    } // to add to the clock

  private:
    std::atomic<int64_t> offset_{0};
};

class Component;

// A role's monitor, called in the shard.
class RoleMonitor : public cluster::MembershipEvents {
  public:
    virtual ~RoleMonitor() = default;
    // After port, node and membership were polled. True: there is more to do at once.
    virtual bool poll() = 0;
    virtual Nanos next_deadline() const = 0;
    // Counters as "name value" lines, for kStats.
    virtual void stats(std::string& out) { (void)out; }
    void on_fenced_self() override; // a fenced component starts again as a new incarnation
    void on_cluster_time(int64_t realtime_ns) override;
    void on_option(std::string_view name, std::string_view value, cluster::Done done) override;

  protected:
    explicit RoleMonitor(Component& c) : component_(c) {}
    Component& component_;
};

class Component {
  public:
    // Reads the settings, probes the devices, makes port and node. Logs what is wrong and returns
    // the error; the machine is then switched off.
    static Result<Own<Component>> create();

    // Joins and polls from now on. `monitor` outlives the component.
    Result<void> start(RoleMonitor& monitor);
    // Blocks the calling thread until power_off_soon() was called, then ends the machine.
    [[noreturn]] void run();
    // `flushed` is what the shutdown came to; the log says it.
    void power_off_soon(Result<void> flushed);

    const Settings& settings() const { return settings_; }
    NodeShard& shard() { return shard_; }
    Clock& clock() { return clock_; }
    Random& random() { return *random_; }
    RealTime& real_time() { return real_time_; }
    kernel::DriverSet& devices() { return devices_; }
    roce::SoftPort& port() { return *port_; }
    rpc::Node& node() { return *node_; }
    cluster::Membership& membership() { return *membership_; }
    Incarnation incarnation() const { return incarnation_; }

    // Measures raw round trips: "NAME:ROUNDS" of another component. Results in the counters.
    // NoDevice: no such component in the directory (yet).
    void measure_echo(std::string_view value, cluster::Done done);

    // A disk's interrupt, or anything else: poll soon. Any context.
    void poll_soon();

  private:
    Component() = default;
    static Nanos poll_hook();
    Nanos poll_from_thread();
    void step();
    Result<void> read_settings();
    void common_stats(std::string& out);

    Settings settings_;
    MachineClock clock_;
    RealTime real_time_;
    NodeShard shard_;
    kernel::DriverSet devices_;
    Own<cluster::Csprng> random_;
    Incarnation incarnation_;
    Own<RawEcho> echo_;
    cluster::Done echo_done_; // of the series that runs
    Own<roce::SoftPort> port_;
    Own<roce::RpingResponder> rping_;
    Own<rpc::Node> node_;
    Own<cluster::Membership> membership_;
    RoleMonitor* monitor_ = nullptr;
    std::atomic<int64_t> next_deadline_{0};
    std::atomic<bool> step_posted_{false};
    kernel::Event power_off_;
};

} // namespace tessera::node
