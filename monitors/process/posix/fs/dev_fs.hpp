// DevFs: /dev. A fixed directory of character devices and links, and /dev/pts with the consoles'
// terminals (index = number in the name). Device numbers are Linux's.
#pragma once

#include <map>

#include "monitors/process/posix/file/description.hpp"

namespace tessera::posix {

class DevFs final : public FileSystem {
  public:
    DevFs(Vnode& v, uint32_t device);

    FileRef root() override;
    Result<WalkResult> walk(const Credentials& who, FileRef from, std::string_view path,
                            bool follow_last) override;
    Result<Attributes> attributes(FileRef f) override;
    Result<std::string> read_link(FileRef f) override;
    Result<std::vector<DirectoryEntry>> read_directory(const Credentials& who, FileRef d,
                                                       uint64_t after, size_t most) override;
    Result<Ref<Description>> open(const Credentials& who, const Location& at, const Attributes& a,
                                  uint32_t flags) override;

    // A device by its Linux number, from here or from a node in the store. NoDevice.
    Result<Ref<Description>> open_device(uint64_t device, const Location& at, uint32_t flags);

    // Terminals enter at birth and leave when their console is forgotten.
    uint32_t next_terminal();
    void add_terminal(Terminal& t);
    void remove_terminal(Terminal& t);
    Attributes terminal_attributes(const Terminal& t);
    Location terminal_location(const Terminal& t);

  private:
    Ref<Terminal> find_terminal(uint32_t index);

    int64_t born_ns_;
    kernel::Mutex mutex_{kernel::LockRank::ObjectTable};
    std::map<uint32_t, Terminal*> terminals_; // kept alive by their console until removed
};

// null, zero, full, random, urandom.
class DeviceFile final : public Description {
  public:
    DeviceFile(Vnode& v, uint64_t device, uint32_t flags, Location where)
        : Description(v, ObjectKind::Device, flags, std::move(where)), device_(device) {}
    Result<size_t> read(MutableBytes into) override;
    Result<size_t> write(Bytes from) override;
    Result<size_t> read_at(uint64_t, MutableBytes into) override { return read(into); }
    Result<size_t> write_at(uint64_t, Bytes from) override { return write(from); }
    Result<int64_t> seek(int64_t, int) override { return 0; }
    Result<Attributes> attributes() override { return where_.fs->attributes(where_.file); }
    Result<Attributes> change(const Credentials& who, const AttributeChange& c) override;
    bool bulk() const override { return true; }
    void record(Archive& a) override;

  private:
    uint64_t device_;
};

} // namespace tessera::posix
