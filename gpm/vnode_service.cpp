#include <algorithm>

#include "base/log.hpp"
#include "gpm/service.hpp"
#include "net/host/control_proto.hpp"
#include "net/host/protobuf_rpc.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::gpm {

using cluster::ComponentState;
using cluster::VnodeState;
using net::host::call_proto;
using net::host::reply_with;
using net::host::to_proto;
using rpc::NodeKind;

namespace {
constexpr Nanos kStepTime = seconds(10);
using Empty = control::StatusRequest; // a reply without fields
} // namespace

control::VnodeStatus Service::status_of(const VnodeRecord& v) {
    control::VnodeStatus s;
    *s.mutable_vnode() = to_proto(v.entry);
    s.mutable_vnode()->set_version(v.version);
    uint32_t processes = 0;
    for (auto& l : v.leases) {
        Member* m = registry_->member(l.node);
        if (!l.mounted || !m || m->entry.incarnation != l.incarnation) continue;
        s.add_mounted_on(m->entry.name.c_str());
        processes += l.processes;
    }
    s.set_processes(processes);
    return s;
}

void Service::on_list(Responder r) {
    control::VnodeListReply reply;
    for (auto& v : registry_->vnodes())
        if (v->entry.state != VnodeState::Removed) *reply.add_vnodes() = status_of(*v);
    reply_with(r, reply);
}

void Service::on_create(const control::VnodeCreateRequest& m, Responder r) {
    VnodeRecord* v = registry_->vnode_named(m.name());
    if (v && !m.exists_ok()) return r.fail(Error::Exists);
    if (v && v->entry.state == VnodeState::Removing) return r.fail(Error::Busy);
    if (!v) {
        auto made = registry_->create_vnode(m.name(), roce::Ipv4(m.ip()));
        if (!made) return r.fail(made.error());
        v = *made;
        v->entry.memory_pages = m.limits().memory_pages();
        v->entry.max_processes = m.limits().processes();
        if (auto saved = registry_->changed(*v); !saved) return r.fail(saved.error());
    }
    VnodeId id = v->entry.id;
    auto kept = std::make_shared<Responder>(std::move(r));
    build(id, m.storage(), [this, id, kept](Result<void> done) {
        VnodeRecord* made = registry_->vnode(id);
        if (!done) return kept->fail(done.error());
        control::VnodeCreateReply reply;
        *reply.mutable_vnode() = to_proto(made->entry);
        reply_with(*kept, reply);
    });
}

// Each step is idempotent and recorded, so an interrupted one is simply taken again (resume_work).
void Service::build(VnodeId id, std::string storage, Then then) {
    VnodeRecord* v = registry_->vnode(id);
    if (v->entry.state == VnodeState::Ready) return then({});
    if (v->entry.state != VnodeState::Creating) return then(Fail(Error::NotFound));
    ask_storage(id, std::move(storage), [this, id, then](Result<void> stored) {
        if (!stored) return then(stored);
        ask_memory(id, [this, id, then](Result<void> granted) {
            VnodeRecord* v = registry_->vnode(id);
            if (!granted) return then(granted);
            if (v->entry.state == VnodeState::Creating) {
                v->entry.state = VnodeState::Ready;
                if (auto saved = registry_->changed(*v); !saved) {
                    v->entry.state = VnodeState::Creating;
                    return then(saved);
                }
                LOG(Info, "gpm", "vNode %s is ready", v->entry.name.c_str());
            }
            then({});
        });
    });
}

void Service::ask_storage(VnodeId id, std::string storage, Then then) {
    VnodeRecord* v = registry_->vnode(id);
    if (v->entry.storage) return then({});
    rpc::Peer* gsm = peer(options_.gsm);
    if (!gsm) return then(Fail(Error::Full));
    control::MountStorageRequest m;
    m.set_vnode(id.value);
    m.set_name(v->entry.name.c_str());
    m.set_storage(storage);
    call_proto<control::MountStorageReply>(
        *gsm, schema::kMountStorage, m, in(kStepTime),
        [this, id, then](Result<control::MountStorageReply> reply) {
            if (!reply) return then(Fail(reply.error()));
            VnodeRecord* v = registry_->vnode(id);
            v->entry.storage = NodeId(reply->storage_node());
            v->entry.storage_ip = roce::Ipv4(reply->storage_ip());
            v->entry.mount_epoch = OwnershipEpoch(reply->mount_epoch());
            then(registry_->changed(*v));
        });
}

void Service::ask_memory(VnodeId id, Then then) {
    VnodeRecord* v = registry_->vnode(id);
    if (v->entry.home_count > 0) return then({});
    rpc::Peer* gmm = peer(options_.gmm);
    if (!gmm) return then(Fail(Error::Full));
    control::GrantMemoryRequest m;
    *m.mutable_vnode() = to_proto(v->entry);
    call_proto<control::GrantMemoryReply>(
        *gmm, schema::kGrantMemory, m, in(kStepTime),
        [this, id, then](Result<control::GrantMemoryReply> reply) {
            if (!reply) return then(Fail(reply.error()));
            VnodeRecord* v = registry_->vnode(id);
            v->entry.home_count = 0;
            for (auto& h : reply->homes()) {
                if (v->entry.home_count == cluster::kMaxHomes) break;
                v->entry.homes[v->entry.home_count++] = {NodeId(h.node()), roce::Ipv4(h.ip()),
                                                         h.quota_pages()};
            }
            if (v->entry.home_count == 0) return then(Fail(Error::NoMemory));
            // Its pComponents learn of the new homes with their next mount.
            for (auto& l : v->leases)
                l.mounted = false;
            then(registry_->changed(*v));
        });
}

