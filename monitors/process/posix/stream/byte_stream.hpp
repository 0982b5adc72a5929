// ByteStream: a bounded window of bytes with absolute offsets between a program and its console.
//
// The program's side blocks (full, empty); the console's side never does. As output it keeps bytes
// until the reader names a later offset, so that a poll can be repeated. Lock rank Leaf minus one
// (Pipe): callers may hold the vNode's or a terminal's lock.
#pragma once

#include <vector>

#include "kernel/sync/wait_queue.hpp"
#include "monitors/process/posix/file/description.hpp"

namespace tessera::posix {

class ByteStream final : public Object {
  public:
    static constexpr size_t kCapacity = 64 * 1024;

    explicit ByteStream(Vnode& v) : Object(v, ObjectKind::Stream) {}

    void set_notify(Function<void()> f); // bytes, room or the end came; called without the lock

    // Console side.
    Result<std::vector<std::byte>> fetch(uint64_t offset, size_t most); // Range
    size_t offer(Bytes b);                                              // takes what fits
    size_t room();
    void end();
    bool ended();
    bool drained_past(uint64_t offset); // no byte beyond offset
    // Program side. Again if non-blocking; write after end(): BrokenPipe.
    Result<size_t> read(MutableBytes into, bool nonblocking);
    Result<size_t> write(Bytes from, bool nonblocking);
    uint16_t poll_read();
    uint16_t poll_write();
    size_t bytes_ready();

    void record(Archive& a) override;

  private:
    void notify();
    kernel::Mutex mutex_{kernel::LockRank::Pipe};
    kernel::WaitQueue changed_;
    std::vector<std::byte> ring_;
    uint64_t first_ = 0; // absolute offset of the oldest byte held
    uint64_t next_ = 0;  // and behind the newest
    bool ended_ = false;
    Function<void()> notify_;
};

// The program's descriptor on a stream. The last one's destructor ends an output stream.
class StreamEnd final : public Description {
  public:
    StreamEnd(Vnode& v, Ref<ByteStream> s, bool output, Location where = {});
    ~StreamEnd() override;
    Result<size_t> read(MutableBytes into) override;
    Result<size_t> write(Bytes from) override;
    Result<Attributes> attributes() override;
    uint16_t poll() override;
    size_t bytes_ready() override { return stream_->bytes_ready(); }
    std::string text() const override;
    void record(Archive& a) override;

  private:
    Ref<ByteStream> stream_;
};

} // namespace tessera::posix
