// Recovery: from a block device to a running engine; the work behind Store::mount. In order:
// superblock, partition table, newest header, snapshot, log, verification, and, unless read-only, a
// new mount epoch.
//
// The log's end. Replay ends at the first block that is not the next one of the stream. If a later
// block claims that this place was durable, the log is damaged and mount fails (Corrupt). Records
// in blocks that no block claims to be durable (the tail) were perhaps never acknowledged, and the
// data they map may not have reached the disk: each such record's blocks are compared with their
// checksums before it is applied, and the first that does not match ends the replay. If that drops
// sound records, a checkpoint is taken at once, so that no later recovery can meet them again.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "monitors/storage/core/disk_format.hpp"
#include "monitors/storage/core/store.hpp"
#include "monitors/storage/core/stream.hpp"

namespace tessera::storage {

class Engine;

// Owns itself from start() until its completion.
class Recovery {
  public:
    using Finished = Function<void(Result<std::unique_ptr<Engine>>), 128>;
    Recovery(env::BlockDevice& device, Clock& clock, const MountOptions& options, Finished done);
    ~Recovery();
    void start();

  private:
    static constexpr size_t kBuffer = 64;        // blocks read at a time
    static constexpr uint64_t kLookAhead = 1024; // blocks behind the log's end searched for claims

    using Step = void (Recovery::*)();
    void read(uint64_t block, size_t count, Step next); // fails the mount on an error of the device
    void fail(Error e, const char* why);
    Bytes block(size_t i) const { return Bytes(buffer_).subspan(i * kBlockSize, kBlockSize); }

    void check_superblock();
    void check_partitions();
    void check_header();
    Result<void> use_header(const StoreHeader& h);
    void read_snapshot();
    void apply_snapshot();
    void start_log();
    void read_log();
    void feed_log();
    void look_ahead();
    void check_ahead();
    void judge_tail();
    void read_tail_piece();
    void check_tail_piece();
    void build();
    void open_for_writing();
    void finish();
    bool apply(Bytes items);
    uint64_t log_place(uint64_t sequence) const;

    env::BlockDevice& raw_;
    std::unique_ptr<Engine> engine_;
    Finished done_;
    std::vector<std::byte> buffer_;
    Result<void> read_result_;
    bool second_copy_ = false;
    Superblock superblock_;
    std::unique_ptr<StreamReader> reader_;
    std::vector<StreamRecord> records_;
    std::deque<StreamRecord> tail_; // not known to be durable
    size_t chunk_ = 0;              // blocks in the buffer
    uint64_t ahead_ = 0;
    uint64_t lsn_ = 0;
    bool dropped_ = false;
    bool any_tail_ = false;
    struct Wanted { // blocks of the record being judged
        uint32_t disk_block;
        uint32_t checksum;
    };
    std::vector<Wanted> wanted_;
    size_t wanted_at_ = 0;
};

} // namespace tessera::storage
