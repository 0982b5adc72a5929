// File operations: what pmon::RemoteFilesClient sends, without threads, and a reference model.
//
// Each (pComponent, vNode) has a few files in the vNode's root that nobody else touches; one
// operation at a time creates, writes, reads, syncs or unlinks one of them. The model outlives the
// machine: files do. Of every 4 KiB block it keeps the values that a read may show now (one, unless
// something failed or was lost), and those that a loss of the home or the store may bring back:
// everything written since the last sync that returned.
//
// Checked: a read shows such a value, whole; what a sync that returned covered is there ever after;
// a durable file is there under the same id; at the end, after a sync, the store itself has what
// the home shows; errors only where a fault explains them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tests/sim/roles.hpp"

namespace tessera::sim {

struct FileStats {
    uint64_t creates = 0, writes = 0, reads = 0, syncs = 0, unlinks = 0, errors = 0;
};

struct FileModel {
    static constexpr size_t kBlocks = 12;
    struct Block {
        std::set<uint64_t> now{0};   // what a read may show
        std::set<uint64_t> later{0}; // what it may show after a loss; includes `now`
        uint64_t acknowledged = 0;
        bool certain = true; // nothing failed since `acknowledged`
    };
    struct Presence {
        bool yes = false, no = true;
    };
    struct File {
        std::string name;
        schema::WireFile ref{};
        Presence now, later;
        std::vector<Block> blocks = std::vector<Block>(kBlocks);
        // Removed ones: a store that forgets the removal has them again.
        std::vector<std::pair<schema::WireFile, std::vector<Block>>> previous;
        uint64_t store_boots = 0, home_boots = 0; // when last looked
        uint32_t home = 0;                        // address
        bool told = false;                        // an error was reported since the last sync
    };
    enum class Kind : uint8_t { None, Create, Write, Read, Sync, Unlink, StoreRead };
    struct Operation {
        Kind kind = Kind::None;
        size_t file = 0, first = 0, count = 0;
        uint64_t value = 0; // of the first block; the next ones follow
    };
    std::vector<File> files;
    Operation open; // under way
    uint64_t next_value = 1;
};

class FileLoad final : public Load {
  public:
    FileLoad(ProcessBoot& p, VnodeId vnode, FileModel& model, FileStats& stats);
    void poll() override;
    Nanos next_deadline() override;

    VnodeId vnode() const { return vnode_; }
    void stop() { stopping_ = true; }
    bool ended() const { return stopping_ && !waiting_ && verified_ >= model_.files.size(); }
    // Without a last look at every file (the vNode is leaving this machine).
    void abandon() { stopping_ = true, verified_ = model_.files.size(); }
    uint64_t operations() const { return operations_; }

  private:
    using File = FileModel::File;
    using Kind = FileModel::Kind;

    void choose();
    void begin(Kind kind, size_t file, size_t first, size_t count);
    void answered(Result<Bytes> reply);
    void failed(Error e);
    void note_losses(File& f);
    void created(File& f, Bytes reply);
    void read_back(File& f, Bytes data);
    void synced(File& f);
    void looked();
    bool explained() const;
    Host* store() const;
    Host* home(const File& f) const;
    schema::HomeTarget home_target(const File& f) const;
    schema::WireCaller caller();
    Nanos now() { return p_.host.clock.now(); }

    ProcessBoot& p_;
    World& world_;
    VnodeId vnode_;
    FileModel& model_;
    FileStats& stats_;
    Dice dice_;
    Nanos wake_at_{};
    Nanos began_{};
    bool waiting_ = false;
    bool stopping_ = false;
    bool look_begun_ = false; // the operation under way is of the last look
    size_t verified_ = 0;     // files looked at for the last time
    unsigned look_ = 0;       // of the one under way: both halves, sync, both halves at the store
    uint64_t operations_ = 0;
};

} // namespace tessera::sim
