// Image: a store in a file, called synchronously (the file device completes at once). What the
// commands of tessera-store work with. Errors are the store's.
#pragma once

#include <optional>
#include <string>

#include "base/hosted.hpp"
#include "monitors/storage/core/store.hpp"
#include "monitors/storage/host/file_block_device.hpp"

namespace tessera::storage::tool {

template <typename T, typename F>
Result<T> now(F&& start) {
    std::optional<Result<T>> result;
    Done<T> done([&result](Result<T> r) { result.emplace(std::move(r)); });
    start(std::move(done));
    if (!result) return Fail(Error::Timeout); // the file device always completes
    return std::move(*result);
}

class Image {
  public:
    static Result<Image> open(const std::string& path, bool read_only);
    static Result<Image> create(const std::string& path, uint64_t bytes, bool replace);
    Result<void> close();

    Result<Attributes> root(VnodeId vnode);
    Result<Attributes> create_root(VnodeId vnode);
    // Follows symlinks, within the root, like a program in the vNode would. follow_last: also a
    // last one.
    Result<Attributes> find(VnodeId vnode, std::string path, bool follow_last);
    Result<Attributes> add(ObjectRef directory, std::string_view name, const Attributes& like,
                           std::string_view target); // of like's type, mode, owner and device
    Result<void> stamp(ObjectRef object, const Attributes& like); // mode, owner, times
    Result<void> link(ObjectRef object, ObjectRef directory, std::string_view name);
    Result<void> unlink(ObjectRef directory, std::string_view name);
    Result<void> resize(ObjectRef object, uint64_t size);
    Result<std::string> readlink(ObjectRef object);
    Result<size_t> read(ObjectRef object, uint64_t offset, MutableBytes into);
    Result<size_t> write(ObjectRef object, uint64_t offset, Bytes data);
    Store& store() { return *store_; }

  private:
    static Result<Image> mount(Own<FileBlockDevice> device, bool read_only);
    Own<FileBlockDevice> device_;
    Own<HostClock> clock_;
    Own<Store> store_;
};

} // namespace tessera::storage::tool
