// StoreSpace: the blocks that a vNode's store has set aside for what this home has accepted.
//
// Every dirty page holds one (CachedPage::reserved), taken before the write is answered: a write
// finds the disk full, never its write-out. `backed` is the account as the store has it, counted as
// requests leave here: the store counts them as they arrive. When an answer stays away the account
// is doubtful, and the store is told again how many blocks are needed.
#pragma once

#include <algorithm>
#include <vector>

#include "monitors/memory/files/cached_file.hpp"

namespace tessera::mmon {

struct StoreSpace {
    static constexpr uint64_t kAtLeast = 64; // blocks asked for beyond what is needed now
    static constexpr uint64_t kAtMost = 512;
    static constexpr Nanos kKeep = seconds(2); // unused blocks go back after it

    uint64_t backed = 0;
    uint64_t used = 0;   // by dirty pages
    uint64_t wanted = 0; // the next request asks for so many more
    uint64_t asked = 0;  // requests so far
    uint64_t answered = 0;
    bool asking = false;
    bool doubtful = false;
    bool failed = false; // the last request was not answered as it should be
    Error error{};
    Nanos unused_since = kNever;
    Incarnation store;
    std::vector<FileKey> waiting; // files with operations that wait for blocks

    uint64_t available() const { return backed - std::min(backed, used); }
};

} // namespace tessera::mmon
