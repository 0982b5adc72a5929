// The files of vNodes over RPC: names and attributes at the sComponent, data at the file's home
// mComponent (protocols.md section 6). Blocking, thread context; thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <vector>

#include "kernel/sync/spinlock.hpp"
#include "monitors/process/files/blocking_call.hpp"
#include "monitors/process/posix/files.hpp"
#include "net/schema/file.hpp"

namespace tessera::pmon {

// Where a vNode's files are.
struct FileMount {
    VnodeId vnode;
    posix::FileRef root;
    roce::Ipv4 store;
    uint32_t epoch = 0;
    std::vector<roce::Ipv4> homes; // a file's home is a function of (epoch, file id) over these
};

// Data under a spinlock, as the shard uses it too: a step must not sleep.
template <typename T>
class SpinLocked {
  public:
    template <typename F>
    decltype(auto) with(F&& f) {
        kernel::SpinGuard guard(lock_);
        return std::forward<F>(f)(data_);
    }

  private:
    kernel::Spinlock lock_;
    T data_;
};

class RemoteFilesClient final : public posix::RemoteFiles {
  public:
    RemoteFilesClient(BlockingCaller& caller) : caller_(caller) {}

    // Added or replaced by the vNode's mount; removed with it.
    void set_mount(FileMount mount);
    // The homes of a newer mount epoch: what waits for a dead home goes on at them.
    void set_homes(VnodeId vnode, uint32_t epoch, std::vector<roce::Ipv4> homes);
    // This incarnation of a home is dead: what it had and nobody synced is lost.
    void home_dead(Incarnation incarnation);
    void remove_mount(VnodeId vnode);
    // The home of a file; none if the vNode is not mounted here.
    Result<roce::Ipv4> home(VnodeId vnode, FileId file);

    // Called (in thread context) after this pComponent changed a file's bytes, so that its lines
    // that are mapped here follow. No data: the file was truncated at offset.
    using Changed = Function<void(VnodeId, posix::FileRef, uint64_t offset, Bytes data), 32>;
    void on_changed(Changed f) { changed_ = std::move(f); }

    posix::FileRef root(VnodeId vnode) override;
    Result<posix::WalkResult> walk(VnodeId v, const posix::Credentials& who, posix::FileRef from,
                                   std::string_view path, bool follow_last) override;
    Result<posix::Attributes> attributes(VnodeId v, posix::FileRef f) override;
    Result<posix::Attributes> change(VnodeId v, const posix::Credentials& who, posix::FileRef f,
                                     const posix::AttributeChange& c) override;
    Result<posix::Attributes> create(VnodeId v, const posix::Credentials& who,
                                     posix::FileRef directory, std::string_view name,
                                     posix::FileType type, uint16_t mode, uint32_t device,
                                     bool exclusive) override;
    Result<posix::Attributes> symlink(VnodeId v, const posix::Credentials& who,
                                      posix::FileRef directory, std::string_view name,
                                      std::string_view text) override;
    Result<std::string> read_link(VnodeId v, posix::FileRef f) override;
    Result<void> link(VnodeId v, const posix::Credentials& who, posix::FileRef f,
                      posix::FileRef directory, std::string_view name) override;
    Result<void> unlink(VnodeId v, const posix::Credentials& who, posix::FileRef directory,
                        std::string_view name, bool want_directory) override;
    Result<void> rename(VnodeId v, const posix::Credentials& who, posix::FileRef from_directory,
                        std::string_view from, posix::FileRef to_directory, std::string_view to,
                        RenameMode mode) override;
    Result<std::vector<posix::DirectoryEntry>> read_directory(VnodeId v,
                                                              const posix::Credentials& who,
                                                              posix::FileRef directory,
                                                              uint64_t after, size_t most) override;
    Result<void> hold(VnodeId v, posix::FileRef f) override;
    void release(VnodeId v, posix::FileRef f) override;
    Result<size_t> read(VnodeId v, posix::FileRef f, uint64_t offset, MutableBytes into,
                        posix::HomeLife unsynced = 0) override;
    Result<Written> write(VnodeId v, posix::FileRef f, uint64_t offset, Bytes data, bool append,
                          posix::HomeLife unsynced = 0) override;
    Result<void> sync(VnodeId v, posix::FileRef f, bool data_only,
                      posix::HomeLife unsynced = 0) override;
    bool over(posix::HomeLife life) override;
    Result<void> sync_all(VnodeId v) override;
    Result<posix::FileSystemUse> use(VnodeId v) override;

  private:
    using Held = std::map<std::pair<VnodeId, FileId>, uint32_t>;
    bool is_held(VnodeId v, posix::FileRef f);
    // The file has lost a name or its last holder here: its home looks whether it is gone.
    void tell_home(VnodeId v, posix::FileRef f);
    Result<FileMount> mount(VnodeId v);
    Result<ReplyBytes> at_store(VnodeId v, rpc::Opcode op, Bytes head, Bytes body = {},
                                bool idempotent = true);
    Result<ReplyBytes> at_home(VnodeId v, FileId f, rpc::Opcode op, Bytes head, Bytes body = {},
                               bool idempotent = true, posix::HomeLife unsynced = 0,
                               Incarnation* from = nullptr);
    schema::HomeTarget home_target(const FileMount& m, posix::FileRef f,
                                   posix::HomeLife unsynced = 0);
    void heard(roce::Ipv4 home, Incarnation incarnation);
    schema::WireCaller wire_caller(VnodeId v, const posix::Credentials& who, bool numbered);
    // Attributes as the store gave them, or the home's if it has newer ones.
    Result<posix::Attributes> newest(VnodeId v, const ReplyBytes& reply);

    BlockingCaller& caller_;
    SpinLocked<std::vector<FileMount>> mounts_;
    // Incarnations of homes: who answered last, and those that are over (the newest kMostOver).
    static constexpr size_t kMostOver = 64;
    struct Lives {
        std::map<roce::Ipv4, Incarnation> last;
        std::vector<Incarnation> over;
        void end(Incarnation incarnation);
    };
    SpinLocked<Lives> lives_;
    SpinLocked<Held> held_; // open descriptions of each file
    std::atomic<uint64_t> sequence_{0};
    Changed changed_;
};

} // namespace tessera::pmon
