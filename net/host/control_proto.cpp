#include "net/host/control_proto.hpp"

namespace tessera::net::host {

control::Resources to_proto(const cluster::Resources& r) {
    control::Resources m;
    m.set_cpus(r.cpus);
    m.set_memory_bytes(r.memory_bytes);
    m.set_memory_free_bytes(r.memory_free_bytes);
    m.set_disk_bytes(r.disk_bytes);
    m.set_disk_free_bytes(r.disk_free_bytes);
    m.set_load_permille(r.load_permille);
    m.set_processes(r.processes);
    m.set_excache_lines(r.excache_lines);
    m.set_excache_dirty(r.excache_dirty);
    m.set_remote_faults(r.remote_faults);
    m.set_write_backs(r.write_backs);
    return m;
}

cluster::Resources from_proto(const control::Resources& m) {
    cluster::Resources r;
    r.cpus = m.cpus();
    r.memory_bytes = m.memory_bytes();
    r.memory_free_bytes = m.memory_free_bytes();
    r.disk_bytes = m.disk_bytes();
    r.disk_free_bytes = m.disk_free_bytes();
    r.load_permille = m.load_permille();
    r.processes = m.processes();
    r.excache_lines = m.excache_lines();
    r.excache_dirty = m.excache_dirty();
    r.remote_faults = m.remote_faults();
    r.write_backs = m.write_backs();
    return r;
}

control::Component to_proto(const cluster::Component& c) {
    control::Component m;
    m.set_node(c.node.value);
    m.set_kind(static_cast<control::Kind>(c.kind));
    m.set_ip(c.ip.value);
    m.set_incarnation(c.incarnation.value);
    m.set_state(static_cast<control::ComponentState>(c.state));
    m.set_name(c.name.c_str());
    m.set_failure_domain(c.failure_domain.c_str());
    *m.mutable_resources() = to_proto(c.resources);
    return m;
}

cluster::Component from_proto(const control::Component& m) {
    cluster::Component c;
    c.node = NodeId(m.node());
    if (control::Kind_IsValid(m.kind())) c.kind = static_cast<rpc::NodeKind>(m.kind());
    if (control::ComponentState_IsValid(m.state()))
        c.state = static_cast<cluster::ComponentState>(m.state());
    c.ip = roce::Ipv4(m.ip());
    c.incarnation = Incarnation(m.incarnation());
    c.name = std::string_view(m.name());
    c.failure_domain = std::string_view(m.failure_domain());
    c.resources = from_proto(m.resources());
    return c;
}

control::Vnode to_proto(const cluster::Vnode& v) {
    control::Vnode m;
    m.set_vnode(v.id.value);
    m.set_name(v.name.c_str());
    m.set_state(static_cast<control::VnodeState>(v.state));
    m.set_ip(v.ip.value);
    m.set_storage_node(v.storage.value);
    m.set_storage_ip(v.storage_ip.value);
    m.set_mount_epoch(v.mount_epoch.value);
    for (size_t i = 0; i < v.home_count; i++) {
        auto* h = m.add_homes();
        h->set_node(v.homes[i].node.value);
        h->set_ip(v.homes[i].ip.value);
        h->set_quota_pages(v.homes[i].quota_pages);
    }
    m.mutable_limits()->set_memory_pages(v.memory_pages);
    m.mutable_limits()->set_processes(v.max_processes);
    return m;
}

cluster::Vnode from_proto(const control::Vnode& m) {
    cluster::Vnode v;
    v.id = VnodeId(m.vnode());
    v.name = std::string_view(m.name());
    if (control::VnodeState_IsValid(m.state()))
        v.state = static_cast<cluster::VnodeState>(m.state());
    v.ip = roce::Ipv4(m.ip());
    v.storage = NodeId(m.storage_node());
    v.storage_ip = roce::Ipv4(m.storage_ip());
    v.mount_epoch = OwnershipEpoch(m.mount_epoch());
    for (auto& h : m.homes()) {
        if (v.home_count == cluster::kMaxHomes) break;
        v.homes[v.home_count++] = {NodeId(h.node()), roce::Ipv4(h.ip()), h.quota_pages()};
    }
    v.memory_pages = m.limits().memory_pages();
    v.max_processes = m.limits().processes();
    return v;
}

} // namespace tessera::net::host
