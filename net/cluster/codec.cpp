#include "net/cluster/codec.hpp"

#include <pb_decode.h>
#include <pb_encode.h>

namespace tessera::cluster {

Result<void> decode(Bytes in, const pb_msgdesc_t* fields, void* message) {
    pb_istream_t stream =
        pb_istream_from_buffer(reinterpret_cast<const pb_byte_t*>(in.data()), in.size());
    if (!pb_decode(&stream, fields, message)) return Fail(Error::Malformed);
    return {};
}

Result<size_t> encode(const pb_msgdesc_t* fields, const void* message, MutableBytes out) {
    pb_ostream_t stream =
        pb_ostream_from_buffer(reinterpret_cast<pb_byte_t*>(out.data()), out.size());
    if (!pb_encode(&stream, fields, message)) return Fail(Error::TooBig);
    return stream.bytes_written;
}

Resources resources_from(const tessera_control_Resources& m) {
    Resources r;
    r.cpus = m.cpus;
    r.memory_bytes = m.memory_bytes;
    r.memory_free_bytes = m.memory_free_bytes;
    r.disk_bytes = m.disk_bytes;
    r.disk_free_bytes = m.disk_free_bytes;
    r.load_permille = m.load_permille;
    r.processes = m.processes;
    r.excache_lines = m.excache_lines;
    r.excache_dirty = m.excache_dirty;
    r.remote_faults = m.remote_faults;
    r.write_backs = m.write_backs;
    return r;
}

tessera_control_Resources to_wire(const Resources& r) {
    tessera_control_Resources m = tessera_control_Resources_init_zero;
    m.cpus = r.cpus;
    m.memory_bytes = r.memory_bytes;
    m.memory_free_bytes = r.memory_free_bytes;
    m.disk_bytes = r.disk_bytes;
    m.disk_free_bytes = r.disk_free_bytes;
    m.load_permille = r.load_permille;
    m.processes = r.processes;
    m.excache_lines = r.excache_lines;
    m.excache_dirty = r.excache_dirty;
    m.remote_faults = r.remote_faults;
    m.write_backs = r.write_backs;
    return m;
}

Component component_from(const tessera_control_Component& m) {
    Component c;
    c.node = NodeId(m.node);
    // Numbers from a newer peer that mean nothing here stay "none" and "unknown".
    c.kind = enum_from(m.kind, tessera_control_Kind_KIND_CLIENT, rpc::NodeKind::None);
    c.state =
        enum_from(m.state, tessera_control_ComponentState_COMPONENT_LEFT, ComponentState::Unknown);
    c.ip = roce::Ipv4(m.ip);
    c.incarnation = Incarnation(m.incarnation);
    c.name = m.name;
    c.failure_domain = m.failure_domain;
    c.resources = resources_from(m.resources);
    return c;
}

Vnode vnode_from(const tessera_control_Vnode& m) {
    Vnode v;
    v.id = VnodeId(m.vnode);
    v.name = m.name;
    v.state = enum_from(m.state, tessera_control_VnodeState_VNODE_REMOVED, VnodeState::None);
    v.ip = roce::Ipv4(m.ip);
    v.storage = NodeId(m.storage_node);
    v.storage_ip = roce::Ipv4(m.storage_ip);
    v.mount_epoch = OwnershipEpoch(m.mount_epoch);
    for (size_t i = 0; i < m.homes_count && i < kMaxHomes; i++)
        v.homes[v.home_count++] = {NodeId(m.homes[i].node), roce::Ipv4(m.homes[i].ip),
                                   m.homes[i].quota_pages};
    v.memory_pages = m.limits.memory_pages;
    v.max_processes = m.limits.processes;
    return v;
}

tessera_control_Vnode to_wire(const Vnode& v) {
    tessera_control_Vnode m = tessera_control_Vnode_init_zero;
    m.vnode = v.id.value;
    copy_name(m.name, v.name);
    m.state = static_cast<tessera_control_VnodeState>(v.state);
    m.ip = v.ip.value;
    m.storage_node = v.storage.value;
    m.storage_ip = v.storage_ip.value;
    m.mount_epoch = v.mount_epoch.value;
    m.homes_count = v.home_count;
    for (size_t i = 0; i < v.home_count; i++) {
        m.homes[i].node = v.homes[i].node.value;
        m.homes[i].ip = v.homes[i].ip.value;
        m.homes[i].quota_pages = v.homes[i].quota_pages;
    }
    m.has_limits = v.memory_pages || v.max_processes;
    m.limits.memory_pages = v.memory_pages;
    m.limits.processes = v.max_processes;
    return m;
}

} // namespace tessera::cluster
