// Records: how a change of the metadata is written down, in the log and in snapshots alike.
//
// A record is a list of items, each an absolute statement ("object 7 has these attributes", "name n
// in directory 3 is object 7"), so replaying a stretch again over a newer state ends in the same
// state: a snapshot may be taken while the store works (checkpoint.hpp). One operation is one
// record.
//
// Item values are never reused. Multi-byte numbers are little-endian, strings carry a 16-bit
// length.
#pragma once

#include <array>

#include "monitors/storage/core/disk_format.hpp"
#include "monitors/storage/core/types.hpp"

namespace tessera::storage {

enum class Item : uint8_t {
    PutObject = 1,
    Touch = 2, // size and times of an object
    DropObject = 3,
    PutEntry = 4,
    DropEntry = 5,
    PutExtent = 6, // a run of blocks with a checksum each; replaces what was mapped there
    Punch = 7,     // unmaps a run
    PutHold = 8,
    DropHold = 9,
    Fence = 10,
    PutRoot = 11,
    DropRoot = 12,
    Reply = 13,
    NextId = 14,
};

struct ObjectItem {
    ObjectRef object;
    FileType type = FileType::None;
    uint16_t mode = 0;
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint32_t nlink = 0;
    VnodeId vnode;
    uint64_t size = 0;
    uint64_t device = 0;
    int64_t atime = 0;
    int64_t mtime = 0;
    int64_t ctime = 0;
    FileId parent;            // directories
    uint64_t next_cookie = 0; // directories
    std::string_view target;  // symlinks
};

struct EntryItem {
    FileId directory;
    std::string_view name;
    FileId target;
    uint64_t cookie = 0;
};

struct ExtentItem {
    FileId object;
    uint32_t file_block = 0;
    uint32_t disk_block = 0;
    uint32_t count = 0;
    Bytes checksums; // count × Le32
    uint32_t checksum(uint32_t i) const { return load<Le32>(checksums.subspan(4 * i)); }
};

struct ReplyItem {
    RequestId request;
    ObjectRef object;
};

// Appends little-endian numbers to a fixed buffer. Running over is a programmer's error: callers
// keep within kMaxRecord by construction (room()).
class RecordBuilder {
  public:
    void clear() { used_ = 0; }
    bool empty() const { return used_ == 0; }
    size_t room() const { return buffer_.size() - used_; }
    Bytes bytes() const { return Bytes(buffer_.data(), used_); }

    void put_object(const ObjectItem& o);
    void touch(FileId object, uint64_t size, int64_t mtime, int64_t ctime);
    void drop_object(FileId object);
    void put_entry(const EntryItem& e);
    void drop_entry(FileId directory, std::string_view name);
    void put_extent(FileId object, uint32_t file_block, uint32_t disk_block,
                    std::span<const uint32_t> checksums);
    void punch(FileId object, uint32_t file_block, uint32_t count);
    void put_hold(FileId object, Holder holder);
    void drop_hold(FileId object, Holder holder);
    void fence(Holder holder);
    void put_root(VnodeId vnode, FileId directory, uint64_t quota_bytes);
    void drop_root(VnodeId vnode);
    void reply(const ReplyItem& r);
    void next_id(FileId id);

  private:
    void item(Item type);
    template <typename T>
    void put(T v);
    void put_holder(Holder holder);
    void put_text(std::string_view text);

    std::array<std::byte, kMaxRecord> buffer_;
    size_t used_ = 0;
};

// Receives the items of a record in order. An error ends the reading and is its result.
class ItemVisitor {
  public:
    virtual Result<void> put_object(const ObjectItem&) = 0;
    virtual Result<void> touch(FileId, uint64_t size, int64_t mtime, int64_t ctime) = 0;
    virtual Result<void> drop_object(FileId) = 0;
    virtual Result<void> put_entry(const EntryItem&) = 0;
    virtual Result<void> drop_entry(FileId directory, std::string_view name) = 0;
    virtual Result<void> put_extent(const ExtentItem&) = 0;
    virtual Result<void> punch(FileId, uint32_t file_block, uint32_t count) = 0;
    virtual Result<void> put_hold(FileId, Holder) = 0;
    virtual Result<void> drop_hold(FileId, Holder) = 0;
    virtual Result<void> fence(Holder) = 0;
    virtual Result<void> put_root(VnodeId, FileId directory, uint64_t quota_bytes) = 0;
    virtual Result<void> drop_root(VnodeId) = 0;
    virtual Result<void> reply(const ReplyItem&) = 0;
    virtual Result<void> next_id(FileId) = 0;

  protected:
    ~ItemVisitor() = default;
};

// Malformed for anything that does not parse; values are checked by the visitor.
Result<void> read_record(Bytes record, ItemVisitor& visitor);

// A name that may be in a directory: 1 to 255 bytes, no slash, no NUL, not "." or "..".
bool valid_name(std::string_view name);

} // namespace tessera::storage
