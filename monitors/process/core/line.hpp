// What the ExCache is made of: lines, the objects that name them, the spaces that map them.
//
// A line is one frame. It has names: (object, page) pairs; more than one after a fork, until a
// write breaks the sharing. It has mappings: page-table entries in spaces. All names of a line
// belong to objects of one owner. An object's radix says for each page: absent, in a line, or only
// at the owner.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/function.hpp"
#include "base/list.hpp"
#include "base/page_radix.hpp"
#include "base/ref.hpp"
#include "base/units.hpp"
#include "monitors/env/frames.hpp"
#include "monitors/env/page_mapper.hpp"
#include "monitors/process/core/page_client.hpp"
#include "monitors/process/core/replacement.hpp"

namespace tessera::pmon {

class CacheObject;
class Space;

// One thread's wish for one page. Lives where the thread waits; the shard owns it from
// ExCache::request() until `done` is called. Everything but `done` and `link` is the thread's again
// then.
struct PageRequest {
    enum class Mode : uint8_t {
        Map,      // put it into the space's page table
        ReadPin,  // hold the line; its frame is in `frame`. The caller unpins
        WritePin, // the same, and the line is dirty and not shared
    };
    Mode mode = Mode::Map;
    bool write = false;            // Map: the access was a write
    env::PageRights rights;        // Map: what the mapping allows
    Space* space = nullptr;        // whose; its private object takes private pages
    uint64_t page = 0;             // user address / 4096 = page of the private object
    uint64_t generation = 0;       // Space::generation when the mapping was looked up
    CacheObject* source = nullptr; // the shared object or file behind the mapping; null: anonymous
    uint64_t source_page = 0;
    bool private_copy = false; // source is mapped private: a write copies into the private object
    uint32_t source_bytes =
        kPageSize; // less: the rest of the page is zero (a private copy at once)
    Nanos deadline = kNever;

    // Answers. Ok; Again: the mapping changed meanwhile, look it up anew; NoMemory: no credit;
    // Range: behind the end of the file; Lost, Dead, Io, Timeout: the page cannot be had;
    // Cancelled.
    Function<void(Result<void>), 32> done;
    LineId line = kNoLine; // pins
    env::FrameNo frame;
    bool remote = false; // a remote page had to be waited for

    enum class Where : uint8_t { Idle, OnLine, ForLine, ForCredit, Later };
    Where where = Where::Idle;
    ListLink link;
};

enum class ObjectKind : uint8_t { Private, Shared, File };

class CacheObject {
  public:
    ObjectKind kind = ObjectKind::Private;
    ObjectId id; // also of files: local to this component, names futex words
    FileId file; // File
    Generation generation;
    PageClient* client = nullptr; // the owner's
    PageRadix pages;              // of PageEntry
    Sequence structural = 0;      // last stream operation that changed which pages M holds
    Sequence forked = 0;          // last Fork with this object as the parent
    // Whoever holds one may take another in any thread; the last one goes in the shard.
    std::atomic<uint32_t> references{0};
    uint32_t lines = 0;         // entries that are in a line
    uint64_t next_expected = 0; // sequential detection: the page after the last miss
    bool lost = false;
    bool written = false; // a file's: through a mapping, here
    ListLink link;        // among the cache's objects
};

// The value of CacheObject::pages.
struct PageEntry {
    uint64_t raw = 0;

    static constexpr uint64_t kPresent = 1; // keeps the value from being 0
    static constexpr uint64_t kRemote = 2;  // the owner has a version of this page
    static constexpr uint64_t kShared = 4;  // the owner's frame may have other users: overwriting
                                            // it may cost a credit
    static constexpr uint64_t kLine = 8;    // bits 32.. name a line

    constexpr bool absent() const { return raw == 0; }
    constexpr bool remote() const { return raw & kRemote; }
    constexpr bool shared() const { return raw & kShared; }
    constexpr bool in_line() const { return raw & kLine; }
    constexpr LineId line() const { return static_cast<LineId>(raw >> 32); }
    constexpr void set(uint64_t flag, bool on) { raw = on ? raw | flag : raw & ~flag; }
    constexpr void set_line(LineId l) {
        raw = (raw & 0xffffffffu) | kPresent | kLine | static_cast<uint64_t>(l) << 32;
    }
    constexpr void clear_line() { raw = raw & 0xffffffffu & ~kLine; }
    // Neither in a line nor at the owner: the page is absent.
    constexpr uint64_t value() const { return in_line() || remote() ? raw | kPresent : 0; }
};

struct Name {
    CacheObject* object = nullptr;
    uint64_t page = 0;
    Name* next = nullptr;
};

struct MappedAt {
    Space* space = nullptr;
    uint64_t page = 0; // user address / 4096
    bool writable = false;
    MappedAt* next = nullptr;
};

enum class LineState : uint8_t {
    Free,
    Filling, // its contents are on their way
    Clean,   // the owner has the same
    Dirty,   // only here
    Writing, // write-protected, on its way to the owner
};

struct Line {
    LineId id = 0;
    env::FrameNo frame;
    LineState state = LineState::Free;
    bool referenced = false;  // used since the policy last looked
    bool standby = false;     // clean, unmapped, first to be reused; still found by name
    bool credit = false;      // holds a page credit
    bool storing = false;     // Writing by kPageStore
    bool write_alone = false; // Writing: it had one name when it was sent
    bool stale = false;       // Filling: what comes is outdated or misnamed, ask again
    bool retry = false;       // Filling: on the retry list, nothing is in flight
    bool prefetched = false;
    uint16_t read_pins = 0;
    uint16_t write_pins = 0;
    Name* names = nullptr;
    MappedAt* maps = nullptr;
    PageClient* client = nullptr;
    Sequence write = 0;         // Writing: when this is executed
    Sequence blocked_until = 0; // no write-back before this one is executed (an older version's)
    Nanos fill_started{};
    Nanos retry_at{};
    ListLink link; // free, standby or retry list
    List<PageRequest, &PageRequest::link> waiters;
};

} // namespace tessera::pmon
