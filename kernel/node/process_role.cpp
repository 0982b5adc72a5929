// pComponent: ExCache, address spaces, files, POSIX and the console service, put together.
#include <algorithm>
#include <atomic>
#include <map>

#include "base/format.hpp"
#include "base/log.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/node/frame_pool.hpp"
#include "kernel/node/page_mapper.hpp"
#include "kernel/node/roles.hpp"
#include "kernel/sched/scheduler.hpp"
#include "kernel/sync/spinlock.hpp"
#include "kernel/sync/thread.hpp"
#include "monitors/process/core/excache.hpp"
#include "monitors/process/files/remote_files.hpp"
#include "monitors/process/memory/address_space_impl.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"
#include "monitors/process/service/service.hpp"
#include "monitors/process/syscall/dispatch.hpp"
#include "net/schema/file.hpp"

namespace tessera::node {
namespace {

// Kept for kernel objects: page tables, stacks, descriptors, RPC buffers.
constexpr uint64_t kKernelShare = mib(48) / kPageSize;

// The random numbers of threads (AT_RANDOM, getrandom, /dev/urandom): a fast generator of their
// own, under a lock.
class ThreadRandom final : public Random {
  public:
    explicit ThreadRandom(kernel::EntropyPool pool) : pool_(std::move(pool)) {}
    uint64_t next() override {
        kernel::SpinGuard guard(lock_);
        return pool_.next();
    }

