// ProcFs: /proc. Names and texts are made when asked for; a text file is rendered once, at open.
//
// Ids: pid << 32 | kind << 16 | number; pid 0 for what is not about one process. `self` is a link.
// A process that ends under a walk is NotFound, under a read NoProcess.
#pragma once

#include "monitors/process/posix/file/description.hpp"

namespace tessera::posix {

class Process;

class ProcFs final : public FileSystem {
  public:
    ProcFs(Vnode& v, uint32_t device);

    FileRef root() override;
    Result<WalkResult> walk(const Credentials& who, FileRef from, std::string_view path,
                            bool follow_last) override;
    Result<Attributes> attributes(FileRef f) override;
    Result<std::string> read_link(FileRef f) override;
    Result<std::vector<DirectoryEntry>> read_directory(const Credentials& who, FileRef d,
                                                       uint64_t after, size_t most) override;
    Result<Ref<Description>> open(const Credentials& who, const Location& at, const Attributes& a,
                                  uint32_t flags) override;
    Result<Attributes> change(const Credentials& who, FileRef f, const AttributeChange& c) override;
    Result<Location> magic_link(FileRef link) override;
    Ref<Description> magic_description(FileRef link) override;

  private:
    FileRef child(FileRef directory, std::string_view name);
    Ref<Process> process(uint64_t pid);
};

// The contents of one file; Unsupported if `kind` is not a text file. fs/proc_text.cpp.
Result<std::string> proc_text(Vnode& v, uint16_t kind);
Result<std::string> proc_process_text(Process& p, uint16_t kind);

// A rendered text.
class TextFile final : public Description {
  public:
    TextFile(Vnode& v, std::string text, uint32_t flags, Location where)
        : Description(v, ObjectKind::TextFile, flags, std::move(where)), text_(std::move(text)) {}
    Result<size_t> read(MutableBytes into) override;
    Result<size_t> read_at(uint64_t offset, MutableBytes into) override;
    Result<int64_t> seek(int64_t offset, int whence) override;
    Result<size_t> write(Bytes from) override;
    Result<Attributes> attributes() override { return where_.fs->attributes(where_.file); }
    bool bulk() const override { return true; }
    void record(Archive& a) override;

  private:
    kernel::Mutex mutex_{kernel::LockRank::FileDescription};
    std::string text_;
    uint64_t offset_ = 0;
};

// Kinds of entries.
enum ProcKind : uint16_t {
    kProcRoot = 1,
    kProcSelf,
    kProcThreadSelf,
    kProcMeminfo,
    kProcCpuinfo,
    kProcUptime,
    kProcLoadavg,
    kProcStat,
    kProcMounts,
    kProcFilesystems,
    kProcVersion,
    kProcCmdline,
    kProcSwaps,
    kProcPartitions,
    kProcDevices,
    kProcSys,
    kProcSysKernel,
    kProcSysVm,
    kProcSysFs,
    kProcHostname,
    kProcOstype,
    kProcOsrelease,
    kProcOsversion,
    kProcPidMax,
    kProcRandomDir,
    kProcBootId,
    kProcUuid,
    kProcNgroups,
    kProcOvercommit,
    kProcSwappiness,
    kProcFileMax,
    kProcSyscalls,
    kPidDir = 100,
    kPidStat,
    kPidStatus,
    kPidStatm,
    kPidCmdline,
    kPidComm,
    kPidLoginuid,
    kPidEnviron,
    kPidMaps,
    kPidSmaps,
    kPidMounts,
    kPidMountinfo,
    kPidLimits,
    kPidExe,
    kPidCwd,
    kPidRoot,
    kPidFdDir,
    kPidFd,
    kPidTaskDir,
    kPidIo,
    kPidOom,
    kPidTask,
};

} // namespace tessera::posix
