// Names: lookup, create, mkdir, symlink, link, unlink, rmdir, readdir.
#include "monitors/storage/core/engine.hpp"

namespace tessera::storage {
namespace {

Result<void> check_name(std::string_view name) {
    if (name.size() > kMaxName) return Fail(Error::NameTooLong);
    if (!valid_name(name)) return Fail(Error::InvalidArgument);
    return {};
}

bool everyone_may_search(const Object& o) {
    return (o.mode & 0111) == 0111;
}

// Takes the next component off a path; skips slashes before it. Empty at the end.
std::string_view next_component(std::string_view& path) {
    size_t start = path.find_first_not_of('/');
    if (start == std::string_view::npos) {
        path = {};
        return {};
    }
    path.remove_prefix(start);
    size_t end = std::min(path.find('/'), path.size());
    std::string_view name = path.substr(0, end);
    path.remove_prefix(end);
    return name;
}

bool only_slashes(std::string_view path) {
    return path.find_first_not_of('/') == std::string_view::npos;
}

} // namespace

Result<LookupResult> Engine::lookup(const Caller& caller, ObjectRef start, std::string_view path,
                                    const LookupOptions& options) {
    if (path.size() > kMaxPath) return Fail(Error::NameTooLong);
    Object* at = TRY(object(start));
    Object* parent = at;
    LookupResult result;
    std::string_view rest = path;
    result.must_be_directory = path.ends_with('/');

    // The cached front part: everything before the last slash. Only paths walked before hit.
    size_t cut = path.find_last_of('/');
    std::string_view front =
        cut == std::string_view::npos ? std::string_view{} : path.substr(0, cut);
    bool cacheable = front.size() > 1 && cut + 1 < path.size() &&
                     front.find("..") == std::string_view::npos && at->is_directory();
    if (cacheable) {
        if (Object* known = index->find(paths.find(start, front, index->topology()))) {
            parent = at = known;
            rest = path.substr(cut);
            cacheable = false;
        }
    }
    bool open_to_all = true;
    for (;;) {
        if (cacheable && open_to_all && rest.size() == path.size() - cut && at->is_directory())
            paths.keep(start, front, index->topology(), at->ref);
        std::string_view name = next_component(rest);
        if (name.empty()) break;
        bool last = only_slashes(rest);
        if (!at->is_directory()) return Fail(Error::NotDirectory);
        if (!permitted(caller.credentials, *at, kExecute)) return Fail(Error::AccessDenied);
        open_to_all &= everyone_may_search(*at);
        if (name == ".") continue;
        if (name == "..") {
            if (at->ref == options.boundary || at->parent == at->ref.id) {
                result.stop = Stop::DotDot;
                break;
            }
            Object* up = index->find(at->parent);
            if (!up) return Fail(Error::Stale);
            parent = at = up;
            continue;
        }
        if (name.size() > kMaxName) return Fail(Error::NameTooLong);
        parent = at;
        Entry* e = index->find_entry(*at, name);
        if (!e) {
            if (!last) return Fail(Error::NotFound);
            result.stop = Stop::Missing;
            rest = name;
            break;
        }
        at = e->target;
        if (at->type == FileType::Symlink && (!last || options.follow_last || !rest.empty())) {
            result.stop = Stop::Symlink;
            result.link_target = at->target;
            break;
        }
    }
    result.attributes = attributes(*at);
    result.parent = parent->ref;
    result.rest = rest;
    if (result.stop != Stop::Object) return result;
    if (result.must_be_directory && !at->is_directory()) return Fail(Error::NotDirectory);
    if (options.want && !permitted(caller.credentials, *at, options.want))
        return Fail(Error::AccessDenied);
    if (options.hold) TRY(hold(at->ref, options.hold));
    return result;
}

Result<ObjectItem> Engine::new_object(const Caller& caller, Object& directory,
                                      std::string_view name, FileType type, uint32_t mode) {
    TRY(check_name(name));
    if (directory.nlink == 0) return Fail(Error::NotFound); // removed, but held
    if (!permitted(caller.credentials, directory, kWrite | kExecute))
        return Fail(Error::AccessDenied);
    if (index->find_entry(directory, name)) return Fail(Error::Exists);
    TRY(room_for(Index::object_memory() + Index::entry_memory(name.size()) + kib(1),
                 256 + name.size()));
    ObjectItem o;
    o.object = {index->next_id(), Generation(static_cast<uint32_t>(header.mount_epoch))};
    o.type = type;
    o.mode = static_cast<uint16_t>(mode & 07777);
    o.uid = caller.credentials.uid;
    o.gid = caller.credentials.gid;
    o.nlink = type == FileType::Directory ? 2 : 1;
    o.vnode = directory.vnode;
    o.atime = o.mtime = o.ctime = time_of(caller);
    if (directory.mode & 02000) { // new objects join a set-gid directory's group
        o.gid = directory.gid;
        if (type == FileType::Directory) o.mode |= 02000;
    }
    if (type == FileType::Directory) {
        o.parent = directory.ref.id;
        o.next_cookie = 1;
    }
    return o;
}

Result<Attributes> Engine::commit_new(const Caller& caller, Object& directory,
                                      std::string_view name, const ObjectItem& item,
                                      Holder holder) {
    record.put_object(item);
    record.put_entry({directory.ref.id, name, item.object.id, directory.directory->next_cookie});
    if (item.type == FileType::Directory) {
        ObjectItem parent = item_of(directory);
        parent.nlink++;
        parent.mtime = parent.ctime = item.ctime;
        parent.next_cookie++;
        record.put_object(parent);
    } else {
        record.touch(directory.ref.id, directory.size, item.ctime, item.ctime);
    }
    if (holder) record.put_hold(item.object.id, holder);
    remember(caller, item.object);
    commit({&directory});
    Object* o = index->find(item.object);
    o->last_record = directory.last_record;
    return attributes(*o);
}

Result<CreateResult> Engine::create(const Caller& caller, ObjectRef in, std::string_view name,
                                    const CreateOptions& options) {
    if (options.type == FileType::None || options.type == FileType::Directory ||
        options.type == FileType::Symlink || options.type > FileType::Socket)
        return Fail(Error::InvalidArgument);
    if (const ReplyItem* r = index->find_reply(caller.request)) {
        replies_resent++;
        return CreateResult{attributes(*TRY(object(r->object))), true};
    }
    Object* d = TRY(directory(in));
    if (!permitted(caller.credentials, *d, kExecute)) return Fail(Error::AccessDenied);
    TRY(check_name(name));
    if (Entry* e = index->find_entry(*d, name)) {
        if (options.exclusive) return Fail(Error::Exists);
        if (options.hold) TRY(hold(e->target->ref, options.hold));
        return CreateResult{attributes(*e->target), false};
    }
    ObjectItem item = TRY(new_object(caller, *d, name, options.type, options.mode));
    item.device = options.device;
    return CreateResult{TRY(commit_new(caller, *d, name, item, options.hold)), true};
}

Result<Attributes> Engine::mkdir(const Caller& caller, ObjectRef in, std::string_view name,
                                 uint32_t mode) {
    if (const ReplyItem* r = index->find_reply(caller.request)) {
        replies_resent++;
        return attributes(*TRY(object(r->object)));
    }
    Object* d = TRY(directory(in));
    if (d->nlink >= kMaxLinks) return Fail(Error::TooManyLinks);
    ObjectItem item = TRY(new_object(caller, *d, name, FileType::Directory, mode));
    return commit_new(caller, *d, name, item, {});
}

Result<Attributes> Engine::symlink(const Caller& caller, ObjectRef in, std::string_view name,
                                   std::string_view target) {
    if (target.empty()) return Fail(Error::NotFound);
    if (target.size() > kMaxSymlink) return Fail(Error::NameTooLong);
    if (const ReplyItem* r = index->find_reply(caller.request)) {
        replies_resent++;
        return attributes(*TRY(object(r->object)));
    }
    Object* d = TRY(directory(in));
    ObjectItem item = TRY(new_object(caller, *d, name, FileType::Symlink, 0777));
    TRY(room_for(Index::object_memory() + target.size() + kib(1), 512 + target.size()));
    item.target = target;
    return commit_new(caller, *d, name, item, {});
}

Result<Attributes> Engine::link(const Caller& caller, ObjectRef what, ObjectRef in,
                                std::string_view name) {
    Object* o = TRY(object(what));
    if (index->find_reply(caller.request)) {
        replies_resent++;
        return attributes(*o);
    }
    Object* d = TRY(directory(in));
    TRY(check_name(name));
    if (o->is_directory()) return Fail(Error::NotPermitted);
    if (o->nlink == 0 || d->nlink == 0) return Fail(Error::NotFound);
    if (o->vnode != d->vnode) return Fail(Error::CrossDevice);
    if (o->nlink >= kMaxLinks) return Fail(Error::TooManyLinks);
    if (!permitted(caller.credentials, *d, kWrite | kExecute)) return Fail(Error::AccessDenied);
    if (index->find_entry(*d, name)) return Fail(Error::Exists);
    TRY(room_for(Index::entry_memory(name.size()), 64 + name.size()));
    int64_t time = time_of(caller);
    ObjectItem item = item_of(*o);
    item.nlink++;
    item.ctime = time;
    record.put_object(item);
    record.put_entry({d->ref.id, name, o->ref.id, d->directory->next_cookie});
    record.touch(d->ref.id, d->size, time, time);
    remember(caller, o->ref);
    commit({o, d});
    return attributes(*o);
}

Result<void> Engine::may_remove(const Caller& caller, const Object& d, const Object& target) const {
    if (!permitted(caller.credentials, d, kWrite | kExecute)) return Fail(Error::AccessDenied);
    uint32_t uid = caller.credentials.uid;
    if ((d.mode & 01000) && uid != 0 && uid != d.uid && uid != target.uid)
        return Fail(Error::NotPermitted);
    return {};
}

// Items for an object that has one name less (a directory: none left). Its entry goes in the same
// record, before this.
void Engine::drop_link(Object& o, int64_t time) {
    uint32_t left = o.is_directory() ? 0 : o.nlink - 1;
    if (left == 0 && o.holds.empty()) {
        record.drop_object(o.ref.id);
        return;
    }
    ObjectItem item = item_of(o);
    item.nlink = left;
    item.ctime = time;
    record.put_object(item);
}

Result<Attributes> Engine::unlink(const Caller& caller, ObjectRef in, std::string_view name) {
    if (const ReplyItem* r = index->find_reply(caller.request)) {
        replies_resent++;
        if (Object* o = index->find(r->object)) return attributes(*o);
        Attributes gone;
        gone.object = r->object;
        return gone;
    }
    Object* d = TRY(directory(in));
    if (name.size() > kMaxName) return Fail(Error::NameTooLong);
    Entry* e = index->find_entry(*d, name);
    if (!e) return Fail(Error::NotFound);
    Object* o = e->target;
    TRY(may_remove(caller, *d, *o));
    if (o->is_directory()) return Fail(Error::IsDirectory);
    int64_t time = time_of(caller);
    Attributes after = attributes(*o);
    after.nlink--;
    after.ctime = time;
    record.drop_entry(d->ref.id, name);
    drop_link(*o, time);
    record.touch(d->ref.id, d->size, time, time);
    remember(caller, after.object);
    commit({d});
    return after;
}

Result<void> Engine::rmdir(const Caller& caller, ObjectRef in, std::string_view name) {
    if (index->find_reply(caller.request)) {
        replies_resent++;
        return {};
    }
    Object* d = TRY(directory(in));
    if (name.size() > kMaxName) return Fail(Error::NameTooLong);
    if (name == ".") return Fail(Error::InvalidArgument);
    if (name == "..") return Fail(Error::NotEmpty);
    Entry* e = index->find_entry(*d, name);
    if (!e) return Fail(Error::NotFound);
    Object* o = e->target;
    TRY(may_remove(caller, *d, *o));
    if (!o->is_directory()) return Fail(Error::NotDirectory);
    if (o->directory->live > 0) return Fail(Error::NotEmpty);
    int64_t time = time_of(caller);
    record.drop_entry(d->ref.id, name);
    remember(caller, o->ref);
    drop_link(*o, time);
    ObjectItem parent = item_of(*d);
    parent.nlink--;
    parent.mtime = parent.ctime = time;
    record.put_object(parent);
    commit({d});
    return {};
}

Result<bool> Engine::readdir(ObjectRef in, uint64_t cookie, DirectoryVisitor& visit) {
    Object* o = TRY(directory(in));
    const Directory& d = *o->directory;
    for (size_t i = d.position_after(cookie); i < d.slots.size(); i++) {
        const Entry* e = d.slots[i].entry;
        if (!e) continue;
        if (!visit({e->name(), e->target->ref, e->target->type, e->cookie})) {
            for (i++; i < d.slots.size(); i++)
                if (d.slots[i].entry) return false;
            return true;
        }
    }
    return true;
}

} // namespace tessera::storage
