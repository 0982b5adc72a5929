// FileBlockDevice: a file (disk image) or host block device as a BlockDevice, for tools. Completes
// every request inside submit(). A new image is all holes and stays sparse where nothing is
// written. Errors: NotFound, AccessDenied, Exists (create), Io.
#pragma once

#include <string>

#include "base/ref.hpp"
#include "monitors/env/block_device.hpp"

namespace tessera::storage {

class FileBlockDevice final : public env::BlockDevice {
  public:
    enum class Mode { ReadOnly, ReadWrite };
    static Result<Own<FileBlockDevice>> open(const std::string& path, Mode mode);
    // Creates the file with that size (all holes); replaces nothing unless told to.
    static Result<Own<FileBlockDevice>> create(const std::string& path, uint64_t bytes,
                                               bool replace);
    ~FileBlockDevice();

    Result<void> submit(env::BlockRequest& request) override;
    uint64_t block_count() const override { return blocks_; }
    uint32_t max_transfer_blocks() const override { return 256; }
    uint32_t queue_depth() const override { return 64; }
    // Flushes ask the host's disk only if this is set; a tool that builds an image need not wait
    // for it.
    bool durable = true;

  private:
    FileBlockDevice(int fd, uint64_t blocks) : fd_(fd), blocks_(blocks) {}
    Result<void> execute(const env::BlockRequest& r);

    int fd_;
    uint64_t blocks_;
};

} // namespace tessera::storage
