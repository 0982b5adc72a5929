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
    if (!v) v = &vnodes_.emplace_back(Vnode{id, {}, {}, {}});
    v->file_homes.push_back(owner);
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

bool ExCache::has_owner(VnodeId id, roce::Ipv4 owner) {
    Vnode* v = vnode(id);
    return v && std::any_of(v->owners.begin(), v->owners.end(),
                            [&](PageClient* c) { return c->owner() == owner; });
}

void ExCache::set_file_homes(VnodeId id, std::vector<roce::Ipv4> homes) {
    Vnode* v = vnode(id);
    if (!v || homes.empty()) return;
    v->file_homes = std::move(homes);
    move_files(*v);
    run();
}

PageClient* ExCache::file_home(Vnode& v, FileId file) {
    if (v.file_homes.empty()) return nullptr;
    roce::Ipv4 home = v.file_homes[schema::home_index(file, v.file_homes)];
    for (PageClient* c : v.owners)
        if (c->owner() == home) return c;
    return nullptr;
}

// Where what is made now lives: the first owner that is there.
PageClient* ExCache::new_owner(Vnode& v) {
    for (PageClient* c : v.owners)
        if (!c->lost()) return c;
    return v.owners.front();
}

// A file whose home is lost goes on at another one, unless pages of it were changed here: they may
// have been lost with the home.
bool ExCache::moves(CacheObject& o) {
    if (o.kind != ObjectKind::File || o.lost || o.written) return false;
    Vnode* v = vnode(o.client->vnode());
    return v && v->file_homes.size() > 1;
}

void ExCache::move_files(Vnode& v) {
    for (CacheObject& o : objects_) {
        if (o.kind != ObjectKind::File || o.lost || !o.client->lost() || o.client->vnode() != v.id)
            continue;
        PageClient* home = file_home(v, o.file);
        if (!home || home->lost()) continue;
        PageClient* old = std::exchange(o.client, home);
        for (Line& l : lines_)
            if (l.client == old && l.state == LineState::Filling && l.names &&
                l.names->object == &o)
                l.client = home;
    }
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
                move_files(v);
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
