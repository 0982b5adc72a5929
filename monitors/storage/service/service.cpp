#include "monitors/storage/service/service.hpp"

#include <vector>

#include "base/log.hpp"
#include "monitors/storage/service/convert.hpp"
#include "net/schema/file.hpp"

namespace tessera::smon {

using schema::WireAttributes;

// One request under way. Views into `request` are passed to the store and live until completion.
struct Service::Operation {
    rpc::Identity caller;
    rpc::Responder responder;
    std::vector<std::byte> request;
    size_t head_size = 0;
    uint32_t groups[32] = {};
    std::vector<std::byte> out; // data read, directory entries

    template <typename Head>
    Head head() const {
        return load<Head>(request);
    }
    MutableBytes tail() { return MutableBytes(request).subspan(head_size); }
    std::string_view text() { return text_of(tail()); }

    storage::Caller store_caller(const schema::WireCaller& w) {
        size_t n = w.group_count < 32 ? w.group_count.get() : 32;
        for (size_t i = 0; i < n; i++)
            groups[i] = w.groups[i];
        storage::Caller c;
        c.credentials = {w.uid, w.gid, std::span<const uint32_t>(groups, n)};
        c.request = {caller.node, caller.incarnation, w.sequence};
        return c;
    }
    storage::Holder holder() const { return {caller.node, caller.incarnation}; }
};

Service::Service(rpc::Node& node, storage::Store& store)
    : node_(node), store_(store), roots_(store) {
    using namespace schema;
    on(kFileWalk, sizeof(FileWalk), &Service::walk);
    on(kFileAttributes, sizeof(FileTarget), &Service::attributes);
    on(kFileChange, sizeof(FileChange), &Service::change);
    on(kFileCreate, sizeof(FileCreate), &Service::create);
    on(kFileSymlink, sizeof(FileSymlink), &Service::symlink);
    on(kFileReadLink, sizeof(FileTarget), &Service::read_link);
    on(kFileLink, sizeof(FileLink), &Service::link);
    on(kFileUnlink, sizeof(FileUnlink), &Service::unlink);
    on(kFileRename, sizeof(FileRename), &Service::rename);
    on(kFileReadDirectory, sizeof(FileReadDirectory), &Service::read_directory);
    on(kFileHold, sizeof(FileTarget), &Service::hold);
    on(kFileRelease, sizeof(FileTarget), &Service::release);
    on(kFileSystemUse, sizeof(FileTarget), &Service::file_system_use);
    on(kFileSyncAll, sizeof(FileTarget), &Service::sync_all);
    on(kStoreRead, sizeof(StoreData), &Service::read);
    on(kStoreWrite, sizeof(StoreData), &Service::write);
    on(kStoreSync, sizeof(FileTarget), &Service::sync);
    on(kStoreCreateRoot, sizeof(StoreCreateRoot), &Service::create_root);
    on(kStoreRemoveRoot, sizeof(FileTarget), &Service::remove_root);
    on(kStoreFence, sizeof(StoreFence), &Service::fence);
    on(kStoreReserve, sizeof(StoreReserve), &Service::reserve);
}

Service::~Service() {
    ASSERT(under_way_ == 0);
}

void Service::on(rpc::Opcode opcode, size_t head_size, Start start) {
    node_.handle(opcode, [this, head_size, start](const rpc::Identity& caller, Bytes request,
                                                  rpc::Responder responder) {
        begin(caller, request, std::move(responder), head_size, start);
    });
}

void Service::begin(const rpc::Identity& caller, Bytes request, rpc::Responder responder,
                    size_t head_size, Start start) {
    if (request.size() < head_size) return responder.fail(Error::Malformed);
    if (under_way_ >= kMaxOperations) return responder.fail(Error::Full);
    auto* op = new Operation{caller, std::move(responder), {}, head_size, {}, {}};
    op->request.assign(request.begin(), request.end());
    under_way_++;
    requests_++;
    (this->*start)(*op);
}

void Service::finish(Operation& op, Bytes head, Bytes body) {
    op.responder.reply(head, body);
    under_way_--;
    delete &op;
}

void Service::fail(Operation& op, Error e) {
    op.responder.fail(e);
    under_way_--;
    delete &op;
}

template <typename T, typename F>
storage::Done<T> Service::then(Operation& op, F on_success) {
    return [this, &op, on_success](Result<T> r) {
        if (!r) return fail(op, r.error());
        if constexpr (std::is_void_v<T>)
            on_success(op);
        else
            on_success(op, *r);
    };
}

storage::Done<storage::Attributes> Service::reply_attributes(Operation& op) {
    return then<storage::Attributes>(op, [this](Operation& op, const storage::Attributes& a) {
        WireAttributes w = to_wire(a, home_active(a.object));
        finish(op, bytes_of(w));
    });
}

storage::Done<void> Service::reply_nothing(Operation& op) {
    return then<void>(op, [this](Operation& op) { finish(op, {}); });
}

bool Service::home_active(storage::ObjectRef object) const {
    auto at = homes_.lower_bound({object.id, {}});
    return at != homes_.end() && at->first == object.id;
}

void Service::walk(Operation& op) {
    auto h = op.head<schema::FileWalk>();
    std::string_view path = op.text();
    if (path.size() > storage::kMaxPath) return fail(op, Error::NameTooLong);
    store_.lookup(
        op.store_caller(h.caller), from_wire(h.from), path, {},
        then<storage::LookupResult>(op, [this](Operation& op, const storage::LookupResult& r) {
            auto h = op.head<schema::FileWalk>();
            schema::FileWalkReply reply;
            reply.attributes = to_wire(r.attributes, home_active(r.attributes.object));
            reply.parent = to_wire(r.parent);
            reply.consumed = static_cast<uint32_t>(op.text().size() - r.rest.size());
            std::string_view link;
            auto stop = schema::WalkStop::Done;
            switch (r.stop) {
                case storage::Stop::Object:
                    break;
                case storage::Stop::Symlink:
                    // The last component, not to be followed: it is what was asked for.
                    if (r.rest.empty() && !h.follow_last && !r.must_be_directory) break;
                    stop = schema::WalkStop::Symlink;
                    link = r.link_target;
                    break;
                case storage::Stop::DotDot:
                    stop = schema::WalkStop::DotDot;
                    break;
                case storage::Stop::Missing:
                    stop = schema::WalkStop::Missing;
                    break;
            }
            reply.stop = static_cast<unsigned char>(stop);
            finish(op, bytes_of(reply), bytes_of(link));
        }));
}

void Service::attributes(Operation& op) {
    store_.getattr(from_wire(op.head<schema::FileTarget>().file), reply_attributes(op));
}

void Service::change(Operation& op) {
    auto h = op.head<schema::FileChange>();
    storage::SetAttributes set;
    set.fields = h.fields;
    set.mode = h.mode;
    set.uid = h.uid;
    set.gid = h.gid;
    set.size = h.size;
    set.atime = static_cast<int64_t>(h.accessed_ns.get());
    set.mtime = static_cast<int64_t>(h.modified_ns.get());
    store_.setattr(op.store_caller(h.caller), from_wire(h.file), set, reply_attributes(op));
}

void Service::create(Operation& op) {
    auto h = op.head<schema::FileCreate>();
    auto type = static_cast<storage::FileType>(h.type);
    if (type == storage::FileType::Directory)
        return store_.mkdir(op.store_caller(h.caller), from_wire(h.directory), op.text(), h.mode,
                            reply_attributes(op));
    if (type == storage::FileType::None || type == storage::FileType::Symlink ||
        type > storage::FileType::Socket)
        return fail(op, Error::InvalidArgument);
    storage::CreateOptions options;
    options.type = type;
    options.mode = h.mode;
    options.device = h.device;
    options.exclusive = h.exclusive;
    store_.create(
        op.store_caller(h.caller), from_wire(h.directory), op.text(), options,
        then<storage::CreateResult>(op, [this](Operation& op, const storage::CreateResult& r) {
            WireAttributes w = to_wire(r.attributes, home_active(r.attributes.object));
            finish(op, bytes_of(w));
        }));
}

void Service::symlink(Operation& op) {
    auto h = op.head<schema::FileSymlink>();
    std::string_view both = op.text();
    if (h.name_length > both.size()) return fail(op, Error::Malformed);
    store_.symlink(op.store_caller(h.caller), from_wire(h.directory), both.substr(0, h.name_length),
                   both.substr(h.name_length), reply_attributes(op));
}

void Service::read_link(Operation& op) {
    store_.readlink(from_wire(op.head<schema::FileTarget>().file),
                    then<std::string_view>(op, [this](Operation& op, std::string_view text) {
                        finish(op, bytes_of(text));
                    }));
}

void Service::link(Operation& op) {
    auto h = op.head<schema::FileLink>();
    store_.link(op.store_caller(h.caller), from_wire(h.file), from_wire(h.directory), op.text(),
                reply_attributes(op));
}

void Service::unlink(Operation& op) {
    auto h = op.head<schema::FileUnlink>();
    if (h.directory_wanted)
        return store_.rmdir(op.store_caller(h.caller), from_wire(h.directory), op.text(),
                            reply_nothing(op));
    store_.unlink(op.store_caller(h.caller), from_wire(h.directory), op.text(),
                  reply_attributes(op));
}

void Service::rename(Operation& op) {
    auto h = op.head<schema::FileRename>();
    std::string_view both = op.text();
    if (h.from_length > both.size() || h.mode > 2) return fail(op, Error::Malformed);
    storage::RenameOptions options{.no_replace = h.mode == 1, .exchange = h.mode == 2};
    store_.rename(
        op.store_caller(h.caller), from_wire(h.from_directory), both.substr(0, h.from_length),
        from_wire(h.to_directory), both.substr(h.from_length), options,
        then<storage::RenameResult>(op, [this](Operation& op, const storage::RenameResult& r) {
            if (!r.replaced || r.replaced_nlink) return finish(op, {});
            schema::WireFile w = to_wire(r.replaced);
            finish(op, bytes_of(w));
        }));
}

void Service::read_directory(Operation& op) {
    auto h = op.head<schema::FileReadDirectory>();
    size_t most = h.most ? h.most.get() : 1;
    auto visit = [&op, most, taken = size_t{0}](const storage::DirectoryEntry& e) mutable {
        schema::WireEntry w;
        w.id = e.object.id.value;
        w.cookie = e.cookie;
        w.type = static_cast<unsigned char>(e.type);
        w.name_length = static_cast<unsigned char>(e.name.size());
        Bytes head = bytes_of(w), name = bytes_of(e.name);
        op.out.insert(op.out.end(), head.begin(), head.end());
        op.out.insert(op.out.end(), name.begin(), name.end());
        taken++;
        // The next entry must fit whatever its name is: "false" means this one was taken.
        return taken < most && op.out.size() + sizeof w + storage::kMaxName <= schema::kMaxFileData;
    };
    store_.readdir(op.store_caller(h.caller), from_wire(h.directory), h.after, std::move(visit),
                   then<bool>(op, [this](Operation& op, bool) { finish(op, {}, op.out); }));
}

void Service::hold(Operation& op) {
    storage::ObjectRef object = from_wire(op.head<schema::FileTarget>().file);
    if (op.caller.kind != rpc::NodeKind::Memory)
        return store_.hold(object, op.holder(), reply_nothing(op));
    store_.getattr(
        object, then<storage::Attributes>(op, [this](Operation& op, const storage::Attributes& a) {
            homes_.insert({a.object.id, op.holder()});
            finish(op, {});
        }));
}

void Service::release(Operation& op) {
    storage::ObjectRef object = from_wire(op.head<schema::FileTarget>().file);
    if (op.caller.kind == rpc::NodeKind::Memory) {
        homes_.erase({object.id, op.holder()});
        return finish(op, {});
    }
    store_.release(object, op.holder(), then<void>(op, [this, object](Operation& op) {
                       schema::FileReleased reply{};
                       store_.getattr(object, [&](Result<storage::Attributes> a) {
                           reply.gone = !a && a.error() == Error::Stale;
                       });
                       finish(op, bytes_of(reply));
                   }));
}

void Service::fenced(storage::Holder holder) {
    std::erase_if(homes_,
                  [&](auto& h) { return h.second.node == holder.node && h.second <= holder; });
}

void Service::file_system_use(Operation& op) {
    store_.statfs(VnodeId(op.head<schema::FileTarget>().vnode),
                  then<storage::StatFs>(op, [this](Operation& op, const storage::StatFs& s) {
                      schema::WireFileSystemUse w;
                      w.total_bytes = s.total_bytes;
                      w.free_bytes = s.free_bytes;
                      w.total_files = s.objects + s.free_objects;
                      w.free_files = s.free_objects;
                      finish(op, bytes_of(w));
                  }));
}

void Service::sync_all(Operation& op) {
    store_.sync(reply_nothing(op));
}

void Service::read(Operation& op) {
    auto h = op.head<schema::StoreData>();
    if (h.length > schema::kMaxFileData) return fail(op, Error::TooBig);
    op.out.resize(h.length);
    store_.read(from_wire(h.target.file), h.offset, op.out,
                then<size_t>(op, [this](Operation& op, size_t n) {
                    finish(op, {}, Bytes(op.out).first(n));
                }));
}

// A write-out: the data, then size and time as the home has them.
void Service::write(Operation& op) {
    auto h = op.head<schema::StoreData>();
    storage::Caller caller;
    caller.time = static_cast<int64_t>(h.modified_ns.get());
    caller.reserved_by = op.holder();
    caller.reserved = h.reserved_blocks;
    if (op.tail().empty()) return set_home_attributes(op);
    store_.write(caller, from_wire(h.target.file), h.offset, op.tail(),
                 then<size_t>(op, [this](Operation& op, size_t n) {
                     if (n < op.tail().size()) return fail(op, Error::NoSpace);
                     set_home_attributes(op);
                 }));
}

void Service::set_home_attributes(Operation& op) {
    auto h = op.head<schema::StoreData>();
    storage::Caller caller;
    storage::SetAttributes set;
    set.fields = storage::SetAttributes::Size;
    set.size = h.size;
    set.only_grow = true; // write-outs end in any order; only kFileChange cuts a file
    if (h.modified_ns) {
        set.fields |= storage::SetAttributes::Mtime;
        set.mtime = static_cast<int64_t>(h.modified_ns.get());
    }
    store_.setattr(caller, from_wire(h.target.file), set, reply_attributes(op));
}

void Service::sync(Operation& op) {
    store_.fsync(from_wire(op.head<schema::FileTarget>().file), reply_nothing(op));
}

void Service::create_root(Operation& op) {
    auto h = op.head<schema::StoreCreateRoot>();
    roots_.ensure(VnodeId(h.vnode), h.quota_bytes, reply_attributes(op));
}

void Service::remove_root(Operation& op) {
    store_.remove_root(VnodeId(op.head<schema::FileTarget>().vnode), reply_nothing(op));
}

void Service::fence(Operation& op) {
    auto h = op.head<schema::StoreFence>();
    storage::Holder holder{NodeId(h.node), Incarnation(h.incarnation)};
    fenced(holder);
    store_.fence(holder, reply_nothing(op));
}

void Service::reserve(Operation& op) {
    if (op.caller.kind != rpc::NodeKind::Memory) return fail(op, Error::NotPermitted);
    auto h = op.head<schema::StoreReserve>();
    store_.reserve(op.holder(), VnodeId(h.vnode), h.blocks,
                   then<uint64_t>(op, [this](Operation& op, uint64_t blocks) {
                       schema::StoreReserved reply;
                       reply.blocks = blocks;
                       finish(op, bytes_of(reply));
                   }));
}

} // namespace tessera::smon
