// Registry: what GPM knows, and the cluster directory of which it is the only writer (protocols.md
// section 4). Components of all kinds, vNodes, pid leases. Pure state: no clock, no messages.
//
// Every change gets the next directory version and is given to the Journal before it counts; a
// change that cannot be recorded is refused. Entries that are gone stay as tombstones (Left,
// Removed), so that followers by version learn of it.
//
// Node ids: managers 1..3, components from 16. A component that boots again under the same name
// keeps its node id with a new incarnation.
#pragma once

#include <memory>
#include <vector>

#include "base/result.hpp"
#include "net/cluster/types.hpp"

namespace tessera::gpm {

inline constexpr uint32_t kFirstNode = 16;
inline constexpr uint32_t kPidsPerLease = 4096;

struct Member {
    cluster::Component entry;
    uint64_t version = 0;
    cluster::Name<64> boot_loader;
    uint64_t build_id = 0;
    cluster::Resources resources; // last heartbeat
    uint32_t placed = 0;          // programs placed there since
    Nanos booted{};               // on GPM's clock
    Nanos heard{};
    NodeId via; // the manager that looks after it; 0: GPM itself
};

struct PidLease {
    NodeId node;
    Incarnation incarnation; // of the pComponent; another one holds nothing
    Pid first;
    uint32_t count = 0;
    uint32_t processes = 0;
    bool mounted = false; // the pComponent has acknowledged kMountVnode
};

struct VnodeRecord {
    cluster::Vnode entry;
    uint64_t version = 0;
    std::vector<PidLease> leases;

    PidLease* lease(NodeId node, Incarnation incarnation);
};

class Journal {
  public:
    virtual Result<void> save(const Member& m) = 0;
    virtual Result<void> save(const VnodeRecord& v) = 0;

  protected:
    ~Journal() = default;
};

struct JoinInfo {
    cluster::Component entry; // kind, name, ip, incarnation, domain, resources; node if it has one
    cluster::Name<64> boot_loader;
    uint64_t build_id = 0;
    NodeId via;
};

class Registry {
  public:
    // first_version: larger than any that an earlier, lost database gave out.
    Registry(Journal& journal, uint64_t lineage, uint64_t first_version)
        : journal_(journal), lineage_(lineage), version_(first_version) {}

    void load(const Member& m);
    void load(const VnodeRecord& v);

    struct Joined {
        Member* member;
        Incarnation replaced; // of this component's earlier boot, still to be fenced; 0: none
    };
    // Stale: this incarnation was declared dead. Exists: the name belongs to another live
    // component.
    Result<Joined> join(const JoinInfo& info);
    // A vNode that a joining component holds. False: it is gone, the component shall free it.
    bool adopt(const Member& holder, const cluster::Mount& held);
    Result<void> set_state(Member& m, cluster::ComponentState state);
    Result<void> changed(VnodeRecord& v); // gives it the next version and records it

    Result<VnodeRecord*> create_vnode(std::string_view name, roce::Ipv4 ip);
    // A pid lease of this pComponent's incarnation; made if there is none. Recorded before it
    // returns.
    Result<PidLease*> lease_pids(VnodeRecord& v, const Member& m);
    // Everything a dead incarnation of a pComponent or mComponent held.
    void drop_holdings(NodeId node, Incarnation incarnation);

    Member* member(NodeId node);
    Member* member(Incarnation incarnation);
    Member* member_named(std::string_view name);
    VnodeRecord* vnode(VnodeId id);
    VnodeRecord* vnode_named(std::string_view name); // not of removed ones
    std::vector<std::unique_ptr<Member>>& members() { return members_; }
    std::vector<std::unique_ptr<VnodeRecord>>& vnodes() { return vnodes_; }

    uint64_t version() const { return version_; }
    uint64_t lineage() const { return lineage_; }
    // Somebody has seen a newer directory than ours: everything is given out again above it.
    void rise_above(uint64_t seen);

  private:
    Result<void> record(Member& m);
    cluster::ShortName free_name(rpc::NodeKind kind) const;
    NodeId free_node(rpc::NodeKind kind) const;

    Journal& journal_;
    uint64_t lineage_;
    uint64_t version_;
    std::vector<std::unique_ptr<Member>> members_;
    std::vector<std::unique_ptr<VnodeRecord>> vnodes_;
};

} // namespace tessera::gpm
