// StoreDriver: a store on a TestDisk, called as if it were synchronous, for tests.
#pragma once

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>

#include "base/assert.hpp"
#include "monitors/storage/core/checksum.hpp"
#include "monitors/storage/core/store.hpp"
#include "tests/unit/monitors/storage/test_disk.hpp"

namespace tessera::storage::test {

class TestClock final : public Clock {
  public:
    Nanos now() override { return Nanos{time++}; }
    int64_t time = 1000;
};

inline Caller as(uint32_t uid, uint32_t gid = 0) {
    Caller c;
    c.credentials = {uid, uid == 0 ? 0 : (gid ? gid : uid), {}};
    return c;
}
inline const Caller kRootUser = as(0);

class StoreDriver {
  public:
    explicit StoreDriver(uint64_t blocks, Image image = {}) : disk(blocks, std::move(image)) {}
    ~StoreDriver() {
        while (disk.run_one()) {
        }
    }

    // Calls start(done) and runs the disk until done has been called.
    template <typename T, typename F>
    Result<T> wait(F&& start) {
        std::optional<Result<T>> result;
        Done<T> done([&result](Result<T> r) { result.emplace(std::move(r)); });
        start(std::move(done));
        while (!result)
            ASSERT(disk.run_one()); // otherwise nobody will ever complete it
        return std::move(*result);
    }

    Result<void> format(FormatOptions o = {}) {
        o.uuid[0] = std::byte{7};
        return wait<void>([&](Done<void> d) { Store::format(disk, o, std::move(d)); });
    }
    Result<void> mount(MountOptions o = {}) {
        store.reset();
        auto r = wait<Own<Store>>([&](auto d) { Store::mount(disk, clock, o, std::move(d)); });
        if (!r) return std::unexpected(r.error());
        store = std::move(*r);
        return {};
    }
    // A formatted, mounted store with a root for vNode 1.
    void make(FormatOptions f = {}, MountOptions m = {}) {
        ASSERT(format(f));
        ASSERT(mount(m));
        root = create_root(1)->object;
    }
    Result<void> remount(MountOptions o = {}) {
        Result<void> r = unmount();
        if (!r) return r;
        return mount(o);
    }
    Result<void> unmount() {
        Result<void> r = wait<void>([&](auto d) { store->unmount(std::move(d)); });
        store.reset();
        return r;
    }

