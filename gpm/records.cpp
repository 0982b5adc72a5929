#include "gpm/service.hpp"
#include "net/host/control_proto.hpp"

// What GPM writes down: components as control::ComponentStatus under their node id, vNodes as
// control::Vnode, pid leases as one control::JoinRequest of HeldVnodes per vNode, and the lineage.

namespace tessera::gpm {

using net::host::from_proto;
using net::host::to_proto;

Result<void> Service::save(const Member& m) {
    control::ComponentStatus s;
    *s.mutable_component() = to_proto(m.entry);
    s.mutable_component()->set_version(m.version);
    s.set_boot_loader(m.boot_loader.c_str());
    s.set_build_id(m.build_id);
    s.set_heartbeat_age_ms(m.via.value); // who looks after it; ages are not recorded
    return db_.put("component", m.entry.node.value, s.SerializeAsString());
}

Result<void> Service::save(const VnodeRecord& v) {
    control::Vnode m = to_proto(v.entry);
    m.set_version(v.version);
    control::JoinRequest leases;
    for (auto& l : v.leases) {
        auto* h = leases.add_held();
        h->mutable_vnode()->set_storage_node(l.node.value);
        h->mutable_vnode()->set_version(l.incarnation.value);
        h->set_pid_first(l.first.value);
        h->set_pid_count(l.count);
    }
    // Leases first: a lease without its vNode means nothing, the other way round pids would repeat.
    TRY(db_.put("lease", v.entry.id.value, leases.SerializeAsString()));
    return db_.put("vnode", v.entry.id.value, m.SerializeAsString());
}

Result<void> Service::load() {
    uint64_t lineage = 0;
    for (auto& r : TRY(db_.all("meta")))
        if (r.key == 1 && r.value.size() == 8)
            lineage = tessera::load<uint64_t>(bytes_of(std::string_view(r.value)));
    if (lineage == 0) {
        while (lineage == 0)
            lineage = random_.next();
        TRY(db_.put("meta", 1, text_of(bytes_of(lineage))));
    }
    // A new database starts above any old one: versions rise far slower than one per microsecond.
    auto first = static_cast<uint64_t>(std::max<int64_t>(realtime() / 1000, 0));
    registry_ =
        std::make_unique<Registry>(static_cast<Journal&>(*this), lineage, db_.fresh() ? first : 0);
    for (auto& r : TRY(db_.all("component"))) {
        control::ComponentStatus s;
        if (!s.ParseFromString(r.value)) continue;
        Member m;
        m.entry = from_proto(s.component());
        m.version = s.component().version();
        m.boot_loader = std::string_view(s.boot_loader());
        m.build_id = s.build_id();
        m.via = NodeId(s.heartbeat_age_ms());
        m.resources = m.entry.resources;
        m.heard = m.booted = clock_.now();
        registry_->load(m);
        // Those that were being fenced when we stopped are fenced again; the others get a full
        // lease.
        if (m.entry.state == cluster::ComponentState::Up) leases_.renew(m.entry.node, clock_.now());
    }
    auto leases = TRY(db_.all("lease"));
    for (auto& r : TRY(db_.all("vnode"))) {
        control::Vnode m;
        if (!m.ParseFromString(r.value)) continue;
        VnodeRecord v;
        v.entry = from_proto(m);
        v.version = m.version();
        for (auto& l : leases) {
            control::JoinRequest held;
            if (l.key != r.key || !held.ParseFromString(l.value)) continue;
            for (auto& h : held.held())
                v.leases.push_back({NodeId(h.vnode().storage_node()),
                                    Incarnation(h.vnode().version()), Pid(h.pid_first()),
                                    h.pid_count()});
        }
        registry_->load(v);
    }
    return {};
}

} // namespace tessera::gpm
