// A capture file in pcap format (nanosecond variant), as Wireshark and tshark read it. Written
// through on flush(), so that a capture can be followed while it grows.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace tessera::fabric {

class PcapFile {
  public:
    static Result<std::unique_ptr<PcapFile>> create(const std::string& path); // AccessDenied
    ~PcapFile();
    // `realtime` is nanoseconds since 1970.
    void write(Bytes frame, uint64_t realtime);
    void flush();
    const std::string& path() const { return path_; }

  private:
    PcapFile(std::FILE* file, std::string path) : file_(file), path_(std::move(path)) {}
    std::FILE* file_;
    std::string path_;
    bool dirty_ = true;
};

} // namespace tessera::fabric
