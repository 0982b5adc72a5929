#include "monitors/process/posix/fs/proc_fs.hpp"

#include "monitors/process/posix/fs/store_fs.hpp"
#include "monitors/process/posix/fs/tree.hpp"
#include "monitors/process/posix/text.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

namespace {

struct Entry {
    uint16_t directory;
    const char* name;
    uint16_t kind;
    FileType type;
};
constexpr FileType kDir = FileType::Directory, kReg = FileType::Regular, kLnk = FileType::Symlink;
constexpr Entry kEntries[] = {
    {kProcRoot, "self", kProcSelf, kLnk},
    {kProcRoot, "thread-self", kProcThreadSelf, kLnk},
    {kProcRoot, "meminfo", kProcMeminfo, kReg},
    {kProcRoot, "cpuinfo", kProcCpuinfo, kReg},
    {kProcRoot, "uptime", kProcUptime, kReg},
    {kProcRoot, "loadavg", kProcLoadavg, kReg},
    {kProcRoot, "stat", kProcStat, kReg},
    {kProcRoot, "mounts", kProcMounts, kLnk},
    {kProcRoot, "filesystems", kProcFilesystems, kReg},
    {kProcRoot, "version", kProcVersion, kReg},
    {kProcRoot, "cmdline", kProcCmdline, kReg},
    {kProcRoot, "swaps", kProcSwaps, kReg},
    {kProcRoot, "partitions", kProcPartitions, kReg},
    {kProcRoot, "devices", kProcDevices, kReg},
    {kProcRoot, "sys", kProcSys, kDir},
    {kProcSys, "kernel", kProcSysKernel, kDir},
    {kProcSys, "vm", kProcSysVm, kDir},
    {kProcSys, "fs", kProcSysFs, kDir},
    {kProcSysKernel, "hostname", kProcHostname, kReg},
    {kProcSysKernel, "ostype", kProcOstype, kReg},
    {kProcSysKernel, "osrelease", kProcOsrelease, kReg},
    {kProcSysKernel, "version", kProcOsversion, kReg},
    {kProcSysKernel, "pid_max", kProcPidMax, kReg},
    {kProcSysKernel, "ngroups_max", kProcNgroups, kReg},
    {kProcSysKernel, "random", kProcRandomDir, kDir},
    {kProcRandomDir, "boot_id", kProcBootId, kReg},
    {kProcRandomDir, "uuid", kProcUuid, kReg},
    {kProcSysVm, "overcommit_memory", kProcOvercommit, kReg},
    {kProcSysVm, "swappiness", kProcSwappiness, kReg},
    {kProcSysFs, "file-max", kProcFileMax, kReg},
    {kPidDir, "stat", kPidStat, kReg},
    {kPidDir, "status", kPidStatus, kReg},
    {kPidDir, "statm", kPidStatm, kReg},
    {kPidDir, "cmdline", kPidCmdline, kReg},
    {kPidDir, "comm", kPidComm, kReg},
    {kPidDir, "environ", kPidEnviron, kReg},
    {kPidDir, "maps", kPidMaps, kReg},
    {kPidDir, "smaps", kPidSmaps, kReg},
    {kPidDir, "mounts", kPidMounts, kReg},
    {kPidDir, "mountinfo", kPidMountinfo, kReg},
    {kPidDir, "loginuid", kPidLoginuid, kReg},
    {kPidDir, "limits", kPidLimits, kReg},
    {kPidDir, "exe", kPidExe, kLnk},
    {kPidDir, "cwd", kPidCwd, kLnk},
    {kPidDir, "root", kPidRoot, kLnk},
    {kPidDir, "fd", kPidFdDir, kDir},
    {kPidDir, "task", kPidTaskDir, kDir},
    {kPidTask, "stat", kPidStat, kReg},
    {kPidTask, "status", kPidStatus, kReg},
    {kPidTask, "cmdline", kPidCmdline, kReg},
    {kPidTask, "comm", kPidComm, kReg},
};

FileRef make(uint64_t pid, uint16_t kind, uint16_t number = 0) {
    return {FileId(pid << 32 | static_cast<uint64_t>(kind) << 16 | number), Generation(1)};
}
uint64_t pid_of(FileRef f) {
    return f.id.value >> 32;
}
uint16_t kind_of(FileRef f) {
    return static_cast<uint16_t>(f.id.value >> 16);
}
uint16_t number_of(FileRef f) {
    return static_cast<uint16_t>(f.id.value);
}

FileType type_of(uint16_t kind) {
    switch (kind) {
        case kProcRoot:
        case kPidDir:
        case kPidTask:
            return kDir;
        case kPidFd:
            return kLnk;
        default:
            break;
    }
    for (const Entry& e : kEntries)
        if (e.kind == kind) return e.type;
    return FileType::None;
}

// A decimal number without leading zeroes; UINT64_MAX otherwise.
uint64_t number_in(std::string_view s) {
    if (s.empty() || s.size() > 9 || (s.size() > 1 && s[0] == '0')) return UINT64_MAX;
    uint64_t n = 0;
    for (char c : s) {
        if (c < '0' || c > '9') return UINT64_MAX;
        n = n * 10 + static_cast<uint64_t>(c - '0');
    }
    return n;
}

} // namespace

