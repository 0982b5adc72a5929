#include "monitors/storage/core/store.hpp"

#include "monitors/storage/core/engine.hpp"
#include "monitors/storage/core/recovery.hpp"

namespace tessera::storage {

Store::Store(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
Store::~Store() = default;

void Store::mount(env::BlockDevice& device, Clock& clock, const MountOptions& options,
                  Done<Own<Store>> done) {
    (new Recovery(device, clock, options, [done = std::move(done)](auto engine) mutable {
        if (!engine) return done(Fail(engine.error()));
        done(Own<Store>(new Store(std::move(*engine))));
    }))->start();
}

void Store::unmount(Done<void> done) {
    Engine& e = *engine_;
    if (e.options.read_only) return done({});
    e.sync([&e, done = std::move(done)](Result<void> r) mutable {
        if (!r) return done(r);
        if (e.log.marked() == e.log.durable()) return done({});
        e.log.mark([done = std::move(done)](Result<void> r) mutable {
            done(r);
        }); // the next mount need not look at the data of the last records
    });
}

void Store::create_root(const Caller& caller, VnodeId vnode, uint64_t quota, uint32_t mode,
                        Done<Attributes> done) {
    engine_->change(std::move(done), [e = engine_.get(), caller, vnode, quota, mode] {
        return e->create_root(caller, vnode, quota, mode);
    });
}

void Store::find_root(VnodeId vnode, Done<Attributes> done) {
    Root* root = engine_->index->find_root(vnode);
    Object* o = root ? engine_->index->find(root->directory) : nullptr;
    if (!o) return done(Fail(Error::NotFound));
    done(engine_->attributes(*o));
}

void Store::set_quota(VnodeId vnode, uint64_t quota, Done<void> done) {
    engine_->change(std::move(done),
                    [e = engine_.get(), vnode, quota] { return e->set_quota(vnode, quota); });
}

void Store::remove_root(VnodeId vnode, Done<void> done) {
    engine_->change(std::move(done), [e = engine_.get(), vnode] { return e->remove_root(vnode); });
}

void Store::list_roots(Function<void(VnodeId, ObjectRef, uint64_t, uint64_t), 64> visit) {
    for (auto& [vnode, root] : engine_->index->roots())
        if (Object* o = engine_->index->find(root.directory))
            visit(vnode, o->ref, root.quota_bytes, root.used_blocks * kBlockSize);
}

void Store::lookup(const Caller& caller, ObjectRef directory, std::string_view path,
                   const LookupOptions& options, Done<LookupResult> done) {
    if (!options.hold) return done(engine_->lookup(caller, directory, path, options));
    engine_->change(std::move(done), [e = engine_.get(), caller, directory, path, options] {
        return e->lookup(caller, directory, path, options);
    });
}

void Store::create(const Caller& caller, ObjectRef directory, std::string_view name,
                   const CreateOptions& options, Done<CreateResult> done) {
    engine_->change(std::move(done), [e = engine_.get(), caller, directory, name, options] {
        return e->create(caller, directory, name, options);
    });
}

void Store::mkdir(const Caller& caller, ObjectRef directory, std::string_view name, uint32_t mode,
                  Done<Attributes> done) {
    engine_->change(std::move(done), [e = engine_.get(), caller, directory, name, mode] {
        return e->mkdir(caller, directory, name, mode);
    });
}

void Store::symlink(const Caller& caller, ObjectRef directory, std::string_view name,
                    std::string_view target, Done<Attributes> done) {
    engine_->change(std::move(done), [e = engine_.get(), caller, directory, name, target] {
        return e->symlink(caller, directory, name, target);
    });
}

void Store::readlink(ObjectRef object, Done<std::string_view> done) {
    Result<Object*> o = engine_->object(object);
    if (!o) return done(Fail(o.error()));
    if ((*o)->type != FileType::Symlink) return done(Fail(Error::NotSymlink));
    done(std::string_view((*o)->target));
}

void Store::link(const Caller& caller, ObjectRef object, ObjectRef directory, std::string_view name,
                 Done<Attributes> done) {
    engine_->change(std::move(done), [e = engine_.get(), caller, object, directory, name] {
        return e->link(caller, object, directory, name);
    });
}

void Store::unlink(const Caller& caller, ObjectRef directory, std::string_view name,
                   Done<Attributes> done) {
    engine_->change(std::move(done), [e = engine_.get(), caller, directory, name] {
        return e->unlink(caller, directory, name);
    });
}

void Store::rmdir(const Caller& caller, ObjectRef directory, std::string_view name,
                  Done<void> done) {
    engine_->change(std::move(done), [e = engine_.get(), caller, directory, name] {
        return e->rmdir(caller, directory, name);
    });
}

void Store::rename(const Caller& caller, ObjectRef from, std::string_view from_name, ObjectRef to,
                   std::string_view to_name, RenameOptions options, Done<RenameResult> done) {
    engine_->change(std::move(done),
                    [e = engine_.get(), caller, from, from_name, to, to_name, options] {
                        return e->rename(caller, from, from_name, to, to_name, options);
                    });
}

void Store::readdir(const Caller&, ObjectRef directory, uint64_t cookie, DirectoryVisitor visit,
                    Done<bool> done) {
    done(engine_->readdir(directory, cookie, visit));
}

void Store::getattr(ObjectRef object, Done<Attributes> done) {
    Result<Object*> o = engine_->object(object);
    if (!o) return done(Fail(o.error()));
    done(engine_->attributes(**o));
}

void Store::setattr(const Caller& caller, ObjectRef object, const SetAttributes& change,
                    Done<Attributes> done) {
    if (change.fields & SetAttributes::Size)
        return engine_->start_resize(caller, object, change, std::move(done));
    engine_->change(std::move(done), [e = engine_.get(), caller, object, change] {
        return e->setattr(caller, object, change);
    });
}

void Store::access(const Caller& caller, ObjectRef object, uint8_t mask, Done<Attributes> done) {
    Result<Object*> o = engine_->object(object);
    if (!o) return done(Fail(o.error()));
    if (!Engine::permitted(caller.credentials, **o, mask)) return done(Fail(Error::AccessDenied));
    done(engine_->attributes(**o));
}

void Store::hold(ObjectRef object, Holder holder, Done<void> done) {
    engine_->change(std::move(done),
                    [e = engine_.get(), object, holder] { return e->hold(object, holder); });
}

void Store::release(ObjectRef object, Holder holder, Done<void> done) {
    engine_->change(std::move(done),
                    [e = engine_.get(), object, holder] { return e->release(object, holder); });
}

void Store::fence(Holder holder, Done<void> done) {
    engine_->change(std::move(done), [e = engine_.get(), holder] { return e->fence(holder); });
}

void Store::read(ObjectRef object, uint64_t offset, MutableBytes into, Done<size_t> done) {
    engine_->start_read(object, offset, into, std::move(done));
}

void Store::write(const Caller& caller, ObjectRef object, uint64_t offset, Bytes data,
                  Done<size_t> done) {
    engine_->start_write(caller, object, offset, data, std::move(done));
}

void Store::fsync(ObjectRef object, Done<void> done) {
    Result<Object*> o = engine_->object(object);
    if (!o) return done(Fail(o.error()));
    if (engine_->log.failed()) return done(Fail(Error::Io));
    if ((*o)->last_record < engine_->log.durable()) return done({});
    engine_->sync([done = std::move(done)](Result<void> r) mutable { done(r); });
}

void Store::sync(Done<void> done) {
    engine_->sync([done = std::move(done)](Result<void> r) mutable { done(r); });
}

void Store::reserve(Holder holder, VnodeId vnode, uint64_t blocks, Done<uint64_t> done) {
    engine_->reserve(holder, vnode, blocks, std::move(done));
}

void Store::statfs(VnodeId vnode, Done<StatFs> done) {
    done(engine_->statfs(vnode));
}

void Store::check(const CheckOptions& options, Done<CheckReport> done) {
    engine_->check(options, std::move(done));
}

void Store::checkpoint(Done<void> done) {
    Result<void> allowed = engine_->may_change();
    if (!allowed) return done(allowed);
    engine_->checkpointer.start(std::move(done));
}

StoreCounters Store::counters() const {
    const Engine& e = *engine_;
    StoreCounters c;
    c.log_records = e.log.records;
    c.log_blocks = e.log.live();
    c.flushes = e.device.flushes;
    c.checkpoints = e.checkpointer.completed;
    c.blocks_read = e.device.blocks_read;
    c.blocks_written = e.device.blocks_written;
    c.checksum_errors = e.checksum_errors;
    c.memory_used = e.index->memory() + PathCache::memory();
    c.memory_budget = e.options.memory_budget;
    c.path_cache_hits = e.paths.hits;
    c.replies_resent = e.replies_resent;
    return c;
}

} // namespace tessera::storage
