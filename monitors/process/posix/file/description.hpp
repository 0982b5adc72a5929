// Description: an open file description (what descriptors refer to, shared by dup and fork).
//
// Thread context; read and write may block (interruptible, in WaitQueues only). Buffers are kernel
// memory: system calls copy to and from user memory before and after, holding no lock.
// Defaults refuse: a kind overrides what it can do. Closing is the destructor (last Ref).
#pragma once

#include <atomic>

#include "monitors/process/posix/abi.hpp"
#include "monitors/process/posix/fs/file_system.hpp"
#include "monitors/process/posix/object/object.hpp"

namespace tessera::posix {

class Terminal;

struct UserIo; // ioctl's access to user memory: the caller's address space

class Description : public Object {
  public:
    Description(Vnode& v, ObjectKind kind, uint32_t flags, Location where)
        : Object(v, kind), flags_(flags), where_(std::move(where)) {}

    uint32_t flags() const { return flags_.load(std::memory_order_relaxed); }
    void set_flags(uint32_t f) { flags_.store(f, std::memory_order_relaxed); }
    bool readable() const {
        return (flags() & kOpenAccessMask) != kOpenWrite && !(flags() & kOpenPath);
    }
    bool writable() const {
        return (flags() & kOpenAccessMask) != kOpenRead && !(flags() & kOpenPath);
    }
    bool nonblocking() const { return flags() & kOpenNonBlock; }
    const Location& where() const { return where_; } // the name it was opened by; fs null for pipes
    virtual std::string text() const { return where_.path; } // /proc/PID/fd/N

    // At the current offset. 0 = end of file. Errors: Again (non-blocking), Interrupted,
    // BrokenPipe, …
    virtual Result<size_t> read(MutableBytes into) { return Fail(Error::InvalidArgument); }
    virtual Result<size_t> write(Bytes from) { return Fail(Error::InvalidArgument); }
    virtual Result<size_t> read_at(uint64_t offset, MutableBytes into) {
        return Fail(Error::NotSeekable);
    }
    virtual Result<size_t> write_at(uint64_t offset, Bytes from) {
        return Fail(Error::NotSeekable);
    }
    virtual Result<int64_t> seek(int64_t offset, int whence) { return Fail(Error::NotSeekable); }
    virtual Result<Attributes> attributes() = 0;
    virtual Result<Attributes> change(const Credentials& who, const AttributeChange& c) {
        return Fail(Error::InvalidArgument);
    }
    virtual Result<void> sync(bool data_only) { return Fail(Error::InvalidArgument); }
    // What close(2) reports, for each descriptor that refers to it. The descriptor goes all the
    // same.
    virtual Result<void> closing() { return {}; }
    // kPollIn, kPollOut, … as of now. Whoever changes the answer calls Vnode::poll_changed().
    virtual uint16_t poll() { return kPollIn | kPollOut; }
    // True: a transfer goes on until it is complete (files); false: one read returns what there is.
    virtual bool bulk() const { return false; }
    virtual size_t bytes_ready() { return 0; } // FIONREAD
    virtual Terminal* terminal() { return nullptr; }
    // The file behind a mapping; none: cannot be mapped.
    virtual FileRef mappable() { return {}; }
    // getdents: entries behind the current position, which `take` accepts one by one; it returns
    // false when its buffer is full (that entry comes again).
    virtual Result<void> entries(Function<bool(const DirectoryEntry&, uint64_t next)> take) {
        return Fail(Error::NotDirectory);
    }

    void record(Archive& a) override;

  protected:
    std::atomic<uint32_t> flags_;
    Location where_;
};

} // namespace tessera::posix
