// Files on the wire. Fixed layout, little-endian; names, paths and data follow the struct.
//
// pComponent -> sComponent: names and attributes (kFile*).
// pComponent -> home mComponent: data of regular files (kHome*); the request says where the store
// is. mComponent -> sComponent: data and write-out (kStore*). Every request is self-contained
// (protocols.md section 6): vNode, object id and generation, absolute offset, credentials.
// Non-idempotent ones carry a sequence that, with the caller's incarnation from the connection,
// finds the first result again after a restart of the store (section 7).
#pragma once

#include "base/endian.hpp"
#include "base/units.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::schema {

inline constexpr Opcode kFileWalk{0x3000};       // FileWalk + path -> FileWalkReply + link text
inline constexpr Opcode kFileAttributes{0x3001}; // FileTarget -> WireAttributes
inline constexpr Opcode kFileChange{0x3002};     // FileChange -> WireAttributes
inline constexpr Opcode kFileCreate{0x3003};     // FileCreate + name -> WireAttributes
inline constexpr Opcode kFileSymlink{0x3004};    // FileSymlink + name + text -> WireAttributes
inline constexpr Opcode kFileReadLink{0x3005};   // FileTarget -> text
inline constexpr Opcode kFileLink{0x3006};       // FileLink + name -> nothing
inline constexpr Opcode kFileUnlink{0x3007};     // FileUnlink + name -> WireAttributes, or nothing
// FileRename + both names -> nothing, or the WireFile that lost its last name by it
inline constexpr Opcode kFileRename{0x3008};
inline constexpr Opcode kFileReadDirectory{0x3009}; // FileReadDirectory -> WireEntry + name, ...
// A pComponent holds what it has open, and so keeps it alive. A home says that it has newer data;
// that keeps nothing alive.
inline constexpr Opcode kFileHold{0x300a};      // FileTarget -> nothing
inline constexpr Opcode kFileRelease{0x300b};   // FileTarget -> FileReleased
inline constexpr Opcode kFileSystemUse{0x300c}; // FileTarget (file ignored) -> WireFileSystemUse
inline constexpr Opcode kFileSyncAll{0x300d};   // FileTarget (file ignored) -> nothing

inline constexpr Opcode kHomeRead{0x3020};  // HomeData -> data (shorter only at the end of file)
inline constexpr Opcode kHomeWrite{0x3021}; // HomeData + data -> HomeWritten
inline constexpr Opcode kHomeAttributes{0x3022}; // HomeTarget -> WireAttributes
inline constexpr Opcode kHomeChange{0x3023};     // HomeChange -> WireAttributes
inline constexpr Opcode kHomeSync{0x3024};       // HomeTarget -> nothing, when durable
inline constexpr Opcode kHomeSyncAll{0x3025}; // HomeTarget (file ignored) -> nothing, when durable
// HomeTarget -> nothing: the file has lost its last name or holder; the home asks the store, and
// drops what it has of a file that is gone
inline constexpr Opcode kHomeForget{0x3026};

inline constexpr Opcode kStoreRead{0x3040};  // StoreData -> data
inline constexpr Opcode kStoreWrite{0x3041}; // StoreData + data -> nothing
inline constexpr Opcode kStoreSync{0x3042};  // FileTarget -> nothing, when durable
inline constexpr Opcode kStoreCreateRoot{
    0x3043}; // gsm: StoreCreateRoot -> WireAttributes; idempotent
inline constexpr Opcode kStoreRemoveRoot{0x3044}; // gsm: FileTarget -> nothing; idempotent
inline constexpr Opcode kStoreFence{0x3045};   // gsm: StoreFence: releases what a dead holder held
inline constexpr Opcode kStoreReserve{0x3046}; // home: StoreReserve -> StoreReserved

inline constexpr size_t kMaxFileData = 32 * 1024; // bytes of file data in one message

// On whose behalf. groups: the first group_count are valid.
struct WireCaller {
    Le32 vnode;
    Le32 uid;
    Le32 gid;
    Le32 group_count;
    Le64 sequence; // of a non-idempotent request; 0 = none
    Le32 groups[32];
};
static_assert(sizeof(WireCaller) == 152);

struct WireFile {
    Le64 id;
    Le32 generation;
    Le32 reserved;
};
static_assert(sizeof(WireFile) == 16);

inline constexpr uint8_t kAttributeHomeActive = 1; // a home holds newer size or times: ask it

struct WireAttributes {
    WireFile file;
    WireFile parent;        // of a directory
    unsigned char type = 0; // storage::FileType
    unsigned char flags = 0;
    Le16 mode;
    Le32 uid;
    Le32 gid;
    Le32 links;
    Le32 device;
    Le32 reserved;
    Le64 size;
    Le64 blocks; // 512-byte units
    Le64 accessed_ns;
    Le64 modified_ns;
    Le64 changed_ns;
};
static_assert(sizeof(WireAttributes) == 96);

struct FileTarget {
    Le32 vnode;
    Le32 reserved;
    WireFile file;
};
static_assert(sizeof(FileTarget) == 24);

struct FileWalk {
    WireCaller caller;
    WireFile from;
    unsigned char follow_last = 0;
    unsigned char reserved[7] = {};
};
static_assert(sizeof(FileWalk) == 176);