void Service::on_remove(const control::VnodeRemoveRequest& m, Responder r) {
    VnodeRecord* v = registry_->vnode_named(m.name());
    if (!v) return r.fail(Error::NotFound);
    v->entry.state = VnodeState::Removing;
    if (auto saved = registry_->changed(*v); !saved) return r.fail(saved.error());
    auto kept = std::make_shared<Responder>(std::move(r));
    tear_down(v->entry.id,
              [kept](Result<void> done) { done ? kept->reply({}) : kept->fail(done.error()); });
}

// pComponents first (processes end), then memory, then the root. What does not answer is asked
// again by resume_work until it has answered or is dead.
void Service::tear_down(VnodeId id, Then then) {
    if (std::find(working_.begin(), working_.end(), id) != working_.end())
        return then(Fail(Error::Busy));
    working_.push_back(id);
    auto end = [this, id, then](Result<void> done) {
        std::erase(working_, id);
        then(done);
    };
    auto waiting = std::make_shared<size_t>(1);
    auto failed = std::make_shared<bool>(false);
    auto managers = [this, id, end] {
        VnodeRecord* v = registry_->vnode(id);
        control::GrantMemoryRequest memory;
        memory.mutable_vnode()->set_vnode(id.value);
        memory.set_release(true);
        control::MountStorageRequest storage;
        storage.set_vnode(id.value);
        storage.set_name(v->entry.name.c_str());
        storage.set_release(true);
        rpc::Peer *gmm = peer(options_.gmm), *gsm = peer(options_.gsm);
        if (!gmm || !gsm) return end(Fail(Error::Full));
        call_proto<control::GrantMemoryReply>(
            *gmm, schema::kGrantMemory, memory, in(kStepTime),
            [this, id, end, gsm, storage](Result<control::GrantMemoryReply> freed) {
                if (!freed) return end(Fail(freed.error()));
                call_proto<control::MountStorageReply>(
                    *gsm, schema::kMountStorage, storage, in(kStepTime),
                    [this, id, end](Result<control::MountStorageReply> released) {
                        if (!released) return end(Fail(released.error()));
                        VnodeRecord* v = registry_->vnode(id);
                        v->leases.clear();
                        v->entry.state = VnodeState::Removed;
                        end(registry_->changed(*v));
                    });
            });
    };
    auto one_done = [waiting, failed, managers, end] {
        if (--*waiting > 0) return;
        if (*failed)
            end(Fail(Error::Timeout));
        else
            managers();
    };
    for (auto& l : registry_->vnode(id)->leases) {
        Member* m = registry_->member(l.node);
        if (!m || m->entry.incarnation != l.incarnation || m->entry.state != ComponentState::Up)
            continue;
        rpc::Peer* p = peer(m->entry.ip);
        if (!p) continue;
        ++*waiting;
        control::UnmountVnodeRequest request;
        request.set_vnode(id.value);
        request.set_manager_incarnation(options_.incarnation.value);
        call_proto<Empty>(*p, schema::kUnmountVnode, request, in(kStepTime),
                          [failed, one_done](Result<Empty> done) {
                              if (!done) *failed = true;
                              one_done();
                          });
    }
    one_done();
}

void Service::on_place(const control::PlaceProgramRequest& m, Responder r) {
    VnodeRecord* v = registry_->vnode_named(m.vnode());
    if (!v) return r.fail(Error::NotFound);
    VnodeId id = v->entry.id;
    auto kept = std::make_shared<Responder>(std::move(r));
    if (v->entry.state == VnodeState::Removing) return kept->fail(Error::NotFound);
    std::string wish = m.component();
    auto go = [this, id, wish, kept](Result<void> ready) {
        if (!ready) return kept->fail(ready.error());
        place(id, wish, kept);
    };
    if (v->entry.state == VnodeState::Creating)
        build(id, "", go);
    else
        ask_memory(id, go); // answers at once while it has homes
}

void Service::place(VnodeId id, std::string wish, std::shared_ptr<Responder> r) {
    VnodeRecord* v = registry_->vnode(id);
    std::vector<Candidate> candidates;
    for (auto& m : registry_->members()) {
        if (m->entry.kind != NodeKind::Process || m->entry.state != ComponentState::Up) continue;
        if (!wish.empty() && m->entry.name.view() != wish) continue;
        PidLease* l = v->lease(m->entry.node, m->entry.incarnation);
        candidates.push_back({m->entry.node, m->resources, m->placed, l && l->mounted});
    }
    auto chosen = policy_.choose(candidates);
    if (!chosen) return r->fail(wish.empty() ? Error::NoDevice : Error::NotFound);
    NodeId node = candidates[*chosen].node;
    registry_->member(node)->placed++;
    mount(id, node, [this, id, node, r](Result<void> mounted) {
        if (!mounted) return r->fail(mounted.error());
        Member* m = registry_->member(node);
        control::PlaceProgramReply reply;
        reply.set_vnode(id.value);
        reply.set_node(node.value);
        reply.set_ip(m->entry.ip.value);
        reply.set_component(m->entry.name.c_str());
        reply_with(*r, reply);
    });
}

