// sComponent: the file store on the first NVMe disk.
#include <algorithm>

#include "base/log.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/node/roles.hpp"
#include "kernel/sched/scheduler.hpp"
#include "monitors/storage/core/store.hpp"
#include "monitors/storage/service/service.hpp"

namespace tessera::node {
namespace {

class StorageRole final : public RoleMonitor {
  public:
    static Result<Own<StorageRole>> create(Component& c) {
        if (c.devices().disks.empty()) {
            LOG(Failure, "boot", "no NVMe disk found: an sComponent needs one");
            return std::unexpected(Error::NoDevice);
        }
        Own<StorageRole> role(new StorageRole(c));
        role->disk_ = TRY(c.devices().disks[0]->create_queue([] {}));
        TRY(role->mount());
        role->service_ = std::make_unique<smon::Service>(c.node(), *role->store_);
        return role;
    }

    cluster::Resources resources() override {
        cluster::Resources r;
        r.cpus = kernel::arch::cpu_count();
        r.memory_bytes = kernel::frame_stats().total * kPageSize;
        r.disk_bytes = disk_->block_count() * env::kBlockSize;
        r.disk_free_bytes = free_bytes_;
        return r;
    }

    void on_mount_storage(VnodeId vnode, std::string_view, bool release,
                          cluster::Done done) override {
        if (release) {
            store_->remove_root(vnode, [done = std::move(done)](Result<void> r) mutable {
                done(!r && r.error() == Error::NotFound ? Result<void>{} : r);
            });
            return;
        }
        service_->roots().ensure(vnode, 0, [done = std::move(done)](auto made) mutable {
            done(made ? Result<void>{} : std::unexpected(made.error()));
        });
    }

    void on_fence(NodeId node, Incarnation incarnation, cluster::Done done) override {
        service_->fenced({node, incarnation});
        store_->fence({node, incarnation},
                      [done = std::move(done)](Result<void> r) mutable { done(r); });
    }

    void on_shutdown(cluster::Done done) override {
        store_->sync([this, done = std::move(done)](Result<void> r) mutable {
            done(r);
            component_.power_off_soon(r);
        });
    }

    bool poll() override {
        disk_->disable_interrupts();
        bool worked = disk_->poll() > 0;
        Nanos now = component_.clock().now();
        if (now >= free_checked_ + seconds(1)) {
            free_checked_ = now;
            store_->statfs({}, [this](Result<storage::StatFs> s) {
                if (s) free_bytes_ = s->free_bytes;
            });
        }
        return disk_->enable_interrupts_and_check() || worked;
    }
    Nanos next_deadline() const override { return disk_->next_deadline(); }

  private:
    explicit StorageRole(Component& c) : RoleMonitor(c) {}

    // Before there is a poll loop: polls the disk by itself until the store is there.
    Result<void> mount() {
        storage::MountOptions options;
        options.memory_budget = kernel::frame_stats().free * kPageSize / 2;
        options.realtime_offset = component_.real_time().offset();
        bool ended = false;
        Error why{};
        storage::Store::mount(*disk_, component_.clock(), options,
                              [&](Result<Own<storage::Store>> r) {
                                  ended = true;
                                  if (r)
                                      store_ = std::move(*r);
                                  else
                                      why = r.error();
                              });
        Nanos limit = component_.clock().now() + seconds(60);
        while (!ended && component_.clock().now() < limit)
            disk_->poll();
        if (store_) return {};
        if (!ended) why = Error::Timeout;
        LOG(Failure, "store", "cannot mount the store on the disk: %s%s", describe(why).data(),
            why == Error::Malformed ? " (no store there: make one with tessera-store build)" : "");
        return std::unexpected(why);
    }

    kernel::NvmeQueue* disk_ = nullptr; // the controller's own
    Own<storage::Store> store_;
    Own<smon::Service> service_;
    uint64_t free_bytes_ = 0;
    Nanos free_checked_{};
};

} // namespace

Result<void> run_storage_role(Component& c) {
    Own<StorageRole> role = TRY(StorageRole::create(c));
    TRY(c.start(*role));
    c.run();
}

} // namespace tessera::node
