// The walk of a file system whose names are made up on the spot (/dev, /proc).
#pragma once

#include "monitors/process/posix/fs/file_system.hpp"

namespace tessera::posix {

// child(directory, name) names an entry, or {} if there is none; ".." is asked for like a name.
// Symlink results name the link in `parent`, so that magic links can be followed.
template <typename Child>
Result<WalkResult> walk_tree(FileSystem& fs, FileRef from, std::string_view path, bool follow_last,
                             Child&& child) {
    WalkResult r;
    r.attributes = TRY(fs.attributes(from));
    r.parent = from;
    FileRef at = from;
    size_t i = 0;
    while (i < path.size()) {
        while (i < path.size() && path[i] == '/')
            i++;
        size_t end = path.find('/', i);
        if (end == std::string_view::npos) end = path.size();
        std::string_view name = path.substr(i, end - i);
        if (name.empty()) break;
        size_t behind = path.find_first_not_of('/', end);
        bool last = behind == std::string_view::npos;
        if (r.attributes.type != FileType::Directory) return Fail(Error::NotDirectory);
        FileRef next = name == "." ? at : child(at, name);
        if (!next) {
            if (!last) return Fail(Error::NotFound);
            r.stop = WalkResult::Stop::Missing;
            r.parent = at;
            r.consumed = path.size();
            return r;
        }
        Attributes a = TRY(fs.attributes(next));
        if (a.type == FileType::Symlink && (!last || follow_last)) {
            r.stop = WalkResult::Stop::Symlink;
            auto text = fs.read_link(next);
            r.link = text ? *text : std::string();
            r.parent = next;
            r.consumed = end;
            return r;
        }
        r.parent = at;
        r.attributes = a;
        at = next;
        i = end;
    }
    r.consumed = path.size();
    return r;
}

} // namespace tessera::posix
