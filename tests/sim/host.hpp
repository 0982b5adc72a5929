// Host: one simulated machine or manager process, over its crashes and restarts. Boot: what runs
// on it from one start to the next: link, port, RPC node, membership and its role, out of the
// sources that boot (kernel/node and net/host put them together the same way).
//
// A crash runs no destructors: the boot's link goes dead, it is never polled again, and its objects
// are abandoned (kept in a list, so that a leak checker finds them). A host's clock has an origin
// of its own; it stands still while the machine is frozen (QMP stop), and goes on while it is
// merely stopped (SIGSTOP).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/cluster/membership.hpp"
#include "net/host/state_db.hpp"
#include "net/roce/soft_port.hpp"
#include "net/rpc/rpc.hpp"
#include "tests/sim/network.hpp"

namespace tessera::sim {

class HostClock final : public Clock {
  public:
    HostClock(World& world, Nanos ahead) : world_(world), ahead_(ahead) {}
    Nanos now() override { return world_.now() + ahead_; }
    Nanos to_world(Nanos t) const { return t == kNever ? kNever : t - ahead_; }
    void stand_still(Nanos for_time) { ahead_ = ahead_ - for_time; }

  private:
    World& world_;
    Nanos ahead_;
};

class Host;
class SimDisk;

// Sizes that roles take from the cluster's options.
struct Settings {
    uint32_t lines = 48; // of an ExCache
    uint64_t memory_frames = 3072;
    uint8_t vregion_shift = 21;
    std::map<uint32_t, Host*> hosts; // by address
    Host* host(roce::Ipv4 ip) const {
        auto at = hosts.find(ip.value);
        return at == hosts.end() ? nullptr : at->second;
    }
};

// What a test lets a machine do besides its role. Polled last, in the machine's turn.
class Load {
  public:
    virtual ~Load() = default;
    virtual void poll() = 0;
    virtual Nanos next_deadline() = 0; // on the machine's clock
};

class Boot {
  public:
    Boot(Host& host, rpc::NodeKind kind);
    virtual ~Boot() = default;
    // Network and node exist; handlers may be registered. Called in the host's first turn.
    virtual Result<void> start() = 0;

    void step();
    Nanos next_deadline(); // on the host's clock

    Host& host;
    World& world;
    const Incarnation incarnation;
    Dice random;
    std::unique_ptr<SimLink> link;
    std::unique_ptr<roce::SoftPort> port;
    Own<rpc::Node> node;
    Own<cluster::Membership> member;
    std::vector<std::unique_ptr<Load>> loads;

  protected:
    // In the machine's turn, after the port, the node and the membership. True: more to do at once.
    virtual bool poll() = 0;
    virtual Nanos role_deadline() = 0;
    // Makes port and node, listens.
    Result<void> make_node(uint16_t max_peers = 64);
    Result<void> join(cluster::MembershipEvents& events, roce::Ipv4 manager, roce::Ipv4 gpm);
    Clock& clock();

  private:
    rpc::NodeKind kind_;
    bool started_ = false;
    bool more_ = false;
};

class Host final : public Actor {
  public:
    using Maker = std::unique_ptr<Boot> (*)(Host& host);

    Host(SimNet& net, std::string name, roce::Ipv4 ip, Maker maker);
    // A new boot, more than a second after the one before; nothing if it is up.
    void boot();
    void crash();
    // `still`: its clock stands still meanwhile.
    void pause(bool still);
    void resume();
    bool up() const { return boot_ != nullptr; }
    bool paused() const { return paused_; }

    void run() override;
    Nanos next_deadline() override;

    template <typename T>
    T* as() const {
        return static_cast<T*>(boot_.get());
    }

    SimNet& net;
    World& world;
    const std::string name;
    const roce::Ipv4 ip;
    const uint8_t station;
    HostClock clock;
    uint64_t boots = 0; // so far
    // Since when it has been serving without a crash, a pause or a cut; for checkers' excuses.
    uint64_t troubles = 0; // counts them
    const Settings* settings = nullptr;
    SimDisk* disk = nullptr;    // of a storage machine
    bool formatted = false;     // the disk holds a store
    Own<net::host::StateDb> db; // of a manager
    // Told after the boot is gone (crash) or there (boot).
    std::vector<Function<void(Host&)>> watchers;

  private:
    Maker maker_;
    std::unique_ptr<Boot> boot_;
    bool paused_ = false;
    bool still_ = false;
    Nanos paused_at_{};
    Nanos booted_at_{};
};

} // namespace tessera::sim
