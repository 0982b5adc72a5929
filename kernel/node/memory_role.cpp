// mComponent: page service and file home over all memory the kernel does not need itself.
#include <algorithm>

#include "base/log.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/node/frame_pool.hpp"
#include "kernel/node/roles.hpp"
#include "monitors/memory/core/memory_monitor.hpp"
#include "monitors/memory/files/file_home.hpp"
#include "monitors/memory/files/file_provider.hpp"

namespace tessera::node {
namespace {

// Kept for kernel objects: connections, page tables of objects, RPC buffers.
uint64_t kernel_share(uint64_t frames) {
    return std::max<uint64_t>(frames / 8, mib(24) / kPageSize);
}

class MemoryRole final : public RoleMonitor {
  public:
    static Result<Own<MemoryRole>> create(Component& c) {
        Own<MemoryRole> role(new MemoryRole(c));
        role->monitor_ = TRY(mmon::MemoryMonitor::create(c.port(), c.node(), role->frames_,
                                                         c.clock(), c.random(), &role->provider_));
        return role;
    }

    cluster::Resources resources() override {
        cluster::Resources r;
        r.cpus = kernel::arch::cpu_count();
        env::FrameCounts counts = frames_.counts();
        r.memory_bytes = counts.total * kPageSize;
        uint64_t promised = monitor_->promised_frames() + granted_unused();
        uint64_t reclaimable = home_.counters().cached_pages - home_.counters().dirty_pages;
        uint64_t free = counts.free + reclaimable;
        r.memory_free_bytes = (free > promised ? free - promised : 0) * kPageSize;
        return r;
    }

    size_t inventory(std::span<cluster::Mount> out) override {
        size_t n = 0;
        for (const cluster::Mount& m : mounts_) {
            if (n == out.size()) break;
            out[n++] = m;
        }
        return n;
    }

    void on_mount(const cluster::Mount& m, cluster::Done done) override {
        std::erase_if(mounts_, [&](auto& old) { return old.vnode.id == m.vnode.id; });
        mounts_.push_back(m);
        home_.set_store(m.vnode.id, m.vnode.storage_ip);
        for (size_t i = 0; i < m.vnode.home_count; i++)
            if (m.vnode.homes[i].ip == component_.settings().address)
                monitor_->set_quota(m.vnode.id, m.vnode.homes[i].quota_pages);
        done({});
    }

    void on_unmount(VnodeId vnode, cluster::Done done) override {
        on_reclaim(vnode);
        done({});
    }

    void on_reclaim(VnodeId vnode) override {
        monitor_->remove_vnode(vnode);
        std::erase_if(mounts_, [&](auto& m) { return m.vnode.id == vnode; });
    }

    void on_fence(NodeId node, Incarnation incarnation, cluster::Done done) override {
        monitor_->fence(node, incarnation);
        done({});
    }

    void on_shutdown(cluster::Done done) override {
        home_.sync_all([this, done = std::move(done)](Result<void> r) mutable {
            done(r);
            component_.power_off_soon(r);
        });
    }

    bool poll() override {
        home_.set_realtime_offset(component_.real_time().offset());
        home_.poll();
        return monitor_->poll();
    }
    Nanos next_deadline() const override {
        return std::min(monitor_->next_deadline(), home_.next_deadline());
    }

  private:
    explicit MemoryRole(Component& c)
        : RoleMonitor(c),
          frames_(kernel::frame_stats().free - kernel_share(kernel::frame_stats().total)),
          home_(c.node(), frames_, c.clock(), {.incarnation = c.incarnation()}),
          provider_(home_) {}

    // Quota given to vNodes that they have not used or been promised yet.
    uint64_t granted_unused() const {
        uint64_t n = 0;
        for (const cluster::Mount& m : mounts_) {
            mmon::VnodeMemoryUse u = monitor_->use(m.vnode.id);
            if (u.quota > u.frames + u.credits) n += u.quota - u.frames - u.credits;
        }
        return n;
    }

    KernelFramePool frames_;
    mmon::FileHome home_;
    mmon::FileProvider provider_;
    Own<mmon::MemoryMonitor> monitor_;
    std::vector<cluster::Mount> mounts_;
};

} // namespace

Result<void> run_memory_role(Component& c) {
    Own<MemoryRole> role = TRY(MemoryRole::create(c));
    TRY(c.start(*role));
    c.run();
}

} // namespace tessera::node
