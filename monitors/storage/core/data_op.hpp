// DataOp: one read, write or change of size under way. Taken from a fixed set; its buffers stay
// with it. See data_ops.cpp (reads, scheduling) and write.cpp.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "monitors/storage/core/allocator.hpp"
#include "monitors/storage/core/disk_format.hpp"
#include "monitors/storage/core/objects.hpp"

namespace tessera::storage {

struct DataOp : IoNode {
    static constexpr size_t kChunkBlocks = 256; // moved and committed at a time
    enum class Kind : uint8_t { Read, Write, Resize };
    enum class Phase : uint8_t { Start, Load, Transfer, Commit };

    // A piece of a read: blocks of the disk that went to `at`.
    struct Segment {
        uint32_t disk_block;
        uint32_t count;
        std::byte* at;
        int edge;          // -1: straight into the caller's buffer; else which bounce block
        size_t skip;       // bytes of the bounce block before what is wanted
        size_t length;     // wanted of the bounce block
        std::byte* target; // where they go
    };

    Kind kind = Kind::Read;
    Phase phase = Phase::Start;
    Object* object = nullptr;
    uint64_t offset = 0;
    MutableBytes into;
    Bytes data;
    size_t position = 0; // bytes done
    size_t chunk = 0;    // bytes of the chunk under way
    int64_t time = 0;
    bool keep_suid = true;
    bool reclaimed = false;
    Holder reserved_by;
    uint32_t reserved = 0; // blocks it has taken from that holder's account and not allocated
    uint32_t spent = 0;    // of them allocated by the chunk under way
    SetAttributes change;
    Done<size_t> done;
    Done<Attributes> done_attributes;

    size_t parts = 0; // device requests outstanding, plus one while they are being submitted
    Result<void> result;
    uint32_t first_block = 0;
    uint32_t block_count = 0;
    bool loaded[2] = {};
    uint32_t loaded_from[2] = {};
    std::array<uint32_t, kChunkBlocks> checksums;
    std::vector<Allocator::Run> runs;
    std::vector<Segment> segments;
    std::unique_ptr<std::byte[]> bounce{new std::byte[2 * kBlockSize]};

    MutableBytes edge(int i) {
        return {bounce.get() + static_cast<size_t>(i) * kBlockSize, kBlockSize};
    }
};

} // namespace tessera::storage
