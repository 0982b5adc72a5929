// The commands of tessera-store. Each prints its own errors to stderr (what, why, what to do) and
// returns the program's exit status: 0 done, 1 failed, 2 wrong usage.
#pragma once

#include <string>

#include "tools/store/image.hpp"

namespace tessera::storage::tool {

struct BuildOptions {
    std::string output;
    uint64_t bytes = 0;
    std::string directory; // one of these two, or none: an empty root
    std::string tar;
    VnodeId vnode{1};
    bool also_template = false; // the same again as what new vNodes start with
    bool replace = false;
};

int build(const BuildOptions& options);
int list(const std::string& image, const std::string& path, VnodeId vnode, bool details);
int print(const std::string& image, const std::string& path, VnodeId vnode);
int check(const std::string& image, bool data);

// Fills the root from a directory of the host, or from a tar file ("-": standard input; ustar with
// GNU and pax long names, uncompressed). False: it failed and has said why.
bool fill_from_directory(Image& image, ObjectRef root, const std::string& directory);
bool fill_from_tar(Image& image, VnodeId vnode, ObjectRef root, const std::string& file);

} // namespace tessera::storage::tool
