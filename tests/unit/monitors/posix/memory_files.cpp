#include "tests/unit/monitors/posix/memory_files.hpp"

#include <time.h>

namespace tessera::posix::test {

using Guard = std::lock_guard<std::mutex>;

MemoryFiles::MemoryFiles() {
    Node& root = nodes_[1];
    root.a.file = {FileId(1), Generation(1)};
    root.a.type = FileType::Directory;
    root.a.mode = 0755;
    root.a.links = 2;
    root.parent = 1;
}

int64_t MemoryFiles::now() {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
}

Result<MemoryFiles::Node*> MemoryFiles::node(FileRef f) {
    auto found = nodes_.find(f.id.value);
    if (found == nodes_.end()) return Fail(Error::Stale);
    return &found->second;
}

Result<MemoryFiles::Node*> MemoryFiles::directory(FileRef f, const Credentials& who,
                                                  uint32_t want) {
    Node* n = TRY(node(f));
    if (n->a.type != FileType::Directory) return Fail(Error::NotDirectory);
    if (!permits(n->a, who, want)) return Fail(Error::AccessDenied);
    return n;
}

MemoryFiles::Node& MemoryFiles::make(Node& d, const std::string& name, FileType type, uint16_t mode,
                                     const Credentials& who) {
    uint64_t id = next_++;
    Node& n = nodes_[id];
    n.a.file = {FileId(id), Generation(1)};
    n.a.type = type;
    n.a.mode = mode;
    n.a.uid = who.uid;
    n.a.gid = who.gid;
    n.a.links = type == FileType::Directory ? 2 : 1;
    n.a.accessed_ns = n.a.modified_ns = n.a.changed_ns = now();
    n.parent = d.a.file.id.value;
    d.children[name] = id;
    d.a.modified_ns = now();
    if (type == FileType::Directory) d.a.links++;
    return n;
}

void MemoryFiles::drop(uint64_t id) {
    auto found = nodes_.find(id);
    if (found != nodes_.end() && found->second.a.links == 0 && found->second.holds == 0)
        nodes_.erase(found);
}

uint64_t MemoryFiles::lookup(const std::string& path, bool create) {
    uint64_t at = 1;
    size_t i = 0;
    while (i < path.size()) {
        size_t end = std::min(path.find('/', i), path.size());
        std::string name = path.substr(i, end - i);
        i = end + 1;
        if (name.empty()) continue;
        Node& d = nodes_[at];
        auto child = d.children.find(name);
        if (child != d.children.end())
            at = child->second;
        else if (create)
            at = make(d, name, FileType::Directory, 0755, {}).a.file.id.value;
        else
            return 0;
    }
    return at;
}

void MemoryFiles::add_file(const std::string& path, std::string data, uint16_t mode) {
    Guard g(mutex_);
    size_t slash = path.rfind('/');
    Node& d = nodes_[lookup(path.substr(0, slash), true)];
    Node& n = make(d, path.substr(slash + 1), FileType::Regular, mode, {});
    n.a.size = data.size();
    n.a.blocks = (data.size() + 511) / 512;
    n.data = std::move(data);
}

void MemoryFiles::add_link(const std::string& path, const std::string& text) {
    Guard g(mutex_);
    size_t slash = path.rfind('/');
    Node& d = nodes_[lookup(path.substr(0, slash), true)];
    Node& n = make(d, path.substr(slash + 1), FileType::Symlink, 0777, {});
    n.data = text;
    n.a.size = text.size();
}

void MemoryFiles::add_directory(const std::string& path) {
    Guard g(mutex_);
    lookup(path, true);
}

std::string MemoryFiles::contents(const std::string& path) {
    Guard g(mutex_);
    uint64_t id = lookup(path, false);
    return id ? nodes_[id].data : "";
}

size_t MemoryFiles::holds() {
    Guard g(mutex_);
    size_t n = 0;
    for (auto& [id, x] : nodes_)
        n += x.holds;
    return n;
}

size_t MemoryFiles::nodes() {
    Guard g(mutex_);
    return nodes_.size();
}

Result<WalkResult> MemoryFiles::walk(VnodeId, const Credentials& who, FileRef from,
                                     std::string_view path, bool follow_last) {
    Guard g(mutex_);
    WalkResult r;
    Node* at = TRY(node(from));
    Node* parent = at;
    size_t i = 0;
    while (i < path.size()) {
        while (i < path.size() && path[i] == '/')
            i++;
        size_t end = std::min(path.find('/', i), path.size());
        std::string name(path.substr(i, end - i));
        if (name.empty()) break;
        bool last = path.find_first_not_of('/', end) == std::string_view::npos;
        if (at->a.type != FileType::Directory) return Fail(Error::NotDirectory);
        if (!permits(at->a, who, kAccessExecute)) return Fail(Error::AccessDenied);
        uint64_t next = name == "." ? at->a.file.id.value : name == ".." ? at->parent : 0;
        if (name == ".." && at->a.file.id.value == 1) {
            r.stop = WalkResult::Stop::DotDot;
            r.attributes = at->a;
            r.consumed = end;
            return r;
        }
        if (!next) {
            auto child = at->children.find(name);
            if (child == at->children.end()) {
                if (!last) return Fail(Error::NotFound);
                r.stop = WalkResult::Stop::Missing;
                r.attributes = at->a;
                r.parent = at->a.file;
                r.consumed = path.size();
                return r;
            }
            next = child->second;
        }
        Node& n = nodes_[next];
        if (n.a.type == FileType::Symlink && (!last || follow_last)) {
            r.stop = WalkResult::Stop::Symlink;
            r.attributes = at->a;
            r.link = n.data;
            r.consumed = end;
            return r;
        }
        parent = at;
        at = &n;
        i = end;
    }
    r.attributes = at->a;
    r.parent = parent->a.file;
    r.consumed = path.size();
    return r;
}

Result<Attributes> MemoryFiles::attributes(VnodeId, FileRef f) {
    Guard g(mutex_);
    return TRY(node(f))->a;
}

Result<Attributes> MemoryFiles::change(VnodeId, const Credentials& who, FileRef f,
                                       const AttributeChange& c) {
    Guard g(mutex_);
    Node* n = TRY(node(f));
    bool owner = who.uid == 0 || who.uid == n->a.uid;
    if ((c.set_mode || c.set_accessed || c.set_modified) && !owner)
        return Fail(Error::NotPermitted);
    if ((c.set_uid || c.set_gid) && who.uid != 0) return Fail(Error::NotPermitted);
    if (c.set_mode) n->a.mode = c.mode;
    if (c.set_uid) n->a.uid = c.uid;
    if (c.set_gid) n->a.gid = c.gid;
    if (c.set_size) {
        n->data.resize(c.size);
        n->a.size = c.size;
        n->a.modified_ns = now();
    }
    if (c.set_accessed) n->a.accessed_ns = c.accessed_ns;
    if (c.set_modified) n->a.modified_ns = c.modified_ns;
    if (c.accessed_now) n->a.accessed_ns = now();
    if (c.modified_now) n->a.modified_ns = now();
    n->a.changed_ns = now();
    return n->a;
}

Result<Attributes> MemoryFiles::create(VnodeId, const Credentials& who, FileRef d,
                                       std::string_view name, FileType type, uint16_t mode,
                                       uint32_t device, bool exclusive) {
    Guard g(mutex_);
    Node* dir = TRY(directory(d, who, kAccessWrite | kAccessExecute));
    auto found = dir->children.find(std::string(name));
    if (found != dir->children.end()) {
        if (exclusive) return Fail(Error::Exists);
        return nodes_[found->second].a;
    }
    Node& n = make(*dir, std::string(name), type, mode, who);
    n.a.device = device;
    return n.a;
}

Result<Attributes> MemoryFiles::symlink(VnodeId, const Credentials& who, FileRef d,
                                        std::string_view name, std::string_view text) {
    Guard g(mutex_);
    Node* dir = TRY(directory(d, who, kAccessWrite | kAccessExecute));
    if (dir->children.contains(std::string(name))) return Fail(Error::Exists);
    Node& n = make(*dir, std::string(name), FileType::Symlink, 0777, who);
    n.data = text;
    n.a.size = text.size();
    return n.a;
}

Result<std::string> MemoryFiles::read_link(VnodeId, FileRef f) {
    Guard g(mutex_);
    Node* n = TRY(node(f));
    if (n->a.type != FileType::Symlink) return Fail(Error::NotSymlink);
    return n->data;
}

Result<void> MemoryFiles::link(VnodeId, const Credentials& who, FileRef f, FileRef d,
                               std::string_view name) {
    Guard g(mutex_);
    Node* n = TRY(node(f));
    Node* dir = TRY(directory(d, who, kAccessWrite | kAccessExecute));
    if (dir->children.contains(std::string(name))) return Fail(Error::Exists);
    dir->children[std::string(name)] = n->a.file.id.value;
    n->a.links++;
    return {};
}

Result<void> MemoryFiles::unlink(VnodeId, const Credentials& who, FileRef d, std::string_view name,
                                 bool want_directory) {
    Guard g(mutex_);
    Node* dir = TRY(directory(d, who, kAccessWrite | kAccessExecute));
    auto found = dir->children.find(std::string(name));
    if (found == dir->children.end()) return Fail(Error::NotFound);
    Node& n = nodes_[found->second];
    bool is_directory = n.a.type == FileType::Directory;
    if (want_directory && !is_directory) return Fail(Error::NotDirectory);
    if (!want_directory && is_directory) return Fail(Error::IsDirectory);
    if (is_directory && !n.children.empty()) return Fail(Error::NotEmpty);
    uint64_t id = found->second;
    dir->children.erase(found);
    if (is_directory) {
        n.a.links = 0;
        dir->a.links--;
    } else {
        n.a.links--;
    }
    drop(id);
    return {};
}

Result<void> MemoryFiles::rename(VnodeId, const Credentials& who, FileRef fd, std::string_view from,
                                 FileRef td, std::string_view to, RenameMode mode) {
    Guard g(mutex_);
    Node* source = TRY(directory(fd, who, kAccessWrite | kAccessExecute));
    Node* target = TRY(directory(td, who, kAccessWrite | kAccessExecute));
    auto a = source->children.find(std::string(from));
    if (a == source->children.end()) return Fail(Error::NotFound);
    uint64_t id = a->second;
    auto b = target->children.find(std::string(to));
    if (b != target->children.end()) {
        if (mode == RenameMode::NoReplace) return Fail(Error::Exists);
        if (b->second == id) return {};
        if (mode == RenameMode::Exchange) {
            std::swap(a->second, b->second);
            return {};
        }
        Node& old = nodes_[b->second];
        bool directory = nodes_[id].a.type == FileType::Directory;
        if (old.a.type == FileType::Directory) {
            if (!directory) return Fail(Error::IsDirectory);
            if (!old.children.empty()) return Fail(Error::NotEmpty);
            old.a.links = 0;
        } else {
            if (directory) return Fail(Error::NotDirectory);
            old.a.links--;
        }
        drop(b->second);
    }
    source->children.erase(std::string(from));
    target->children[std::string(to)] = id;
    nodes_[id].parent = target->a.file.id.value;
    return {};
}

Result<std::vector<DirectoryEntry>> MemoryFiles::read_directory(VnodeId, const Credentials&,
                                                                FileRef d, uint64_t after,
                                                                size_t most) {
    Guard g(mutex_);
    Node* dir = TRY(node(d));
    std::vector<DirectoryEntry> v;
    // The cookie comes from the child's id, so it is stable while others come and go; 64 names at
    // most of one file in one directory.
    std::map<uint64_t, std::pair<std::string, uint64_t>> by_cookie;
    for (auto& [name, id] : dir->children) {
        uint64_t cookie = id * 64;
        while (by_cookie.contains(cookie))
            cookie++;
        by_cookie[cookie] = {name, id};
    }
    for (auto& [cookie, entry] : by_cookie)
        if (cookie > after && v.size() < most)
            v.push_back({entry.first, FileId(entry.second), nodes_[entry.second].a.type, cookie});
    return v;
}

Result<void> MemoryFiles::hold(VnodeId, FileRef f) {
    Guard g(mutex_);
    TRY(node(f))->holds++;
    return {};
}

void MemoryFiles::release(VnodeId, FileRef f) {
    Guard g(mutex_);
    auto n = node(f);
    if (!n) return;
    (*n)->holds--;
    drop(f.id.value);
}

Result<size_t> MemoryFiles::read(VnodeId, FileRef f, uint64_t offset, MutableBytes into,
                                 HomeLife unsynced) {
    Guard g(mutex_);
    TRY(alive(unsynced));
    Node* n = TRY(node(f));
    if (offset >= n->data.size()) return 0;
    size_t k = std::min(into.size(), n->data.size() - offset);
    std::memcpy(into.data(), n->data.data() + offset, k);
    return k;
}

Result<RemoteFiles::Written> MemoryFiles::write(VnodeId, FileRef f, uint64_t offset, Bytes data,
                                                bool append, HomeLife unsynced) {
    Guard g(mutex_);
    TRY(alive(unsynced));
    Node* n = TRY(node(f));
    if (append) offset = n->data.size();
    if (n->data.size() < offset + data.size()) n->data.resize(offset + data.size());
    std::memcpy(n->data.data() + offset, data.data(), data.size());
    n->a.size = n->data.size();
    n->a.blocks = (n->a.size + 511) / 512;
    n->a.modified_ns = n->a.changed_ns = now();
    return Written{offset, data.size(), home};
}

} // namespace tessera::posix::test
