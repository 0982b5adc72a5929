// Attributes, holds and roots.
#include "monitors/storage/core/engine.hpp"

namespace tessera::storage {

// What the caller may change, and what else changes with it. Errors: NotPermitted, AccessDenied.
Result<SetAttributes> Engine::checked_change(const Caller& caller, Object& o,
                                             SetAttributes s) const {
    const Credentials& who = caller.credentials;
    bool owner = who.uid == 0 || who.uid == o.uid;
    auto member = [&](uint32_t gid) {
        if (gid == who.gid) return true;
        for (uint32_t g : who.groups)
            if (g == gid) return true;
        return false;
    };
    if (s.fields & SetAttributes::Mode) {
        if (!owner) return Fail(Error::NotPermitted);
        s.mode &= 07777;
        if (who.uid != 0 && !member(s.fields & SetAttributes::Gid ? s.gid : o.gid))
            s.mode &= ~02000u;
    }
    if ((s.fields & SetAttributes::Uid) && who.uid != 0 && (!owner || s.uid != o.uid))
        return Fail(Error::NotPermitted);
    if ((s.fields & SetAttributes::Gid) && who.uid != 0 &&
        (!owner || (s.gid != o.gid && !member(s.gid))))
        return Fail(Error::NotPermitted);
    if ((s.fields & (SetAttributes::Uid | SetAttributes::Gid)) && !o.is_directory() &&
        !(s.fields & SetAttributes::Mode) && (o.mode & 06000)) {
        s.fields |= SetAttributes::Mode; // a new owner does not inherit set-id rights
        s.mode = o.mode & ~((o.mode & 010) ? 06000u : 04000u);
    }
    for (auto [field, value] :
         {std::pair(SetAttributes::Atime, s.atime), std::pair(SetAttributes::Mtime, s.mtime)}) {
        if (!(s.fields & field) || owner) continue;
        if (value != kTimeNow) return Fail(Error::NotPermitted);
        if (!permitted(who, o, kWrite)) return Fail(Error::AccessDenied);
    }
    if (s.fields & SetAttributes::Size) {
        if (o.is_directory()) return Fail(Error::IsDirectory);
        if (o.type != FileType::File) return Fail(Error::InvalidArgument);
        if (s.size > kMaxFileSize) return Fail(Error::TooBig);
    }
    return s;
}

void Engine::apply_change(ObjectItem& item, const SetAttributes& s, int64_t time) const {
    if (s.fields & SetAttributes::Mode) item.mode = static_cast<uint16_t>(s.mode);
    if (s.fields & SetAttributes::Uid) item.uid = s.uid;
    if (s.fields & SetAttributes::Gid) item.gid = s.gid;
    if (s.fields & SetAttributes::Atime) item.atime = s.atime == kTimeNow ? time : s.atime;
    if (s.fields & SetAttributes::Size) {
        item.size = s.size;
        item.mtime = time;
    }
    if (s.fields & SetAttributes::Mtime) item.mtime = s.mtime == kTimeNow ? time : s.mtime;
    item.ctime = time;
}

Result<Attributes> Engine::setattr(const Caller& caller, ObjectRef ref,
                                   const SetAttributes& wanted) {
    Object* o = TRY(object(ref));
    SetAttributes s = TRY(checked_change(caller, *o, wanted));
    ObjectItem item = item_of(*o);
    apply_change(item, s, time_of(caller));
    record.put_object(item);
    commit({o});
    return attributes(*o);
}

Result<void> Engine::hold(ObjectRef ref, Holder holder) {
    Object* o = TRY(object(ref));
    if (!holder) return Fail(Error::InvalidArgument);
    if (Index::find_hold(*o, holder)) return {};
    TRY(may_change());
    TRY(room_for(sizeof(Hold) + 128, 64));
    record.put_hold(o->ref.id, holder);
    commit({});
    return {};
}

Result<void> Engine::release(ObjectRef ref, Holder holder) {
    Object* o = index->find(ref);
    if (!o) return {};
    Hold* h = Index::find_hold(*o, holder);
    if (!h) return {};
    bool last = o->holds.front() == h && o->holds.back() == h;
    record.drop_hold(o->ref.id, holder);
    bool gone = last && o->nlink == 0;
    bool empty = !o->is_directory() || o->directory->live == 0;
    if (gone && empty) record.drop_object(o->ref.id);
    commit({});
    if (gone && !empty) begin_reaping(*o);
    return {};
}

// One record per object freed keeps each record small; a repeated fence goes on where a crash
// stopped.
Result<void> Engine::fence(Holder holder) {
    std::vector<ObjectRef> orphans;
    index->each_hold(holder, [&](Hold& h) {
        if (h.object->nlink == 0) orphans.push_back(h.object->ref);
    });
    reservations.fence(holder);
    record.fence(holder);
    commit({});
    for (ObjectRef ref : orphans) {
        Object* o = index->find(ref);
        if (!o || !o->holds.empty()) continue;
        doomed_.push_back(ref.id); // freed as the log has room; after a crash found again
    }
    pump();
    return {};
}

Result<Attributes> Engine::create_root(const Caller& caller, VnodeId vnode, uint64_t quota,
                                       uint32_t mode) {
    if (!vnode) return Fail(Error::InvalidArgument);
    if (const ReplyItem* r = index->find_reply(caller.request)) {
        replies_resent++;
        return attributes(*TRY(object(r->object)));
    }
    if (index->find_root(vnode)) return Fail(Error::Exists);
    TRY(room_for(Index::object_memory() + kib(1), 512));
    ObjectItem o;
    o.object = {index->next_id(), Generation(static_cast<uint32_t>(header.mount_epoch))};
    o.type = FileType::Directory;
    o.mode = static_cast<uint16_t>(mode & 07777);
    o.uid = caller.credentials.uid;
    o.gid = caller.credentials.gid;
    o.nlink = 2;
    o.vnode = vnode;
    o.atime = o.mtime = o.ctime = time_of(caller);
    o.parent = o.object.id;
    o.next_cookie = 1;
    record.put_root(vnode, o.object.id, quota);
    record.put_object(o);
    remember(caller, o.object);
    commit({});
    Object* root = index->find(o.object);
    root->last_record = log.sequence();
    return attributes(*root);
}

Result<void> Engine::set_quota(VnodeId vnode, uint64_t quota) {
    Root* root = index->find_root(vnode);
    if (!root) return Fail(Error::NotFound);
    record.put_root(vnode, root->directory, quota);
    commit({});
    return {};
}

Result<void> Engine::remove_root(VnodeId vnode) {
    Root* root = index->find_root(vnode);
    if (!root) return Fail(Error::NotFound);
    Object* o = index->find(root->directory);
    reservations.forget(vnode);
    record.drop_root(vnode);
    if (o) {
        ObjectItem item = item_of(*o);
        item.nlink = 0;
        record.put_object(item);
    }
    commit({});
    if (o) begin_reaping(*o);
    pump();
    return {};
}

// Removes what nothing leads to any more, one record per object, as the log has room. doomed_ is a
// stack of directories whose own root is gone, and of orphans whose holder was fenced.
void Engine::reap() {
    while (!doomed_.empty() && !log.failed() && !options.read_only && log.can_append(kMaxRecord)) {
        Object* o = index->find(doomed_.back());
        Entry* e = nullptr;
        if (o && o->is_directory())
            if (o->directory->live > 0) e = o->directory->slots.back().entry; // never a gap
        if (!e) {
            doomed_.pop_back();
            if (!o || !o->holds.empty()) continue; // held: goes with its release
            if (o->names == 0) record.drop_object(o->ref.id);
            commit({});
            continue;
        }
        Object& child = *e->target;
        record.drop_entry(o->ref.id, e->name());
        if (child.is_directory() && child.directory->live > 0) {
            ObjectItem item =
                item_of(child); // loses its name first, so that a crash finds it doomed
            item.nlink = 0;
            record.put_object(item);
            doomed_.push_back(child.ref.id);
        } else {
            drop_link(child, child.ctime);
        }
        commit({});
    }
}

Result<StatFs> Engine::statfs(VnodeId vnode) {
    StatFs s;
    uint64_t free = allocator->free_blocks() + allocator->pending_blocks();
    free -= std::min(free, kDataReserve + reservations.total());
    s.total_bytes = allocator->blocks() * kBlockSize;
    s.free_bytes = free * kBlockSize;
    s.used_bytes = s.total_bytes - s.free_bytes;
    s.objects = index->objects();
    size_t used = index->memory() + PathCache::memory();
    s.free_objects = used < options.memory_budget ? (options.memory_budget - used) / 512 : 0;
    if (vnode) {
        Root* root = index->find_root(vnode);
        if (!root) return Fail(Error::NotFound);
        if (root->quota_bytes) {
            s.used_bytes = (root->used_blocks + reservations.of(vnode)) * kBlockSize;
            s.total_bytes = root->quota_bytes;
            uint64_t left = s.total_bytes - std::min(s.total_bytes, s.used_bytes);
            s.free_bytes = std::min(s.free_bytes, left);
        }
    }
    return s;
}

} // namespace tessera::storage
