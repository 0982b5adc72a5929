// Pipe and its ends: 64 KiB, writes of up to 4096 bytes are atomic, FIFOs share the code.
//
// A Pipe counts its readers and writers (descriptions, not descriptors); PipeEnd's destructor
// uncounts. Lock rank Pipe. Write without readers: BrokenPipe (the system call adds SIGPIPE).
#pragma once

#include "kernel/sync/wait_queue.hpp"
#include "monitors/process/posix/file/description.hpp"

namespace tessera::posix {

class Pipe final : public Object {
  public:
    static constexpr size_t kCapacity = 64 * 1024;
    static constexpr size_t kAtomic = 4096; // PIPE_BUF

    explicit Pipe(Vnode& v) : Object(v, ObjectKind::Pipe) {}

    Result<size_t> read(MutableBytes into, bool nonblocking);
    Result<size_t> write(Bytes from, bool nonblocking);
    uint16_t poll(bool reader, bool writer);
    size_t bytes_ready();
    bool has_readers();
    void opened(bool reader, bool writer);
    void closed(bool reader, bool writer);
    // A FIFO's open waits for the other side (unless non-blocking). Interrupted.
    Result<void> wait_for_partner(bool reader);

    void record(Archive& a) override;

  private:
    size_t take(MutableBytes into);
    void put(Bytes from);

    kernel::Mutex mutex_{kernel::LockRank::Pipe};
    kernel::WaitQueue changed_;
    std::vector<std::byte> ring_; // kCapacity long once used
    size_t first_ = 0, count_ = 0;
    uint32_t readers_ = 0, writers_ = 0;
    uint64_t reader_opens_ = 0, writer_opens_ = 0; // ever, for FIFO opens
};

class PipeEnd final : public Description {
  public:
    PipeEnd(Vnode& v, Ref<Pipe> p, uint32_t flags, Location where = {});
    ~PipeEnd() override;

    const Ref<Pipe>& pipe() const { return pipe_; }
    Result<size_t> read(MutableBytes into) override { return pipe_->read(into, nonblocking()); }
    Result<size_t> write(Bytes from) override { return pipe_->write(from, nonblocking()); }
    Result<Attributes> attributes() override;
    uint16_t poll() override { return pipe_->poll(reads_, writes_); }
    size_t bytes_ready() override { return pipe_->bytes_ready(); }
    std::string text() const override;
    void record(Archive& a) override;

  private:
    Ref<Pipe> pipe_;
    bool reads_, writes_; // fixed at open
};

// The FIFOs of the store that are open here: the same file is the same pipe.
class FifoTable {
  public:
    Result<Ref<Description>> open(Vnode& v, const Location& at, uint32_t flags);

  private:
    struct Entry {
        FileRef file;
        Ref<Pipe> pipe;
    };
    kernel::Mutex mutex_{kernel::LockRank::FileDescription};
    std::vector<Entry> entries_;
};

} // namespace tessera::posix
