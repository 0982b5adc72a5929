#include "net/cluster/membership.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "net/cluster/codec.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::cluster {

void Done::operator()(Result<void> outcome) {
    if (!responder_.pending()) return;
    if (outcome)
        responder_.reply({});
    else
        responder_.fail(outcome.error());
}

namespace {

constexpr Nanos kFirstRetry = milliseconds(100);
constexpr Nanos kLongestRetry = seconds(2);
constexpr Nanos kCallTime = seconds(3);
constexpr size_t kMaxHeld = 16; // JoinRequest.held in control.options

class Member final : public Membership {
  public:
    Member(rpc::Node& node, Clock& clock, Random& random, const MembershipOptions& o,
           MembershipEvents& events, rpc::Peer& manager)
        : rpc_(node),
          clock_(clock),
          random_(random),
          options_(o),
          events_(events),
          manager_(manager),
          gpm_ip_(o.gpm) {
        register_handlers();
    }

    bool joined() const override { return state_ == State::Joined; }
    NodeId node() const override { return node_; }
    const Directory& directory() const override { return directory_; }
    Nanos last_contact() const override { return last_contact_; }
    roce::Ipv4 gmm() const override { return gmm_ip_; }

    void leave(Nanos deadline, Function<void(Result<void>)> done) override;
    void request_quota(VnodeId vnode, uint64_t pages, Nanos deadline,
                       Function<void(Result<uint64_t>)> done) override;
    void poll() override;
    Nanos next_deadline() const override;

  private:
    enum class State : uint8_t { Joining, Joined, Left, Fenced };

    void register_handlers();
    void join();
    void on_join_reply(Result<Bytes> reply);
    void heartbeat();
    void on_heartbeat_reply(Result<Bytes> reply);
    void pull_directory();
    void on_directory_reply(Result<Bytes> reply);
    void fenced();
    Nanos retry_after();
    // A manager older than the one that gave us our lease must not be obeyed.
    bool from_manager(const rpc::Identity& who) const {
        return who.kind == rpc::NodeKind::Gpm || who.kind == rpc::NodeKind::Gmm ||
               who.kind == rpc::NodeKind::Gsm;
    }
    template <typename T>
    bool read(const rpc::Identity& who, Bytes in, const pb_msgdesc_t* fields, T& m,
              rpc::Responder& r) {
        if (!from_manager(who)) return r.fail(Error::NotPermitted), false;
        if (!decode(in, fields, &m)) return r.fail(Error::Malformed), false;
        return true;
    }

    rpc::Node& rpc_;
    Clock& clock_;
    Random& random_;
    MembershipOptions options_;
    MembershipEvents& events_;
    rpc::Peer& manager_;
    roce::Ipv4 gpm_ip_, gmm_ip_;

    State state_ = State::Joining;
    NodeId node_;
    Directory directory_;
    bool calling_ = false; // a join or heartbeat is under way
    bool pulling_ = false; // a directory request is
    Nanos next_call_{};    // join or heartbeat
    Nanos next_pull_ = kNever;
    Nanos heartbeat_every_ = seconds(1);
    Nanos retry_{};
    Nanos last_contact_{};
    Nanos started_{};

