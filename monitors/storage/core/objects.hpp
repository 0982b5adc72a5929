// What the index consists of: objects, directory entries, holds, roots. Owned and changed by Index
// only; the engine reads them and uses the io queue.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/list.hpp"
#include "monitors/storage/core/extents.hpp"
#include "monitors/storage/core/record.hpp"
#include "monitors/storage/core/types.hpp"

namespace tessera::storage {

struct Object;

// A name in a directory; its characters follow the structure.
struct Entry {
    Object* directory = nullptr;
    Object* target = nullptr;
    Entry* next_hash = nullptr;
    uint64_t cookie = 0;
    uint64_t hash = 0;
    uint8_t length = 0;
    std::string_view name() const { return {reinterpret_cast<const char*>(this + 1), length}; }
};

// The entries of a directory in the order of their cookies, which only grow: a listing goes on
// after a cookie whether or not its entry still exists. Removed entries leave a gap that is closed
// later.
struct Directory {
    struct Slot {
        uint64_t cookie;
        Entry* entry; // null: a gap
    };
    std::vector<Slot> slots;
    size_t live = 0;
    uint64_t next_cookie = 1;

    size_t position_after(uint64_t cookie) const; // of the first slot with a greater cookie
    void insert(Entry& e);
    void remove(Entry& e);
};

struct Hold {
    Holder holder;
    Object* object = nullptr;
    ListLink in_object;
    ListLink in_holder;
};

// One data operation on an object, in the order of arrival (data_ops.cpp).
struct IoNode {
    ListLink link;
    uint64_t first = 0; // blocks of the file
    uint64_t last = 0;
    bool exclusive = false;
    bool running = false;
    bool conflicts(const IoNode& o) const {
        return (exclusive || o.exclusive) && first <= o.last && o.first <= last;
    }
};

struct Object {
    ObjectRef ref;
    FileType type = FileType::None;
    bool dead = false; // dropped while operations are under way; out of the tables
    uint16_t mode = 0;
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint32_t nlink = 0;
    uint32_t names = 0; // entries that point here
    VnodeId vnode;
    FileId parent; // directories
    uint64_t size = 0;
    uint64_t device = 0;
    int64_t atime = 0;
    int64_t mtime = 0;
    int64_t ctime = 0;
    uint64_t last_record = 0; // log position of the last change, for fsync
    ExtentMap extents;
    std::unique_ptr<Directory> directory;
    std::string target; // symlinks
    List<Hold, &Hold::in_object> holds;
    List<IoNode, &IoNode::link> io;
    Object* next_hash = nullptr;
    ListLink all;
    uint32_t pins = 0; // steps of the engine that still look at it
    uint64_t mark = 0; // scratch of verify_index()

    bool is_directory() const { return type == FileType::Directory; }
    Attributes attributes(const Object* parent_object) const;
};

struct Reply {
    ReplyItem item;
    Reply* next_hash = nullptr;
};

struct Root {
    FileId directory;
    uint64_t quota_bytes = 0;
    uint64_t used_blocks = 0;
};

} // namespace tessera::storage
