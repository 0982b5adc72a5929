#include <algorithm>

#include "base/log.hpp"
#include "gpm/service.hpp"
#include "net/host/control_proto.hpp"
#include "net/host/protobuf_rpc.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::gpm {

using cluster::ComponentState;
using net::host::call_proto;
using net::host::from_proto;
using net::host::reply_with;
using net::host::to_proto;
using rpc::NodeKind;

namespace {
constexpr size_t kEntriesPerReply = 16; // control.options bounds what a component can decode
constexpr Nanos kFenceTime = seconds(3);

bool manager(NodeKind k) {
    return k == NodeKind::Gmm || k == NodeKind::Gsm;
}
} // namespace

void Service::on_join(const Identity& who, control::JoinRequest m, Responder r) {
    JoinInfo info;
    info.entry.kind =
        control::Kind_IsValid(m.kind()) ? static_cast<NodeKind>(m.kind()) : NodeKind::None;
    info.entry.name = std::string_view(m.name());
    info.entry.ip = roce::Ipv4(m.ip());
    info.entry.incarnation = Incarnation(m.incarnation());
    info.entry.node = NodeId(m.node());
    info.entry.failure_domain = std::string_view(m.failure_domain());
    info.entry.resources = from_proto(m.resources());
    info.boot_loader = std::string_view(m.boot_loader());
    info.build_id = m.build_id();
    // A component speaks for itself; its manager may speak for it.
    bool forwarded = manager(who.kind) && who.incarnation != info.entry.incarnation;
    if (!forwarded && who.incarnation != info.entry.incarnation) return r.fail(Error::NotPermitted);
    if (forwarded) info.via = NodeId(who.kind == NodeKind::Gmm ? 2 : 3);
    if (fencing_.under_way(info.entry.incarnation)) return r.fail(Error::Stale);

    registry_->rise_above(m.directory_version());
    auto joined = registry_->join(info);
    if (!joined) {
        LOG(Warning, "gpm", "%s at %08x was refused: %s", m.name().c_str(), m.ip(),
            std::string(describe(joined.error())).c_str());
        return r.fail(joined.error());
    }
    Member& member = *joined->member;
    if (joined->replaced) begin_fence(member.entry.node, joined->replaced);
    member.heard = clock_.now();
    member.booted = clock_.now() - milliseconds(m.uptime_ms());
    if (!forwarded) leases_.renew(member.entry.node, clock_.now());

    control::JoinReply reply;
    for (auto& h : m.held()) {
        cluster::Mount held;
        held.vnode = from_proto(h.vnode());
        held.pid_first = Pid(h.pid_first());
        held.pid_count = h.pid_count();
        held.processes = h.processes();
        if (!registry_->adopt(member, held)) reply.add_reclaim_vnodes(h.vnode().vnode());
    }
    reply.set_node(member.entry.node.value);
    reply.set_name(member.entry.name.c_str());
    reply.set_manager_incarnation(options_.incarnation.value);
    reply.set_heartbeat_ms(static_cast<uint32_t>(options_.heartbeat.value / 1'000'000));
    reply.set_lease_ms(static_cast<uint32_t>(leases_.length().value / 1'000'000));
    reply.set_gpm_ip(options_.gpm.value);
    reply.set_gmm_ip(options_.gmm.value);
    reply.set_gsm_ip(options_.gsm.value);
    reply.set_cluster_time_ns(static_cast<uint64_t>(realtime()));
    LOG(Info, "gpm", "%s joined as node %u", member.entry.name.c_str(), member.entry.node.value);
    reply_with(r, reply);
}

void Service::on_heartbeat(const Identity& who, const control::HeartbeatRequest& m, Responder r) {
    control::HeartbeatReply reply;
    reply.set_manager_incarnation(options_.incarnation.value);
    reply.set_lease_ms(static_cast<uint32_t>(leases_.length().value / 1'000'000));
    reply.set_cluster_time_ns(static_cast<uint64_t>(realtime()));
    Member* member = registry_->member(NodeId(m.node()));
    registry_->rise_above(m.directory_version());
    if (fencing_.under_way(Incarnation(m.incarnation()))) {
        reply.set_verdict(control::HEARTBEAT_FENCED);
    } else if (!member || member->entry.incarnation.value != m.incarnation()) {
        reply.set_verdict(control::HEARTBEAT_REJOIN);
    } else if (member->entry.state == ComponentState::Dead && !manager(member->entry.kind)) {
        reply.set_verdict(control::HEARTBEAT_FENCED);
    } else {
        leases_.renew(member->entry.node, clock_.now());
        member->heard = clock_.now();
        member->resources = from_proto(m.resources());
        member->placed = 0;
        for (auto& use : m.vnodes())
            if (VnodeRecord* v = registry_->vnode(VnodeId(use.vnode())))
                if (PidLease* l = v->lease(member->entry.node, member->entry.incarnation))
                    l->processes = use.processes();
        if (member->entry.state != ComponentState::Up && manager(member->entry.kind))
            (void)registry_->set_state(*member, ComponentState::Up);
    }
    if (manager(who.kind))
        for (auto& report : m.reports()) {
            Member* x = registry_->member(NodeId(report.node()));
            if (!x || x->entry.incarnation.value != report.incarnation()) continue;
            if (report.state() == control::COMPONENT_SUSPECT) {
                begin_death(*x);
            } else if (x->entry.state == ComponentState::Up) {
                x->heard = clock_.now();
                x->resources = from_proto(report.resources());
            }
        }
    reply.set_directory_version(registry_->version());
    reply.set_directory_lineage(registry_->lineage());
    reply_with(r, reply);
}

