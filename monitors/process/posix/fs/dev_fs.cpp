#include "monitors/process/posix/fs/dev_fs.hpp"

#include "monitors/process/posix/fs/store_fs.hpp"
#include "monitors/process/posix/fs/tree.hpp"
#include "monitors/process/posix/text.hpp"
#include "monitors/process/posix/tty/tty.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

namespace {

struct Node {
    const char* name;
    FileType type;
    uint16_t mode;
    uint32_t major, minor;
    const char* link;
};
constexpr Node kNodes[] = {
    {"null", FileType::CharDevice, 0666, 1, 3, nullptr},
    {"zero", FileType::CharDevice, 0666, 1, 5, nullptr},
    {"full", FileType::CharDevice, 0666, 1, 7, nullptr},
    {"random", FileType::CharDevice, 0666, 1, 8, nullptr},
    {"urandom", FileType::CharDevice, 0666, 1, 9, nullptr},
    {"tty", FileType::CharDevice, 0666, 5, 0, nullptr},
    {"console", FileType::CharDevice, 0600, 5, 1, nullptr},
    {"fd", FileType::Symlink, 0777, 0, 0, "/proc/self/fd"},
    {"stdin", FileType::Symlink, 0777, 0, 0, "/proc/self/fd/0"},
    {"stdout", FileType::Symlink, 0777, 0, 0, "/proc/self/fd/1"},
    {"stderr", FileType::Symlink, 0777, 0, 0, "/proc/self/fd/2"},
    {"pts", FileType::Directory, 0755, 0, 0, nullptr},
};
constexpr uint64_t kRootId = 1, kFirstNode = 2, kPtsBase = 0x1000;
constexpr uint64_t kPtsId = kFirstNode + std::size(kNodes) - 1;

FileRef ref(uint64_t id) {
    return {FileId(id), Generation(1)};
}

} // namespace

DevFs::DevFs(Vnode& v, uint32_t device)
    : FileSystem(v, "devtmpfs", device), born_ns_(v.realtime_ns()) {
    magic_ = 0x01021994;
}

FileRef DevFs::root() {
    return ref(kRootId);
}

Result<Attributes> DevFs::attributes(FileRef f) {
    Attributes a;
    a.file = f;
    a.links = 1;
    a.accessed_ns = a.modified_ns = a.changed_ns = born_ns_;
    uint64_t id = f.id.value;
    if (id == kRootId) {
        a.type = FileType::Directory;
        a.mode = 0755;
        a.links = 2;
        return a;
    }
    if (id >= kPtsBase) {
        if (!find_terminal(static_cast<uint32_t>(id - kPtsBase))) return Fail(Error::NotFound);
        a.type = FileType::CharDevice;
        a.mode = 0620;
        a.device = static_cast<uint32_t>(make_device(136, static_cast<uint32_t>(id - kPtsBase)));
        return a;
    }
    if (id < kFirstNode || id - kFirstNode >= std::size(kNodes)) return Fail(Error::NotFound);
    const Node& n = kNodes[id - kFirstNode];
    a.type = n.type;
    a.mode = n.mode;
    if (n.type == FileType::CharDevice)
        a.device = static_cast<uint32_t>(make_device(n.major, n.minor));
    if (n.link) a.size = std::strlen(n.link);
    if (n.type == FileType::Directory) a.links = 2;
    return a;
}

Attributes DevFs::terminal_attributes(const Terminal& t) {
    Attributes a;
    a.file = ref(kPtsBase + t.index());
    a.type = FileType::CharDevice;
    a.mode = 0620;
    a.links = 1;
    a.device = static_cast<uint32_t>(make_device(136, t.index()));
    a.accessed_ns = a.modified_ns = a.changed_ns = born_ns_;
    return a;
}

Location DevFs::terminal_location(const Terminal& t) {
    return {this, ref(kPtsBase + t.index()), t.path()};
}

Result<WalkResult> DevFs::walk(const Credentials&, FileRef from, std::string_view path,
                               bool follow_last) {
    return walk_tree(*this, from, path, follow_last,
                     [&](FileRef d, std::string_view name) -> FileRef {
                         if (name == "..") return d.id.value == kPtsId ? root() : d;
                         if (d.id.value == kPtsId) {
                             uint32_t index = 0;
                             for (char c : name) {
                                 if (c < '0' || c > '9' || index > 100000) return {};
                                 index = index * 10 + static_cast<uint32_t>(c - '0');
                             }
                             return find_terminal(index) ? ref(kPtsBase + index) : FileRef{};
                         }
                         for (size_t i = 0; i < std::size(kNodes); i++)
                             if (name == kNodes[i].name) return ref(kFirstNode + i);
                         return {};
                     });
}