void Service::mount(VnodeId id, NodeId node, Then then) {
    VnodeRecord* v = registry_->vnode(id);
    Member* m = registry_->member(node);
    auto lease = registry_->lease_pids(*v, *m);
    if (!lease) return then(Fail(lease.error()));
    if ((*lease)->mounted) return then({});
    rpc::Peer* p = peer(m->entry.ip);
    if (!p) return then(Fail(Error::Full));
    control::MountVnodeRequest request;
    *request.mutable_vnode() = to_proto(v->entry);
    request.set_pid_first((*lease)->first.value);
    request.set_pid_count((*lease)->count);
    request.set_manager_incarnation(options_.incarnation.value);
    Incarnation incarnation = m->entry.incarnation;
    call_proto<Empty>(*p, schema::kMountVnode, request, in(kStepTime),
                      [this, id, node, incarnation, then](Result<Empty> done) {
                          if (!done) return then(Fail(done.error()));
                          if (PidLease* l = registry_->vnode(id)->lease(node, incarnation))
                              l->mounted = true;
                          then({});
                      });
}

// What a restart or an unanswered step left unfinished.
void Service::resume_work() {
    for (auto& m : registry_->members())
        if (m->entry.state == ComponentState::Suspect && m->entry.kind != NodeKind::Gmm &&
            m->entry.kind != NodeKind::Gsm && !fencing_.under_way(m->entry.incarnation))
            begin_fence(m->entry.node, m->entry.incarnation);
    for (auto& v : registry_->vnodes())
        if (v->entry.state == VnodeState::Removing) tear_down(v->entry.id, [](Result<void>) {});
}

void Service::on_option(const control::SetOptionRequest& m, Responder r) {
    Member* member = registry_->member_named(m.component());
    if (!member || member->entry.state != ComponentState::Up) return r.fail(Error::NotFound);
    rpc::Peer* p = peer(member->entry.ip);
    if (!p) return r.fail(Error::Full);
    auto kept = std::make_shared<Responder>(std::move(r));
    call_proto<Empty>(*p, schema::kSetOption, m, in(kStepTime), [kept](Result<Empty> done) {
        done ? kept->reply({}) : kept->fail(done.error());
    });
}

// pComponents (programs end, dirty lines go back), mComponents (files are written out), sComponents
// (disks are flushed), each step after the one before has answered or its deadline has passed.
void Service::on_shutdown(const control::ShutdownRequest& m, Responder r) {
    Nanos step = m.deadline_ms() ? milliseconds(m.deadline_ms()) : kStepTime;
    auto reply = std::make_shared<control::ShutdownReply>();
    auto kept = std::make_shared<Responder>(std::move(r));
    bool all = m.component().empty();
    std::string only = m.component();
    if (!all) {
        Member* member = registry_->member_named(only);
        if (!member) return kept->fail(Error::NotFound);
        if (member->entry.state != ComponentState::Up) return kept->fail(Error::Dead);
    }
    auto run = std::make_shared<std::function<void(size_t)>>();
    *run = [this, step, reply, kept, all, only, weak = std::weak_ptr(run)](size_t stage) {
        constexpr NodeKind order[] = {NodeKind::Process, NodeKind::Memory, NodeKind::Storage};
        if (stage == std::size(order)) {
            reply_with(*kept, *reply);
            if (all && options_.on_shutdown) options_.on_shutdown();
            return;
        }
        auto self = weak.lock(); // alive: whoever calls us holds it
        auto waiting = std::make_shared<size_t>(1);
        auto next = [self, waiting, stage] {
            if (--*waiting == 0) (*self)(stage + 1);
        };
        for (auto& x : registry_->members()) {
            if (x->entry.kind != order[stage] || x->entry.state != ComponentState::Up) continue;
            if (!all && x->entry.name.view() != only) continue;
            rpc::Peer* p = peer(x->entry.ip);
            if (!p) continue;
            ++*waiting;
            NodeId node = x->entry.node;
            control::ShutdownRequest request;
            call_proto<Empty>(*p, schema::kShutdown, request, in(step),
                              [this, node, reply, next](Result<Empty> done) {
                                  Member* m = registry_->member(node);
                                  if (!done) {
                                      reply->add_failed(m->entry.name.c_str());
                                  } else { // it is empty and off: nobody needs to fence it
                                      leases_.forget(node);
                                      registry_->drop_holdings(node, m->entry.incarnation);
                                      (void)registry_->set_state(*m, ComponentState::Left);
                                  }
                                  next();
                              });
        }
        next();
    };
    (*run)(0);
}

} // namespace tessera::gpm
