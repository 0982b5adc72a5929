// Reads the classic pcap files beside this header (little-endian, microseconds, Ethernet).
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace tessera::test {

using Frame = std::vector<std::byte>;

inline std::vector<Frame> read_pcap(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::vector<char> all((std::istreambuf_iterator<char>(in)), {});
    std::vector<Frame> frames;
    for (size_t at = 24; at + 16 <= all.size();) {
        uint32_t size;
        std::memcpy(&size, all.data() + at + 8, 4);
        at += 16;
        if (at + size > all.size()) break;
        const auto* p = reinterpret_cast<const std::byte*>(all.data() + at);
        frames.emplace_back(p, p + size);
        at += size;
    }
    return frames;
}

} // namespace tessera::test
