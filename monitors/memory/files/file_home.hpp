// FileHome: the part of a memory monitor that caches files and is the only place where their data
// changes (protocols.md section 6). pComponents read, write, truncate and sync through it; it reads
// from and writes out to the sComponent that stores the file.
//
// Passive, in the component's shard. A request becomes a HomeOperation; it takes steps: if a step
// needs something that is not here (attributes, pages, room) it starts the request for it and waits
// on the file; whenever something about the file changes its waiting operations step again. Bounds:
// at most kMaxOperations under way (more: Full) and the frames of the pool; clean pages of the
// files used least recently are dropped when frames run low.
//
// Write-out starts kWriteOutDelay after a file became dirty and at a quarter of the pool dirty; at
// half of it writers wait. A failed write-out is reported once, by the file's next write or sync.
//
// A write is accepted only with blocks of the store set aside for it (store_space.hpp), so a full
// disk is the write's error and not a later loss. What is dirty of a file that is gone is dropped.
//
// Written and not synced is lost with this incarnation: a request on behalf of a descriptor with
// such data names the incarnation that has it, and any other answers Lost.
#pragma once

#include <map>
#include <memory>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "monitors/memory/files/cached_file.hpp"
#include "monitors/memory/files/store_space.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::mmon {

struct FileHomeCounters {
    uint64_t reads = 0, writes = 0;
    uint64_t pages_read = 0, pages_written = 0, pages_dropped = 0;
    uint64_t cached_pages = 0, dirty_pages = 0;
};

class FileHome {
  public:
    static constexpr unsigned kMaxOperations = 256;
    static constexpr Nanos kWriteOutDelay = seconds(5);
    static constexpr Nanos kStoreDeadline = seconds(30);

    struct Options {
        int64_t realtime_offset = 0;    // clock.now() + this = nanoseconds since 1970
        uint64_t reserved_frames = 256; // never used for cached pages: page traffic needs them
        Incarnation incarnation = {};   // of this component
    };

    FileHome(rpc::Node& node, env::FramePool& frames, Clock& clock, const Options& options);
    ~FileHome();
    FileHome(const FileHome&) = delete;
    FileHome& operator=(const FileHome&) = delete;

    // Where this vNode's files are stored; also learned from every request.
    void set_store(VnodeId vnode, roce::Ipv4 store);
    void set_realtime_offset(int64_t offset) { options_.realtime_offset = offset; }

    // Frames of `count` consecutive pages for a fetch. done gets, per page, a frame with one more
    // share (the caller releases it), or none beyond the end of the file. Errors: NotFound (no
    // store known for the vNode), Stale, Io, Timeout, NoMemory, Full.
    static constexpr unsigned kMaxProvided = 8;
    struct Provided {
        std::array<env::FrameNo, kMaxProvided> frames;
        unsigned count = 0;
        uint64_t file_size = 0;
    };
    using ProvideDone = Function<void(Result<Provided>), 64>;
    void provide(FileKey file, PageNo first, unsigned count, ProvideDone done);

    // A page that was changed through a shared mapping, clipped at the file's end. `data` is
    // copied.
    void put_page(FileKey file, PageNo page, Bytes data, Function<void(Result<void>), 64> done);

    void sync_all(Function<void(Result<void>), 64> done); // everything of every vNode; shutdown
    // Gives back up to `frames` frames of clean pages; returns how many.
    uint64_t shrink(uint64_t frames);

    void poll(); // timers
    Nanos next_deadline() const;
    FileHomeCounters counters() const { return counters_; }

  private:
    friend struct HomeOperation;

    void on_request(rpc::Opcode, const rpc::Identity&, Bytes, rpc::Responder);
    CachedFile* find(FileKey key);
    CachedFile& find_or_make(FileKey key, roce::Ipv4 store);
    void forget_if_idle(CachedFile& f);
    void touch(CachedFile& f);

    // One step of an operation; true if it has ended (and is gone).
    bool step(HomeOperation& op);
    bool step_read(HomeOperation& op);
    bool step_write(HomeOperation& op);
    bool step_change(HomeOperation& op);
    bool step_sync(HomeOperation& op);
    void start(HomeOperation* op);
    void wake(CachedFile& f, Error failure, bool failed);
    void end(HomeOperation& op);

    // True if the attributes are known; otherwise asks for them.
    bool need_attributes(CachedFile& f);
    // True if these pages are here (or beyond what the store has); otherwise reads what is missing.
    Result<bool> need_pages(CachedFile& f, uint64_t first, uint64_t last);
    Result<void> read_run(CachedFile& f, uint64_t first, uint64_t count);
    // With at least so many frames left over. What is read from the store may use half of the
    // reserve: it can be dropped at any time, and programs need their text when memory is full.
    Result<env::FrameNo> new_frame(uint64_t kept_free);
    Result<env::FrameNo> new_frame() { return new_frame(options_.reserved_frames); }
    Result<MutableBytes> writable(CachedFile& f, CachedPage& page);
    void mark_dirty(CachedFile& f, CachedPage& page);
    void mark_size_dirty(CachedFile& f);
    void truncate_pages(CachedFile& f, uint64_t size);
    // Blocks (512 bytes) the store does not know of yet: dirty pages beyond what it has.
    uint64_t blocks_to_come(const CachedFile& f) const;

    // Everything changed until now is written out, as fast as it goes.
    void want_write_out(CachedFile& f);
    void write_out(CachedFile& f);
    void go_on_writing(CachedFile& f);
    bool older_dirty(const CachedFile& f, uint64_t change) const;
    void drop_all(CachedFile& f);
    void forget(FileKey key, rpc::Responder responder);
    struct WriteOut {
        uint64_t first;
        unsigned count;
        unsigned blocks; // of the account that went with it
        uint64_t upto;
    };
    void write_out_done(FileKey key, const WriteOut& w, Result<Bytes> r);
    void take_hold(CachedFile& f);
    void drop_hold_if_clean(CachedFile& f);
    void drop_page(CachedFile& f, std::map<PageNo, CachedPage>::iterator page);
    bool over_limit(unsigned part_of_eight) const;

    Result<bool> need_space(HomeOperation& op, uint64_t need, uint64_t& room);
    uint64_t ask_space(VnodeId vnode, uint64_t more);
    void send_space(VnodeId vnode, uint64_t blocks);
    void wake_for_space(VnodeId vnode);
    void reserve(const CachedFile& f, CachedPage& page);
    void unreserve(const CachedFile& f, CachedPage& page);
    void poll_space();
    void forgotten_by_store(VnodeId vnode);
    Nanos next_space_deadline() const;

    rpc::Peer* store_of(CachedFile& f);
    rpc::CallOptions store_call() const;

    rpc::Node& node_;
    env::FramePool& frames_;
    Clock& clock_;
    Options options_;
    std::map<FileKey, std::unique_ptr<CachedFile>> files_;
    List<CachedFile, &CachedFile::recent> recent_;
    std::map<VnodeId, roce::Ipv4> stores_;
    std::map<VnodeId, StoreSpace> spaces_;
    Nanos retry_space_at_{};
    uint64_t change_ = 0; // numbers changes
    unsigned operations_ = 0;
    FileHomeCounters counters_;
    std::unique_ptr<std::byte[]> scratch_; // gathers one write-out
};

} // namespace tessera::mmon
