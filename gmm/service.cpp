#include "gmm/service.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "net/host/control_proto.hpp"
#include "net/host/protobuf_rpc.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::gmm {

using net::host::call_proto;
using net::host::reply_with;

namespace {
constexpr Nanos kMountTime = seconds(5);
using Empty = control::StatusRequest;
} // namespace

Result<Own<Service>> Service::create(rpc::Node& node, Clock& clock, Random& random,
                                     net::host::StateDb& db,
                                     const net::host::ComponentManagerOptions& options) {
    Own<Service> s(new Service(db));
    s->manager_ = TRY(net::host::ComponentManager::create(
        node, clock, random, db, options, static_cast<net::host::ComponentEvents&>(*s)));
    TRY(s->load());
    auto* self = s.get();
    net::host::handle_proto<control::GrantMemoryRequest>(
        node, schema::kGrantMemory,
        [self](auto& who, control::GrantMemoryRequest m, rpc::Responder r) {
            self->on_grant(who, m, std::move(r));
        });
    return s;
}

Result<void> Service::load() {
    for (auto& r : TRY(db_.all("quota"))) {
        control::Vnode v;
        if (!v.ParseFromString(r.value)) continue;
        for (auto& h : v.homes())
            quotas_.restore(VnodeId(v.vnode()), NodeId(h.node()), h.quota_pages());
        vnodes_.push_back(v);
    }
    for (auto& c : manager_->components()) {
        if (c->entry.state != cluster::ComponentState::Up) continue;
        quotas_.set_pool(c->entry.node, c->entry.ip, c->entry.resources.memory_bytes / kPageSize);
    }
    return {};
}

Result<void> Service::save(VnodeId vnode) {
    for (auto& v : vnodes_) {
        if (v.vnode() != vnode.value) continue;
        v.clear_homes();
        for (auto& h : quotas_.homes(vnode)) {
            auto* x = v.add_homes();
            x->set_node(h.node.value);
            x->set_ip(h.ip.value);
            x->set_quota_pages(h.quota_pages);
        }
        return db_.put("quota", vnode.value, v.SerializeAsString());
    }
    return Fail(Error::NotFound);
}

void Service::on_component(const net::host::KnownComponent& c, const control::JoinRequest& join) {
    // A new boot of the same component has lost what the old one held; on_component_dead came or
    // comes by the directory, but this one's inventory is the truth.
    auto held = [&](VnodeId id) {
        return std::any_of(join.held().begin(), join.held().end(),
                           [&](auto& h) { return h.vnode().vnode() == id.value; });
    };
    quotas_.set_pool(c.entry.node, c.entry.ip, c.entry.resources.memory_bytes / kPageSize);
    for (auto& q : std::vector(quotas_.quotas()))
        if (q.node == c.entry.node && !held(q.vnode)) {
            // A share that was recorded as nothing is granted as if it were new.
            if (q.pages == 0)
                (void)quotas_.extend(q.vnode, q.node,
                                     c.entry.resources.memory_bytes / kPageSize / 2, 0);
            give_again(q.vnode, c);
        }
    for (auto& h : join.held()) {
        VnodeId id(h.vnode().vnode());
        bool known = std::any_of(vnodes_.begin(), vnodes_.end(),
                                 [&](auto& v) { return v.vnode() == id.value; });
        if (!known) vnodes_.push_back(h.vnode());
        for (auto& home : h.vnode().homes())
            if (home.node() == c.entry.node.value)
                quotas_.restore(id, c.entry.node, home.quota_pages());
        (void)save(id);
    }
}

// What a vNode had on a component that has started anew: its contents are lost, its share is not.
void Service::give_again(VnodeId vnode, const net::host::KnownComponent& c) {
    for (auto& v : vnodes_) {
        if (v.vnode() != vnode.value) continue;
        if (auto saved = save(vnode); !saved)
            LOG(Failure, "gmm", "cannot record the quota of vNode %u: %s", vnode.value,
                describe(saved.error()).data());
        control::MountVnodeRequest mount;
        *mount.mutable_vnode() = v;
        mount.set_manager_incarnation(manager_->incarnation().value);
        rpc::Peer* p = manager_->peer(c.entry.ip);
        if (!p) return;
        call_proto<Empty>(*p, schema::kMountVnode, mount, manager_->in(kMountTime),
                          [vnode](Result<Empty> r) {
                              if (!r)
                                  LOG(Warning, "gmm", "vNode %u has no memory on its home yet: %s",
                                      vnode.value, describe(r.error()).data());
                          });
        return;
    }
}