ProcFs::ProcFs(Vnode& v, uint32_t device) : FileSystem(v, "proc", device) {
    magic_ = 0x9fa0;
}

FileRef ProcFs::root() {
    return make(0, kProcRoot);
}

Ref<Process> ProcFs::process(uint64_t pid) {
    MutexGuard guard(vnode().mutex());
    return Ref<Process>(vnode().find_process(Pid(static_cast<uint32_t>(pid))));
}

FileRef ProcFs::child(FileRef directory, std::string_view name) {
    uint64_t pid = pid_of(directory);
    uint16_t kind = kind_of(directory);
    if (name == "..") {
        if (kind == kPidFdDir || kind == kPidTaskDir) return make(pid, kPidDir);
        if (kind == kPidTask) return make(pid, kPidTaskDir);
        if (kind == kProcSysKernel || kind == kProcSysVm || kind == kProcSysFs)
            return make(0, kProcSys);
        if (kind == kProcRandomDir) return make(0, kProcSysKernel);
        return root();
    }
    for (const Entry& e : kEntries)
        if (e.directory == kind && name == e.name) return make(pid, e.kind);
    uint64_t n = number_in(name);
    if (n == UINT64_MAX) return {};
    if (kind == kProcRoot && n) return process(n) ? make(n, kPidDir) : FileRef{};
    Ref<Process> p = process(pid);
    if (!p) return {};
    if (kind == kPidFdDir && n < DescriptorTable::kMost && p->descriptors &&
        p->descriptors->get(static_cast<int>(n)))
        return make(pid, kPidFd, static_cast<uint16_t>(n));
    if (kind == kPidTaskDir && n == pid) return make(pid, kPidTask);
    return {};
}

Result<WalkResult> ProcFs::walk(const Credentials&, FileRef from, std::string_view path,
                                bool follow_last) {
    return walk_tree(*this, from, path, follow_last,
                     [&](FileRef d, std::string_view name) { return child(d, name); });
}

Result<Attributes> ProcFs::attributes(FileRef f) {
    Attributes a;
    a.file = f;
    a.type = type_of(kind_of(f));
    if (a.type == FileType::None) return Fail(Error::NotFound);
    a.mode = a.type == kDir ? 0555 : a.type == kLnk ? 0777 : 0444;
    uint16_t kind = kind_of(f);
    if (kind == kPidFdDir || kind == kPidFd) a.mode = 0700;
    if (kind == kPidEnviron) a.mode = 0400;
    if (kind == kPidComm || kind == kProcHostname) a.mode = 0644;
    a.links = a.type == kDir ? 2 : 1;
    a.accessed_ns = a.modified_ns = a.changed_ns = vnode().realtime_ns();
    if (pid_of(f)) {
        Ref<Process> p = process(pid_of(f));
        if (!p) return Fail(Error::NotFound);
        MutexGuard guard(vnode().mutex());
        a.uid = p->ids.euid;
        a.gid = p->ids.egid;
    }
    return a;
}

Result<std::string> ProcFs::read_link(FileRef f) {
    if (kind_of(f) == kProcMounts) return std::string("self/mounts");
    if (kind_of(f) == kProcSelf || kind_of(f) == kProcThreadSelf) {
        Task* t = Task::current();
        if (!t) return Fail(Error::NotFound);
        std::string s = decimal(t->process().pid().value);
        if (kind_of(f) == kProcThreadSelf) append(s, "/task/%u", t->process().pid().value);
        return s;
    }
    Ref<Process> p = process(pid_of(f));
    if (!p) return Fail(Error::NotFound);
    if (kind_of(f) == kPidFd) {
        Ref<DescriptorTable> table;
        {
            MutexGuard guard(vnode().mutex());
            table = p->descriptors;
        }
        if (!table) return Fail(Error::NotFound);
        auto d = table->get(number_of(f));
        if (!d) return Fail(Error::NotFound);
        return (*d)->text();
    }
    Location l = TRY(magic_link(f));
    if (!l) return Fail(Error::NotFound);
    return l.path;
}

Result<Location> ProcFs::magic_link(FileRef f) {
    uint16_t kind = kind_of(f);
    if (kind != kPidExe && kind != kPidCwd && kind != kPidRoot) return Location{};
    Ref<Process> p = process(pid_of(f));
    if (!p) return Fail(Error::NotFound);
    MutexGuard guard(vnode().mutex());
    if (p->state == Process::State::Zombie) return Fail(Error::NotFound);
    return kind == kPidExe ? p->executable : kind == kPidCwd ? p->cwd : p->root;
}

