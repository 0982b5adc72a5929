// One request to a file home while it is under way (private to monitors/memory/files).
#pragma once

#include <vector>

#include "monitors/memory/files/file_home.hpp"

namespace tessera::mmon {

struct HomeOperation {
    enum class Kind : uint8_t { Read, Provide, Write, Attributes, Change, Sync, SyncAll };

    Kind kind;
    CachedFile* file = nullptr; // null: SyncAll of several files, which waits on children
    rpc::Responder responder;
    FileHome::ProvideDone provide_done;
    Function<void(Result<void>), 64> sync_done;
    std::vector<std::byte> data; // Write: what to write; Change: the HomeChange
    uint64_t offset = 0;
    uint32_t length = 0;
    bool append = false;
    bool clip = false; // Write: nothing beyond the file's end (a mapped page that was changed)
    bool sent = false; // the request that ends it is at the store
    // Write: how it comes by blocks of the store (FileHome::need_space).
    enum class SpaceStep : uint8_t { None, Asked, WritingOut, AskedAgain } space = SpaceStep::None;
    uint64_t space_request = 0;
    uint64_t space_change = 0;
    uint64_t sync_change = 0; // Sync: everything changed up to here
    HomeOperation* parent = nullptr;
    unsigned children = 0;
    Error child_error{};
    bool child_failed = false;

    void fail(Error e) {
        if (responder.pending()) responder.fail(e);
        if (provide_done) provide_done(std::unexpected(e));
        if (sync_done) sync_done(std::unexpected(e));
    }
};

} // namespace tessera::mmon
