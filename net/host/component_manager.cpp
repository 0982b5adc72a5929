#include "net/host/component_manager.hpp"

#include "base/log.hpp"
#include "net/host/control_proto.hpp"
#include "net/host/protobuf_rpc.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::net::host {

using cluster::ComponentState;

namespace {
constexpr Nanos kForwardTime = seconds(2); // less than a component's own patience for its join
}

ComponentManager::ComponentManager(rpc::Node& node, Clock& clock, StateDb& db,
                                   const ComponentManagerOptions& options, ComponentEvents& events)
    : node_(node),
      clock_(clock),
      db_(db),
      options_(options),
      events_(events),
      leases_(options.heartbeat, options.missed),
      started_(clock.now()) {}

Result<Own<ComponentManager>> ComponentManager::create(rpc::Node& node, Clock& clock,
                                                       Random& random, StateDb& db,
                                                       const ComponentManagerOptions& options,
                                                       ComponentEvents& events) {
    Own<ComponentManager> m(new ComponentManager(node, clock, db, options, events));
    TRY(m->load());
    cluster::MembershipOptions member;
    member.kind = options.self;
    member.name = options.self == rpc::NodeKind::Gmm ? "gmm" : "gsm";
    member.self = options.address;
    member.manager = member.gpm = options.gpm;
    member.incarnation = options.incarnation;
    m->membership_ = TRY(cluster::Membership::create(node, clock, random, member,
                                                     static_cast<MembershipEvents&>(*m)));
    auto* self = m.get();
    handle_proto<control::JoinRequest>(node, schema::kJoin,
                                       [self](auto& who, control::JoinRequest q, rpc::Responder r) {
                                           self->on_join(who, q, std::move(r));
                                       });
    handle_proto<control::HeartbeatRequest>(
        node, schema::kHeartbeat, [self](auto&, control::HeartbeatRequest q, rpc::Responder r) {
            self->on_heartbeat(q, std::move(r));
        });
    handle_proto<control::LeaveRequest>(node, schema::kLeave,
                                        [self](auto&, control::LeaveRequest q, rpc::Responder r) {
                                            self->on_leave(q, std::move(r));
                                        });
    handle_proto<control::StatusRequest>(
        node, schema::kStatus,
        [self](auto&, control::StatusRequest, rpc::Responder r) { self->on_status(std::move(r)); });
    return m;
}

Result<void> ComponentManager::load() {
    for (auto& r : TRY(db_.all("component"))) {
        control::ComponentStatus s;
        if (!s.ParseFromString(r.value)) continue;
        components_.push_back(std::make_unique<KnownComponent>(KnownComponent{
            from_proto(s.component()), s.boot_loader(), s.build_id(), clock_.now(), clock_.now()}));
        if (components_.back()->entry.state == ComponentState::Up)
            leases_.renew(components_.back()->entry.node, clock_.now());
    }
    return {};
}

void ComponentManager::save(const KnownComponent& c) {
    control::ComponentStatus s;
    *s.mutable_component() = to_proto(c.entry);
    s.set_boot_loader(c.boot_loader);
    s.set_build_id(c.build_id);
    (void)db_.put("component", c.entry.node.value, s.SerializeAsString()); // logged there
}

KnownComponent* ComponentManager::component(NodeId node) {
    for (auto& c : components_)
        if (c->entry.node == node) return c.get();
    return nullptr;
}

rpc::Peer* ComponentManager::peer(roce::Ipv4 address) {
    auto p = node_.peer(address);
    return p ? *p : nullptr;
}

