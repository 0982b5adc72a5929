// GPM's service: control messages in, decisions from core/, control messages out. One instance per
// program; the only user of gpm/core. Everything it must remember goes through StateDb before it
// acts.
//
//   directory_service.cpp  join, heartbeat, leave, fence, directory, status
//   vnode_service.cpp      vNode create/list/remove, placing programs, options, shutdown
//   records.cpp            the database's records
//
// Driven by rpc handlers and poll(). When it starts over a database every known component gets a
// full lease; when the database is gone, joins with their inventories fill it again.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "gpm/core/fencing.hpp"
#include "gpm/core/placement.hpp"
#include "gpm/core/registry.hpp"
#include "net/cluster/lease_table.hpp"
#include "net/host/state_db.hpp"
#include "net/rpc/rpc.hpp"
#include "net/schema/control.pb.h"

namespace tessera::gpm {

struct ServiceOptions {
    roce::Ipv4 gpm, gmm, gsm;
    Incarnation incarnation;
    Nanos heartbeat = seconds(1);
    unsigned missed = 5;
    // CLOCK_REALTIME in nanoseconds; tests give their own.
    std::function<int64_t()> realtime;
    // After every component has been shut down: end this program.
    std::function<void()> on_shutdown;
};

class Service final : private Journal {
  public:
    static Result<Own<Service>> create(rpc::Node& node, Clock& clock, Random& random,
                                       net::host::StateDb& db, const ServiceOptions& options);

    void poll();
    Nanos next_deadline() const;
    Registry& registry() { return *registry_; }

  private:
    using Identity = rpc::Identity;
    using Responder = rpc::Responder;
    using Then = std::function<void(Result<void>)>;

    Service(rpc::Node& node, Clock& clock, Random& random, net::host::StateDb& db,
            const ServiceOptions& options);
    Result<void> load();
    void register_handlers();

    // directory_service.cpp
    void on_join(const Identity& who, control::JoinRequest m, Responder r);
    void on_heartbeat(const Identity& who, const control::HeartbeatRequest& m, Responder r);
    void on_leave(const control::LeaveRequest& m, Responder r);
    void on_directory(const control::DirectoryRequest& m, Responder r);
    void on_status(Responder r);
    void begin_death(Member& m);
    void begin_fence(NodeId node, Incarnation incarnation);
    void send_fences();
    void finish_deaths();
    control::ComponentStatus status_of(const Member& m);

    // vnode_service.cpp
    void on_create(const control::VnodeCreateRequest& m, Responder r);
    void on_list(Responder r);
    void on_remove(const control::VnodeRemoveRequest& m, Responder r);
    void on_place(const control::PlaceProgramRequest& m, Responder r);
    void on_option(const control::SetOptionRequest& m, Responder r);
    void on_shutdown(const control::ShutdownRequest& m, Responder r);
    void build(VnodeId id, std::string storage, Then then); // storage, then memory, then Ready
    void ask_storage(VnodeId id, std::string storage, Then then);
    void ask_memory(VnodeId id, Then then);
    void tear_down(VnodeId id, Then then);
    void mount(VnodeId id, NodeId node, Then then);
    void place(VnodeId id, std::string wish, std::shared_ptr<Responder> r);
    void resume_work();
    control::VnodeStatus status_of(const VnodeRecord& v);

    // records.cpp
    Result<void> save(const Member& m) override;
    Result<void> save(const VnodeRecord& v) override;

    Nanos in(Nanos time) const { return clock_.now() + time; }
    rpc::Peer* peer(roce::Ipv4 address);
    int64_t realtime() const { return options_.realtime ? options_.realtime() : 0; }

    rpc::Node& node_;
    Clock& clock_;
    Random& random_;
    net::host::StateDb& db_;
    ServiceOptions options_;
    std::unique_ptr<Registry> registry_;
    cluster::LeaseTable leases_;
    Fencing fencing_;
    LeastLoaded least_loaded_;
    PlacementPolicy& policy_ = least_loaded_;
    std::vector<VnodeId> working_; // vNodes with a create or remove under way
    Nanos started_{};
    Nanos next_resume_{};
};

} // namespace tessera::gpm