struct FileWalkReply {
    WireAttributes attributes; // Missing, DotDot: of the directory that was reached
    WireFile parent;           // the directory that holds, or would hold, the last component walked
    unsigned char stop = 0;    // WalkStop
    unsigned char reserved[3] = {};
    Le32 consumed; // bytes of the path
};
static_assert(sizeof(FileWalkReply) == 120);
enum class WalkStop : uint8_t { Done = 0, Symlink = 1, DotDot = 2, Missing = 3 };

struct FileChange {
    WireCaller caller;
    WireFile file;
    Le32 fields; // storage::SetAttributes::Field
    Le32 mode;
    Le32 uid;
    Le32 gid;
    Le64 size;
    Le64 accessed_ns; // INT64_MIN = now
    Le64 modified_ns;
};
static_assert(sizeof(FileChange) == 208);

struct FileCreate {
    WireCaller caller;
    WireFile directory;
    unsigned char type = 0; // storage::FileType, Directory included
    unsigned char exclusive = 0;
    Le16 mode;
    Le32 device;
};
static_assert(sizeof(FileCreate) == 176);

struct FileSymlink {
    WireCaller caller;
    WireFile directory;
    Le32 name_length;
    Le32 reserved;
};
static_assert(sizeof(FileSymlink) == 176);

struct FileLink {
    WireCaller caller;
    WireFile file;
    WireFile directory;
};
static_assert(sizeof(FileLink) == 184);

struct FileUnlink {
    WireCaller caller;
    WireFile directory;
    unsigned char directory_wanted = 0; // rmdir
    unsigned char reserved[7] = {};
};
static_assert(sizeof(FileUnlink) == 176);

struct FileRename {
    WireCaller caller;
    WireFile from_directory;
    WireFile to_directory;
    Le32 from_length;
    unsigned char mode = 0; // 0 replace, 1 no replace, 2 exchange
    unsigned char reserved[3] = {};
};
static_assert(sizeof(FileRename) == 192);

struct FileReadDirectory {
    WireCaller caller;
    WireFile directory;
    Le64 after;
    Le32 most; // entries
    Le32 reserved;
};
static_assert(sizeof(FileReadDirectory) == 184);

// A reply with no entry is the end.
struct WireEntry {
    Le64 id;
    Le64 cookie;
    unsigned char type = 0;
    unsigned char name_length = 0;
    Le16 reserved;
};
static_assert(sizeof(WireEntry) == 20);

struct WireFileSystemUse {
    Le64 total_bytes;
    Le64 free_bytes;
    Le64 total_files;
    Le64 free_files;
};
static_assert(sizeof(WireFileSystemUse) == 32);

// To the home: the file and where its store is.
struct HomeTarget {
    Le32 vnode;
    Le32 store_address; // IPv4 of the sComponent, host order value
    WireFile file;
    Le32 mount_epoch;
    Le32 reserved;
    // Not 0: the incarnation of the home that has what this descriptor wrote and did not sync.
    // Another one answers Lost, and does nothing.
    Le64 incarnation;
};
static_assert(sizeof(HomeTarget) == 40);

struct HomeData {
    HomeTarget target;
    Le64 offset;
    Le32 length; // of a read
    Le32 append; // write: 1 = at the end, offset ignored
};
static_assert(sizeof(HomeData) == 56);

struct HomeWritten {
    Le64 offset;
    Le64 size; // of the file now
    Le32 length;
    Le32 reserved;
};
static_assert(sizeof(HomeWritten) == 24);

struct HomeChange {
    HomeTarget target;
    FileChange change;
};
static_assert(sizeof(HomeChange) == 248);

struct StoreData {
    FileTarget target;
    Le64 offset;
    Le32 length;          // of a read
    Le32 reserved_blocks; // write-out: as many of the home's reserved blocks may be used
    Le64 size;            // write-out: the file's size
    Le64 modified_ns;     // write-out; 0 = leave
    Le64 sequence;
};
static_assert(sizeof(StoreData) == 64);

struct StoreCreateRoot {
    Le32 vnode;
    Le32 mode;
    Le64 quota_bytes; // 0 = none
};
static_assert(sizeof(StoreCreateRoot) == 16);

// Blocks (4 KiB) set aside for what the home has accepted and not written out yet. Counted at the
// arrival of requests: a write-out takes its reserved_blocks from the account as it arrives.
struct StoreReserve {
    Le32 vnode;
    Le32 reserved;
    Le64 blocks; // that the home wants to have in all
};
static_assert(sizeof(StoreReserve) == 16);

struct StoreReserved {
    Le64 blocks; // that it has, as of the request's arrival; fewer than asked for: there is no room
};
static_assert(sizeof(StoreReserved) == 8);

struct FileReleased {
    unsigned char gone; // 1: the file had no name any more, and exists no longer
    unsigned char reserved[3];
};
static_assert(sizeof(FileReleased) == 4);

struct StoreFence {
    Le32 node;
    Le32 reserved;
    Le64 incarnation;
};
static_assert(sizeof(StoreFence) == 16);

} // namespace tessera::schema
