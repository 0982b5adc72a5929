#include "monitors/process/files/remote_files.hpp"

#include <algorithm>

#include "net/schema/page.hpp"

namespace tessera::pmon {

using namespace schema;
using posix::Attributes;
using posix::Credentials;
using posix::FileRef;
using posix::FileType;

namespace {

// How long a request waits for the successor of a dead home.
constexpr Nanos kSuccessorTime = seconds(30);

WireFile to_wire(FileRef f) {
    WireFile w;
    w.id = f.id.value;
    w.generation = f.generation.value;
    return w;
}

FileRef from_wire(const WireFile& w) {
    return {FileId(w.id), Generation(w.generation)};
}

Attributes from_wire(const WireAttributes& w) {
    Attributes a;
    a.file = from_wire(w.file);
    a.type = w.type <= static_cast<unsigned char>(FileType::Socket) ? static_cast<FileType>(w.type)
                                                                    : FileType::None;
    a.mode = w.mode;
    a.uid = w.uid;
    a.gid = w.gid;
    a.links = w.links;
    a.device = w.device;
    a.size = w.size;
    a.blocks = w.blocks;
    a.accessed_ns = static_cast<int64_t>(w.accessed_ns.get());
    a.modified_ns = static_cast<int64_t>(w.modified_ns.get());
    a.changed_ns = static_cast<int64_t>(w.changed_ns.get());
    return a;
}

FileTarget target(VnodeId v, FileRef f) {
    FileTarget t;
    t.vnode = v.value;
    t.file = to_wire(f);
    return t;
}

Result<WireAttributes> attributes_in(const ReplyBytes& reply) {
    if (reply.size() < sizeof(WireAttributes)) return std::unexpected(Error::Malformed);
    return load<WireAttributes>(reply);
}

} // namespace

void RemoteFilesClient::set_mount(FileMount m) {
    mounts_.with([&](auto& all) {
        std::erase_if(all, [&](auto& old) { return old.vnode == m.vnode; });
        all.push_back(std::move(m));
    });
}

void RemoteFilesClient::remove_mount(VnodeId v) {
    mounts_.with([&](auto& all) { std::erase_if(all, [&](auto& m) { return m.vnode == v; }); });
}

void RemoteFilesClient::set_homes(VnodeId v, uint32_t epoch, std::vector<roce::Ipv4> homes) {
    mounts_.with([&](auto& all) {
        for (FileMount& m : all)
            if (m.vnode == v) {
                m.epoch = epoch;
                m.homes = std::move(homes);
            }
    });
}

Result<FileMount> RemoteFilesClient::mount(VnodeId v) {
    return mounts_.with([&](auto& all) -> Result<FileMount> {
        for (FileMount& m : all)
            if (m.vnode == v) return m;
        return std::unexpected(Error::NoDevice);
    });
}

Result<roce::Ipv4> RemoteFilesClient::home(VnodeId v, FileId f) {
    FileMount m = TRY(mount(v));
    if (m.homes.empty()) return std::unexpected(Error::NoDevice);
    return m.homes[schema::home_index(f, m.homes)];
}

FileRef RemoteFilesClient::root(VnodeId v) {
    Result<FileMount> m = mount(v);
    return m ? m->root : FileRef{};
}

Result<ReplyBytes> RemoteFilesClient::at_store(VnodeId v, rpc::Opcode op, Bytes head, Bytes body,
                                               bool idempotent) {
    FileMount m = TRY(mount(v));
    return caller_.call(m.store, op, head, body, {.idempotent = idempotent});
}

// A home that is dead is replaced with the next mount epoch, which this waits for; unless the
// caller has unsynced data at it, which is lost, or the request must not be made twice.
Result<ReplyBytes> RemoteFilesClient::at_home(VnodeId v, FileId f, rpc::Opcode op, Bytes head,
                                              Bytes body, bool idempotent, posix::HomeLife unsynced,
                                              Incarnation* from) {
    Nanos give_up = caller_.now() + kSuccessorTime;
    for (;;) {
        FileMount m = TRY(mount(v));
        uint32_t epoch = m.epoch;
        bool alone = m.homes.size() < 2; // nobody can take over
        Result<roce::Ipv4> to = home(v, f);
        Error why = to ? Error::Dead : to.error();
        if (to) {
            Incarnation by;
            Result<ReplyBytes> r =
                caller_.call(*to, op, head, body, {.idempotent = idempotent}, &by);
            if (r) {
                heard(*to, by);
                if (from) *from = by;
                return r;
            }
            if (r.error() == Error::Lost) home_dead(Incarnation(unsynced));
            if (r.error() != Error::Dead) return r;
            if (unsynced) home_dead(Incarnation(unsynced));
            if (unsynced) return std::unexpected(Error::Lost);
            if (!idempotent) return std::unexpected(Error::OutcomeUnknown);
        }
        while (TRY(mount(v)).epoch == epoch) {
            if (alone || caller_.now() >= give_up) return std::unexpected(why);
            TRY(caller_.pause(milliseconds(50)));
        }
    }
}

HomeTarget RemoteFilesClient::home_target(const FileMount& m, FileRef f, posix::HomeLife unsynced) {
    HomeTarget t;
    t.vnode = m.vnode.value;
    t.store_address = m.store.value;
    t.file = to_wire(f);
    t.mount_epoch = m.epoch;
    t.incarnation = unsynced;
    return t;
}

void RemoteFilesClient::Lives::end(Incarnation incarnation) {
    if (!incarnation || std::find(over.begin(), over.end(), incarnation) != over.end()) return;
    if (over.size() == kMostOver) over.erase(over.begin());
    over.push_back(incarnation);
}

void RemoteFilesClient::heard(roce::Ipv4 home, Incarnation incarnation) {
    if (!incarnation) return;
    lives_.with([&](Lives& lives) {
        Incarnation before = std::exchange(lives.last[home], incarnation);
        if (before != incarnation) lives.end(before);
    });
}

void RemoteFilesClient::home_dead(Incarnation incarnation) {
    lives_.with([&](Lives& lives) { lives.end(incarnation); });
}

bool RemoteFilesClient::over(posix::HomeLife life) {
    return lives_.with([&](Lives& lives) {
        return std::find(lives.over.begin(), lives.over.end(), Incarnation(life)) !=
               lives.over.end();
    });
}

WireCaller RemoteFilesClient::wire_caller(VnodeId v, const Credentials& who, bool numbered) {
    WireCaller w;
    w.vnode = v.value;
    w.uid = who.uid;
    w.gid = who.gid;
    w.group_count = who.group_count;
    for (size_t i = 0; i < who.group_count && i < who.groups.size(); i++)
        w.groups[i] = who.groups[i];
    if (numbered) w.sequence = sequence_.fetch_add(1) + 1;
    return w;
}

Result<Attributes> RemoteFilesClient::newest(VnodeId v, const ReplyBytes& reply) {
    WireAttributes w = TRY(attributes_in(reply));
    Attributes a = from_wire(w);
    if (a.type != FileType::Regular || !(w.flags & kAttributeHomeActive)) return a;
    HomeTarget t = home_target(TRY(mount(v)), a.file);
    return from_wire(TRY(attributes_in(TRY(at_home(v, a.file.id, kHomeAttributes, bytes_of(t))))));
}

Result<posix::WalkResult> RemoteFilesClient::walk(VnodeId v, const Credentials& who, FileRef from,
                                                  std::string_view path, bool follow_last) {
    FileWalk h;
    h.caller = wire_caller(v, who, false);
    h.from = to_wire(from);
    h.follow_last = follow_last;
    ReplyBytes reply = TRY(at_store(v, kFileWalk, bytes_of(h), bytes_of(path)));
    if (reply.size() < sizeof(FileWalkReply)) return std::unexpected(Error::Malformed);
    auto r = load<FileWalkReply>(reply);
    posix::WalkResult out;
    out.consumed = std::min<size_t>(r.consumed, path.size());
    out.attributes = from_wire(r.attributes);
    out.parent = from_wire(r.parent);
    switch (static_cast<WalkStop>(r.stop)) {
        case WalkStop::Done:
            out.stop = posix::WalkResult::Stop::Done;
            out.attributes = TRY(newest(v, reply));
            break;
        case WalkStop::Symlink:
            out.stop = posix::WalkResult::Stop::Symlink;
            out.attributes.file = out.parent; // what a relative link starts from
            out.link = text_of(Bytes(reply).subspan(sizeof r));
            break;
        case WalkStop::DotDot:
            out.stop = posix::WalkResult::Stop::DotDot;
            break;
        case WalkStop::Missing:
            out.stop = posix::WalkResult::Stop::Missing;
            break;
        default:
            return std::unexpected(Error::Malformed);
    }
    return out;
}

Result<Attributes> RemoteFilesClient::attributes(VnodeId v, FileRef f) {
    FileTarget t = target(v, f);
    return newest(v, TRY(at_store(v, kFileAttributes, bytes_of(t))));
}

Result<Attributes> RemoteFilesClient::change(VnodeId v, const Credentials& who, FileRef f,
                                             const posix::AttributeChange& c) {
    constexpr auto kNow = static_cast<uint64_t>(INT64_MIN);
    HomeChange h;
    h.change.caller = wire_caller(v, who, true);
    h.change.file = to_wire(f);
    uint32_t fields = 0;
    if (c.set_mode) fields |= 1;
    if (c.set_uid) fields |= 2;
    if (c.set_gid) fields |= 4;
    if (c.set_size) fields |= 8;
    if (c.set_accessed || c.accessed_now) fields |= 16;
    if (c.set_modified || c.modified_now) fields |= 32;
    h.change.fields = fields;
    h.change.mode = c.mode;
    h.change.uid = c.uid;
    h.change.gid = c.gid;
    h.change.size = c.size;
    h.change.accessed_ns = c.accessed_now ? kNow : static_cast<uint64_t>(c.accessed_ns);
    h.change.modified_ns = c.modified_now ? kNow : static_cast<uint64_t>(c.modified_ns);
    FileMount m = TRY(mount(v));
    // Sizes always, and everything while the home has newer data, go through the home.
    bool through_home = c.set_size;
    if (!through_home) {
        FileTarget t = target(v, f);
        WireAttributes now = TRY(attributes_in(TRY(at_store(v, kFileAttributes, bytes_of(t)))));
        through_home = now.flags & kAttributeHomeActive &&
                       now.type == static_cast<unsigned char>(FileType::Regular);
    }
    if (!through_home)
        return from_wire(
            TRY(attributes_in(TRY(at_store(v, kFileChange, bytes_of(h.change), {}, true)))));
    h.target = home_target(m, f);
    Attributes a = from_wire(TRY(attributes_in(TRY(at_home(v, f.id, kHomeChange, bytes_of(h))))));
    if (c.set_size && changed_) changed_(v, f, c.size, {});
    return a;
}

Result<Attributes> RemoteFilesClient::create(VnodeId v, const Credentials& who, FileRef directory,
                                             std::string_view name, FileType type, uint16_t mode,
                                             uint32_t device, bool exclusive) {
    FileCreate h;
    h.caller = wire_caller(v, who, true);
    h.directory = to_wire(directory);
    h.type = static_cast<unsigned char>(type);
    h.exclusive = exclusive;
    h.mode = mode;
    h.device = device;
    return newest(v, TRY(at_store(v, kFileCreate, bytes_of(h), bytes_of(name))));
}

Result<Attributes> RemoteFilesClient::symlink(VnodeId v, const Credentials& who, FileRef directory,
                                              std::string_view name, std::string_view text) {
    FileSymlink h;
    h.caller = wire_caller(v, who, true);
    h.directory = to_wire(directory);
    h.name_length = static_cast<uint32_t>(name.size());
    std::string both(name);
    both += text;
    return newest(v, TRY(at_store(v, kFileSymlink, bytes_of(h), bytes_of(std::string_view(both)))));
}

Result<std::string> RemoteFilesClient::read_link(VnodeId v, FileRef f) {
    FileTarget t = target(v, f);
    ReplyBytes r = TRY(at_store(v, kFileReadLink, bytes_of(t)));
    return std::string(text_of(r));
}

Result<void> RemoteFilesClient::link(VnodeId v, const Credentials& who, FileRef f,
                                     FileRef directory, std::string_view name) {
    FileLink h;
    h.caller = wire_caller(v, who, true);
    h.file = to_wire(f);
    h.directory = to_wire(directory);
    TRY(at_store(v, kFileLink, bytes_of(h), bytes_of(name)));
    return {};
}

Result<void> RemoteFilesClient::unlink(VnodeId v, const Credentials& who, FileRef directory,
                                       std::string_view name, bool want_directory) {
    FileUnlink h;
    h.caller = wire_caller(v, who, true);
    h.directory = to_wire(directory);
    h.directory_wanted = want_directory;
    ReplyBytes reply = TRY(at_store(v, kFileUnlink, bytes_of(h), bytes_of(name)));
    if (reply.size() < sizeof(WireAttributes)) return {};
    auto w = load<WireAttributes>(reply);
    if (w.links == 0) tell_home(v, from_wire(w.file));
    return {};
}

Result<void> RemoteFilesClient::rename(VnodeId v, const Credentials& who, FileRef from_directory,
                                       std::string_view from, FileRef to_directory,
                                       std::string_view to, RenameMode mode) {
    FileRename h;
    h.caller = wire_caller(v, who, true);
    h.from_directory = to_wire(from_directory);
    h.to_directory = to_wire(to_directory);
    h.from_length = static_cast<uint32_t>(from.size());
    h.mode = static_cast<unsigned char>(mode);
    std::string both(from);
    both += to;
    ReplyBytes reply = TRY(at_store(v, kFileRename, bytes_of(h), bytes_of(std::string_view(both))));
    if (reply.size() >= sizeof(WireFile)) tell_home(v, from_wire(load<WireFile>(reply)));
    return {};
}

Result<std::vector<posix::DirectoryEntry>> RemoteFilesClient::read_directory(
    VnodeId v, const Credentials& who, FileRef directory, uint64_t after, size_t most) {
    FileReadDirectory h;
    h.caller = wire_caller(v, who, false);
    h.directory = to_wire(directory);
    h.after = after;
    h.most = static_cast<uint32_t>(std::min<size_t>(most, 1024));
    ReplyBytes reply = TRY(at_store(v, kFileReadDirectory, bytes_of(h)));
    std::vector<posix::DirectoryEntry> entries;
    for (Bytes rest = reply; !rest.empty();) {
        if (rest.size() < sizeof(WireEntry)) return std::unexpected(Error::Malformed);
        auto w = load<WireEntry>(rest);
        rest = rest.subspan(sizeof w);
        if (rest.size() < w.name_length) return std::unexpected(Error::Malformed);
        posix::DirectoryEntry e;
        e.name = text_of(rest.first(w.name_length));
        e.id = FileId(w.id);
        e.type = static_cast<FileType>(w.type);
        e.cookie = w.cookie;
        entries.push_back(std::move(e));
        rest = rest.subspan(w.name_length);
    }
    return entries;
}

bool RemoteFilesClient::is_held(VnodeId v, FileRef f) {
    return held_.with([&](Held& held) { return held.contains({v, f.id}); });
}

// The store knows only whether this pComponent holds a file: counted here. Always asked, so that a
// file that is gone is an error for each who opens it.
Result<void> RemoteFilesClient::hold(VnodeId v, FileRef f) {
    held_.with([&](Held& held) { held[{v, f.id}]++; });
    FileTarget t = target(v, f);
    Result<ReplyBytes> r = at_store(v, kFileHold, bytes_of(t));
    if (r) return {};
    release(v, f);
    return std::unexpected(r.error());
}

// Whether somebody has opened the file again meanwhile is looked at where requests leave: his hold
// is sent after that.
void RemoteFilesClient::release(VnodeId v, FileRef f) {
    bool last = held_.with([&](Held& held) {
        auto at = held.find({v, f.id});
        if (at == held.end() || --at->second > 0) return false;
        held.erase(at);
        return true;
    });
    Result<FileMount> m = mount(v);
    if (!last || !m) return;
    FileTarget t = target(v, f);
    caller_.notify(
        m->store, kFileRelease, bytes_of(t), {}, [this, v, f] { return !is_held(v, f); },
        [this, v, f](Bytes reply) {
            if (reply.size() >= sizeof(FileReleased) && load<FileReleased>(reply).gone)
                tell_home(v, f);
        });
}

void RemoteFilesClient::tell_home(VnodeId v, FileRef f) {
    Result<FileMount> m = mount(v);
    Result<roce::Ipv4> at = home(v, f.id);
    if (!m || !at) return;
    HomeTarget t = home_target(*m, f);
    caller_.notify(*at, kHomeForget, bytes_of(t), {});
}

Result<size_t> RemoteFilesClient::read(VnodeId v, FileRef f, uint64_t offset, MutableBytes into,
                                       posix::HomeLife unsynced) {
    FileMount m = TRY(mount(v));
    size_t done = 0;
    while (done < into.size()) {
        HomeData h;
        h.target = home_target(m, f, unsynced);
        h.offset = offset + done;
        h.length = static_cast<uint32_t>(std::min(into.size() - done, kMaxFileData));
        Result<ReplyBytes> r = at_home(v, f.id, kHomeRead, bytes_of(h), {}, true, unsynced);
        if (!r) {
            if (done) break; // what was read is returned; the next read reports the error
            return std::unexpected(r.error());
        }
        if (r->size() > h.length) return std::unexpected(Error::Malformed);
        std::copy(r->begin(), r->end(), into.data() + done);
        done += r->size();
        if (r->size() < h.length) break;
    }
    return done;
}

Result<posix::RemoteFiles::Written> RemoteFilesClient::write(VnodeId v, FileRef f, uint64_t offset,
                                                             Bytes data, bool append,
                                                             posix::HomeLife unsynced) {
    FileMount m = TRY(mount(v));
    Written out{.offset = offset, .length = 0, .home = unsynced};
    while (out.length < data.size()) {
        Bytes piece = data.subspan(out.length, std::min(data.size() - out.length, kMaxFileData));
        HomeData h;
        h.target = home_target(m, f, out.home);
        h.offset = append && out.length == 0 ? 0 : out.offset + out.length;
        h.append = append && out.length == 0;
        // Writing the same bytes at the same place twice is harmless; appending twice is not.
        Incarnation from;
        Result<ReplyBytes> r =
            at_home(v, f.id, kHomeWrite, bytes_of(h), piece, !h.append, out.home, &from);
        if (!r || r->size() < sizeof(HomeWritten)) {
            if (out.length) break;
            return std::unexpected(r ? Error::Malformed : r.error());
        }
        auto w = load<HomeWritten>(*r);
        if (w.length > piece.size()) return std::unexpected(Error::Malformed);
        if (out.length == 0) out.offset = w.offset;
        out.home = from.value;
        if (changed_ && w.length) changed_(v, f, w.offset, piece.first(w.length));
        out.length += w.length;
        if (w.length < piece.size()) break;
    }
    return out;
}

Result<void> RemoteFilesClient::sync(VnodeId v, FileRef f, bool, posix::HomeLife unsynced) {
    HomeTarget t = home_target(TRY(mount(v)), f, unsynced);
    TRY(at_home(v, f.id, kHomeSync, bytes_of(t), {}, true, unsynced));
    return {};
}

Result<void> RemoteFilesClient::sync_all(VnodeId v) {
    FileMount m = TRY(mount(v));
    HomeTarget t = home_target(m, {});
    for (roce::Ipv4 home : m.homes)
        TRY(caller_.call(home, kHomeSyncAll, bytes_of(t), {}, {}));
    FileTarget all = target(v, {});
    TRY(at_store(v, kFileSyncAll, bytes_of(all)));
    return {};
}

Result<posix::FileSystemUse> RemoteFilesClient::use(VnodeId v) {
    FileTarget t = target(v, {});
    ReplyBytes r = TRY(at_store(v, kFileSystemUse, bytes_of(t)));
    if (r.size() < sizeof(WireFileSystemUse)) return std::unexpected(Error::Malformed);
    auto w = load<WireFileSystemUse>(r);
    return posix::FileSystemUse{w.total_bytes, w.free_bytes, w.total_files, w.free_files};
}

} // namespace tessera::pmon