void Service::on_leave(const control::LeaveRequest& m, Responder r) {
    Member* member = registry_->member(Incarnation(m.incarnation()));
    if (!member) return r.reply({});
    leases_.forget(member->entry.node);
    registry_->drop_holdings(member->entry.node, member->entry.incarnation);
    auto left = registry_->set_state(*member, ComponentState::Left);
    LOG(Info, "gpm", "%s left", member->entry.name.c_str());
    left ? r.reply({}) : r.fail(left.error());
}

// Entries newer than what the caller has, oldest change first: every entry has a version of its
// own.
void Service::on_directory(const control::DirectoryRequest& m, Responder r) {
    control::DirectoryReply reply;
    reply.set_lineage(registry_->lineage());
    uint64_t known = m.known_version();
    if (m.known_lineage() != registry_->lineage()) {
        reply.set_restart(true);
        known = 0;
    }
    struct Change {
        uint64_t version;
        const Member* member;
        const VnodeRecord* vnode;
    };
    std::vector<Change> changes;
    for (auto& x : registry_->members())
        if (x->version > known) changes.push_back({x->version, x.get(), nullptr});
    for (auto& v : registry_->vnodes())
        if (v->version > known) changes.push_back({v->version, nullptr, v.get()});
    std::sort(changes.begin(), changes.end(),
              [](const Change& a, const Change& b) { return a.version < b.version; });
    uint64_t covered = registry_->version();
    if (changes.size() > kEntriesPerReply) {
        changes.resize(kEntriesPerReply);
        covered = changes.back().version;
        reply.set_more(true);
    }
    for (auto& c : changes) {
        if (c.member) {
            auto* e = reply.add_components();
            *e = to_proto(c.member->entry);
            e->set_version(c.version);
        } else {
            auto* e = reply.add_vnodes();
            *e = to_proto(c.vnode->entry);
            e->set_version(c.version);
        }
    }
    reply.set_version(covered);
    reply_with(r, reply);
}

control::ComponentStatus Service::status_of(const Member& m) {
    control::ComponentStatus s;
    *s.mutable_component() = to_proto(m.entry);
    *s.mutable_component()->mutable_resources() = to_proto(m.resources);
    s.mutable_component()->set_version(m.version);
    s.set_boot_loader(m.boot_loader.c_str());
    s.set_build_id(m.build_id);
    s.set_uptime_ms(static_cast<uint64_t>((clock_.now() - m.booted).value / 1'000'000));
    s.set_heartbeat_age_ms(static_cast<uint32_t>((clock_.now() - m.heard).value / 1'000'000));
    return s;
}

void Service::on_status(Responder r) {
    control::StatusReply reply;
    reply.set_manager(control::KIND_GPM);
    reply.set_incarnation(options_.incarnation.value);
    reply.set_uptime_ms(static_cast<uint64_t>((clock_.now() - started_).value / 1'000'000));
    reply.set_directory_version(registry_->version());
    for (auto& m : registry_->members())
        if (m->entry.state != ComponentState::Left) *reply.add_components() = status_of(*m);
    for (auto& v : registry_->vnodes())
        if (v->entry.state != cluster::VnodeState::Removed) *reply.add_vnodes() = status_of(*v);
    // A message has a limit; clusters that need more than one are paged by a later protocol
    // version.
    while (reply.ByteSizeLong() > rpc::kMaxMessage && reply.components_size() > 0)
        reply.mutable_components()->RemoveLast();
    reply_with(r, reply);
}

// ---- Death: suspect -> fenced by every holder -> dead.

void Service::begin_death(Member& m) {
    if (m.entry.state != ComponentState::Up && m.entry.state != ComponentState::Draining) return;
    LOG(Warning, "gpm", "%s does not answer", m.entry.name.c_str());
    if (!registry_->set_state(m, ComponentState::Suspect)) return; // asked again by the next report
    if (!manager(m.entry.kind)) begin_fence(m.entry.node, m.entry.incarnation);
}

void Service::begin_fence(NodeId node, Incarnation incarnation) {
    std::vector<NodeId> holders;
    for (auto& x : registry_->members())
        if (x->entry.state == ComponentState::Up && !manager(x->entry.kind))
            holders.push_back(x->entry.node);
    node_.fence(node, incarnation);
    fencing_.start(node, incarnation, std::move(holders));
}

void Service::send_fences() {
    for (auto& due : fencing_.due()) {
        Member* holder = registry_->member(due.holder);
        rpc::Peer* p = holder ? peer(holder->entry.ip) : nullptr;
        if (!p) {
            fencing_.acknowledged(due.incarnation, due.holder); // it has left
            continue;
        }
        control::FenceRequest m;
        m.set_node(due.node.value);
        m.set_incarnation(due.incarnation.value);
        m.set_manager_incarnation(options_.incarnation.value);
        call_proto<control::LeaveRequest>(
            *p, schema::kFence, m, in(kFenceTime), [this, due](Result<control::LeaveRequest> done) {
                if (done)
                    fencing_.acknowledged(due.incarnation, due.holder);
                else
                    fencing_.unanswered(due.incarnation, due.holder);
            });
    }
}

void Service::finish_deaths() {
    for (auto& c : fencing_.finished()) {
        registry_->drop_holdings(c.node, c.incarnation);
        Member* m = registry_->member(c.node);
        if (!m || m->entry.incarnation != c.incarnation) continue; // it has booted again meanwhile
        leases_.forget(c.node);
        (void)registry_->set_state(*m, ComponentState::Dead);
        LOG(Warning, "gpm", "%s is dead: every holder has fenced it", m->entry.name.c_str());
    }
}

} // namespace tessera::gpm
