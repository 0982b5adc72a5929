#include "tests/sim/roles.hpp"

#include <algorithm>

#include "net/schema/page.hpp"

namespace tessera::sim {

namespace {

constexpr int64_t kEpoch = 1'700'000'000ll * 1'000'000'000;

// CLOCK_REALTIME minus the host's clock.
int64_t realtime_offset(Host& h) {
    return kEpoch + h.world.now().value - h.clock.now().value;
}

// As arch::reset() and the firmware after it.
void start_again(Host& h, Nanos delay) {
    uint64_t boot = h.boots;
    h.world.after({}, [&h, boot] {
        if (h.boots == boot && h.up()) h.crash();
        if (h.disk && h.boots == boot) h.disk->reset(false);
    });
    h.world.after(delay, [&h, boot] {
        if (h.boots == boot) h.boot();
    });
}

size_t copy_out(const std::vector<cluster::Mount>& from, std::span<cluster::Mount> out) {
    size_t n = std::min(from.size(), out.size());
    std::copy_n(from.begin(), n, out.begin());
    return n;
}

} // namespace

// ---- pComponent

ProcessBoot::ProcessBoot(Host& host)
    : Boot(host, rpc::NodeKind::Process), frames(host.settings->lines + 64) {
    link->frames = &frames;
}

Result<void> ProcessBoot::start() {
    TRY(make_node());
    pmon::ExCacheOptions o;
    o.node = NodeId(host.ip.value);
    o.incarnation = incarnation;
    o.lines = host.settings->lines;
    o.most_lines = host.settings->lines;
    cache = TRY(pmon::ExCache::create(*port, frames, clock(), o));
    return join(*this, kGpm, kGpm);
}

bool ProcessBoot::poll() {
    bool more = cache->poll();
    for (size_t i = 0; i < leaving_.size();) {
        VnodeId v = leaving_[i].vnode;
        if (end_programs && !end_programs(v)) {
            i++;
            continue;
        }
        cluster::Done done = std::move(leaving_[i].done);
        leaving_.erase(leaving_.begin() + static_cast<ptrdiff_t>(i));
        mounts.erase(v.value);
        if (cache->has_owner(v)) cache->remove_vnode(v);
        done({});
    }
    return more;
}

cluster::Resources ProcessBoot::resources() {
    cluster::Resources r;
    r.cpus = 1;
    r.memory_bytes = mib(64);
    pmon::ExCacheCounters n = cache->counters();
    r.excache_lines = n.limit;
    r.excache_dirty = n.dirty;
    r.remote_faults = n.remote_reads + n.fetches;
    r.write_backs = n.write_backs;
    return r;
}

size_t ProcessBoot::inventory(std::span<cluster::Mount> out) {
    size_t n = 0;
    for (auto& [id, m] : mounts)
        if (n < out.size()) out[n++] = m.mount;
    return n;
}

void ProcessBoot::on_fenced_self() {
    start_again(host, milliseconds(300));
}

void ProcessBoot::on_fence(NodeId node_id, Incarnation inc, cluster::Done done) {
    const cluster::Component* c = member->directory().component(node_id);
    if (c && c->kind == rpc::NodeKind::Memory)
        if (auto peer = node->peer(c->ip); peer && (*peer)->identity().incarnation == inc)
            cache->owner_dead(c->ip);
    done({});
}

void ProcessBoot::on_mount(const cluster::Mount& m, cluster::Done done) {
    const cluster::Vnode& v = m.vnode;
    auto known = mounts.find(v.id.value);
    if (known != mounts.end()) {
        follow_homes(known->second, v);
        known->second.mount = m;
        if (known->second.ready) return done({});
        return known->second.waiting.push_back(std::move(done));
    }
    if (!v.storage_ip || v.home_count == 0) return done(Fail(Error::NoDevice));
    Result<rpc::Peer*> store = node->peer(v.storage_ip);
    if (!store) return done(Fail(store.error()));
    SimMount& mine = mounts[v.id.value];
    mine.mount = m;
    mine.waiting.push_back(std::move(done));
    schema::StoreCreateRoot request;
    request.vnode = v.id.value;
    request.mode = 0755;
    (*store)->call(schema::kStoreCreateRoot, bytes_of(request), {},
                   {clock().now() + seconds(30), true},
                   [this, id = v.id](Result<Bytes> r) { mount_answered(id, r); });
}

void ProcessBoot::on_directory_changed() {
    for (auto& [id, m] : mounts)
        if (const cluster::Vnode* v = member->directory().vnode(VnodeId(id))) follow_homes(m, *v);
}

// A newer mount epoch: other homes of files (ADR 6).
void ProcessBoot::follow_homes(SimMount& m, const cluster::Vnode& v) {
    cluster::Vnode& mine = m.mount.vnode;
    if (!m.ready || v.mount_epoch.value <= mine.mount_epoch.value || v.home_count == 0) return;
    mine.mount_epoch = v.mount_epoch;
    mine.homes = v.homes;
    mine.home_count = v.home_count;
    std::vector<roce::Ipv4> homes;
    for (size_t i = 0; i < v.home_count; i++) {
        homes.push_back(v.homes[i].ip);
        if (cache->has_owner(v.id, v.homes[i].ip)) continue;
        if (auto peer = node->peer(v.homes[i].ip)) cache->add_owner(v.id, **peer, v.homes[i].ip);
    }
    cache->set_file_homes(v.id, std::move(homes));
}

void ProcessBoot::mount_answered(VnodeId vnode, Result<Bytes> reply) {
    auto at = mounts.find(vnode.value);
    if (at == mounts.end()) return;
    SimMount& m = at->second;
    std::vector<cluster::Done> waiting = std::exchange(m.waiting, {});
    Result<void> outcome;
    if (!reply)
        outcome = Fail(reply.error());
    else if (reply->size() < sizeof(schema::WireAttributes))
        outcome = Fail(Error::Malformed);
    if (outcome) {
        m.root = load<schema::WireAttributes>(*reply).file;
        const cluster::Vnode& v = m.mount.vnode;
        for (size_t i = 0; i < v.home_count && outcome; i++) {
            Result<rpc::Peer*> peer = node->peer(v.homes[i].ip);
            if (peer)
                cache->add_owner(v.id, **peer, v.homes[i].ip);
            else
                outcome = Fail(peer.error());
        }
    }
    world.note("mounted", host.station, vnode.value, outcome.has_value());
    if (outcome)
        m.ready = true;
    else
        mounts.erase(at);
    for (cluster::Done& d : waiting)
        d(outcome);
}

void ProcessBoot::on_unmount(VnodeId vnode, cluster::Done done) {
    leaving_.push_back({vnode, std::move(done)});
}

void ProcessBoot::on_reclaim(VnodeId vnode) {
    leaving_.push_back({vnode, {}});
}

// ---- mComponent

MemoryBoot::MemoryBoot(Host& host)
    : Boot(host, rpc::NodeKind::Memory), frames(host.settings->memory_frames) {
    link->frames = &frames;
}

Result<void> MemoryBoot::start() {
    TRY(make_node());
    home.emplace(*node, frames, clock(), mmon::FileHome::Options{.incarnation = incarnation});
    provider.emplace(*home);
    mmon::MemoryMonitorOptions o;
    o.vregion_shift = host.settings->vregion_shift;
    monitor =
        TRY(mmon::MemoryMonitor::create(*port, *node, frames, clock(), random, &*provider, o));
    return join(*this, kGmm, kGpm);
}

bool MemoryBoot::poll() {
    home->set_realtime_offset(realtime_offset(host));
    home->poll();
    return monitor->poll();
}

uint64_t MemoryBoot::granted_unused() const {
    uint64_t n = 0;
    for (const cluster::Mount& m : mounts_) {
        mmon::VnodeMemoryUse u = monitor->use(m.vnode.id);
        if (u.quota > u.frames + u.credits) n += u.quota - u.frames - u.credits;
    }
    return n;
}

cluster::Resources MemoryBoot::resources() {
    cluster::Resources r;
    r.cpus = 1;
    env::FrameCounts counts = frames.counts();
    r.memory_bytes = counts.total * kPage;
    uint64_t promised = monitor->promised_frames() + granted_unused();
    uint64_t free = counts.free + home->counters().cached_pages - home->counters().dirty_pages;
    r.memory_free_bytes = (free > promised ? free - promised : 0) * kPage;
    return r;
}

size_t MemoryBoot::inventory(std::span<cluster::Mount> out) {
    return copy_out(mounts_, out);
}

void MemoryBoot::on_fenced_self() {
    start_again(host, milliseconds(300));
}

void MemoryBoot::on_fence(NodeId node_id, Incarnation inc, cluster::Done done) {
    monitor->fence(node_id, inc);
    fenced_.push_back({node_id, inc});
    done({});
}

void MemoryBoot::on_mount(const cluster::Mount& m, cluster::Done done) {
    std::erase_if(mounts_, [&](auto& old) { return old.vnode.id == m.vnode.id; });
    mounts_.push_back(m);
    home->set_store(m.vnode.id, m.vnode.storage_ip);
    for (size_t i = 0; i < m.vnode.home_count; i++)
        if (m.vnode.homes[i].ip == host.ip)
            monitor->set_quota(m.vnode.id, m.vnode.homes[i].quota_pages);
    done({});
}

void MemoryBoot::on_unmount(VnodeId vnode, cluster::Done done) {
    on_reclaim(vnode);
    done({});
}

void MemoryBoot::on_reclaim(VnodeId vnode) {
    monitor->remove_vnode(vnode);
    std::erase_if(mounts_, [&](auto& m) { return m.vnode.id == vnode; });
}

void MemoryBoot::check() {
    monitor->inventory([this](const mmon::InventoryEntry& e) {
        for (auto& [n, inc] : fenced_)
            if (e.node == n && e.incarnation <= inc && e.pages > 0)
                world.fail("%s: node %u incarnation %llx was fenced and has %llu pages",
                           host.name.c_str(), n.value,
                           static_cast<unsigned long long>(e.incarnation.value),
                           static_cast<unsigned long long>(e.pages));
    });
    for (const cluster::Mount& m : mounts_) {
        mmon::VnodeMemoryUse u = monitor->use(m.vnode.id);
        if (u.quota && u.frames + u.credits > u.quota)
            world.fail("%s: vNode %u has %llu frames and %llu credits of a quota of %llu",
                       host.name.c_str(), m.vnode.id.value,
                       static_cast<unsigned long long>(u.frames),
                       static_cast<unsigned long long>(u.credits),
                       static_cast<unsigned long long>(u.quota));
    }
    if (uint64_t n = monitor->counters().violations)
        world.fail("%s: %llu protocol violations by honest peers", host.name.c_str(),
                   static_cast<unsigned long long>(n));
}

// ---- sComponent

StorageBoot::StorageBoot(Host& host) : Boot(host, rpc::NodeKind::Storage) {}

Result<void> StorageBoot::start() {
    disk().plug(&host);
    if (host.formatted) {
        mount();
        return {};
    }
    storage::FormatOptions o;
    o.uuid[0] = std::byte{host.station};
    storage::Store::format(disk(), o, [this](Result<void> r) {
        if (!r) return world.fail("%s: format: %s", host.name.c_str(), describe(r.error()).data());
        host.formatted = true;
        mount();
    });
    return {};
}

void StorageBoot::mount() {
    storage::MountOptions o;
    o.realtime_offset = realtime_offset(host);
    storage::Store::mount(disk(), clock(), o,
                          [this](Result<Own<storage::Store>> r) { mounted(std::move(r)); });
}

void StorageBoot::mounted(Result<Own<storage::Store>> r) {
    world.note("store", host.station, r.has_value());
    if (!r) {
        if (r.error() != Error::Io) // an error of the device: try again, as a person would
            world.fail("%s: cannot mount the store: %s", host.name.c_str(),
                       describe(r.error()).data());
        return start_again(host, milliseconds(500));
    }
    store = std::move(*r);
    ready_ = true;
}

Result<void> StorageBoot::serve() {
    TRY(make_node());
    service.emplace(*node, *store);
    return join(*this, kGsm, kGpm);
}

bool StorageBoot::poll() {
    bool worked = disk().poll();
    if (ready_) {
        ready_ = false;
        if (Result<void> r = serve(); !r)
            world.fail("%s: %s", host.name.c_str(), describe(r.error()).data());
        return true;
    }
    if (!node) {
        free_checked_ = clock().now();
        return worked;
    }
    if (clock().now() >= free_checked_ + seconds(1)) {
        free_checked_ = clock().now();
        store->statfs({}, [this](Result<storage::StatFs> s) {
            if (s) free_bytes_ = s->free_bytes;
        });
    }
    return worked;
}

cluster::Resources StorageBoot::resources() {
    cluster::Resources r;
    r.cpus = 1;
    r.memory_bytes = mib(64);
    r.disk_bytes = disk().block_count() * env::kBlockSize;
    r.disk_free_bytes = free_bytes_;
    return r;
}

void StorageBoot::on_fenced_self() {
    start_again(host, milliseconds(300));
}

void StorageBoot::on_fence(NodeId node_id, Incarnation inc, cluster::Done done) {
    store->fence({node_id, inc}, [done = std::move(done)](Result<void> r) mutable { done(r); });
}

void StorageBoot::on_mount_storage(VnodeId vnode, std::string_view, bool release,
                                   cluster::Done done) {
    if (release) {
        store->remove_root(vnode, [done = std::move(done)](Result<void> r) mutable {
            done(!r && r.error() == Error::NotFound ? Result<void>{} : r);
        });
        return;
    }
    service->roots().ensure(vnode, 0, [done = std::move(done)](auto made) mutable {
        done(made ? Result<void>{} : Fail(made.error()));
    });
}

// ---- managers

namespace {
constexpr rpc::NodeKind kind_of(const gpm::Service*) {
    return rpc::NodeKind::Gpm;
}
constexpr rpc::NodeKind kind_of(const gmm::Service*) {
    return rpc::NodeKind::Gmm;
}
constexpr rpc::NodeKind kind_of(const gsm::Service*) {
    return rpc::NodeKind::Gsm;
}
} // namespace

template <typename Service>
ManagerBoot<Service>::ManagerBoot(Host& host)
    : Boot(host, kind_of(static_cast<Service*>(nullptr))) {}

template <typename Service>
Result<void> ManagerBoot<Service>::start() {
    TRY(make_node(200));
    if (!host.db) host.db = TRY(net::host::StateDb::open(":memory:"));
    auto realtime = [this] { return kEpoch + world.now().value; };
    if constexpr (std::is_same_v<Service, gpm::Service>) {
        gpm::ServiceOptions o;
        o.gpm = kGpm, o.gmm = kGmm, o.gsm = kGsm;
        o.incarnation = incarnation;
        o.realtime = realtime;
        service = TRY(Service::create(*node, clock(), random, *host.db, o));
    } else {
        bool memory = std::is_same_v<Service, gmm::Service>;
        net::host::ComponentManagerOptions o;
        o.self = memory ? rpc::NodeKind::Gmm : rpc::NodeKind::Gsm;
        o.serves = memory ? rpc::NodeKind::Memory : rpc::NodeKind::Storage;
        o.address = host.ip;
        o.gpm = kGpm;
        o.incarnation = incarnation;
        o.realtime = realtime;
        if constexpr (std::is_same_v<Service, gmm::Service>)
            service = TRY(Service::create(*node, clock(), random, *host.db, o));
        else
            service = TRY(Service::create(*node, clock(), random, *host.db, o, std::string()));
    }
    return {};
}

template class ManagerBoot<gpm::Service>;
template class ManagerBoot<gmm::Service>;
template class ManagerBoot<gsm::Service>;

} // namespace tessera::sim
