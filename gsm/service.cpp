#include "gsm/service.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "net/host/protobuf_rpc.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::gsm {

using net::host::call_proto;
using net::host::reply_with;

namespace {
constexpr Nanos kMountTime = seconds(5);
using Empty = control::StatusRequest;
} // namespace

Result<Own<Service>> Service::create(rpc::Node& node, Clock& clock, Random& random,
                                     net::host::StateDb& db,
                                     const net::host::ComponentManagerOptions& options,
                                     const std::string& storage) {
    Own<Service> s(new Service(db, storage));
    TRY(s->load());
    s->manager_ = TRY(net::host::ComponentManager::create(
        node, clock, random, db, options, static_cast<net::host::ComponentEvents&>(*s)));
    auto* self = s.get();
    net::host::handle_proto<control::MountStorageRequest>(
        node, schema::kMountStorage,
        [self](auto& who, control::MountStorageRequest m, rpc::Responder r) {
            self->on_mount(who, m, std::move(r));
        });
    return s;
}

Result<void> Service::load() {
    for (auto& r : TRY(db_.all("mount"))) {
        control::Vnode v;
        if (v.ParseFromString(r.value)) mounts_.push_back(v);
    }
    return {};
}

control::Vnode* Service::mount_of(uint32_t vnode) {
    for (auto& m : mounts_)
        if (m.vnode() == vnode) return &m;
    return nullptr;
}

// A forgotten mount comes back with the sComponent that holds its root. The same machine under
// another node id (GPM's database was deleted while it started anew) still has its disk.
void Service::on_component(const net::host::KnownComponent& c, const control::JoinRequest& join) {
    for (auto& old : manager_->components()) {
        if (old->entry.ip != c.entry.ip || old->entry.node == c.entry.node) continue;
        for (auto& m : mounts_) {
            if (m.storage_node() != old->entry.node.value) continue;
            m.set_storage_node(c.entry.node.value);
            (void)db_.put("mount", m.vnode(), m.SerializeAsString());
        }
    }
    for (auto& h : join.held()) {
        if (mount_of(h.vnode().vnode())) continue;
        mounts_.push_back(h.vnode());
        mounts_.back().set_storage_node(c.entry.node.value);
        (void)db_.put("mount", h.vnode().vnode(), mounts_.back().SerializeAsString());
    }
}

void Service::on_mount(const rpc::Identity& who, const control::MountStorageRequest& m,
                       rpc::Responder r) {
    if (who.kind != rpc::NodeKind::Gpm) return r.fail(Error::NotPermitted);
    if (m.vnode() == 0) return r.fail(Error::InvalidArgument);
    control::Vnode* known = mount_of(m.vnode());
    if (m.release() && !known) return reply_with(r, control::MountStorageReply());
    std::vector<Store> stores;
    for (auto& c : manager_->components())
        stores.push_back({c->entry.node, c->entry.ip, c->entry.name,
                          c->entry.resources.disk_free_bytes, manager_->alive(*c)});
    std::optional<size_t> chosen;
    if (known) {
        for (size_t i = 0; i < stores.size(); i++)
            if (stores[i].node.value == known->storage_node() && stores[i].usable) chosen = i;
    } else {
        chosen = policy_.choose(stores, m.storage());
    }
    if (!chosen) return r.fail(m.storage().empty() ? Error::NoDevice : Error::NotFound);
    const Store& store = stores[*chosen];
    if (!known) {
        mounts_.emplace_back();
        known = &mounts_.back();
        known->set_vnode(m.vnode());
        known->set_name(m.name());
        known->set_storage_node(store.node.value);
        known->set_mount_epoch(1);
        if (auto saved = db_.put("mount", m.vnode(), known->SerializeAsString()); !saved) {
            mounts_.pop_back();
            return r.fail(saved.error());
        }
    }
    rpc::Peer* p = manager_->peer(store.ip);
    if (!p) return r.fail(Error::Full);
    auto kept = std::make_shared<rpc::Responder>(std::move(r));
    bool release = m.release();
    uint32_t vnode = m.vnode(), node = store.node.value, ip = store.ip.value;
    call_proto<Empty>(*p, schema::kMountStorage, m, manager_->in(kMountTime),
                      [this, kept, release, vnode, node, ip](Result<Empty> done) {
                          if (!done) return kept->fail(done.error());
                          control::MountStorageReply reply;
                          control::Vnode* mount = mount_of(vnode);
                          if (release) {
                              std::erase_if(mounts_, [&](auto& v) { return v.vnode() == vnode; });
                              if (auto e = db_.erase("mount", vnode); !e)
                                  return kept->fail(e.error());
                          } else if (mount) {
                              reply.set_storage_node(node);
                              reply.set_storage_ip(ip);
                              reply.set_mount_epoch(mount->mount_epoch());
                          }
                          reply_with(*kept, reply);
                      });
}

} // namespace tessera::gsm
