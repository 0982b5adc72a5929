#include "gpm/service.hpp"

#include "base/log.hpp"
#include "net/host/protobuf_rpc.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::gpm {

using net::host::handle_proto;

Service::Service(rpc::Node& node, Clock& clock, Random& random, net::host::StateDb& db,
                 const ServiceOptions& options)
    : node_(node),
      clock_(clock),
      random_(random),
      db_(db),
      options_(options),
      leases_(options.heartbeat, options.missed),
      started_(clock.now()) {}

Result<Own<Service>> Service::create(rpc::Node& node, Clock& clock, Random& random,
                                     net::host::StateDb& db, const ServiceOptions& options) {
    Own<Service> s(new Service(node, clock, random, db, options));
    TRY(s->load());
    node.set_self({rpc::NodeKind::Gpm, NodeId(1), options.incarnation});
    s->register_handlers();
    LOG(Info, "gpm", "%zu components and %zu vNodes known; directory version %llu",
        s->registry_->members().size(), s->registry_->vnodes().size(),
        static_cast<unsigned long long>(s->registry_->version()));
    return s;
}

void Service::register_handlers() {
    using namespace control;
    handle_proto<JoinRequest>(node_, schema::kJoin, [this](auto& who, JoinRequest m, Responder r) {
        on_join(who, std::move(m), std::move(r));
    });
    handle_proto<HeartbeatRequest>(
        node_, schema::kHeartbeat,
        [this](auto& who, HeartbeatRequest m, Responder r) { on_heartbeat(who, m, std::move(r)); });
    handle_proto<LeaveRequest>(node_, schema::kLeave, [this](auto&, LeaveRequest m, Responder r) {
        on_leave(m, std::move(r));
    });
    handle_proto<DirectoryRequest>(
        node_, schema::kDirectory,
        [this](auto&, DirectoryRequest m, Responder r) { on_directory(m, std::move(r)); });
    handle_proto<StatusRequest>(node_, schema::kStatus, [this](auto&, StatusRequest, Responder r) {
        on_status(std::move(r));
    });
    handle_proto<VnodeCreateRequest>(
        node_, schema::kVnodeCreate,
        [this](auto&, VnodeCreateRequest m, Responder r) { on_create(m, std::move(r)); });
    handle_proto<VnodeListRequest>(
        node_, schema::kVnodeList,
        [this](auto&, VnodeListRequest, Responder r) { on_list(std::move(r)); });
    handle_proto<VnodeRemoveRequest>(
        node_, schema::kVnodeRemove,
        [this](auto&, VnodeRemoveRequest m, Responder r) { on_remove(m, std::move(r)); });
    handle_proto<PlaceProgramRequest>(
        node_, schema::kPlaceProgram,
        [this](auto&, PlaceProgramRequest m, Responder r) { on_place(m, std::move(r)); });
    handle_proto<SetOptionRequest>(
        node_, schema::kSetOption,
        [this](auto&, SetOptionRequest m, Responder r) { on_option(m, std::move(r)); });
    handle_proto<ShutdownRequest>(
        node_, schema::kShutdown,
        [this](auto&, ShutdownRequest m, Responder r) { on_shutdown(m, std::move(r)); });
}

rpc::Peer* Service::peer(roce::Ipv4 address) {
    auto p = node_.peer(address);
    return p ? *p : nullptr;
}

void Service::poll() {
    Nanos now = clock_.now();
    if (now >= leases_.next_tick())
        for (NodeId node : leases_.tick(now))
            if (Member* m = registry_->member(node)) begin_death(*m);
    send_fences();
    finish_deaths();
    if (now >= next_resume_) {
        next_resume_ = now + seconds(1);
        resume_work();
    }
}

Nanos Service::next_deadline() const {
    return std::min(leases_.next_tick(), next_resume_);
}

} // namespace tessera::gpm