    std::array<Mount, kMaxHeld> held_;
    union { // never used at the same time; too big for a kernel stack
        tessera_control_JoinRequest join_;
        tessera_control_DirectoryReply directory_reply_;
    };
    std::array<std::byte, tessera_control_JoinRequest_size> out_;
};

void Member::register_handlers() {
    using rpc::Identity;
    using rpc::Responder;
    rpc_.handle(schema::kFence, [this](const Identity& who, Bytes in, Responder r) {
        tessera_control_FenceRequest m = tessera_control_FenceRequest_init_zero;
        if (!read(who, in, tessera_control_FenceRequest_fields, m, r)) return;
        if (m.incarnation == options_.incarnation.value) return fenced();
        rpc_.fence(NodeId(m.node), Incarnation(m.incarnation));
        events_.on_fence(NodeId(m.node), Incarnation(m.incarnation), Done(std::move(r)));
    });
    rpc_.handle(schema::kMountVnode, [this](const Identity& who, Bytes in, Responder r) {
        tessera_control_MountVnodeRequest m = tessera_control_MountVnodeRequest_init_zero;
        if (!read(who, in, tessera_control_MountVnodeRequest_fields, m, r)) return;
        Mount mount;
        mount.vnode = vnode_from(m.vnode);
        mount.pid_first = Pid(m.pid_first);
        mount.pid_count = m.pid_count;
        if (!mount.vnode.id) return r.fail(Error::InvalidArgument);
        events_.on_mount(mount, Done(std::move(r)));
    });
    rpc_.handle(schema::kUnmountVnode, [this](const Identity& who, Bytes in, Responder r) {
        tessera_control_UnmountVnodeRequest m = tessera_control_UnmountVnodeRequest_init_zero;
        if (!read(who, in, tessera_control_UnmountVnodeRequest_fields, m, r)) return;
        events_.on_unmount(VnodeId(m.vnode), Done(std::move(r)));
    });
    rpc_.handle(schema::kSetOption, [this](const Identity&, Bytes in, Responder r) {
        tessera_control_SetOptionRequest m = tessera_control_SetOptionRequest_init_zero;
        if (!decode(in, tessera_control_SetOptionRequest_fields, &m))
            return r.fail(Error::Malformed);
        events_.on_option(m.name, m.value, Done(std::move(r)));
    });
    rpc_.handle(schema::kShutdown, [this](const Identity& who, Bytes in, Responder r) {
        tessera_control_ShutdownRequest m = tessera_control_ShutdownRequest_init_zero;
        if (!read(who, in, tessera_control_ShutdownRequest_fields, m, r)) return;
        events_.on_shutdown(Done(std::move(r)));
    });
    if (options_.kind == rpc::NodeKind::Storage)
        rpc_.handle(schema::kMountStorage, [this](const Identity& who, Bytes in, Responder r) {
            tessera_control_MountStorageRequest m = tessera_control_MountStorageRequest_init_zero;
            if (!read(who, in, tessera_control_MountStorageRequest_fields, m, r)) return;
            events_.on_mount_storage(VnodeId(m.vnode), m.name, m.release, Done(std::move(r)));
        });
}

Nanos Member::retry_after() {
    retry_ = retry_ == Nanos{} ? kFirstRetry : std::min(retry_ * 2, kLongestRetry);
    auto jitter = static_cast<int64_t>(random_.next() % static_cast<uint64_t>(retry_.value / 4));
    return clock_.now() + retry_ + Nanos{jitter};
}

void Member::join() {
    join_ = tessera_control_JoinRequest_init_zero;
    join_.kind = static_cast<tessera_control_Kind>(options_.kind);
    copy_name(join_.name, options_.name);
    copy_name(join_.failure_domain, options_.failure_domain);
    copy_name(join_.boot_loader, options_.boot_loader);
    join_.ip = options_.self.value;
    join_.incarnation = options_.incarnation.value;
    join_.node = node_.value;
    join_.build_id = options_.build_id;
    join_.has_resources = true;
    join_.resources = to_wire(events_.resources());
    join_.directory_version = directory_.version().value;
    join_.uptime_ms = static_cast<uint32_t>((clock_.now() - started_).value / 1'000'000);
    size_t held = std::min(events_.inventory(held_), held_.size());
    join_.held_count = static_cast<pb_size_t>(held);
    for (size_t i = 0; i < held; i++) {
        join_.held[i].has_vnode = true;
        join_.held[i].vnode = to_wire(held_[i].vnode);
        join_.held[i].pid_first = held_[i].pid_first.value;
        join_.held[i].pid_count = held_[i].pid_count;
        join_.held[i].processes = held_[i].processes;
    }
    auto size = encode(tessera_control_JoinRequest_fields, &join_, out_);
    ASSERT(size); // out_ holds the largest
    calling_ = true;
    manager_.call(schema::kJoin, Bytes(out_).first(*size), {}, {clock_.now() + kCallTime, true},
                  [this](Result<Bytes> reply) { on_join_reply(reply); });
}

void Member::on_join_reply(Result<Bytes> reply) {
    calling_ = false;
    if (state_ != State::Joining) return;
    tessera_control_JoinReply m = tessera_control_JoinReply_init_zero;
    if (!reply || !decode(*reply, tessera_control_JoinReply_fields, &m) || m.node == 0) {
        if (!reply && reply.error() == Error::Stale) return fenced();
        if (reply || (retry_ == kLongestRetry && reply.error() != Error::Timeout))
            LOG(Warning, "join", "manager answered: %s; trying again",
                reply ? "malformed" : std::string_view(describe(reply.error())).data());
        next_call_ = retry_after();
        return;
    }
    bool first = !node_;
    node_ = NodeId(m.node);
    if (m.gpm_ip) gpm_ip_ = roce::Ipv4(m.gpm_ip);
    if (m.gmm_ip) gmm_ip_ = roce::Ipv4(m.gmm_ip);
    if (m.name[0]) options_.name = m.name;
    if (m.heartbeat_ms) heartbeat_every_ = milliseconds(m.heartbeat_ms);
    state_ = State::Joined;
    retry_ = {};
    last_contact_ = clock_.now();
    next_call_ = last_contact_ + heartbeat_every_;
    next_pull_ = last_contact_;
    rpc_.set_self({options_.kind, node_, options_.incarnation});
    LOG(Info, "join", "joined as node %u (%s)", node_.value, options_.name.c_str());
    if (m.cluster_time_ns) events_.on_cluster_time(static_cast<int64_t>(m.cluster_time_ns));
    for (size_t i = 0; i < m.reclaim_vnodes_count; i++)
        events_.on_reclaim(VnodeId(m.reclaim_vnodes[i]));
    if (first) events_.on_joined(node_);
}

void Member::heartbeat() {
    tessera_control_HeartbeatRequest m = tessera_control_HeartbeatRequest_init_zero;
    m.node = node_.value;
    m.incarnation = options_.incarnation.value;
    m.has_resources = true;
    m.resources = to_wire(events_.resources());
    m.directory_version = directory_.version().value;
    m.uptime_ms = static_cast<uint32_t>((clock_.now() - started_).value / 1'000'000);
    size_t held = std::min(events_.inventory(held_), held_.size());
    m.vnodes_count = static_cast<pb_size_t>(held);
    for (size_t i = 0; i < held; i++)
        m.vnodes[i] = {held_[i].vnode.id.value, held_[i].processes};
    auto size = encode(tessera_control_HeartbeatRequest_fields, &m, out_);
    ASSERT(size);
    calling_ = true;
    next_call_ = clock_.now() + heartbeat_every_;
    // A heartbeat says "now": a late one is worth nothing, the next one is on its way.
    manager_.call(schema::kHeartbeat, Bytes(out_).first(*size), {},
                  {clock_.now() + heartbeat_every_ * 2, true},
                  [this](Result<Bytes> reply) { on_heartbeat_reply(reply); });
}

void Member::on_heartbeat_reply(Result<Bytes> reply) {
    calling_ = false;
    if (state_ != State::Joined) return;
    tessera_control_HeartbeatReply m = tessera_control_HeartbeatReply_init_zero;
    if (!reply || !decode(*reply, tessera_control_HeartbeatReply_fields, &m)) {
        // The manager is away. Nothing changes here but that we keep asking.
        if (!reply && reply.error() == Error::Stale) return fenced();
        next_call_ = std::max(next_call_, clock_.now() + heartbeat_every_ / 4);
        return;
    }
    last_contact_ = clock_.now();
    uint32_t verdict = enum_number(m.verdict);
    if (verdict == tessera_control_HeartbeatVerdict_HEARTBEAT_FENCED) return fenced();
    if (verdict == tessera_control_HeartbeatVerdict_HEARTBEAT_REJOIN) {
        state_ = State::Joining;
        next_call_ = clock_.now();
        return;
    }
    if (m.cluster_time_ns) events_.on_cluster_time(static_cast<int64_t>(m.cluster_time_ns));
    if (m.directory_version &&
        (m.directory_version != directory_.version().value ||
         (m.directory_lineage && m.directory_lineage != directory_.lineage())))
        if (next_pull_ == kNever) next_pull_ = clock_.now();
}

void Member::pull_directory() {
    auto peer = rpc_.peer(gpm_ip_);
    if (!peer) {
        next_pull_ = retry_after();
        return;
    }
    tessera_control_DirectoryRequest m = tessera_control_DirectoryRequest_init_zero;
    m.known_version = directory_.version().value;
    m.known_lineage = directory_.lineage();
    auto size = encode(tessera_control_DirectoryRequest_fields, &m, out_);
    ASSERT(size);
    pulling_ = true;
    next_pull_ = kNever;
    (*peer)->call(schema::kDirectory, Bytes(out_).first(*size), {},
                  {clock_.now() + kCallTime, true},
                  [this](Result<Bytes> reply) { on_directory_reply(reply); });
}

void Member::on_directory_reply(Result<Bytes> reply) {
    pulling_ = false;
    directory_reply_ = tessera_control_DirectoryReply_init_zero;
    auto& m = directory_reply_;
    if (!reply || !decode(*reply, tessera_control_DirectoryReply_fields, &m)) {
        next_pull_ = retry_after();
        return;
    }
    retry_ = {};
    directory_.begin(m.lineage, m.restart);
    bool full = false;
    for (size_t i = 0; i < m.components_count; i++)
        full |= !directory_.put(component_from(m.components[i]));
    for (size_t i = 0; i < m.vnodes_count; i++)
        full |= !directory_.put(vnode_from(m.vnodes[i]));
    if (full) LOG(Warning, "join", "the directory is larger than this component can hold");
    directory_.end(DirectoryVersion(m.version), m.more);
    if (m.more)
        next_pull_ = clock_.now();
    else
        events_.on_directory_changed();
}

void Member::fenced() {
    if (state_ == State::Fenced) return;
    state_ = State::Fenced;
    LOG(Failure, "join", "the cluster has declared this incarnation dead");
    events_.on_fenced_self();
}

void Member::leave(Nanos deadline, Function<void(Result<void>)> done) {
    tessera_control_LeaveRequest m = tessera_control_LeaveRequest_init_zero;
    m.node = node_.value;
    m.incarnation = options_.incarnation.value;
    auto size = encode(tessera_control_LeaveRequest_fields, &m, out_);
    ASSERT(size);
    state_ = State::Left;
    manager_.call(schema::kLeave, Bytes(out_).first(*size), {}, {deadline, true},
                  [done = std::move(done)](Result<Bytes> reply) mutable {
                      if (!done) return;
                      if (reply)
                          done({});
                      else
                          done(Fail(reply.error()));
                  });
}

void Member::request_quota(VnodeId vnode, uint64_t pages, Nanos deadline,
                           Function<void(Result<uint64_t>)> done) {
    tessera_control_GrantMemoryRequest m = tessera_control_GrantMemoryRequest_init_zero;
    m.has_vnode = true;
    m.vnode.vnode = vnode.value;
    m.node = node_.value;
    m.pages = pages;
    auto size = encode(tessera_control_GrantMemoryRequest_fields, &m, out_);
    ASSERT(size);
    NodeId self = node_;
    manager_.call(schema::kGrantMemory, Bytes(out_).first(*size), {}, {deadline, true},
                  [self, done = std::move(done)](Result<Bytes> reply) mutable {
                      if (!reply) return done(Fail(reply.error()));
                      tessera_control_GrantMemoryReply g =
                          tessera_control_GrantMemoryReply_init_zero;
                      if (!decode(*reply, tessera_control_GrantMemoryReply_fields, &g))
                          return done(Fail(Error::Malformed));
                      for (size_t i = 0; i < g.homes_count; i++)
                          if (g.homes[i].node == self.value) return done(g.homes[i].quota_pages);
                      done(Fail(Error::NoSpace));
                  });
}

void Member::poll() {
    Nanos now = clock_.now();
    if (started_ == Nanos{}) started_ = now;
    if (state_ == State::Fenced || state_ == State::Left) return;
    if (!calling_ && now >= next_call_) state_ == State::Joining ? join() : heartbeat();
    if (!pulling_ && now >= next_pull_ && gpm_ip_) pull_directory();
}

Nanos Member::next_deadline() const {
    if (state_ == State::Fenced || state_ == State::Left) return kNever;
    Nanos next = calling_ ? kNever : next_call_;
    if (!pulling_ && gpm_ip_) next = std::min(next, next_pull_);
    return next;
}

} // namespace

Result<Own<Membership>> Membership::create(rpc::Node& node, Clock& clock, Random& random,
                                           const MembershipOptions& options,
                                           MembershipEvents& events) {
    if (!options.manager || !options.self || !options.incarnation)
        return Fail(Error::InvalidArgument);
    rpc::Peer* manager = TRY(node.peer(options.manager));
    return Own<Membership>(new Member(node, clock, random, options, events, *manager));
}

} // namespace tessera::cluster
