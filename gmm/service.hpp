// GMM's service: quotas of memory. kGrantMemory from GPM (homes for a vNode) and from mComponents
// (more for one); what was granted is recorded, then told to the mComponent with kMountVnode, then
// to who asked. Joining, leases and reports are net/host/component_manager's.
#pragma once

#include "gmm/core/quota.hpp"
#include "net/host/component_manager.hpp"

namespace tessera::gmm {

class Service final : private net::host::ComponentEvents {
  public:
    static Result<Own<Service>> create(rpc::Node& node, Clock& clock, Random& random,
                                       net::host::StateDb& db,
                                       const net::host::ComponentManagerOptions& options);
    void poll() { manager_->poll(); }
    Nanos next_deadline() const { return manager_->next_deadline(); }
    QuotaBook& quotas() { return quotas_; }

  private:
    Service(net::host::StateDb& db) : db_(db) {}
    Result<void> load();
    void on_grant(const rpc::Identity& who, const control::GrantMemoryRequest& m, rpc::Responder r);
    void grant_to_vnode(const control::GrantMemoryRequest& m, rpc::Responder r);
    Result<void> save(VnodeId vnode);
    void give_again(VnodeId vnode, const net::host::KnownComponent& c);

    void on_component(const net::host::KnownComponent& c,
                      const control::JoinRequest& join) override;
    void on_component_dead(NodeId node) override;

    net::host::StateDb& db_;
    Own<net::host::ComponentManager> manager_;
    QuotaBook quotas_;
    MostFree most_free_;
    HomePolicy& policy_ = most_free_;
    std::vector<control::Vnode>
        vnodes_; // as last told by GPM or an inventory; homes: recorded quotas
};

} // namespace tessera::gmm