void ComponentManager::on_join(const rpc::Identity& who, const control::JoinRequest& m,
                               rpc::Responder r) {
    if (who.incarnation.value != m.incarnation() || who.kind != options_.serves ||
        static_cast<rpc::NodeKind>(m.kind()) != options_.serves)
        return r.fail(Error::NotPermitted);
    rpc::Peer* gpm = peer(options_.gpm);
    if (!gpm) return r.fail(Error::Full);
    auto kept = std::make_shared<rpc::Responder>(std::move(r));
    auto request = std::make_shared<control::JoinRequest>(m);
    call_proto<control::JoinReply>(
        *gpm, schema::kJoin, m, in(kForwardTime),
        [this, kept, request](Result<control::JoinReply> reply) {
            if (reply) return joined(*request, *reply, *kept);
            bool away = reply.error() == Error::Timeout || reply.error() == Error::Disconnected;
            KnownComponent* known = nullptr;
            for (auto& c : components_)
                if (c->entry.incarnation.value == request->incarnation() &&
                    c->entry.state == ComponentState::Up)
                    known = c.get();
            // GPM is away: one we know stays what it was. A new one has to wait for GPM.
            if (!away || !known) return kept->fail(reply.error());
            control::JoinReply local;
            local.set_node(known->entry.node.value);
            local.set_name(known->entry.name.c_str());
            local.set_gpm_ip(options_.gpm.value);
            joined(*request, local, *kept);
        });
}

void ComponentManager::joined(const control::JoinRequest& m, control::JoinReply reply,
                              rpc::Responder& r) {
    NodeId node(reply.node());
    KnownComponent* c = component(node);
    if (!c) {
        components_.push_back(std::make_unique<KnownComponent>());
        c = components_.back().get();
    }
    c->entry.node = node;
    c->entry.kind = options_.serves;
    c->entry.ip = roce::Ipv4(m.ip());
    c->entry.incarnation = Incarnation(m.incarnation());
    c->entry.state = ComponentState::Up;
    c->entry.name = std::string_view(reply.name());
    c->entry.failure_domain = std::string_view(m.failure_domain());
    c->entry.resources = from_proto(m.resources());
    c->boot_loader = m.boot_loader();
    c->build_id = m.build_id();
    c->heard = clock_.now();
    c->booted = clock_.now() - milliseconds(m.uptime_ms());
    leases_.renew(node, clock_.now());
    save(*c);
    events_.on_component(*c, m);
    LOG(Info, "join", "%s is node %u", c->entry.name.c_str(), node.value);
    reply.set_manager_incarnation(options_.incarnation.value);
    reply.set_heartbeat_ms(static_cast<uint32_t>(options_.heartbeat.value / 1'000'000));
    reply.set_lease_ms(static_cast<uint32_t>(leases_.length().value / 1'000'000));
    reply.set_cluster_time_ns(static_cast<uint64_t>(cluster_time()));
    reply_with(r, reply);
}

void ComponentManager::on_heartbeat(const control::HeartbeatRequest& m, rpc::Responder r) {
    control::HeartbeatReply reply;
    reply.set_manager_incarnation(options_.incarnation.value);
    reply.set_lease_ms(static_cast<uint32_t>(leases_.length().value / 1'000'000));
    reply.set_cluster_time_ns(static_cast<uint64_t>(cluster_time()));
    KnownComponent* c = component(NodeId(m.node()));
    if (!c || c->entry.incarnation.value != m.incarnation()) {
        reply.set_verdict(control::HEARTBEAT_REJOIN);
    } else if (c->entry.state == ComponentState::Dead ||
               (c->entry.state == ComponentState::Suspect && c->reported)) {
        reply.set_verdict(control::HEARTBEAT_FENCED);
    } else {
        c->entry.state = ComponentState::Up; // late, but nobody had been told yet
        leases_.renew(c->entry.node, clock_.now());
        c->heard = clock_.now();
        c->entry.resources = from_proto(m.resources());
    }
    reply.set_directory_version(membership_->directory().version().value);
    reply.set_directory_lineage(membership_->directory().lineage());
    reply_with(r, reply);
}