Ref<Description> ProcFs::magic_description(FileRef f) {
    if (kind_of(f) != kPidFd) return nullptr;
    Ref<Process> p = process(pid_of(f));
    if (!p) return nullptr;
    Ref<DescriptorTable> table;
    {
        MutexGuard guard(vnode().mutex());
        table = p->descriptors;
    }
    if (!table) return nullptr;
    auto d = table->get(number_of(f));
    return d ? *d : nullptr;
}

Result<std::vector<DirectoryEntry>> ProcFs::read_directory(const Credentials&, FileRef d,
                                                           uint64_t after, size_t most) {
    std::vector<DirectoryEntry> v;
    uint16_t kind = kind_of(d);
    uint64_t pid = pid_of(d);
    constexpr uint64_t kDynamic = 1000; // cookies behind it are numbers
    auto add = [&](std::string name, FileRef f, FileType type, uint64_t cookie) {
        if (v.size() < most && cookie > after) v.push_back({std::move(name), f.id, type, cookie});
    };
    for (size_t i = 0; i < std::size(kEntries); i++)
        if (kEntries[i].directory == kind)
            add(kEntries[i].name, make(pid, kEntries[i].kind), kEntries[i].type, i + 1);
    if (kind == kProcRoot) {
        MutexGuard guard(vnode().mutex());
        vnode().for_each_process([&](Process& p) {
            add(decimal(p.pid().value), make(p.pid().value, kPidDir), kDir,
                kDynamic + p.pid().value);
        });
    } else if (kind == kPidFdDir) {
        Ref<Process> p = process(pid);
        if (!p) return Fail(Error::NotFound);
        Ref<DescriptorTable> table;
        {
            MutexGuard guard(vnode().mutex());
            table = p->descriptors;
        }
        if (table)
            for (int fd : table->numbers())
                add(decimal(static_cast<uint64_t>(fd)),
                    make(pid, kPidFd, static_cast<uint16_t>(fd)), kLnk,
                    kDynamic + static_cast<uint64_t>(fd));
    } else if (kind == kPidTaskDir) {
        add(decimal(pid), make(pid, kPidTask), kDir, kDynamic);
    }
    return v;
}

Result<Ref<Description>> ProcFs::open(const Credentials& who, const Location& at,
                                      const Attributes& a, uint32_t flags) {
    if (a.type == FileType::Directory)
        return Ref<Description>(make_ref<Directory>(*this, flags, at, false));
    std::string text;
    if (uint64_t pid = pid_of(at.file)) {
        Ref<Process> p = process(pid);
        if (!p) return Fail(Error::NotFound);
        text = TRY(proc_process_text(*p, kind_of(at.file)));
    } else {
        text = TRY(proc_text(vnode(), kind_of(at.file)));
    }
    return Ref<Description>(make_ref<TextFile>(vnode(), std::move(text), flags, at));
}

Result<Attributes> ProcFs::change(const Credentials&, FileRef f, const AttributeChange& c) {
    if (c.set_size && !c.set_mode && !c.set_uid && !c.set_gid) return attributes(f); // O_TRUNC
    return Fail(Error::NotPermitted);
}

Result<size_t> TextFile::read_at(uint64_t offset, MutableBytes into) {
    if (offset >= text_.size()) return 0;
    size_t n = std::min<size_t>(into.size(), text_.size() - offset);
    std::memcpy(into.data(), text_.data() + offset, n);
    return n;
}

Result<size_t> TextFile::read(MutableBytes into) {
    MutexGuard guard(mutex_);
    size_t n = TRY(read_at(offset_, into));
    offset_ += n;
    return n;
}

Result<int64_t> TextFile::seek(int64_t offset, int whence) {
    MutexGuard guard(mutex_);
    if (whence == kSeekCurrent)
        offset += static_cast<int64_t>(offset_);
    else if (whence != kSeekSet)
        return Fail(Error::InvalidArgument);
    if (offset < 0) return Fail(Error::InvalidArgument);
    offset_ = static_cast<uint64_t>(offset);
    return offset;
}

Result<size_t> TextFile::write(Bytes from) {
    std::string text(text_of(from));
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    uint16_t kind = kind_of(where_.file);
    if (kind == kProcHostname && text.size() <= 64) {
        MutexGuard guard(vnode().mutex());
        vnode().host_name = text;
        return from.size();
    }
    if (kind == kPidComm) {
        MutexGuard guard(vnode().mutex());
        Process* p = vnode().find_process(Pid(static_cast<uint32_t>(pid_of(where_.file))));
        if (!p) return Fail(Error::NoProcess);
        p->name = text.substr(0, 15);
        return from.size();
    }
    return Fail(Error::InvalidArgument);
}

void TextFile::record(Archive& a) {
    Description::record(a);
    a.text(text_);
    a.number(offset_);
}

} // namespace tessera::posix
