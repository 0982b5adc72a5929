// The file-system switch: mounts, and the walk from a path to a file through them.
//
// A walk goes in pieces: as far as one file system can go in one request, then over a mount point,
// a symlink or `..`, which are decided here because only the process knows its root. At most 40
// links.
#pragma once

#include <vector>

#include "kernel/sync/mutex.hpp"
#include "monitors/process/posix/fs/file_system.hpp"

namespace tessera::posix {

struct Mount {
    FileSystem* fs = nullptr;
    Location covered; // fs null: the vNode's root
    std::string point;
};

class MountTable {
  public:
    void add(FileSystem& fs, const Location& covered, std::string point);
    std::vector<Mount> all();
    const Mount* at(const Location& l);       // covering l
    const Mount* of(const FileSystem& fs);    // where fs is mounted
    bool is_name(std::string_view component); // some mount point's last name

  private:
    std::vector<Own<Mount>> mounts_; // fixed after the vNode is built
};

struct PathContext {
    Location root;
    Location start; // cwd, or the directory of an *at call
    Credentials who;
};

struct Resolved {
    Location at; // valid if exists
    Attributes attributes;
    bool exists = false;
    Location parent;                // the directory of the last component
    std::string name;               // the last component; empty for "/", ".", ".."
    bool must_be_directory = false; // trailing slash
    Ref<Description>
        description; // a magic link to something without a path (/proc/self/fd/N of a pipe)
};

enum class LastLink : uint8_t { Follow, Keep };

// A missing last component is not an error (exists = false); a missing middle one is NotFound.
Result<Resolved> resolve(MountTable& mounts, const PathContext& c, std::string_view path,
                         LastLink last);
// The same, but NotFound if it does not exist.
Result<Resolved> resolve_existing(MountTable& mounts, const PathContext& c, std::string_view path,
                                  LastLink last);

} // namespace tessera::posix
