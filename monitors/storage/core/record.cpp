#include "monitors/storage/core/record.hpp"

namespace tessera::storage {

template <typename T>
void RecordBuilder::put(T v) {
    ASSERT(room() >= sizeof(T));
    Ordered<T, std::endian::little> ordered = v;
    std::memcpy(buffer_.data() + used_, &ordered, sizeof(T));
    used_ += sizeof(T);
}

void RecordBuilder::item(Item type) {
    put(static_cast<uint8_t>(type));
}

void RecordBuilder::put_holder(Holder holder) {
    put(holder.node.value);
    put(holder.incarnation.value);
}

void RecordBuilder::put_text(std::string_view text) {
    put(static_cast<uint16_t>(text.size()));
    ASSERT(room() >= text.size());
    if (!text.empty()) std::memcpy(buffer_.data() + used_, text.data(), text.size());
    used_ += text.size();
}

void RecordBuilder::put_object(const ObjectItem& o) {
    item(Item::PutObject);
    put(o.object.id.value);
    put(o.object.generation.value);
    put(static_cast<uint8_t>(o.type));
    put(o.mode);
    put(o.uid);
    put(o.gid);
    put(o.nlink);
    put(o.vnode.value);
    put(o.size);
    put(o.device);
    put(static_cast<uint64_t>(o.atime));
    put(static_cast<uint64_t>(o.mtime));
    put(static_cast<uint64_t>(o.ctime));
    put(o.parent.value);
    put(o.next_cookie);
    put_text(o.target);
}

void RecordBuilder::touch(FileId object, uint64_t size, int64_t mtime, int64_t ctime) {
    item(Item::Touch);
    put(object.value);
    put(size);
    put(static_cast<uint64_t>(mtime));
    put(static_cast<uint64_t>(ctime));
}

void RecordBuilder::drop_object(FileId object) {
    item(Item::DropObject);
    put(object.value);
}

void RecordBuilder::put_entry(const EntryItem& e) {
    item(Item::PutEntry);
    put(e.directory.value);
    put(e.target.value);
    put(e.cookie);
    put_text(e.name);
}

void RecordBuilder::drop_entry(FileId directory, std::string_view name) {
    item(Item::DropEntry);
    put(directory.value);
    put_text(name);
}

void RecordBuilder::put_extent(FileId object, uint32_t file_block, uint32_t disk_block,
                               std::span<const uint32_t> checksums) {
    item(Item::PutExtent);
    put(object.value);
    put(file_block);
    put(disk_block);
    put(static_cast<uint32_t>(checksums.size()));
    for (uint32_t c : checksums)
        put(c);
}

void RecordBuilder::punch(FileId object, uint32_t file_block, uint32_t count) {
    item(Item::Punch);
    put(object.value);
    put(file_block);
    put(count);
}

void RecordBuilder::put_hold(FileId object, Holder holder) {
    item(Item::PutHold);
    put(object.value);
    put_holder(holder);
}

void RecordBuilder::drop_hold(FileId object, Holder holder) {
    item(Item::DropHold);
    put(object.value);
    put_holder(holder);
}

void RecordBuilder::fence(Holder holder) {
    item(Item::Fence);
    put_holder(holder);
}

void RecordBuilder::put_root(VnodeId vnode, FileId directory, uint64_t quota_bytes) {
    item(Item::PutRoot);
    put(vnode.value);
    put(directory.value);
    put(quota_bytes);
}

void RecordBuilder::drop_root(VnodeId vnode) {
    item(Item::DropRoot);
    put(vnode.value);
}

void RecordBuilder::reply(const ReplyItem& r) {
    item(Item::Reply);
    put(r.request.client.value);
    put(r.request.incarnation.value);
    put(r.request.sequence);
    put(r.object.id.value);
    put(r.object.generation.value);
}

void RecordBuilder::next_id(FileId id) {
    item(Item::NextId);
    put(id.value);
}

namespace {

// Reads numbers off a record; after the first shortage everything reads as zero and bad() is true.
class Reader {
  public:
    explicit Reader(Bytes b) : left_(b) {}
    bool bad() const { return bad_; }
    bool empty() const { return left_.empty(); }
    Bytes take(size_t n) {
        if (n > left_.size()) {
            bad_ = true;
            left_ = {};
            return {};
        }
        Bytes b = left_.first(n);
        left_ = left_.subspan(n);
        return b;
    }
    template <typename T>
    T get() {
        Bytes b = take(sizeof(T));
        return b.size() == sizeof(T) ? load<Ordered<T, std::endian::little>>(b).get() : T{};
    }
    std::string_view text() { return text_of(take(get<uint16_t>())); }
    FileId id() { return FileId(get<uint64_t>()); }
    Holder holder() {
        Holder h;
        h.node = NodeId(get<uint32_t>());
        h.incarnation = Incarnation(get<uint64_t>());
        return h;
    }

