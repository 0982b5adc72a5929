#include "gpm/core/registry.hpp"

#include <algorithm>

#include "base/format.hpp"

namespace tessera::gpm {

using cluster::ComponentState;
using cluster::VnodeState;
using rpc::NodeKind;

PidLease* VnodeRecord::lease(NodeId node, Incarnation incarnation) {
    for (auto& l : leases)
        if (l.node == node && l.incarnation == incarnation) return &l;
    return nullptr;
}

void Registry::load(const Member& m) {
    members_.push_back(std::make_unique<Member>(m));
    version_ = std::max(version_, m.version);
}

void Registry::load(const VnodeRecord& v) {
    vnodes_.push_back(std::make_unique<VnodeRecord>(v));
    version_ = std::max(version_, v.version);
}

Result<void> Registry::record(Member& m) {
    uint64_t before = m.version;
    m.version = ++version_;
    auto saved = journal_.save(m);
    if (!saved) m.version = before;
    return saved;
}

Result<void> Registry::changed(VnodeRecord& v) {
    uint64_t before = v.version;
    v.version = ++version_;
    auto saved = journal_.save(v);
    if (!saved) v.version = before;
    return saved;
}

cluster::ShortName Registry::free_name(NodeKind kind) const {
    const char* letters = "?pmspmsc"; // by NodeKind
    char text[16];
    for (unsigned n = 1;; n++) {
        format_text(text, sizeof text, "%c%u", letters[static_cast<size_t>(kind)], n);
        bool taken = false;
        for (auto& m : members_)
            taken |= m->entry.name.view() == text;
        if (!taken) return text;
    }
}

NodeId Registry::free_node(NodeKind kind) const {
    if (kind == NodeKind::Gpm) return NodeId(1);
    if (kind == NodeKind::Gmm) return NodeId(2);
    if (kind == NodeKind::Gsm) return NodeId(3);
    uint32_t next = kFirstNode;
    for (auto& m : members_)
        next = std::max(next, m->entry.node.value + 1);
    return NodeId(next);
}

Result<Registry::Joined> Registry::join(const JoinInfo& info) {
    const auto& e = info.entry;
    if (e.kind == NodeKind::None || e.kind == NodeKind::Client || !e.ip || !e.incarnation)
        return Fail(Error::InvalidArgument);
    Member* m = member(e.incarnation);
    bool manager = e.kind == NodeKind::Gmm || e.kind == NodeKind::Gsm;
    if (m &&
        (m->entry.state == ComponentState::Dead || m->entry.state == ComponentState::Suspect) &&
        !manager)
        return Fail(Error::Stale);
    Incarnation replaced;
    if (!m) {
        // The same machine started again: by name, or, when it has none, by kind and address.
        for (auto& x : members_) {
            bool same = e.name.empty() ? x->entry.ip == e.ip : x->entry.name == e.name;
            if (manager ? x->entry.kind == e.kind : same && x->entry.kind == e.kind)
                m = x.get();
            else if (!e.name.empty() && x->entry.name == e.name)
                return Fail(Error::Exists);
        }
        if (m) {
            bool gone =
                m->entry.state == ComponentState::Dead || m->entry.state == ComponentState::Left;
            // Another machine of that name that is alive: a mistake in the cluster file.
            if (!gone && m->entry.ip != e.ip) return Fail(Error::Exists);
            if (!gone && !manager) replaced = m->entry.incarnation;
        } else {
            // A forgotten component that kept its node id through our loss of memory gets it back.
            bool keeps = e.node.value >= kFirstNode && !member(e.node);
            NodeId node = keeps ? e.node : free_node(e.kind);
            members_.push_back(std::make_unique<Member>());
            m = members_.back().get();
            m->entry.node = node;
            m->entry.name = e.name.empty() ? free_name(e.kind) : e.name;
        }
    }
    Member before = *m;
    NodeId node = m->entry.node;
    cluster::ShortName name = m->entry.name;
    m->entry = e;
    m->entry.node = node;
    m->entry.name = name;
    m->entry.state = ComponentState::Up;
    m->boot_loader = info.boot_loader;
    m->build_id = info.build_id;
    m->resources = e.resources;
    m->via = info.via;
    m->placed = 0;
    bool fresh = before.version == 0;
    if (auto saved = record(*m); !saved) {
        if (fresh)
            members_.pop_back();
        else
            *m = before;
        return Fail(saved.error());
    }
    return Joined{m, replaced};
}

bool Registry::adopt(const Member& holder, const cluster::Mount& held) {
    VnodeRecord* v = vnode(held.vnode.id);
    if (v && (v->entry.state == VnodeState::Removed || v->entry.state == VnodeState::Removing))
        return false;
    bool changes = false;
    if (!v) {
        if (!held.vnode.id || held.vnode.name.empty() || vnode_named(held.vnode.name.view()))
            return false;
        vnodes_.push_back(std::make_unique<VnodeRecord>());
        v = vnodes_.back().get();
        v->entry = held.vnode;
        v->entry.state = VnodeState::Ready;
        changes = true;
    }
    if (holder.entry.kind == NodeKind::Process) {
        PidLease* l = v->lease(holder.entry.node, holder.entry.incarnation);
        if (!l) {
            v->leases.push_back({holder.entry.node, holder.entry.incarnation, held.pid_first,
                                 held.pid_count, held.processes, true});
            changes = true;
        } else {
            l->mounted = true;
            l->processes = held.processes;
        }
    }
    if (changes) (void)changed(*v); // not recorded: the next join brings it again
    return true;
}

Result<void> Registry::set_state(Member& m, ComponentState state) {
    if (m.entry.state == state) return {};
    ComponentState before = m.entry.state;
    m.entry.state = state;
    auto saved = record(m);
    if (!saved) m.entry.state = before;
    return saved;
}

Result<VnodeRecord*> Registry::create_vnode(std::string_view name, roce::Ipv4 ip) {
    if (name.empty() || name.size() >= sizeof(cluster::ShortName))
        return Fail(Error::InvalidArgument);
    if (vnode_named(name)) return Fail(Error::Exists);
    uint32_t id = 1;
    for (auto& v : vnodes_)
        id = std::max(id, v->entry.id.value + 1);
    vnodes_.push_back(std::make_unique<VnodeRecord>());
    VnodeRecord& v = *vnodes_.back();
    v.entry.id = VnodeId(id);
    v.entry.name = name;
    v.entry.ip = ip ? ip : roce::Ipv4(0x0a4e0000 + id); // 10.78.0.<id>: the tenant network
    v.entry.state = VnodeState::Creating;
    if (auto saved = changed(v); !saved) {
        vnodes_.pop_back();
        return Fail(saved.error());
    }
    return &v;
}

Result<PidLease*> Registry::lease_pids(VnodeRecord& v, const Member& m) {
    if (PidLease* l = v.lease(m.entry.node, m.entry.incarnation)) return l;
    uint32_t next = 1;
    for (auto& l : v.leases)
        next = std::max(next, l.first.value + l.count);
    v.leases.push_back({m.entry.node, m.entry.incarnation, Pid(next), kPidsPerLease});
    if (auto saved = changed(v); !saved) {
        v.leases.pop_back();
        return Fail(saved.error());
    }
    return &v.leases.back();
}

void Registry::drop_holdings(NodeId node, Incarnation incarnation) {
    for (auto& v : vnodes_) {
        auto& e = v->entry;
        size_t before = v->leases.size() + e.home_count;
        std::erase_if(v->leases, [&](const PidLease& l) {
            return l.node == node && l.incarnation == incarnation;
        });
        auto* end = std::remove_if(e.homes.begin(), e.homes.begin() + e.home_count,
                                   [&](const cluster::Home& h) { return h.node == node; });
        auto left = static_cast<uint8_t>(end - e.homes.begin());
        // What was written there and not synced is lost.
        if (left != e.home_count) e.mount_epoch = OwnershipEpoch(e.mount_epoch.value + 1);
        e.home_count = left;
        if (v->leases.size() + e.home_count != before) (void)changed(*v);
    }
}

Member* Registry::member(NodeId node) {
    for (auto& m : members_)
        if (m->entry.node == node) return m.get();
    return nullptr;
}

Member* Registry::member(Incarnation incarnation) {
    for (auto& m : members_)
        if (m->entry.incarnation == incarnation) return m.get();
    return nullptr;
}

Member* Registry::member_named(std::string_view name) {
    for (auto& m : members_)
        if (m->entry.name.view() == name) return m.get();
    return nullptr;
}

VnodeRecord* Registry::vnode(VnodeId id) {
    for (auto& v : vnodes_)
        if (v->entry.id == id) return v.get();
    return nullptr;
}

VnodeRecord* Registry::vnode_named(std::string_view name) {
    for (auto& v : vnodes_)
        if (v->entry.name.view() == name && v->entry.state != VnodeState::Removed) return v.get();
    return nullptr;
}

void Registry::rise_above(uint64_t seen) {
    if (seen <= version_) return;
    version_ = seen;
    for (auto& m : members_)
        (void)record(*m);
    for (auto& v : vnodes_)
        (void)changed(*v);
}

} // namespace tessera::gpm
