#include "monitors/storage/host/file_block_device.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace tessera::storage {
namespace {

Error error_of(int number) {
    switch (number) {
        case ENOENT:
            return Error::NotFound;
        case EACCES:
        case EPERM:
            return Error::AccessDenied;
        case EEXIST:
            return Error::Exists;
        case EISDIR:
            return Error::IsDirectory;
        case ENOSPC:
            return Error::NoSpace;
        case EROFS:
            return Error::ReadOnly;
        default:
            return Error::Io;
    }
}

Result<void> transfer(int fd, bool write, std::byte* at, size_t left, off_t offset) {
    while (left > 0) {
        ssize_t n = write ? pwrite(fd, at, left, offset) : pread(fd, at, left, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return Fail(n < 0 ? error_of(errno) : Error::Io);
        at += n;
        offset += n;
        left -= static_cast<size_t>(n);
    }
    return {};
}

} // namespace

Result<Own<FileBlockDevice>> FileBlockDevice::open(const std::string& path, Mode mode) {
    int fd = ::open(path.c_str(), (mode == Mode::ReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0) return Fail(error_of(errno));
    off_t size = lseek(fd, 0, SEEK_END); // also right for host block devices
    if (size < 0) {
        close(fd);
        return Fail(Error::NotSeekable);
    }
    return Own<FileBlockDevice>(
        new FileBlockDevice(fd, static_cast<uint64_t>(size) / env::kBlockSize));
}

Result<Own<FileBlockDevice>> FileBlockDevice::create(const std::string& path, uint64_t bytes,
                                                     bool replace) {
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | (replace ? O_TRUNC : O_EXCL);
    int fd = ::open(path.c_str(), flags, 0644);
    if (fd < 0) return Fail(error_of(errno));
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        Error e = error_of(errno);
        close(fd);
        return Fail(e);
    }
    return Own<FileBlockDevice>(new FileBlockDevice(fd, bytes / env::kBlockSize));
}

FileBlockDevice::~FileBlockDevice() {
    close(fd_);
}

Result<void> FileBlockDevice::execute(const env::BlockRequest& r) {
    if (r.op == env::BlockOp::Flush) {
        if (durable && fdatasync(fd_) != 0) return Fail(Error::Io);
        return {};
    }
    uint64_t n = r.buffer.size() / env::kBlockSize;
    if (r.block > blocks_ || n > blocks_ - r.block) return Fail(Error::Range);
    bool write = r.op == env::BlockOp::Write;
    return transfer(fd_, write, r.buffer.data(), r.buffer.size(),
                    static_cast<off_t>(r.block * env::kBlockSize));
}

Result<void> FileBlockDevice::submit(env::BlockRequest& request) {
    Result<void> result = execute(request);
    auto done = std::move(request.done);
    done(result);
    return {};
}

} // namespace tessera::storage