    Result<Attributes> create_root(uint32_t v, uint64_t quota = 0) {
        return wait<Attributes>(
            [&](auto d) { store->create_root(kRootUser, VnodeId(v), quota, 0755, std::move(d)); });
    }
    Result<LookupResult> lookup(std::string_view path, const Caller& c = kRootUser,
                                LookupOptions o = {}) {
        link_target.clear();
        return wait<LookupResult>([&](auto&& d) {
            store->lookup(c, root, path, o, [this, &d](Result<LookupResult> r) {
                if (r) link_target = r->link_target;
                d(std::move(r));
            });
        });
    }
    Result<Attributes> find(std::string_view path) {
        Result<LookupResult> r = lookup(path, kRootUser, {.follow_last = false});
        if (!r) return std::unexpected(r.error());
        if (r->stop != Stop::Object) return std::unexpected(Error::NotFound);
        return r->attributes;
    }
    Result<CreateResult> create(ObjectRef dir, std::string_view name, CreateOptions o = {},
                                const Caller& c = kRootUser) {
        return wait<CreateResult>([&](auto d) { store->create(c, dir, name, o, std::move(d)); });
    }
    ObjectRef file(ObjectRef dir, std::string_view name) {
        return create(dir, name)->attributes.object;
    }
    Result<Attributes> mkdir(ObjectRef dir, std::string_view name, uint32_t mode = 0755,
                             const Caller& c = kRootUser) {
        return wait<Attributes>([&](auto d) { store->mkdir(c, dir, name, mode, std::move(d)); });
    }
    Result<Attributes> symlink(ObjectRef dir, std::string_view name, std::string_view target) {
        return wait<Attributes>(
            [&](auto d) { store->symlink(kRootUser, dir, name, target, std::move(d)); });
    }
    Result<Attributes> link(ObjectRef o, ObjectRef dir, std::string_view name) {
        return wait<Attributes>(
            [&](auto d) { store->link(kRootUser, o, dir, name, std::move(d)); });
    }
    Result<Attributes> unlink(ObjectRef dir, std::string_view name, const Caller& c = kRootUser) {
        return wait<Attributes>([&](auto d) { store->unlink(c, dir, name, std::move(d)); });
    }
    Result<void> rmdir(ObjectRef dir, std::string_view name, const Caller& c = kRootUser) {
        return wait<void>([&](auto d) { store->rmdir(c, dir, name, std::move(d)); });
    }
    Result<RenameResult> rename(ObjectRef from, std::string_view a, ObjectRef to,
                                std::string_view b, RenameOptions o = {},
                                const Caller& c = kRootUser) {
        return wait<RenameResult>(
            [&](auto d) { store->rename(c, from, a, to, b, o, std::move(d)); });
    }
    Result<Attributes> getattr(ObjectRef o) {
        return wait<Attributes>([&](auto d) { store->getattr(o, std::move(d)); });
    }
    Result<Attributes> setattr(ObjectRef o, SetAttributes s, const Caller& c = kRootUser) {
        return wait<Attributes>([&](auto d) { store->setattr(c, o, s, std::move(d)); });
    }
    Result<Attributes> resize(ObjectRef o, uint64_t size) {
        SetAttributes s;
        s.fields = SetAttributes::Size;
        s.size = size;
        return setattr(o, s);
    }
    Result<size_t> write(ObjectRef o, uint64_t offset, std::string_view text,
                         const Caller& c = kRootUser) {
        return wait<size_t>(
            [&](auto d) { store->write(c, o, offset, bytes_of(text), std::move(d)); });
    }
    Result<std::string> read(ObjectRef o, uint64_t offset, size_t length) {
        std::string out(length, '?');
        Result<size_t> n = wait<size_t>([&](auto d) {
            store->read(o, offset, std::as_writable_bytes(std::span(out)), std::move(d));
        });
        if (!n) return std::unexpected(n.error());
        out.resize(*n);
        return out;
    }
    Result<void> fsync(ObjectRef o) {
        return wait<void>([&](auto d) { store->fsync(o, std::move(d)); });
    }
    Result<void> sync() {
        return wait<void>([&](auto d) { store->sync(std::move(d)); });
    }
    Result<void> checkpoint() {
        return wait<void>([&](auto d) { store->checkpoint(std::move(d)); });
    }
    Result<void> hold(ObjectRef o, uint32_t node, uint64_t incarnation = 1) {
        return wait<void>([&](auto d) {
            store->hold(o, {NodeId(node), Incarnation(incarnation)}, std::move(d));
        });
    }
    Result<void> release(ObjectRef o, uint32_t node, uint64_t incarnation = 1) {
        return wait<void>([&](auto d) {
            store->release(o, {NodeId(node), Incarnation(incarnation)}, std::move(d));
        });
    }
    Result<void> fence(uint32_t node, uint64_t incarnation = 1) {
        return wait<void>(
            [&](auto d) { store->fence({NodeId(node), Incarnation(incarnation)}, std::move(d)); });
    }
    CheckReport check(bool data = true) {
        return std::move(*wait<CheckReport>([&](auto d) { store->check({data}, std::move(d)); }));
    }
    StatFs statfs(uint32_t vnode = 0) {
        return *wait<StatFs>([&](auto d) { store->statfs(VnodeId(vnode), std::move(d)); });
    }
    std::vector<std::string> list(ObjectRef dir) {
        std::vector<std::string> names;
        for (const auto& [name, ref] : entries(dir))
            names.push_back(name);
        return names;
    }
    std::vector<std::pair<std::string, ObjectRef>> entries(ObjectRef dir) {
        std::vector<std::pair<std::string, ObjectRef>> out;
        store->readdir(
            kRootUser, dir, 0,
            [&out](const DirectoryEntry& e) {
                out.emplace_back(std::string(e.name), e.object);
                return true;
            },
            [](Result<bool>) {});
        return out;
    }

    // Everything a user can see of the tree, as one number.
    uint64_t digest() {
        std::string text;
        describe(root, "", text);
        return xxh64(bytes_of(std::string_view(text)));
    }
    std::string tree() {
        std::string text;
        describe(root, "", text);
        return text;
    }

    TestDisk disk;
    TestClock clock;
    Own<Store> store;
    ObjectRef root;
    std::string link_target;

  private:
    void describe(ObjectRef o, const std::string& path, std::string& out) {
        Attributes a = *getattr(o);
        char line[256];
        snprintf(line, sizeof line, " t%d m%o u%u g%u n%u s%llu b%llu mt%lld",
                 static_cast<int>(a.type), a.mode, a.uid, a.gid, a.nlink,
                 static_cast<unsigned long long>(a.size), static_cast<unsigned long long>(a.blocks),
                 static_cast<long long>(a.mtime));
        out += path + line;
        if (a.type == FileType::File && a.size > 0) {
            Result<std::string> content = read(o, 0, a.size);
            snprintf(line, sizeof line, " %016llx",
                     content ? static_cast<unsigned long long>(
                                   xxh64(bytes_of(std::string_view(*content))))
                             : 0ull);
            out += line;
        }
        out += "\n";
        if (a.type != FileType::Directory) return;
        auto children = entries(o);
        std::sort(children.begin(), children.end());
        for (auto& [name, ref] : children)
            describe(ref, path + "/" + name, out);
    }
};

} // namespace tessera::storage::test