  private:
    kernel::Spinlock lock_;
    kernel::EntropyPool pool_;
};

class ProcessRole final : public RoleMonitor,
                          public posix::Machine,
                          public pmon::VnodeDirectory,
                          public pmon::ShardPoster {
  public:
    static Result<Own<ProcessRole>> create(Component& c) {
        Own<ProcessRole> role(new ProcessRole(c));
        uint64_t frames = role->frames_.counts().total;
        pmon::ExCacheOptions options;
        options.node =
            NodeId(c.settings().address.value); // unique in the cluster, known before join
        options.incarnation = c.incarnation();
        options.most_lines = static_cast<uint32_t>(frames);
        options.lines = static_cast<uint32_t>(
            std::min<uint64_t>(frames, c.settings().excache_bytes / kPageSize));
        options.runnable = static_cast<uint16_t>(kernel::arch::cpu_count());
        role->cache_ = TRY(pmon::ExCache::create(c.port(), role->frames_, c.clock(), options));
        role->memory_.emplace(
            pmon::MemoryContext{c.shard(), *role->cache_, role->frames_, role->mappers_});
        role->spaces_.emplace(*role->memory_);
        role->service_.emplace(*role, *role, c.clock(), role->thread_random_);
        role->service_->register_handlers(c.node());
        return role;
    }

    // --- RoleMonitor, in the shard ---
    cluster::Resources resources() override {
        cluster::Resources r;
        r.cpus = kernel::arch::cpu_count();
        r.memory_bytes = kernel::frame_stats().total * kPageSize;
        pmon::ExCacheCounters n = cache_->counters();
        r.excache_lines = n.limit;
        r.excache_dirty = n.dirty;
        r.remote_faults = n.remote_reads + n.fetches;
        r.write_backs = n.write_backs;
        for (auto& [id, m] : mounts_)
            if (m.vnode) r.processes += m.vnode->program_count();
        return r;
    }

    size_t inventory(std::span<cluster::Mount> out) override {
        size_t n = 0;
        for (auto& [id, m] : mounts_) {
            if (n == out.size()) break;
            out[n] = m.mount;
            out[n++].processes = m.vnode ? m.vnode->program_count() : 0;
        }
        return n;
    }

    void on_mount(const cluster::Mount& m, cluster::Done done) override {
        auto known = mounts_.find(m.vnode.id);
        if (known != mounts_.end()) { // again, after a rejoin: only what may have changed
            if (m.pid_count && m.pid_first != known->second.mount.pid_first && known->second.vnode)
                known->second.vnode->lease_pids(m.pid_first, m.pid_count);
            follow_homes(known->second, m.vnode);
            known->second.mount = m;
            if (known->second.vnode) return done({});
            // Asked again while it is under way: nothing can run there before it is done.
            return known->second.waiting.push_back(std::move(done));
        }
        mounts_[m.vnode.id].mount = m;
        auto job = make_ref<MountJob>(m, std::move(done));
        worker("mount", [this, job] { mount(*job); });
    }

    void on_directory_changed() override {
        for (auto& [id, m] : mounts_)
            if (const cluster::Vnode* v = component_.membership().directory().vnode(id))
                follow_homes(m, *v);
    }

    void on_unmount(VnodeId vnode, cluster::Done done) override {
        auto kept = make_ref<KeptDone>(std::move(done));
        worker("unmount", [this, vnode, kept] {
            unmount(vnode);
            (void)component_.shard().post([kept] { kept->done({}); });
        });
    }

    void on_reclaim(VnodeId vnode) override {
        worker("reclaim", [this, vnode] { unmount(vnode); });
    }

    void on_fence(NodeId node, Incarnation incarnation, cluster::Done done) override {
        files_.home_dead(incarnation);
        const cluster::Component* c = component_.membership().directory().component(node);
        // With a newer incarnation there already, sessions on the old one learn it from that.
        if (c && c->kind == rpc::NodeKind::Memory)
            if (auto peer = component_.node().peer(c->ip);
                peer && (*peer)->identity().incarnation == incarnation)
                cache_->owner_dead(c->ip);
        done({});
    }

    void on_option(std::string_view name, std::string_view value, cluster::Done done) override {
        if (name != "excache") return RoleMonitor::on_option(name, value, std::move(done));
        uint64_t bytes = 0;
        for (char c : value) {
            if (c < '0' || c > '9' || bytes > (uint64_t{1} << 50))
                return done(std::unexpected(Error::InvalidArgument));
            bytes = bytes * 10 + static_cast<uint64_t>(c - '0');
        }
        done(cache_->set_limit(static_cast<uint32_t>(bytes / kPageSize)));
    }

    void on_shutdown(cluster::Done done) override {
        auto kept = make_ref<KeptDone>(std::move(done));
        worker("shutdown", [this, kept] {
            Result<void> outcome{};
            for (posix::Vnode* v : all()) {
                Result<void> stopped = v->stop(kernel::Thread::now() + seconds(5));
                if (!stopped)
                    LOG(Warning, "pmon", "vNode %u: some processes did not end", v->id().value);
                Result<void> flushed = files_.sync_all(v->id());
                if (outcome) outcome = stopped ? flushed : stopped;
            }
            (void)component_.shard().post([this, kept, outcome] {
                kept->done(outcome);
                component_.power_off_soon(outcome);
            });
        });
    }

    bool poll() override {
        bool more = cache_->poll();
        service_->poll();
        return more;
    }
    Nanos next_deadline() const override {
        return std::min(cache_->next_deadline(), service_->next_deadline());
    }

    void stats(std::string& out) override {
        pmon::ExCacheCounters n = cache_->counters();
        auto line = [&](const char* name, uint64_t v) {
            out += name;
            out += ' ';
            out += std::to_string(v);
            out += '\n';
        };
        line("excache_requests", n.requests);
        line("excache_hits", n.hits);
        line("excache_misses", n.misses);
        line("excache_remote_reads", n.remote_reads);
        line("excache_fetches", n.fetches);
        line("excache_zero_fills", n.zero_fills);
        line("excache_copies", n.copies);
        line("excache_write_backs", n.write_backs);
        line("excache_evictions", n.evictions);
        line("excache_waits", n.waits);
        line("excache_prefetches", n.prefetches);
        line("excache_refusals", n.refusals);
        line("excache_lines", n.lines);
        line("excache_limit", n.limit);
        line("excache_dirty", n.dirty);
        const LatencyHistogram& faults = cache_->remote_fault_times();
        line("fault_count", faults.count());
        line("fault_p50_ns", static_cast<uint64_t>(faults.percentile(500).value));
        line("fault_p99_ns", static_cast<uint64_t>(faults.percentile(990).value));
        line("syscalls_unimplemented", syscalls::unimplemented_calls());
    }

    // --- posix::Machine, any thread ---
    int64_t realtime_ns() override { return component_.real_time().now(); }
    posix::MachineInfo info() override {
        posix::MachineInfo i;
        env::FrameCounts f = frames_.counts();
        i.total_memory = kernel::frame_stats().total * kPageSize;
        i.free_memory = f.free * kPageSize;
        i.cpus = kernel::arch::cpu_count();
        for (unsigned cpu = 0; cpu < i.cpus; cpu++) {
            kernel::CpuTimes t = kernel::cpu_times(cpu);
            i.idle += t.idle;
            i.context_switches += t.switches;
        }
        i.cpu_khz = kernel::arch::tsc_khz();
        return i;
    }

    // --- pmon::VnodeDirectory, any thread ---
    posix::Vnode* find(VnodeId id) override {
        kernel::SpinGuard guard(vnodes_lock_);
        for (posix::Vnode* v : vnodes_)
            if (v->id() == id) return v;
        return nullptr;
    }
    std::vector<posix::Vnode*> all() override {
        std::vector<posix::Vnode*> copy;
        copy.reserve(64);
        kernel::SpinGuard guard(vnodes_lock_);
        for (posix::Vnode* v : vnodes_)
            if (copy.size() < 64) copy.push_back(v);
        return copy;
    }

    // --- pmon::ShardPoster ---
    bool post(Function<void()> step) override {
        return component_.shard().post(std::move(step)).has_value();
    }

  private:
    struct Mounted {
        cluster::Mount mount;
        Own<posix::Vnode> vnode; // none while the mount is under way
        std::vector<cluster::Done> waiting;
    };
    struct Patch final : RefCounted {
        std::vector<std::byte> data;
    };
    // A completion on its way through a thread.
    struct KeptDone final : RefCounted {
        explicit KeptDone(cluster::Done d) : done(std::move(d)) {}
        cluster::Done done;
    };
    struct MountJob final : RefCounted {
        MountJob(const cluster::Mount& m, cluster::Done d) : mount(m), done(std::move(d)) {}
        cluster::Mount mount;
        cluster::Done done;
        Own<posix::Vnode> vnode;
        Result<void> outcome{};
    };

    explicit ProcessRole(Component& c)
        : RoleMonitor(c),
          frames_(kernel::frame_stats().free > kKernelShare
                      ? kernel::frame_stats().free - kKernelShare
                      : 0),
          thread_random_(c.devices().entropy.fork()),
          caller_(c.shard(), c.node(), c.clock()),
          files_(caller_) {
        files_.on_changed([this](VnodeId v, posix::FileRef f, uint64_t offset, Bytes data) {
            patch(v, f, offset, data);
        });
    }

    // A newer mount epoch: other homes. One without homes only says that the old ones are gone.
    void follow_homes(Mounted& m, const cluster::Vnode& v) {
        cluster::Vnode& mine = m.mount.vnode;
        if (!m.vnode || v.mount_epoch.value <= mine.mount_epoch.value || v.home_count == 0) return;
        mine.mount_epoch = v.mount_epoch;
        mine.homes = v.homes;
        mine.home_count = v.home_count;
        std::vector<roce::Ipv4> homes;
        for (size_t i = 0; i < v.home_count; i++) {
            homes.push_back(v.homes[i].ip);
            if (cache_->has_owner(v.id, v.homes[i].ip)) continue;
            Result<rpc::Peer*> peer = component_.node().peer(v.homes[i].ip);
            if (peer) cache_->add_owner(v.id, **peer, v.homes[i].ip);
        }
        LOG(Info, "pmon", "vNode %s: mount epoch %u, %u homes", v.name.c_str(), v.mount_epoch.value,
            v.home_count);
        cache_->set_file_homes(v.id, homes);
        files_.set_homes(v.id, v.mount_epoch.value, std::move(homes));
    }

    void worker(const char* name, Function<void(), 64> body) {
        Result<kernel::Thread*> t = kernel::Thread::start(name, std::move(body));
        if (t)
            (*t)->detach();
        else
            LOG(Failure, "pmon", "cannot start a thread for %s: %s", name,
                describe(t.error()).data());
    }

    // In a thread: root of the store, owners, then the vNode itself.
    void mount(MountJob& job) {
        job.outcome = mount_steps(job);
        // The job lives in the thread's frame until the shard has taken what it needs.
        kernel::Event taken;
        while (!component_.shard().post([this, &job, &taken] {
            auto at = mounts_.find(job.mount.vnode.id);
            std::vector<cluster::Done> waiting;
            if (at != mounts_.end()) waiting = std::exchange(at->second.waiting, {});
            if (job.outcome && at != mounts_.end()) {
                at->second.vnode = std::move(job.vnode);
                kernel::SpinGuard guard(vnodes_lock_);
                vnodes_.push_back(at->second.vnode.get());
            } else if (at != mounts_.end()) {
                mounts_.erase(at);
            }
            job.done(job.outcome);
            for (cluster::Done& done : waiting)
                done(job.outcome);
            taken.signal();
        }))
            kernel::Thread::yield();
        taken.wait();
        const char* name = job.mount.vnode.name.c_str();
        uint32_t home = job.mount.vnode.homes[0].ip.value; // new programs' memory is there
        if (job.outcome)
            LOG(Info, "pmon", "vNode %s mounted, its memory is at %u.%u.%u.%u", name, home >> 24,
                home >> 16 & 255, home >> 8 & 255, home & 255);
        else
            LOG(Failure, "pmon", "cannot mount vNode %s: %s", name,
                describe(job.outcome.error()).data());
    }

    Result<void> mount_steps(MountJob& job) {
        const cluster::Vnode& v = job.mount.vnode;
        if (!v.storage_ip || v.home_count == 0) return std::unexpected(Error::NoDevice);
        schema::StoreCreateRoot request;
        request.vnode = v.id.value;
        request.mode = 0755;
        pmon::ReplyBytes reply =
            TRY(caller_.call(v.storage_ip, schema::kStoreCreateRoot, bytes_of(request), {}, {}));
        if (reply.size() < sizeof(schema::WireAttributes)) return std::unexpected(Error::Malformed);
        auto root = load<schema::WireAttributes>(reply);
        pmon::FileMount m;
        m.vnode = v.id;
        m.root = {FileId(root.file.id), Generation(root.file.generation)};
        m.store = v.storage_ip;
        m.epoch = v.mount_epoch.value;
        for (size_t i = 0; i < v.home_count; i++)
            m.homes.push_back(v.homes[i].ip);
        files_.set_mount(m);

        kernel::Event owners_added;
        Result<void> added{};
        TRY(component_.shard().post([&] {
            for (size_t i = 0; i < v.home_count && added; i++) {
                Result<rpc::Peer*> peer = component_.node().peer(v.homes[i].ip);
                if (peer)
                    cache_->add_owner(v.id, **peer, v.homes[i].ip);
                else
                    added = std::unexpected(peer.error());
            }
            owners_added.signal();
        }));
        owners_added.wait();
        TRY(added);

        posix::VnodeServices services{files_, *spaces_, thread_random_, *this, &syscalls::run_task};
        posix::VnodeOptions options;
        options.id = v.id;
        options.name = v.name.view();
        if (v.max_processes) options.most_processes = v.max_processes;
        job.vnode = TRY(posix::Vnode::create(services, options));
        if (job.mount.pid_count) job.vnode->lease_pids(job.mount.pid_first, job.mount.pid_count);
        return {};
    }

    // In a thread.
    void unmount(VnodeId id) {
        posix::Vnode* v = nullptr;
        {
            kernel::SpinGuard guard(vnodes_lock_);
            for (posix::Vnode* each : vnodes_)
                if (each->id() == id) v = each;
            std::erase(vnodes_, v);
        }
        if (v && !v->stop(kernel::Thread::now() + seconds(10)))
            LOG(Warning, "pmon", "vNode %u: some processes did not end", id.value);
        if (v) {
            kernel::MutexGuard guard(unmounting_);
            service_->forget(*v);
        }
        kernel::Event gone;
        Own<posix::Vnode> dying;
        while (!component_.shard().post([&] {
            auto at = mounts_.find(id);
            if (at != mounts_.end()) {
                dying = std::move(at->second.vnode);
                mounts_.erase(at);
            }
            gone.signal();
        }))
            kernel::Thread::yield();
        gone.wait();
        dying.reset();
        (void)component_.shard().post([this, id] { cache_->remove_vnode(id); });
        files_.remove_mount(id);
    }

    // A write or truncation through this component: mapped lines of the file follow. Any thread.
    void patch(VnodeId v, posix::FileRef f, uint64_t offset, Bytes data) {
        auto copy = make_ref<Patch>();
        copy->data.assign(data.begin(), data.end());
        (void)component_.shard().post([this, v, f, offset, copy] {
            if (copy->data.empty()) // truncated at offset
                cache_->drop_file(v, f.id, f.generation, offset / kPageSize, UINT64_MAX >> 12);
            else
                cache_->patch_file(v, f.id, f.generation, offset, copy->data);
        });
    }

    KernelFramePool frames_;
    ThreadRandom thread_random_;
    KernelPageMapperFactory mappers_;
    Own<pmon::ExCache> cache_;
    std::optional<pmon::MemoryContext> memory_;
    std::optional<pmon::RemoteAddressSpaceFactory> spaces_;
    pmon::BlockingCaller caller_;
    pmon::RemoteFilesClient files_;
    std::optional<pmon::ProcessService> service_;
    std::map<VnodeId, Mounted> mounts_; // shard
    kernel::Spinlock vnodes_lock_;
    kernel::Mutex unmounting_{kernel::LockRank::Leaf}; // one vNode at a time
    std::vector<posix::Vnode*> vnodes_;
};

} // namespace

Result<void> run_process_role(Component& c) {
    Own<ProcessRole> role = TRY(ProcessRole::create(c));
    TRY(c.start(*role));
    c.run();
}

} // namespace tessera::node
