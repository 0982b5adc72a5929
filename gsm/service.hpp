// GSM's service: kMountStorage from GPM. Chooses the sComponent, records the choice, has it make
// the root, answers with its address and the mount epoch. Joining, leases and reports are
// net/host/component_manager's.
#pragma once

#include "gsm/core/mounts.hpp"
#include "net/host/component_manager.hpp"

namespace tessera::gsm {

class Service final : private net::host::ComponentEvents {
  public:
    // storage: the sComponent configured for all mounts; empty: most room.
    static Result<Own<Service>> create(rpc::Node& node, Clock& clock, Random& random,
                                       net::host::StateDb& db,
                                       const net::host::ComponentManagerOptions& options,
                                       const std::string& storage);
    void poll() { manager_->poll(); }
    Nanos next_deadline() const { return manager_->next_deadline(); }
    const std::vector<control::Vnode>& mounts() const { return mounts_; }

  private:
    Service(net::host::StateDb& db, const std::string& storage) : db_(db), configured_(storage) {}
    Result<void> load();
    void on_mount(const rpc::Identity& who, const control::MountStorageRequest& m,
                  rpc::Responder r);
    control::Vnode* mount_of(uint32_t vnode);

    void on_component(const net::host::KnownComponent& c,
                      const control::JoinRequest& join) override;
    void on_component_dead(NodeId) override {} // files stay where they are: the store comes back

    net::host::StateDb& db_;
    Own<net::host::ComponentManager> manager_;
    Configured configured_;
    StorePolicy& policy_ = configured_;
    std::vector<control::Vnode> mounts_; // vnode, name, storage_node, mount_epoch
};

} // namespace tessera::gsm
