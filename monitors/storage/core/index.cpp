#include "monitors/storage/core/index.hpp"

#include <new>

namespace tessera::storage {

Attributes Object::attributes(const Object* parent_object) const {
    Attributes a;
    a.object = ref;
    if (is_directory()) a.parent = parent_object ? parent_object->ref : ref;
    a.type = type;
    a.mode = mode;
    a.uid = uid;
    a.gid = gid;
    a.nlink = nlink;
    a.vnode = vnode;
    a.size = is_directory() ? directory->live : type == FileType::Symlink ? target.size() : size;
    a.blocks = extents.blocks();
    a.device = device;
    a.atime = atime;
    a.mtime = mtime;
    a.ctime = ctime;
    return a;
}

size_t Directory::position_after(uint64_t cookie) const {
    auto at = std::partition_point(slots.begin(), slots.end(),
                                   [cookie](const Slot& s) { return s.cookie <= cookie; });
    return static_cast<size_t>(at - slots.begin());
}

void Directory::insert(Entry& e) {
    size_t at =
        slots.empty() || slots.back().cookie < e.cookie ? slots.size() : position_after(e.cookie);
    if (at > 0 && slots[at - 1].cookie == e.cookie && !slots[at - 1].entry)
        slots[at - 1].entry = &e;
    else
        slots.insert(slots.begin() + static_cast<ptrdiff_t>(at), Slot{e.cookie, &e});
    live++;
    if (next_cookie <= e.cookie) next_cookie = e.cookie + 1;
}

void Directory::remove(Entry& e) {
    size_t at = position_after(e.cookie);
    while (at > 0 && slots[at - 1].cookie == e.cookie && slots[at - 1].entry != &e)
        at--;
    ASSERT(at > 0 && slots[at - 1].entry == &e);
    slots[at - 1].entry = nullptr;
    live--;
    while (!slots.empty() && !slots.back().entry)
        slots.pop_back();
    if (slots.size() > 2 * live + 16)
        std::erase_if(slots, [](const Slot& s) { return s.entry == nullptr; });
}

Index::Index(uint64_t data_blocks, size_t reply_entries)
    : data_blocks_(data_blocks),
      reply_entries_(reply_entries),
      checksums_((data_blocks + kChecksumChunk - 1) / kChecksumChunk) {}

Index::~Index() {
    listener_ = nullptr;
    while (Object* o = all_.front()) {
        if (o->directory) {
            for (size_t i = 0; i < o->directory->slots.size(); i++)
                if (Entry* e = o->directory->slots[i].entry) {
                    e->~Entry();
                    ::operator delete(e);
                }
        }
        while (Hold* h = o->holds.front()) {
            h->in_object.unlink();
            h->in_holder.unlink();
            delete h;
        }
        o->all.unlink();
        delete o;
    }
}

size_t Index::memory() const {
    return memory_ + object_table_.memory() + entry_table_.memory() +
           reply_order_.size() * (sizeof(Reply) + 24) + checksums_.size() * sizeof(void*);
}

Object* Index::find(FileId id) const {
    return object_table_.find(hash_id(id), [id](const Object& o) { return o.ref.id == id; });
}

Object* Index::find(ObjectRef ref) const {
    Object* o = find(ref.id);
    return o && o->ref.generation == ref.generation ? o : nullptr;
}

Entry* Index::find_entry(const Object& directory, std::string_view name) const {
    uint64_t hash = entry_hash(directory.ref.id, name);
    return entry_table_.find(hash, [&](const Entry& e) {
        return e.hash == hash && e.directory == &directory && e.name() == name;
    });
}

const ReplyItem* Index::find_reply(const RequestId& request) const {
    const Reply* r = reply_table_.find(hash_request(request),
                                       [&](const Reply& r) { return r.item.request == request; });
    return r ? &r->item : nullptr;
}

Root* Index::find_root(VnodeId vnode) {
    auto at = roots_.find(vnode);
    return at == roots_.end() ? nullptr : &at->second;
}

Hold* Index::find_hold(Object& object, Holder holder) {
    for (Hold& h : object.holds)
        if (h.holder == holder) return &h;
    return nullptr;
}

void Index::charge(VnodeId vnode, int64_t blocks) {
    if (Root* root = find_root(vnode))
        root->used_blocks = static_cast<uint64_t>(static_cast<int64_t>(root->used_blocks) + blocks);
}

void Index::count_usage() {
    for (auto& [vnode, root] : roots_)
        root.used_blocks = 0;
    for (Object& o : all_)
        charge(o.vnode, static_cast<int64_t>(o.extents.blocks()));
}

void Index::set_checksum(uint32_t disk_block, uint32_t value) {
    auto& chunk = checksums_[disk_block / kChecksumChunk];
    if (!chunk) {
        chunk = std::make_unique<ChecksumChunk>();
        memory_ += sizeof(ChecksumChunk);
    }
    chunk->at(disk_block % kChecksumChunk) = value;
}

void Index::punch_object(Object& o, uint64_t from, uint64_t count) {
    size_t memory = o.extents.memory(), extents = o.extents.size();
    uint64_t blocks = o.extents.blocks();
    o.extents.punch(from, count, [this](uint32_t block, uint32_t n) {
        if (listener_) listener_->blocks_freed(block, n);
    });
    memory_ += o.extents.memory() - memory;
    uint64_t freed = blocks - o.extents.blocks();
    snapshot_bytes_ += o.extents.size() * 32 - extents * 32;
    snapshot_bytes_ -= freed * 4;
    if (freed) charge(o.vnode, -static_cast<int64_t>(freed));
}

void Index::release_extents(Object& o) {
    punch_object(o, 0, uint64_t{1} << 32);
}

void Index::remove_entry(Entry& e) {
    Object& directory = *e.directory;
    size_t capacity = directory.directory->slots.capacity();
    directory.directory->remove(e);
    memory_ += (directory.directory->slots.capacity() - capacity) * sizeof(Directory::Slot);
    entry_table_.remove(e);
    e.target->names--;
    if (e.target->is_directory()) topology_++;
    memory_ -= entry_memory(e.length);
    snapshot_bytes_ -= 48 + e.length;
    e.~Entry();
    ::operator delete(&e);
}

void Index::remove_hold(Hold& h) {
    h.in_object.unlink();
    h.in_holder.unlink();
    auto at = holders_.find(h.holder);
    if (at != holders_.end() && at->second.empty()) holders_.erase(at);
    memory_ -= sizeof(Hold) + 16;
    snapshot_bytes_ -= 32;
    delete &h;
}

void Index::bury(Object& o) {
    ASSERT(o.dead && o.io.empty());
    release_extents(o);
    memory_ -= object_memory() + o.extents.memory() + o.target.capacity();
    delete &o;
}

} // namespace tessera::storage