  private:
    Bytes left_;
    bool bad_ = false;
};

ObjectItem read_object(Reader& r) {
    ObjectItem o;
    o.object.id = r.id();
    o.object.generation = Generation(r.get<uint32_t>());
    o.type = static_cast<FileType>(r.get<uint8_t>());
    o.mode = r.get<uint16_t>();
    o.uid = r.get<uint32_t>();
    o.gid = r.get<uint32_t>();
    o.nlink = r.get<uint32_t>();
    o.vnode = VnodeId(r.get<uint32_t>());
    o.size = r.get<uint64_t>();
    o.device = r.get<uint64_t>();
    o.atime = static_cast<int64_t>(r.get<uint64_t>());
    o.mtime = static_cast<int64_t>(r.get<uint64_t>());
    o.ctime = static_cast<int64_t>(r.get<uint64_t>());
    o.parent = r.id();
    o.next_cookie = r.get<uint64_t>();
    o.target = r.text();
    return o;
}

Result<void> read_item(Item type, Reader& r, ItemVisitor& v) {
    auto checked = [&](auto&& call) -> Result<void> {
        if (r.bad()) return Fail(Error::Malformed);
        return call();
    };
    switch (type) {
        case Item::PutObject: {
            ObjectItem o = read_object(r);
            return checked([&] { return v.put_object(o); });
        }
        case Item::Touch: {
            FileId id = r.id();
            uint64_t size = r.get<uint64_t>();
            int64_t mtime = static_cast<int64_t>(r.get<uint64_t>());
            int64_t ctime = static_cast<int64_t>(r.get<uint64_t>());
            return checked([&] { return v.touch(id, size, mtime, ctime); });
        }
        case Item::DropObject: {
            FileId id = r.id();
            return checked([&] { return v.drop_object(id); });
        }
        case Item::PutEntry: {
            EntryItem e;
            e.directory = r.id();
            e.target = r.id();
            e.cookie = r.get<uint64_t>();
            e.name = r.text();
            return checked([&] { return v.put_entry(e); });
        }
        case Item::DropEntry: {
            FileId id = r.id();
            std::string_view name = r.text();
            return checked([&] { return v.drop_entry(id, name); });
        }
        case Item::PutExtent: {
            ExtentItem e;
            e.object = r.id();
            e.file_block = r.get<uint32_t>();
            e.disk_block = r.get<uint32_t>();
            e.count = r.get<uint32_t>();
            e.checksums = r.take(size_t{e.count} * 4);
            return checked([&] { return v.put_extent(e); });
        }
        case Item::Punch: {
            FileId id = r.id();
            uint32_t block = r.get<uint32_t>();
            uint32_t count = r.get<uint32_t>();
            return checked([&] { return v.punch(id, block, count); });
        }
        case Item::PutHold:
        case Item::DropHold: {
            FileId id = r.id();
            Holder h = r.holder();
            return checked(
                [&] { return type == Item::PutHold ? v.put_hold(id, h) : v.drop_hold(id, h); });
        }
        case Item::Fence: {
            Holder h = r.holder();
            return checked([&] { return v.fence(h); });
        }
        case Item::PutRoot: {
            VnodeId vnode(r.get<uint32_t>());
            FileId id = r.id();
            uint64_t quota = r.get<uint64_t>();
            return checked([&] { return v.put_root(vnode, id, quota); });
        }
        case Item::DropRoot: {
            VnodeId vnode(r.get<uint32_t>());
            return checked([&] { return v.drop_root(vnode); });
        }
        case Item::Reply: {
            ReplyItem p;
            p.request.client = NodeId(r.get<uint32_t>());
            p.request.incarnation = Incarnation(r.get<uint64_t>());
            p.request.sequence = r.get<uint64_t>();
            p.object.id = r.id();
            p.object.generation = Generation(r.get<uint32_t>());
            return checked([&] { return v.reply(p); });
        }
        case Item::NextId: {
            FileId id = r.id();
            return checked([&] { return v.next_id(id); });
        }
    }
    return Fail(Error::Malformed);
}

} // namespace

Result<void> read_record(Bytes record, ItemVisitor& visitor) {
    Reader r(record);
    while (!r.empty()) {
        Item type = static_cast<Item>(r.get<uint8_t>());
        TRY(read_item(type, r, visitor));
    }
    return {};
}

bool valid_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxName || name == "." || name == "..") return false;
    for (char c : name)
        if (c == '/' || c == '\0') return false;
    return true;
}

} // namespace tessera::storage
