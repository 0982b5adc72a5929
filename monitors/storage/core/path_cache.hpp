// PathCache: the full-path lookup hash. Remembers which directory the front part of a path led to,
// so that opening a/b/c/d is one probe here and one in the entry table. A fixed table, one entry
// per hash value; text is compared, so a collision costs a walk and never a wrong answer.
//
// An entry holds while the index's topology number is what it was: that changes when a directory is
// renamed, removed or changes mode or owner. Only paths through directories that everyone may
// search are kept, so no entry depends on who asks; paths with `..` are not kept.
#pragma once

#include <vector>

#include "monitors/storage/core/checksum.hpp"
#include "monitors/storage/core/types.hpp"

namespace tessera::storage {

class PathCache {
  public:
    static constexpr size_t kEntries = 512;
    static constexpr size_t kLongest = 120;

    PathCache() : entries_(kEntries) {}
    static constexpr size_t memory() { return kEntries * sizeof(Item); }

    ObjectRef find(ObjectRef start, std::string_view path, uint64_t topology) {
        if (path.size() > kLongest) return {};
        Item& e = entries_[slot(start, path)];
        if (e.topology != topology || e.start != start || e.length != path.size() ||
            std::memcmp(e.text, path.data(), path.size()) != 0)
            return {};
        hits++;
        return e.found;
    }
    void keep(ObjectRef start, std::string_view path, uint64_t topology, ObjectRef found) {
        if (path.size() > kLongest) return;
        Item& e = entries_[slot(start, path)];
        e.topology = topology;
        e.start = start;
        e.found = found;
        e.length = static_cast<uint8_t>(path.size());
        std::memcpy(e.text, path.data(), path.size());
    }
    uint64_t hits = 0;

  private:
    struct Item {
        uint64_t topology = 0; // 0: empty
        ObjectRef start;
        ObjectRef found;
        uint8_t length = 0;
        char text[kLongest];
    };
    static size_t slot(ObjectRef start, std::string_view path) {
        return xxh64(bytes_of(path), start.id.value) % kEntries;
    }
    std::vector<Item> entries_;
};

} // namespace tessera::storage
