// How each item changes the index.
#include <new>

#include "monitors/storage/core/index.hpp"

namespace tessera::storage {
namespace {

bool sane(const ObjectItem& o) {
    if (!o.object.id || o.type < FileType::File || o.type > FileType::Socket) return false;
    if (o.mode > 07777 || o.size > kMaxFileSize || o.object.id.value == UINT64_MAX) return false;
    if (o.target.size() > kMaxSymlink || (o.type == FileType::Symlink) == o.target.empty())
        return false;
    return o.next_cookie < (uint64_t{1} << 63);
}

} // namespace

Result<void> Index::put_object(const ObjectItem& item) {
    if (!sane(item)) return Fail(Error::Malformed);
    Object* o = find(item.object.id);
    if (!o) {
        o = new Object;
        o->ref = item.object;
        o->type = item.type;
        o->target = item.target;
        if (o->is_directory()) o->directory = std::make_unique<Directory>();
        object_table_.insert(*o);
        all_.push_back(*o);
        memory_ +=
            object_memory() + o->target.capacity() + (o->is_directory() ? sizeof(Directory) : 0);
        snapshot_bytes_ += 128 + o->target.size();
        if (next_id_ <= o->ref.id) next_id_ = o->ref.id.next();
    } else if (o->ref != item.object || o->type != item.type || o->target != item.target) {
        return Fail(Error::Malformed);
    }
    if (o->is_directory()) {
        if (o->mode != item.mode || o->uid != item.uid || o->gid != item.gid ||
            o->parent != item.parent)
            topology_++;
        o->directory->next_cookie = std::max(o->directory->next_cookie, item.next_cookie);
    }
    if (o->vnode != item.vnode) {
        charge(o->vnode, -static_cast<int64_t>(o->extents.blocks()));
        charge(item.vnode, static_cast<int64_t>(o->extents.blocks()));
    }
    o->mode = item.mode;
    o->uid = item.uid;
    o->gid = item.gid;
    o->nlink = item.nlink;
    o->vnode = item.vnode;
    o->size = item.size;
    o->device = item.device;
    o->atime = item.atime;
    o->mtime = item.mtime;
    o->ctime = item.ctime;
    o->parent = item.parent;
    return {};
}

Result<void> Index::touch(FileId id, uint64_t size, int64_t mtime, int64_t ctime) {
    if (size > kMaxFileSize) return Fail(Error::Malformed);
    if (Object* o = find(id)) {
        o->size = size;
        o->mtime = mtime;
        o->ctime = ctime;
    }
    return {};
}

Result<void> Index::drop_object(FileId id) {
    Object* o = find(id);
    if (!o) return {};
    if (o->names > 0 || (o->directory && o->directory->live > 0)) return Fail(Error::Malformed);
    if (listener_) listener_->object_leaves(*o);
    while (Hold* h = o->holds.front())
        remove_hold(*h);
    object_table_.remove(*o);
    o->all.unlink();
    snapshot_bytes_ -= 128 + o->target.size();
    if (o->is_directory())
        memory_ -= sizeof(Directory) + o->directory->slots.capacity() * sizeof(Directory::Slot);
    o->dead = true;
    if (o->io.empty() && o->pins == 0) bury(*o);
    return {};
}

Result<void> Index::put_entry(const EntryItem& item) {
    if (!valid_name(item.name) || item.cookie == 0 || item.cookie >= (uint64_t{1} << 63))
        return Fail(Error::Malformed);
    Object* directory = find(item.directory);
    if (!directory) return {};
    if (!directory->is_directory()) return Fail(Error::Malformed);
    Object* target = find(item.target);
    Entry* e = find_entry(*directory, item.name);
    if (e && target && e->cookie == item.cookie) {
        if (e->target->is_directory() || target->is_directory()) topology_++;
        e->target->names--;
        target->names++;
        e->target = target;
        return {};
    }
    if (e) remove_entry(*e);
    if (!target) return {};
    void* memory = ::operator new(sizeof(Entry) + item.name.size());
    e = new (memory) Entry;
    std::memcpy(e + 1, item.name.data(), item.name.size());
    e->directory = directory;
    e->target = target;
    e->cookie = item.cookie;
    e->length = static_cast<uint8_t>(item.name.size());
    e->hash = entry_hash(directory->ref.id, item.name);
    size_t capacity = directory->directory->slots.capacity();
    directory->directory->insert(*e);
    memory_ += (directory->directory->slots.capacity() - capacity) * sizeof(Directory::Slot);
    entry_table_.insert(*e);
    target->names++;
    memory_ += entry_memory(e->length);
    snapshot_bytes_ += 48 + e->length;
    return {};
}

Result<void> Index::drop_entry(FileId directory, std::string_view name) {
    Object* d = find(directory);
    if (!d) return {};
    if (Entry* e = find_entry(*d, name)) remove_entry(*e);
    return {};
}

Result<void> Index::put_extent(const ExtentItem& item) {
    if (item.count == 0 || uint64_t{item.disk_block} + item.count > data_blocks_ ||
        uint64_t{item.file_block} + item.count > kMaxFileSize / kBlockSize)
        return Fail(Error::Malformed);
    // Also if the object is gone: nothing refers to these blocks' checksums then.
    Object* o = find(item.object);
    if (!o) return {};
    if (o->type != FileType::File) return Fail(Error::Malformed);
    for (uint32_t i = 0; i < item.count; i++)
        set_checksum(item.disk_block + i, item.checksum(i));
    punch_object(*o, item.file_block, item.count);
    size_t memory = o->extents.memory(), extents = o->extents.size();
    o->extents.insert({item.file_block, item.disk_block, item.count});
    memory_ += o->extents.memory() - memory;
    snapshot_bytes_ += o->extents.size() * 32 - extents * 32;
    snapshot_bytes_ += item.count * size_t{4};
    charge(o->vnode, item.count);
    return {};
}

Result<void> Index::punch(FileId id, uint32_t file_block, uint32_t count) {
    if (Object* o = find(id)) punch_object(*o, file_block, count);
    return {};
}

Result<void> Index::put_hold(FileId id, Holder holder) {
    Object* o = find(id);
    if (!o || find_hold(*o, holder)) return {};
    Hold* h = new Hold;
    h->holder = holder;
    h->object = o;
    o->holds.push_back(*h);
    holders_[holder].push_back(*h);
    memory_ += sizeof(Hold) + 16;
    snapshot_bytes_ += 32;
    return {};
}

Result<void> Index::drop_hold(FileId id, Holder holder) {
    Object* o = find(id);
    if (!o) return {};
    if (Hold* h = find_hold(*o, holder)) remove_hold(*h);
    return {};
}

Result<void> Index::fence(Holder holder) {
    for (;;) {
        auto at = holders_.lower_bound(Holder{holder.node, Incarnation(0)});
        if (at == holders_.end() || at->first > holder) return {};
        remove_hold(*at->second.front());
    }
}

Result<void> Index::put_root(VnodeId vnode, FileId directory, uint64_t quota_bytes) {
    Root& root = roots_[vnode];
    root.directory = directory;
    root.quota_bytes = quota_bytes;
    return {};
}

Result<void> Index::drop_root(VnodeId vnode) {
    roots_.erase(vnode);
    return {};
}

Result<void> Index::reply(const ReplyItem& item) {
    if (reply_entries_ == 0 || find_reply(item.request)) return {};
    if (reply_order_.size() >= reply_entries_) {
        reply_table_.remove(*reply_order_.front());
        reply_order_.pop_front();
        replies_evicted_++;
    }
    reply_order_.push_back(std::make_unique<Reply>(Reply{item, nullptr}));
    reply_table_.insert(*reply_order_.back());
    return {};
}

Result<void> Index::next_id(FileId id) {
    if (next_id_ < id) next_id_ = id;
    return {};
}

} // namespace tessera::storage
