#include "tests/sim/operator.hpp"

#include "net/host/protobuf_rpc.hpp"
#include "net/schema/control.pb.h"
#include "net/schema/opcodes.hpp"

namespace tessera::sim {

namespace {
constexpr Nanos kEvery = milliseconds(50);
}

Operator::Operator(Cluster& cluster, ClientBoot& boot, unsigned vnodes)
    : cluster_(cluster), boot_(boot) {
    for (unsigned i = 0; i < vnodes; i++)
        vnodes_.push_back({"v" + std::to_string(i + 1), {}, false, false});
    for (Host* p : cluster.processes_)
        for (size_t v = 0; v < vnodes; v++)
            places_.push_back({p, v});
}

template <typename Reply, typename F>
void Operator::ask(rpc::Opcode op, const google::protobuf::MessageLite& m, F then) {
    auto peer = boot_.node->peer(kGpm);
    if (!peer) return then(Result<Reply>(Fail(peer.error())));
    net::host::call_proto<Reply>(**peer, op, m, boot_.host.clock.now() + seconds(8),
                                 std::move(then));
}

void Operator::poll() {
    if (boot_.host.clock.now() < next_) return;
    next_ = boot_.host.clock.now() + kEvery;
    for (Wanted& v : vnodes_) {
        if (v.asking) continue;
        if (!v.id) create(v);
        if (removing_ && !v.removed) remove(v);
    }
    for (Place& p : places_) {
        if (p.boot != p.host->boots || !p.host->up()) p.pages = nullptr, p.files = nullptr;
        if (!p.pages && !p.asking && !stopping_ && vnodes_[p.vnode].id && p.host->up()) place(p);
    }
}

void Operator::create(Wanted& v) {
    control::VnodeCreateRequest m;
    m.set_name(v.name);
    m.set_exists_ok(true);
    v.asking = true;
    ask<control::VnodeCreateReply>(schema::kVnodeCreate, m,
                                   [&v, this](Result<control::VnodeCreateReply> r) {
                                       v.asking = false;
                                       boot_.world.note("create", r ? r->vnode().vnode() : 0);
                                       if (r) v.id = VnodeId(r->vnode().vnode());
                                   });
}

void Operator::remove(Wanted& v) {
    control::VnodeRemoveRequest m;
    m.set_name(v.name);
    v.asking = true;
    ask<control::StatusRequest>(schema::kVnodeRemove, m,
                                [&v, this](Result<control::StatusRequest> r) {
                                    v.asking = false;
                                    boot_.world.note("remove", v.id.value, r.has_value());
                                    v.removed = r || r.error() == Error::NotFound;
                                });
}

void Operator::place(Place& p) {
    control::PlaceProgramRequest m;
    m.set_vnode(vnodes_[p.vnode].name);
    m.set_component(p.host->name);
    p.asking = true;
    ask<control::PlaceProgramReply>(
        schema::kPlaceProgram, m, [&p, this](Result<control::PlaceProgramReply> r) {
            p.asking = false;
            boot_.world.note("placed", p.host->station, p.vnode, r.has_value());
            if (r && roce::Ipv4(r->ip()) == p.host->ip && !stopping_) attach(p);
        });
}

// The programs start. (kSpawn is served by threads and tested in booted clusters.)
void Operator::attach(Place& p) {
    auto* boot = p.host->as<ProcessBoot>();
    VnodeId id = vnodes_[p.vnode].id;
    if (!boot || !boot->mounts.contains(id.value) || !boot->mounts[id.value].ready) return;
    if (p.pages && p.boot == p.host->boots) return;
    auto load = std::make_unique<PageLoad>(*boot, id, cluster_.pages_);
    p.pages = load.get();
    p.boot = p.host->boots;
    boot->loads.push_back(std::move(load));
    auto files = std::make_unique<FileLoad>(
        *boot, id, cluster_.file_models_[{p.host->name, id.value}], cluster_.files_);
    p.files = files.get();
    boot->loads.push_back(std::move(files));
    boot->end_programs = [boot](VnodeId v) {
        bool ended = true;
        for (auto& l : boot->loads) {
            if (auto* pages = dynamic_cast<PageLoad*>(l.get()); pages && pages->vnode() == v) {
                pages->stop();
                ended = ended && pages->ended();
            }
            if (auto* files = dynamic_cast<FileLoad*>(l.get()); files && files->vnode() == v) {
                files->abandon();
                ended = ended && files->ended();
            }
        }
        return ended;
    };
    boot->world.wake(*p.host);
}

bool Operator::all_running() const {
    for (const Place& p : places_)
        if (!p.pages || p.boot != p.host->boots || !p.host->up()) return false;
    return true;
}

uint64_t Operator::least_operations() const {
    uint64_t least = UINT64_MAX;
    for (const Place& p : places_)
        least = std::min(least,
                         p.pages ? std::min(p.pages->operations(), p.files->operations() * 10) : 0);
    return least;
}

void Operator::stop() {
    stopping_ = true;
    for (Place& p : places_)
        if (p.pages) p.pages->stop(), p.files->stop();
}

bool Operator::all_ended() const {
    for (const Place& p : places_)
        if (p.pages && !(p.pages->ended() && p.files->ended())) return false;
    return true;
}

bool Operator::all_removed() const {
    for (const Wanted& v : vnodes_)
        if (!v.removed) return false;
    return true;
}

} // namespace tessera::sim
