// Directory: this component's copy of the cluster's directory, of which GPM is the only writer
// (protocols.md section 4). Entries arrive by version (Membership pulls them); a new lineage (GPM's
// database was rebuilt) replaces everything once it has been read to the end.
//
// Bounded: at most kMaxComponents and kMaxVnodes; more are refused with Full and logged, what is
// known stays. Pointers stay valid until the entry is removed by an update; do not keep them across
// a poll. Owner and only writer: Membership.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "base/units.hpp"
#include "net/cluster/types.hpp"

namespace tessera::cluster {

class Directory {
  public:
    static constexpr size_t kMaxComponents = 256;
    static constexpr size_t kMaxVnodes = 256;

    DirectoryVersion version() const { return version_; }
    uint64_t lineage() const { return lineage_; }

    const Component* component(NodeId node) const;
    const Component* component_at(roce::Ipv4 address) const;
    const Vnode* vnode(VnodeId id) const;
    const Vnode* vnode_named(std::string_view name) const;
    const std::vector<Component>& components() const { return components_; } // order: arrival
    const std::vector<Vnode>& vnodes() const { return vnodes_; }

    // One reply of kDirectory at a time: begin, entries, end.
    void begin(uint64_t lineage, bool restart);
    Result<void> put(const Component& c); // Left: removed
    Result<void> put(const Vnode& v);     // Removed: removed
    void end(DirectoryVersion version, bool more);

  private:
    std::vector<Component> components_;
    std::vector<Vnode> vnodes_;
    DirectoryVersion version_;
    uint64_t lineage_ = 0;
    bool restarting_ = false; // entries not seen since the restart began go at its end
};

} // namespace tessera::cluster
