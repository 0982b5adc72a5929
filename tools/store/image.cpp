#include "tools/store/image.hpp"

#include <time.h>

namespace tessera::storage::tool {
namespace {

const Caller kRootUser{};

int64_t realtime_offset(Clock& clock) {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1'000'000'000ll + t.tv_nsec - clock.now().value;
}

} // namespace

Result<Image> Image::mount(Own<FileBlockDevice> device, bool read_only) {
    Image image;
    image.device_ = std::move(device);
    image.clock_ = std::make_unique<HostClock>();
    MountOptions o;
    o.read_only = read_only;
    o.memory_budget = mib(4096);
    o.realtime_offset = realtime_offset(*image.clock_);
    image.store_ = TRY(now<Own<Store>>(
        [&](auto done) { Store::mount(*image.device_, *image.clock_, o, std::move(done)); }));
    return image;
}

Result<Image> Image::open(const std::string& path, bool read_only) {
    using Mode = FileBlockDevice::Mode;
    return mount(TRY(FileBlockDevice::open(path, read_only ? Mode::ReadOnly : Mode::ReadWrite)),
                 read_only);
}

Result<Image> Image::create(const std::string& path, uint64_t bytes, bool replace) {
    Own<FileBlockDevice> device = TRY(FileBlockDevice::create(path, bytes, replace));
    device->durable = false; // one flush of the host's disk at the end is enough
    FormatOptions o;
    HostRandom().fill(MutableBytes(o.uuid));
    TRY(now<void>([&](auto done) { Store::format(*device, o, std::move(done)); }));
    return mount(std::move(device), false);
}

Result<void> Image::close() {
    device_->durable = true;
    if (store_) {
        Result<void> written = now<void>([&](auto done) { store_->checkpoint(std::move(done)); });
        if (!written && written.error() != Error::ReadOnly) return written;
        TRY(now<void>([&](auto done) { store_->unmount(std::move(done)); }));
    }
    store_.reset();
    return {};
}

Result<Attributes> Image::root(VnodeId vnode) {
    return now<Attributes>([&](auto done) { store_->find_root(vnode, std::move(done)); });
}

Result<Attributes> Image::create_root(VnodeId vnode) {
    return now<Attributes>(
        [&](auto done) { store_->create_root(kRootUser, vnode, 0, 0755, std::move(done)); });
}

Result<Attributes> Image::find(VnodeId vnode, std::string path, bool follow_last) {
    Attributes top = TRY(root(vnode));
    ObjectRef from = top.object;
    for (int links = 0; links < 40; links++) {
        Attributes found;
        ObjectRef parent;
        std::string rest, target;
        Stop stop{};
        LookupOptions options;
        options.follow_last = follow_last;
        Error error{};
        store_->lookup(kRootUser, from, path, options, [&](Result<LookupResult> r) {
            if (!r) {
                error = r.error();
                return;
            }
            stop = r->stop;
            found = r->attributes;
            parent = r->parent;
            rest = r->rest;
            target = r->link_target;
        });
        if (error != Error{}) return Fail(error);
        if (stop == Stop::Object) return found;
        if (stop == Stop::Missing) return Fail(Error::NotFound);
        if (stop == Stop::Symlink) {
            from = target.starts_with('/') ? top.object : parent;
            path = target + rest;
        } else { // `..` of the root is the root
            from = top.object;
            path = rest;
        }
    }
    return Fail(Error::TooManyLinks);
}

Result<Attributes> Image::add(ObjectRef directory, std::string_view name, const Attributes& like,
                              std::string_view target) {
    Caller c;
    c.time = like.mtime;
    if (like.type == FileType::Directory)
        return now<Attributes>(
            [&](auto done) { store_->mkdir(c, directory, name, like.mode, std::move(done)); });
    if (like.type == FileType::Symlink)
        return now<Attributes>(
            [&](auto done) { store_->symlink(c, directory, name, target, std::move(done)); });
    CreateOptions o;
    o.type = like.type;
    o.mode = like.mode;
    o.device = like.device;
    o.exclusive = true;
    return TRY(now<CreateResult>(
                   [&](auto done) { store_->create(c, directory, name, o, std::move(done)); }))
        .attributes;
}

Result<void> Image::stamp(ObjectRef object, const Attributes& like) {
    SetAttributes s;
    s.fields = SetAttributes::Mode | SetAttributes::Uid | SetAttributes::Gid |
               SetAttributes::Atime | SetAttributes::Mtime;
    s.mode = like.mode;
    s.uid = like.uid;
    s.gid = like.gid;
    s.atime = s.mtime = like.mtime;
    Caller c;
    c.time = like.mtime;
    TRY(now<Attributes>([&](auto done) { store_->setattr(c, object, s, std::move(done)); }));
    return {};
}

Result<void> Image::link(ObjectRef object, ObjectRef directory, std::string_view name) {
    TRY(now<Attributes>(
        [&](auto done) { store_->link(kRootUser, object, directory, name, std::move(done)); }));
    return {};
}

Result<void> Image::unlink(ObjectRef directory, std::string_view name) {
    TRY(now<Attributes>(
        [&](auto done) { store_->unlink(kRootUser, directory, name, std::move(done)); }));
    return {};
}

Result<void> Image::resize(ObjectRef object, uint64_t size) {
    SetAttributes s;
    s.fields = SetAttributes::Size;
    s.size = size;
    TRY(now<Attributes>(
        [&](auto done) { store_->setattr(kRootUser, object, s, std::move(done)); }));
    return {};
}

Result<std::string> Image::readlink(ObjectRef object) {
    Result<std::string> text = Fail(Error::Io);
    store_->readlink(object, [&](Result<std::string_view> r) {
        if (r)
            text = std::string(*r);
        else
            text = Fail(r.error());
    });
    return text;
}

Result<size_t> Image::read(ObjectRef object, uint64_t offset, MutableBytes into) {
    return now<size_t>([&](auto done) { store_->read(object, offset, into, std::move(done)); });
}

Result<size_t> Image::write(ObjectRef object, uint64_t offset, Bytes data) {
    return now<size_t>(
        [&](auto done) { store_->write(kRootUser, object, offset, data, std::move(done)); });
}

} // namespace tessera::storage::tool
