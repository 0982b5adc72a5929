// RemoteFiles in memory: the store of hosted tests. One lock; permissions are checked as the store
// does (search and write on directories).
#pragma once

#include <map>
#include <mutex>

#include "monitors/process/posix/abi.hpp"
#include "monitors/process/posix/fs/file_system.hpp"

namespace tessera::posix::test {

class MemoryFiles final : public RemoteFiles {
  public:
    MemoryFiles();

    // Set-up: absolute paths, parents are made.
    void add_file(const std::string& path, std::string data, uint16_t mode = 0644);
    void add_link(const std::string& path, const std::string& text);
    void add_directory(const std::string& path);
    std::string contents(const std::string& path); // "" if there is none
    size_t holds();                                // open descriptions
    size_t nodes();

    FileRef root(VnodeId) override { return {FileId(1), Generation(1)}; }
    Result<WalkResult> walk(VnodeId, const Credentials&, FileRef from, std::string_view path,
                            bool follow_last) override;
    Result<Attributes> attributes(VnodeId, FileRef f) override;
    Result<Attributes> change(VnodeId, const Credentials&, FileRef f,
                              const AttributeChange& c) override;
    Result<Attributes> create(VnodeId, const Credentials&, FileRef d, std::string_view name,
                              FileType type, uint16_t mode, uint32_t device,
                              bool exclusive) override;
    Result<Attributes> symlink(VnodeId, const Credentials&, FileRef d, std::string_view name,
                               std::string_view text) override;
    Result<std::string> read_link(VnodeId, FileRef f) override;
    Result<void> link(VnodeId, const Credentials&, FileRef f, FileRef d,
                      std::string_view name) override;
    Result<void> unlink(VnodeId, const Credentials&, FileRef d, std::string_view name,
                        bool directory) override;
    Result<void> rename(VnodeId, const Credentials&, FileRef fd, std::string_view from, FileRef td,
                        std::string_view to, RenameMode mode) override;
    Result<std::vector<DirectoryEntry>> read_directory(VnodeId, const Credentials&, FileRef d,
                                                       uint64_t after, size_t most) override;
    Result<void> hold(VnodeId, FileRef f) override;
    void release(VnodeId, FileRef f) override;
    Result<size_t> read(VnodeId, FileRef f, uint64_t offset, MutableBytes into, HomeLife) override;
    Result<Written> write(VnodeId, FileRef f, uint64_t offset, Bytes data, bool append,
                          HomeLife) override;
    Result<void> sync(VnodeId, FileRef, bool, HomeLife unsynced) override {
        return alive(unsynced);
    }
    bool over(HomeLife life) override { return life && life != home && told; }

    HomeLife home = 1; // a test raises it: what was not synced is lost
    bool told = false; // that it was is known here
    Result<void> sync_all(VnodeId) override { return {}; }
    Result<FileSystemUse> use(VnodeId) override {
        return FileSystemUse{1 << 30, 1 << 29, 10000, 9000};
    }

  private:
    struct Node {
        Attributes a;
        std::string data; // or link text
        std::map<std::string, uint64_t> children;
        uint64_t parent = 0;
        uint32_t holds = 0;
    };
    Result<void> alive(HomeLife unsynced) {
        if (unsynced && unsynced != home) return Fail(Error::Lost);
        return {};
    }
    Result<Node*> node(FileRef f);
    Result<Node*> directory(FileRef f, const Credentials& who, uint32_t want);
    Node& make(Node& d, const std::string& name, FileType type, uint16_t mode,
               const Credentials& who);
    void drop(uint64_t id);
    uint64_t lookup(const std::string& path, bool create_directories);
    int64_t now();

    std::mutex mutex_;
    std::map<uint64_t, Node> nodes_;
    uint64_t next_ = 2;
};

} // namespace tessera::posix::test
