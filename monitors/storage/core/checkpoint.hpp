// Checkpointer: writes a snapshot of the index into the area not in force, then a header that makes
// it the start of recovery, and so empties the log.
//
// The store works on meanwhile. A snapshot therefore mixes moments between its start S and its end
// E; because records are absolute, replaying the log from S over it arrives at the true state,
// provided it is replayed at least to E: the log is durable to E before the header is written, and
// the header says so (log_required).
#pragma once

#include <memory>
#include <vector>

#include "monitors/storage/core/objects.hpp"
#include "monitors/storage/core/record.hpp"
#include "monitors/storage/core/stream.hpp"

namespace tessera::storage {

class Engine;

class Checkpointer {
  public:
    explicit Checkpointer(Engine& engine) : engine_(engine) {}

    bool active() const { return active_; }
    void start(Done<void> done); // joins the next one if one is running
    void object_leaves(Object& o);
    bool failed() const { return failed_; } // the last one
    uint64_t completed = 0;

  private:
    static constexpr size_t kBuffer = 64; // blocks
    enum class Phase : uint8_t { Objects, Entries, Rest, Done };

    void begin();
    void step();
    bool fill_objects();
    bool fill_entries();
    bool fill_rest();
    bool fits(size_t items); // makes room in the record; false: the buffer is full
    void emit();
    void next_object();
    void log_ready();
    void finish(Result<void> result);

    Engine& engine_;
    bool active_ = false;
    Phase phase_ = Phase::Objects;
    Object* at_ = nullptr;
    bool object_put_ = false;
    uint64_t block_ = 0;  // progress within a file
    uint64_t cookie_ = 0; // progress within a directory
    uint64_t reply_ = 0;  // counted from the first ever
    bool failed_ = false;
    uint64_t log_start_ = 0;
    uint64_t log_required_ = 0;
    uint64_t lsn_ = 0;
    uint64_t written_ = 0; // blocks of the area
    StreamWriter writer_;
    RecordBuilder record_;
    std::unique_ptr<std::byte[]> buffer_;
    std::vector<tessera::storage::Done<void>> waiting_;
    std::vector<tessera::storage::Done<void>> next_;
};

} // namespace tessera::storage
