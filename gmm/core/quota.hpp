// How many pages each vNode may use on each mComponent, and who gets the next ones. Managers decide
// coarsely and ahead: an mComponent serves page credits out of its quota without asking anybody
// (protocols.md sections 2, 4). Pure state and policy.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "net/cluster/types.hpp"

namespace tessera::gmm {

struct Pool {
    NodeId node;
    roce::Ipv4 ip;
    uint64_t pages = 0;   // what the mComponent offers
    uint64_t granted = 0; // sum of quotas
    bool usable = true;   // false: not heard of; grants nothing new

    // A sixteenth stays ungranted: write-back windows and copies in flight need frames.
    uint64_t free() const {
        uint64_t offered = pages - pages / 16;
        return offered > granted ? offered - granted : 0;
    }
};

// Order in which mComponents are asked for a vNode's memory.
class HomePolicy {
  public:
    virtual std::vector<size_t> order(const std::vector<Pool>& pools) = 0;
    virtual ~HomePolicy() = default;
};

// Most ungranted pages first; then the lowest node id.
class MostFree final : public HomePolicy {
  public:
    std::vector<size_t> order(const std::vector<Pool>& pools) override;
};

class QuotaBook {
  public:
    struct Quota {
        VnodeId vnode;
        NodeId node;
        uint64_t pages = 0;
    };

    void set_pool(NodeId node, roce::Ipv4 ip, uint64_t pages);
    void set_usable(NodeId node, bool usable);
    void remove_pool(NodeId node); // dead: its quotas are gone with it
    // What a component says it grants already, or what the database remembers.
    void restore(VnodeId vnode, NodeId node, uint64_t pages);

    // Homes for a vNode, best first; existing ones stay. limit 0: none.
    // NoDevice: no usable mComponent. NoMemory: none has a page left.
    Result<std::vector<cluster::Home>> grant(VnodeId vnode, uint64_t limit, HomePolicy& policy);
    // `more` pages for a vNode there; the new total. NoSpace: none left, or the vNode's limit.
    Result<uint64_t> extend(VnodeId vnode, NodeId node, uint64_t more, uint64_t limit);
    void release(VnodeId vnode);

    std::vector<cluster::Home> homes(VnodeId vnode) const;
    const std::vector<Quota>& quotas() const { return quotas_; }
    const std::vector<Pool>& pools() const { return pools_; }

  private:
    Pool* pool(NodeId node);
    uint64_t total(VnodeId vnode) const;

    std::vector<Pool> pools_;
    std::vector<Quota> quotas_;
};

} // namespace tessera::gmm
