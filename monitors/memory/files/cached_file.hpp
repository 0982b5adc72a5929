// CachedFile: what a home mComponent keeps of one file: pages, the size and modification time, and
// who waits for something to change about it.
//
// A page's frame is never written while somebody else shares it (a fetch being sent): the writer
// takes a fresh frame first. `changed` orders changes, so that a write-out knows whether what it
// sent is still what is here, and a sync knows what it has to wait for.
#pragma once

#include <map>
#include <vector>

#include "base/list.hpp"
#include "monitors/env/frames.hpp"
#include "net/roce/verbs.hpp"
#include "net/schema/file.hpp"

namespace tessera::mmon {

struct FileKey {
    VnodeId vnode;
    FileId id;
    Generation generation;
    auto operator<=>(const FileKey&) const = default;
};

struct CachedPage {
    env::FrameNo frame;    // none while it is being read from the store
    uint64_t changed = 0;  // 0: clean; else the change number of its last modification
    bool sending = false;  // a write-out of it is under way
    bool reserved = false; // holds a block of StoreSpace for its next write-out
};

struct HomeOperation;

struct CachedFile {
    explicit CachedFile(FileKey k) : key(k) {}

    FileKey key;
    roce::Ipv4 store; // where its sComponent is
    enum class State : uint8_t { Unknown, Asking, Known } state = State::Unknown;
    uint64_t size = 0;
    uint64_t stored_size = 0; // as the store has it: no page beyond it needs to be read
    int64_t modified_ns = 0;
    uint64_t size_changed = 0; // change number of the last size or time change not yet written out
    std::map<PageNo, CachedPage> pages;
    unsigned dirty_pages = 0;
    unsigned under_way = 0; // requests to the store that name this file
    bool held = false;      // we hold it at the store because we have newer data
    Nanos dirty_since = kNever;
    // Write-out goes on until nothing is left that was changed up to here; 0: none is wanted.
    uint64_t write_upto = 0;
    Error write_error{}; // a write-out failed: reported once by the next write or sync
    bool write_failed = false;
    std::vector<HomeOperation*> waiting; // steps again whenever something about the file changed
    ListLink recent;                     // in FileHome's list, oldest use first

    bool dirty() const { return dirty_pages > 0 || size_changed != 0; }
};

} // namespace tessera::mmon
