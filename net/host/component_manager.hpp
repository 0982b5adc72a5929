// ComponentManager: what GMM and GSM have in common. They look after the components of one kind:
// pass their joins on to GPM (the only writer of the directory), keep their leases, report
// detections to GPM, follow its directory, and answer kStatus. What is decided about memory and
// storage is in gmm/ and gsm/, which hear of components through ComponentEvents.
//
// With GPM away, a component that this manager knows may join again; a new one waits. Known
// components are in the state database; a restarted manager gives each a full lease.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "net/cluster/lease_table.hpp"
#include "net/cluster/membership.hpp"
#include "net/host/state_db.hpp"
#include "net/schema/control.pb.h"

namespace tessera::net::host {

struct KnownComponent {
    cluster::Component entry; // resources: of the last heartbeat
    std::string boot_loader;
    uint64_t build_id = 0;
    Nanos heard{};
    Nanos booted{};
    bool reported = false; // GPM knows that we suspect it: no way back
};

class ComponentEvents {
  public:
    // (Re)joined: with what it holds. Called before its join is answered.
    virtual void on_component(const KnownComponent& c, const control::JoinRequest& join) = 0;
    // Fenced and dead by GPM's word: act on it.
    virtual void on_component_dead(NodeId node) = 0;
    virtual void fill_status(control::StatusReply& reply) { (void)reply; }

  protected:
    ~ComponentEvents() = default;
};

struct ComponentManagerOptions {
    rpc::NodeKind self = rpc::NodeKind::None;   // Gmm or Gsm
    rpc::NodeKind serves = rpc::NodeKind::None; // Memory or Storage
    roce::Ipv4 address, gpm;
    Incarnation incarnation;
    Nanos heartbeat = seconds(1);
    unsigned missed = 5;
    std::function<int64_t()> realtime;
};

class ComponentManager final : private cluster::MembershipEvents {
  public:
    static Result<Own<ComponentManager>> create(rpc::Node& node, Clock& clock, Random& random,
                                                StateDb& db, const ComponentManagerOptions& options,
                                                ComponentEvents& events);

    void poll();
    Nanos next_deadline() const;

    std::vector<std::unique_ptr<KnownComponent>>& components() { return components_; }
    KnownComponent* component(NodeId node);
    bool alive(const KnownComponent& c) const {
        return c.entry.state == cluster::ComponentState::Up && leases_.holds(c.entry.node);
    }
    rpc::Peer* peer(roce::Ipv4 address);
    Nanos in(Nanos time) const { return clock_.now() + time; }
    Incarnation incarnation() const { return options_.incarnation; }

  private:
    ComponentManager(rpc::Node& node, Clock& clock, StateDb& db,
                     const ComponentManagerOptions& options, ComponentEvents& events);
    Result<void> load();
    void on_join(const rpc::Identity& who, const control::JoinRequest& m, rpc::Responder r);
    void joined(const control::JoinRequest& m, control::JoinReply reply, rpc::Responder& r);
    void on_heartbeat(const control::HeartbeatRequest& m, rpc::Responder r);
    void on_leave(const control::LeaveRequest& m, rpc::Responder r);
    void on_status(rpc::Responder r);
    void report();
    void save(const KnownComponent& c);

    // cluster::MembershipEvents: this manager as a member of GPM's cluster
    cluster::Resources resources() override { return {}; }
    void on_directory_changed() override;
    void on_fenced_self() override {}

    rpc::Node& node_;
    Clock& clock_;
    StateDb& db_;
    ComponentManagerOptions options_;
    ComponentEvents& events_;
    Own<cluster::Membership> membership_;
    cluster::LeaseTable leases_;
    std::vector<std::unique_ptr<KnownComponent>> components_;
    Nanos started_;
    Nanos next_report_{};
    bool reporting_ = false;
    int64_t cluster_time() const { return options_.realtime ? options_.realtime() : 0; }
};

} // namespace tessera::net::host