void ComponentManager::on_leave(const control::LeaveRequest& m, rpc::Responder r) {
    rpc::Peer* gpm = peer(options_.gpm);
    if (!gpm) return r.fail(Error::Full);
    auto kept = std::make_shared<rpc::Responder>(std::move(r));
    NodeId node(m.node());
    call_proto<control::StatusRequest>(*gpm, schema::kLeave, m, in(kForwardTime),
                                       [this, kept, node](Result<control::StatusRequest> done) {
                                           if (!done) return kept->fail(done.error());
                                           leases_.forget(node);
                                           if (KnownComponent* c = component(node)) {
                                               c->entry.state = ComponentState::Left;
                                               save(*c);
                                               events_.on_component_dead(node);
                                           }
                                           kept->reply({});
                                       });
}

void ComponentManager::on_status(rpc::Responder r) {
    control::StatusReply reply;
    reply.set_manager(static_cast<control::Kind>(options_.self));
    reply.set_incarnation(options_.incarnation.value);
    reply.set_uptime_ms(static_cast<uint64_t>((clock_.now() - started_).value / 1'000'000));
    reply.set_directory_version(membership_->directory().version().value);
    for (auto& c : components_) {
        auto* s = reply.add_components();
        *s->mutable_component() = to_proto(c->entry);
        s->set_boot_loader(c->boot_loader);
        s->set_build_id(c->build_id);
        s->set_uptime_ms(static_cast<uint64_t>((clock_.now() - c->booted).value / 1'000'000));
        s->set_heartbeat_age_ms(static_cast<uint32_t>((clock_.now() - c->heard).value / 1'000'000));
    }
    events_.fill_status(reply);
    reply_with(r, reply);
}

// GPM's word on our components: a death is acted on only when the directory says it.
void ComponentManager::on_directory_changed() {
    for (auto& c : components_) {
        const cluster::Component* d = membership_->directory().component(c->entry.node);
        bool gone = !d && c->entry.state == ComponentState::Up &&
                    c->heard + leases_.length() * 4 < clock_.now();
        bool dead = d && d->incarnation == c->entry.incarnation && d->state == ComponentState::Dead;
        if ((!dead && !gone) || c->entry.state == ComponentState::Dead) continue;
        c->entry.state = ComponentState::Dead;
        leases_.forget(c->entry.node);
        save(*c);
        events_.on_component_dead(c->entry.node);
    }
}

void ComponentManager::report() {
    next_report_ = clock_.now() + options_.heartbeat;
    if (!membership_->joined() || reporting_) return;
    rpc::Peer* gpm = peer(options_.gpm);
    if (!gpm) return;
    control::HeartbeatRequest m;
    m.set_node(membership_->node().value);
    m.set_incarnation(options_.incarnation.value);
    m.set_directory_version(membership_->directory().version().value);
    for (auto& c : components_) {
        if (c->entry.state != ComponentState::Up && c->entry.state != ComponentState::Suspect)
            continue;
        auto* x = m.add_reports();
        x->set_node(c->entry.node.value);
        x->set_incarnation(c->entry.incarnation.value);
        x->set_state(static_cast<control::ComponentState>(c->entry.state));
        *x->mutable_resources() = to_proto(c->entry.resources);
    }
    reporting_ = true;
    call_proto<control::HeartbeatReply>(*gpm, schema::kHeartbeat, m, in(options_.heartbeat * 2),
                                        [this](Result<control::HeartbeatReply> done) {
                                            reporting_ = false;
                                            if (!done) return;
                                            for (auto& c : components_)
                                                c->reported =
                                                    c->entry.state == ComponentState::Suspect;
                                        });
}

void ComponentManager::poll() {
    Nanos now = clock_.now();
    if (now >= leases_.next_tick())
        for (NodeId node : leases_.tick(now)) {
            KnownComponent* c = component(node);
            if (!c || c->entry.state != ComponentState::Up) continue;
            LOG(Warning, "lease", "%s does not answer; GPM is told", c->entry.name.c_str());
            c->entry.state = ComponentState::Suspect;
            save(*c);
            next_report_ = now;
        }
    membership_->poll();
    if (now >= next_report_) report();
}

Nanos ComponentManager::next_deadline() const {
    return std::min({leases_.next_tick(), membership_->next_deadline(), next_report_});
}

} // namespace tessera::net::host
