// Index: all metadata of a store in memory. Changed only by applying records (record.hpp), the same
// way while running and in recovery, so that memory and log cannot disagree.
//
// Sizes: memory() is what it takes here, snapshot_bytes() an upper bound of what it takes on disk;
// the engine refuses operations that would exceed either. Items about objects that do not exist are
// skipped: replaying over a newer snapshot meets them. What cannot be made sense of is Malformed.
#pragma once

#include <deque>

#include "monitors/storage/core/checksum.hpp"
#include "monitors/storage/core/hash_table.hpp"
#include "monitors/storage/core/objects.hpp"
#include "monitors/storage/core/record.hpp"

namespace tessera::storage {

// Told while a record is applied. Null during recovery.
class IndexListener {
  public:
    virtual void blocks_freed(uint32_t disk_block, uint32_t count) = 0;
    virtual void object_leaves(Object& object) = 0;

  protected:
    ~IndexListener() = default;
};

class Index final : public ItemVisitor {
  public:
    Index(uint64_t data_blocks, size_t reply_entries);
    ~Index();
    Index(const Index&) = delete;

    Result<void> apply(Bytes record) { return read_record(record, *this); }
    void set_listener(IndexListener* listener) { listener_ = listener; }

    Object* find(FileId id) const;
    Object* find(ObjectRef ref) const; // null if the generation differs
    Entry* find_entry(const Object& directory, std::string_view name) const;
    const ReplyItem* find_reply(const RequestId& request) const;
    Root* find_root(VnodeId vnode);
    static Hold* find_hold(Object& object, Holder holder);
    // Holds under the node with this or an older incarnation; calls f(Hold&), which must not
    // remove.
    template <typename F>
    void each_hold(Holder holder, F&& f) {
        for (auto at = holders_.lower_bound(Holder{holder.node, Incarnation(0)});
             at != holders_.end() && at->first <= holder; ++at)
            for (Hold& h : at->second)
                f(h);
    }

    uint32_t checksum_of(uint32_t disk_block) const {
        return checksums_[disk_block / kChecksumChunk]->at(disk_block % kChecksumChunk);
    }
    uint64_t data_blocks() const { return data_blocks_; }
    FileId next_id() const { return next_id_; }
    uint64_t topology() const {
        return topology_;
    } // changes when a cached path may have become wrong
    uint64_t objects() const { return object_table_.size(); }
    size_t memory() const;
    size_t snapshot_bytes() const { return snapshot_bytes_; }

    const std::map<VnodeId, Root>& roots() const { return roots_; }
    const std::deque<std::unique_ptr<Reply>>& replies() const { return reply_order_; }
    uint64_t replies_evicted() const { return replies_evicted_; } // before replies().front()
    List<Object, &Object::all>& all() { return all_; }

    // A dead object's last operation has ended.
    void bury(Object& object);
    // After recovery: what each root uses.
    void count_usage();
    static uint64_t entry_hash(FileId directory, std::string_view name) {
        return xxh64(bytes_of(name), directory.value);
    }
    static constexpr size_t object_memory() { return sizeof(Object) + 64; }
    static constexpr size_t entry_memory(size_t name) { return sizeof(Entry) + name + 48; }

    Result<void> put_object(const ObjectItem&) override;
    Result<void> touch(FileId, uint64_t size, int64_t mtime, int64_t ctime) override;
    Result<void> drop_object(FileId) override;
    Result<void> put_entry(const EntryItem&) override;
    Result<void> drop_entry(FileId directory, std::string_view name) override;
    Result<void> put_extent(const ExtentItem&) override;
    Result<void> punch(FileId, uint32_t file_block, uint32_t count) override;
    Result<void> put_hold(FileId, Holder) override;
    Result<void> drop_hold(FileId, Holder) override;
    Result<void> fence(Holder) override;
    Result<void> put_root(VnodeId, FileId directory, uint64_t quota_bytes) override;
    Result<void> drop_root(VnodeId) override;
    Result<void> reply(const ReplyItem&) override;
    Result<void> next_id(FileId) override;

  private:
    static constexpr uint32_t kChecksumChunk = 1024;
    using ChecksumChunk = std::array<uint32_t, kChecksumChunk>;
    static uint64_t hash_object(const Object& o) { return hash_id(o.ref.id); }
    static uint64_t hash_id(FileId id) { return std::hash<FileId>{}(id); }
    static uint64_t hash_entry(const Entry& e) { return e.hash; }
    static uint64_t hash_request(const RequestId& r) {
        return xxh64(bytes_of(r.sequence), r.incarnation.value ^ (uint64_t{r.client.value} << 40));
    }
    static uint64_t hash_reply(const Reply& r) { return hash_request(r.item.request); }

    void remove_entry(Entry& e);
    void remove_hold(Hold& h);
    void release_extents(Object& o);
    void punch_object(Object& o, uint64_t from, uint64_t count);
    void charge(VnodeId vnode, int64_t blocks);
    void set_checksum(uint32_t disk_block, uint32_t value);

    uint64_t data_blocks_;
    size_t reply_entries_;
    IndexListener* listener_ = nullptr;
    HashTable<Object, &Object::next_hash, hash_object> object_table_;
    HashTable<Entry, &Entry::next_hash, hash_entry> entry_table_;
    List<Object, &Object::all> all_; // in the order of ids, except what a hostile disk mixes up
    std::map<VnodeId, Root> roots_;
    std::map<Holder, List<Hold, &Hold::in_holder>> holders_;
    HashTable<Reply, &Reply::next_hash, hash_reply> reply_table_;
    std::deque<std::unique_ptr<Reply>> reply_order_;
    uint64_t replies_evicted_ = 0;
    std::vector<std::unique_ptr<ChecksumChunk>> checksums_;
    FileId next_id_{1};
    uint64_t topology_ = 1;
    size_t memory_ = 0;
    size_t snapshot_bytes_ = 0;
};

} // namespace tessera::storage