void Service::on_component_dead(NodeId node) {
    quotas_.remove_pool(node);
    for (auto& v : vnodes_)
        (void)save(VnodeId(v.vnode()));
}

void Service::on_grant(const rpc::Identity& who, const control::GrantMemoryRequest& m,
                       rpc::Responder r) {
    VnodeId id(m.vnode().vnode());
    if (!id) return r.fail(Error::InvalidArgument);
    if (m.release()) {
        if (who.kind != rpc::NodeKind::Gpm) return r.fail(Error::NotPermitted);
        for (auto& h : quotas_.homes(id)) {
            control::UnmountVnodeRequest request;
            request.set_vnode(id.value);
            if (rpc::Peer* p = manager_->peer(h.ip))
                call_proto<Empty>(
                    *p, schema::kUnmountVnode, request, manager_->in(kMountTime),
                    [](Result<Empty>) {}); // a missed one is reclaimed at its next join
        }
        quotas_.release(id);
        std::erase_if(vnodes_, [&](auto& v) { return v.vnode() == id.value; });
        if (auto erased = db_.erase("quota", id.value); !erased) return r.fail(erased.error());
        return reply_with(r, control::GrantMemoryReply());
    }
    if (who.kind == rpc::NodeKind::Gpm) return grant_to_vnode(m, std::move(r));
    if (who.kind != rpc::NodeKind::Memory) return r.fail(Error::NotPermitted);
    uint64_t limit = 0;
    for (auto& v : vnodes_)
        if (v.vnode() == id.value) limit = v.limits().memory_pages();
    auto total = quotas_.extend(id, NodeId(m.node()), m.pages(), limit);
    if (!total) return r.fail(total.error());
    if (auto saved = save(id); !saved) return r.fail(saved.error());
    control::GrantMemoryReply reply;
    auto* h = reply.add_homes();
    h->set_node(m.node());
    h->set_quota_pages(*total);
    reply_with(r, reply);
}

void Service::grant_to_vnode(const control::GrantMemoryRequest& m, rpc::Responder r) {
    VnodeId id(m.vnode().vnode());
    for (auto& c : manager_->components())
        quotas_.set_usable(c->entry.node, manager_->alive(*c));
    auto homes = quotas_.grant(id, m.vnode().limits().memory_pages(), policy_);
    if (!homes) return r.fail(homes.error());
    std::erase_if(vnodes_, [&](auto& v) { return v.vnode() == id.value; });
    vnodes_.push_back(m.vnode());
    if (auto saved = save(id); !saved) return r.fail(saved.error());
    control::MountVnodeRequest mount;
    *mount.mutable_vnode() = vnodes_.back();
    mount.set_manager_incarnation(manager_->incarnation().value);
    auto reply = std::make_shared<control::GrantMemoryReply>();
    auto kept = std::make_shared<rpc::Responder>(std::move(r));
    auto waiting = std::make_shared<size_t>(homes->size());
    for (auto& h : *homes) {
        auto done = [reply, kept, waiting, h](Result<Empty> mounted) {
            if (mounted) {
                auto* x = reply->add_homes();
                x->set_node(h.node.value);
                x->set_ip(h.ip.value);
                x->set_quota_pages(h.quota_pages);
            }
            if (--*waiting > 0) return;
            if (reply->homes_size() == 0)
                kept->fail(Error::Timeout);
            else
                reply_with(*kept, *reply);
        };
        rpc::Peer* p = manager_->peer(h.ip);
        if (!p)
            done(Fail(Error::Full));
        else
            call_proto<Empty>(*p, schema::kMountVnode, mount, manager_->in(kMountTime), done);
    }
}

} // namespace tessera::gmm