Result<std::string> DevFs::read_link(FileRef f) {
    uint64_t i = f.id.value - kFirstNode;
    if (i >= std::size(kNodes) || !kNodes[i].link) return Fail(Error::InvalidArgument);
    return std::string(kNodes[i].link);
}

Result<std::vector<DirectoryEntry>> DevFs::read_directory(const Credentials&, FileRef d,
                                                          uint64_t after, size_t most) {
    std::vector<DirectoryEntry> v;
    if (d.id.value == kPtsId) {
        MutexGuard guard(mutex_);
        for (auto& [index, t] : terminals_) {
            if (index + 1 <= after || v.size() >= most) continue;
            v.push_back(
                {decimal(index), FileId(kPtsBase + index), FileType::CharDevice, index + 1});
        }
        return v;
    }
    for (uint64_t i = after; i < std::size(kNodes) && v.size() < most; i++)
        v.push_back({kNodes[i].name, FileId(kFirstNode + i), kNodes[i].type, i + 1});
    return v;
}

Result<Ref<Description>> DevFs::open(const Credentials&, const Location& at, const Attributes& a,
                                     uint32_t flags) {
    if (a.type == FileType::Directory)
        return Ref<Description>(make_ref<Directory>(*this, flags, at, false));
    return open_device(a.device, at, flags);
}

Result<Ref<Description>> DevFs::open_device(uint64_t device, const Location& at, uint32_t flags) {
    uint32_t major = device_major(device), minor = device_minor(device);
    Task* task = Task::current();
    Ref<Terminal> terminal;
    if (major == 136) {
        terminal = find_terminal(minor);
        if (!terminal) return Fail(Error::NoDevice);
    } else if (major == 5 && minor <= 1) {
        if (!task) return Fail(Error::NoDevice);
        MutexGuard guard(vnode().mutex());
        terminal = task->process().group->session->terminal;
        if (!terminal) return Fail(Error::NoDevice);
    } else if (major == 1 && (minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9)) {
        return Ref<Description>(make_ref<DeviceFile>(vnode(), device, flags, at));
    } else {
        return Fail(Error::NoDevice);
    }
    if (terminal->hung_up()) return Fail(Error::Io);
    // A session leader without a terminal gets the first one it opens.
    if (task && !(flags & kOpenNoTty)) (void)terminal->make_controlling(*task, false);
    return Ref<Description>(make_ref<TerminalFile>(vnode(), terminal, flags, at));
}

uint32_t DevFs::next_terminal() {
    MutexGuard guard(mutex_);
    uint32_t n = 0;
    while (terminals_.contains(n))
        n++;
    return n;
}

void DevFs::add_terminal(Terminal& t) {
    MutexGuard guard(mutex_);
    terminals_[t.index()] = &t;
}

void DevFs::remove_terminal(Terminal& t) {
    MutexGuard guard(mutex_);
    auto found = terminals_.find(t.index());
    if (found != terminals_.end() && found->second == &t) terminals_.erase(found);
}

Ref<Terminal> DevFs::find_terminal(uint32_t index) {
    MutexGuard guard(mutex_);
    auto found = terminals_.find(index);
    return found == terminals_.end() ? nullptr : Ref<Terminal>(found->second);
}

Result<size_t> DeviceFile::read(MutableBytes into) {
    switch (device_minor(device_)) {
        case 3:
            return 0;
        case 5:
        case 7:
            if (!into.empty()) std::memset(into.data(), 0, into.size());
            return into.size();
        default:
            vnode().random().fill(into);
            return into.size();
    }
}

Result<size_t> DeviceFile::write(Bytes from) {
    if (device_minor(device_) == 7) return Fail(Error::NoSpace);
    return from.size();
}

Result<Attributes> DeviceFile::change(const Credentials& who, const AttributeChange& c) {
    AttributeChange rest = c;
    rest.set_size = false; // truncating a device is nothing
    if (!c.set_size) return where_.fs->change(who, where_.file, rest);
    return attributes();
}

void DeviceFile::record(Archive& a) {
    Description::record(a);
    a.number(device_);
}

} // namespace tessera::posix
