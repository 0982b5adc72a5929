// rename: one record, whatever lies below.
#include "monitors/storage/core/engine.hpp"

namespace tessera::storage {

Result<RenameResult> Engine::rename(const Caller& caller, ObjectRef from_ref,
                                    std::string_view from_name, ObjectRef to_ref,
                                    std::string_view to_name, RenameOptions options) {
    if (const ReplyItem* r = index->find_reply(caller.request)) {
        replies_resent++;
        return RenameResult{r->object, {}, 0};
    }
    Object* from = TRY(directory(from_ref));
    Object* to = TRY(directory(to_ref));
    if (from_name.size() > kMaxName || to_name.size() > kMaxName) return Fail(Error::NameTooLong);
    if (!valid_name(from_name) || !valid_name(to_name)) return Fail(Error::InvalidArgument);
    if (options.exchange && options.no_replace) return Fail(Error::InvalidArgument);
    if (from->vnode != to->vnode) return Fail(Error::CrossDevice);
    if (to->nlink == 0) return Fail(Error::NotFound);
    Entry* source = index->find_entry(*from, from_name);
    if (!source) return Fail(Error::NotFound);
    Entry* target = index->find_entry(*to, to_name);
    if (target && options.no_replace) return Fail(Error::Exists);
    if (!target && options.exchange) return Fail(Error::NotFound);
    Object& moved = *source->target;
    Object* other = target ? target->target : nullptr;

    TRY(may_remove(caller, *from, moved));
    if (other)
        TRY(may_remove(caller, *to, *other));
    else if (!permitted(caller.credentials, *to, kWrite | kExecute))
        return Fail(Error::AccessDenied);
    if (from != to) { // the `..` of a moved directory changes
        if (moved.is_directory() && !permitted(caller.credentials, moved, kWrite))
            return Fail(Error::AccessDenied);
        if (options.exchange && other->is_directory() &&
            !permitted(caller.credentials, *other, kWrite))
            return Fail(Error::AccessDenied);
    }
    if (moved.is_directory() && on_way(*to, &moved)) return Fail(Error::InvalidArgument);
    if (options.exchange && other->is_directory() && on_way(*from, other))
        return Fail(Error::InvalidArgument);
    if (other == &moved)
        return RenameResult{moved.ref, {}, 0}; // two names of one object: nothing to do
    if (other && !options.exchange) {
        if (moved.is_directory() && !other->is_directory()) return Fail(Error::NotDirectory);
        if (!moved.is_directory() && other->is_directory()) {
            bool above = on_way(*from, other);
            return Fail(above ? Error::NotEmpty : Error::IsDirectory);
        }
        if (other->is_directory() && other->directory->live > 0) return Fail(Error::NotEmpty);
    }
    bool moves_in = moved.is_directory() && from != to;
    bool moves_out = options.exchange && other->is_directory() && from != to;
    if (moves_in && !(other && other->is_directory()) && to->nlink >= kMaxLinks)
        return Fail(Error::TooManyLinks);
    if (!target) TRY(room_for(Index::entry_memory(to_name.size()), 64 + to_name.size()));

    int64_t time = time_of(caller);
    RenameResult result{moved.ref, {}, 0};
    ObjectItem from_item = item_of(*from), to_item = item_of(*to);
    ObjectItem& destination = from == to ? from_item : to_item;
    record.put_entry(
        {to->ref.id, to_name, moved.ref.id, target ? target->cookie : to->directory->next_cookie});
    if (options.exchange)
        record.put_entry({from->ref.id, from_name, other->ref.id, source->cookie});
    else
        record.drop_entry(from->ref.id, from_name);

    ObjectItem moved_item = item_of(moved);
    moved_item.ctime = time;
    if (moves_in) {
        moved_item.parent = to->ref.id;
        from_item.nlink--;
        destination.nlink++;
    }
    record.put_object(moved_item);
    if (other) {
        result.replaced = other->ref;
        if (options.exchange) {
            ObjectItem other_item = item_of(*other);
            other_item.ctime = time;
            if (moves_out) {
                other_item.parent = from->ref.id;
                destination.nlink--;
                from_item.nlink++;
            }
            record.put_object(other_item);
            result.replaced_nlink = other->nlink;
        } else {
            if (other->is_directory()) destination.nlink--;
            result.replaced_nlink = other->is_directory() ? 0 : other->nlink - 1;
            drop_link(*other, time);
        }
    }
    from_item.mtime = from_item.ctime = to_item.mtime = to_item.ctime = time;
    record.put_object(from_item);
    if (from != to) record.put_object(to_item);
    remember(caller, moved.ref);
    commit({from, to, &moved});
    return result;
}

} // namespace tessera::storage
