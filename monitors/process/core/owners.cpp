// Owners of a vNode's memory: their clients come with the mount, go with the vNode, and are
// replaced after a loss by a client of the mComponent's next incarnation.
#include <algorithm>

#include "base/log.hpp"
#include "monitors/process/core/excache.hpp"

namespace tessera::pmon {

namespace {
constexpr Nanos kRenewEvery = milliseconds(250);
}

PageClient& ExCache::make_client(VnodeId id, rpc::Peer& control, roce::Ipv4 owner,
                                 uint16_t service) {
    PageClientOptions o;
    o.vnode = id;
    o.incarnation = options_.incarnation;
    o.owner = owner;
    o.service = service;
    PageEvents& events = *this;
    clients_.push_back(std::make_unique<PageClient>(port_, control, clock_, o, events));
    return *clients_.back();
}

PageClient& ExCache::add_owner(VnodeId id, rpc::Peer& control, roce::Ipv4 owner, uint16_t service) {
    Vnode* v = vnode(id);
    if (!v) v = &vnodes_.emplace_back(Vnode{id, {}, {}});
    v->owners.push_back(&make_client(id, control, owner, service));
    v->successors.push_back(nullptr);
    return *v->owners.back();
}

void ExCache::remove_vnode(VnodeId id) {
    for (Space& s : spaces_)
        ASSERT(s.vnode != id);
    Vnode* v = vnode(id);
    if (!v) return;
    for (Own<PageClient>& c : clients_) {
        if (c->vnode() != id) continue;
        for (CacheObject& o : objects_) {
            if (o.client != c.get()) continue;
            drop_entries(o, 0, UINT64_MAX);
            free_object(o);
        }
        c->close();
        abandon_lines(*c);
        closing_.push_back(std::move(c));
    }
    std::erase_if(clients_, [](const Own<PageClient>& c) { return !c; });
    vnodes_.erase(vnodes_.begin() + (v - vnodes_.data()));
    std::erase_if(closing_, [](const Own<PageClient>& c) { return c->idle(); });
    run();
}

void ExCache::owner_dead(roce::Ipv4 owner) {
    for (auto& c : clients_)
        if (c->owner() == owner) c->declare_lost(Error::Dead);
}

// Objects of a lost owner stay lost; a successor takes its place once it is connected, so that what
// is made meanwhile fails at once instead of waiting for a dead mComponent.
void ExCache::renew_owners() {
    renew_at_ = kNever;
    for (Vnode& v : vnodes_)
        for (size_t i = 0; i < v.owners.size(); i++) {
            PageClient& old = *v.owners[i];
            if (!old.lost()) continue;
            PageClient*& next = v.successors[i];
            if (next && next->connected()) {
                LOG(Info, "pmon", "vnode %u: a new incarnation of its owner is there", v.id.value);
                v.owners[i] = std::exchange(next, nullptr);
                continue;
            }
            if (!next || next->lost())
                next = &make_client(v.id, old.control(), old.owner(), old.service());
            renew_at_ = clock_.now() + kRenewEvery;
        }
    retire_lost();
}

// Lost clients that nothing refers to any more.
void ExCache::retire_lost() {
    for (Own<PageClient>& c : clients_) {
        if (!c->lost()) continue;
        Vnode* v = vnode(c->vnode());
        if (std::find(v->owners.begin(), v->owners.end(), c.get()) != v->owners.end()) continue;
        if (std::find(v->successors.begin(), v->successors.end(), c.get()) != v->successors.end())
            continue;
        bool used = false;
        for (CacheObject& o : objects_)
            used = used || o.client == c.get();
        if (used) continue; // looked at again with the next loss
        c->close();
        abandon_lines(*c);
        closing_.push_back(std::move(c));
    }
    std::erase_if(clients_, [](const Own<PageClient>& c) { return !c; });
}

} // namespace tessera::pmon
