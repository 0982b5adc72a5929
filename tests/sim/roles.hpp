// The roles of a simulated cluster: what kernel/node/{process,memory,storage}_role.cpp and the
// managers' main.cpp put together, without threads. Where those block, a chain of callbacks does
// the same steps.
#pragma once

#include <map>
#include <optional>

#include "gmm/service.hpp"
#include "gpm/service.hpp"
#include "gsm/service.hpp"
#include "monitors/memory/core/memory_monitor.hpp"
#include "monitors/memory/files/file_home.hpp"
#include "monitors/memory/files/file_provider.hpp"
#include "monitors/process/core/excache.hpp"
#include "monitors/storage/core/store.hpp"
#include "monitors/storage/service/service.hpp"
#include "net/schema/file.hpp"
#include "tests/sim/disk.hpp"
#include "tests/sim/host.hpp"

namespace tessera::sim {

inline constexpr roce::Ipv4 kGpm{0x0a4d0002}, kGmm{0x0a4d0003}, kGsm{0x0a4d0004};

// Where a vNode's files are, as pmon::FileMount.
struct SimMount {
    cluster::Mount mount;
    schema::WireFile root;
    bool ready = false; // owners and root are known
    std::vector<cluster::Done> waiting;
};

class ProcessBoot final : public Boot, public cluster::MembershipEvents {
  public:
    explicit ProcessBoot(Host& host);
    Result<void> start() override;
    bool poll() override;
    Nanos role_deadline() override { return cache->next_deadline(); }

    cluster::Resources resources() override;
    size_t inventory(std::span<cluster::Mount> out) override;
    void on_fenced_self() override;
    void on_fence(NodeId node, Incarnation incarnation, cluster::Done done) override;
    void on_mount(const cluster::Mount& m, cluster::Done done) override;
    void on_directory_changed() override;
    void on_unmount(VnodeId vnode, cluster::Done done) override;
    void on_reclaim(VnodeId vnode) override;

    SimFrames frames;
    Own<pmon::ExCache> cache;
    std::map<uint32_t, SimMount> mounts;
    uint64_t file_sequence = 0; // of requests that are not idempotent; one for all vNodes
    // Set by the test: ends the vNode's programs; true when their spaces are destroyed, asked
    // again until then.
    Function<bool(VnodeId)> end_programs;

  private:
    struct Leaving {
        VnodeId vnode;
        cluster::Done done;
    };
    void mount_answered(VnodeId vnode, Result<Bytes> reply);
    void follow_homes(SimMount& m, const cluster::Vnode& v);
    std::vector<Leaving> leaving_;
};

class MemoryBoot final : public Boot, public cluster::MembershipEvents {
  public:
    explicit MemoryBoot(Host& host);
    Result<void> start() override;
    bool poll() override;
    Nanos role_deadline() override {
        return std::min(monitor->next_deadline(), home->next_deadline());
    }

    cluster::Resources resources() override;
    size_t inventory(std::span<cluster::Mount> out) override;
    void on_fenced_self() override;
    void on_fence(NodeId node, Incarnation inc, cluster::Done done) override;
    void on_mount(const cluster::Mount& m, cluster::Done done) override;
    void on_unmount(VnodeId vnode, cluster::Done done) override;
    void on_reclaim(VnodeId vnode) override;
    void check(); // what must hold at any moment

    SimFrames frames;
    std::optional<mmon::FileHome> home;
    std::optional<mmon::FileProvider> provider;
    Own<mmon::MemoryMonitor> monitor;

  private:
    uint64_t granted_unused() const;
    std::vector<cluster::Mount> mounts_;
    std::vector<std::pair<NodeId, Incarnation>> fenced_;
};

class StorageBoot final : public Boot, public cluster::MembershipEvents {
  public:
    explicit StorageBoot(Host& host);
    Result<void> start() override;
    bool poll() override;
    Nanos role_deadline() override { return free_checked_ + seconds(1); }

    cluster::Resources resources() override;
    void on_fenced_self() override;
    void on_fence(NodeId node, Incarnation inc, cluster::Done done) override;
    void on_mount_storage(VnodeId vnode, std::string_view, bool release,
                          cluster::Done done) override;

    SimDisk& disk() { return *host.disk; }
    Own<storage::Store> store;
    std::optional<smon::Service> service;

  private:
    void mount();
    void mounted(Result<Own<storage::Store>> r);
    Result<void> serve();
    bool ready_ = false; // the store is there, the network is not yet
    uint64_t free_bytes_ = 0;
    Nanos free_checked_{};
};

template <typename Service>
class ManagerBoot final : public Boot {
  public:
    explicit ManagerBoot(Host& host);
    Result<void> start() override;
    bool poll() override { return service ? (service->poll(), false) : false; }
    Nanos role_deadline() override { return service ? service->next_deadline() : kNever; }
    Own<Service> service;
};
using GpmBoot = ManagerBoot<gpm::Service>;
using GmmBoot = ManagerBoot<gmm::Service>;
using GsmBoot = ManagerBoot<gsm::Service>;

// `tess`: asks managers for things.
class ClientBoot final : public Boot {
  public:
    explicit ClientBoot(Host& host) : Boot(host, rpc::NodeKind::Client) {}
    Result<void> start() override { return make_node(); }
    bool poll() override { return false; }
    Nanos role_deadline() override { return kNever; }
};

} // namespace tessera::sim
