// RemoteAddressSpace: changes of the mappings. access.cpp has faults and copies.
#include "monitors/process/memory/address_space_impl.hpp"

#include <algorithm>
#include <vector>

#include "monitors/process/memory/in_shard.hpp"

namespace tessera::pmon {

using posix::MapPlace;
using posix::Sharing;

namespace {
constexpr uint64_t kBottom = 0x10000;       // lowest address that "anywhere" and hints may take
constexpr uint64_t kTop = 0x7fff'f000'0000; // "anywhere" is below; the stack is above
constexpr uint64_t kLowest = kPageSize;     // page 0 stays unmapped

// Rounded range; false if it is not one of user memory.
bool user_range(uint64_t start, uint64_t& length) {
    if (start % kPageSize || length == 0 || length > posix::kUserEnd) return false;
    length = align_up(length, kPageSize);
    return start < posix::kUserEnd && length <= posix::kUserEnd - start;
}
} // namespace

Result<Ref<posix::AddressSpace>> RemoteAddressSpaceFactory::create(VnodeId vnode) {
    return RemoteAddressSpace::create(context_, vnode);
}

Result<Ref<posix::AddressSpace>> RemoteAddressSpace::create(MemoryContext& context, VnodeId vnode) {
    auto mapper = TRY(context.mappers.create());
    Space* space = TRY(in_shard_retrying(
        context.shard, true, [&] { return context.cache.create_space(vnode, mapper); }));
    return Ref<posix::AddressSpace>(new RemoteAddressSpace(context, vnode, space));
}

RemoteAddressSpace::RemoteAddressSpace(MemoryContext& context, VnodeId vnode, Space* space)
    : context_(context), vnode_(vnode), space_(space) {}

RemoteAddressSpace::~RemoteAddressSpace() {
    destroy();
}

void RemoteAddressSpace::changed() {
    space_->generation.fetch_add(1, std::memory_order_acq_rel);
}

void RemoteAddressSpace::release(CacheObject* source) {
    if (!source) return;
    (void)in_shard_retrying(context_.shard, false, [&] { return context_.cache.release(*source); });
}

// Takes the mappings of [start, end) away, with everything behind them. change_ is held.
void RemoteAddressSpace::unmap_locked(uint64_t start, uint64_t end) {
    std::vector<CacheObject*> released;
    bool any = false;
    {
        kernel::MutexGuard guard(tree_lock_);
        tree_.split(start, ExCache::hold_source);
        tree_.split(end, ExCache::hold_source);
        auto& all = tree_.all();
        auto first = all.lower_bound(start), last = all.lower_bound(end);
        for (auto it = first; it != last; ++it) {
            any = true;
            if (it->second.source) released.push_back(it->second.source);
        }
        all.erase(first, last);
        changed();
    }
    if (!any) return;
    (void)in_shard_retrying(context_.shard, false, [&] {
        return context_.cache.discard(*space_, start >> kPageShift, (end - start) >> kPageShift);
    });
    for (CacheObject* o : released)
        release(o);
}

Result<posix::UserAddress> RemoteAddressSpace::map(const posix::MapRequest& q) {
    uint64_t length = q.length;
    if (length == 0 || length > posix::kUserEnd || q.offset % kPageSize)
        return Fail(Error::InvalidArgument);
    length = align_up(length, kPageSize);
    if (q.offset > UINT64_MAX - length) return Fail(Error::Overflow);
    if (q.place != MapPlace::Anywhere && !user_range(q.address, length))
        return Fail(q.address % kPageSize ? Error::InvalidArgument : Error::NoMemory);
    if (q.place != MapPlace::Anywhere && q.address < kLowest) return Fail(Error::NotPermitted);

    Vma v;
    v.protection = q.protection;
    v.sharing = q.sharing;
    v.grows_down = q.grows_down;
    v.file = q.file;
    v.offset = q.offset;
    v.file_bytes = q.file_bytes;
    v.name = q.name ? q.name : "";
    if (q.file) {
        v.source = TRY(in_shard_retrying(context_.shard, true, [&] {
            return context_.cache.file_object(vnode_, q.file.id, q.file.generation);
        }));
    } else if (q.sharing == Sharing::Shared) {
        v.source = TRY(in_shard_retrying(context_.shard, true,
                                         [&] { return context_.cache.shared_object(vnode_); }));
        v.offset = 0;
    }
    Result<uint64_t> start;
    {
        kernel::MutexGuard guard(change_);
        start = insert_locked(v, q.address, length, q.place);
    }
    if (!start) {
        release(v.source);
        return start;
    }
    if (q.populate)
        for (uint64_t a = *start; a < *start + length; a += kPageSize)
            if (!fault(a, allows(q.protection, Protection::Write) ? Protection::Write
                                                                  : Protection::Read))
                break; // as Linux: populate is best effort
    return start;
}

// Finds the place and puts the mapping there. change_ is held.
Result<uint64_t> RemoteAddressSpace::insert_locked(Vma& v, uint64_t wanted, uint64_t length,
                                                   MapPlace place) {
    for (;;) {
        {
            kernel::MutexGuard guard(tree_lock_);
            uint64_t at = 0;
            if (place == MapPlace::Anywhere) {
                wanted = align_up(wanted, kPageSize);
                uint64_t n = length;
                if (wanted >= kBottom && user_range(wanted, n) && tree_.free(wanted, wanted + n))
                    at = wanted;
                else
                    at = tree_.find_gap(length, kBottom, kTop);
                if (at == 0) return Fail(Error::NoMemory);
            } else if (tree_.free(wanted, wanted + length)) {
                at = wanted;
            } else if (place == MapPlace::FixedNoReplace) {
                return Fail(Error::Exists);
            }
            if (at) {
                v.start = at;
                v.end = at + length;
                tree_.insert(v);
                changed();
                return at;
            }
        }
        unmap_locked(wanted, wanted + length); // Fixed: what was there goes
    }
}

Result<void> RemoteAddressSpace::unmap(UserAddress address, uint64_t length) {
    if (!user_range(address, length)) return Fail(Error::InvalidArgument);
    kernel::MutexGuard guard(change_);
    unmap_locked(address, address + length);
    return {};
}

Result<void> RemoteAddressSpace::protect(UserAddress address, uint64_t length, Protection p) {
    if (address % kPageSize) return Fail(Error::InvalidArgument);
    if (length == 0) return {};
    if (!user_range(address, length)) return Fail(Error::NoMemory);
    kernel::MutexGuard guard(change_);
    bool narrower = false;
    {
        kernel::MutexGuard tree(tree_lock_);
        if (!tree_.covered(address, address + length)) return Fail(Error::NoMemory);
        tree_.split(address, ExCache::hold_source);
        tree_.split(address + length, ExCache::hold_source);
        auto& all = tree_.all();
        for (auto it = all.lower_bound(address); it != all.end() && it->first < address + length;
             ++it) {
            narrower |= !allows(p, it->second.protection);
            it->second.protection = p;
        }
        changed();
    }
    if (narrower)
        in_shard(context_.shard, [&] {
            context_.cache.unmap(*space_, address >> kPageShift, length >> kPageShift);
            return true;
        });
    return {};
}

Result<posix::UserAddress> RemoteAddressSpace::remap(UserAddress address, uint64_t old_length,
                                                     uint64_t new_length, bool may_move, bool fixed,
                                                     UserAddress to) {
    if (!user_range(address, old_length) || new_length == 0 || new_length > posix::kUserEnd)
        return Fail(Error::InvalidArgument);
    new_length = align_up(new_length, kPageSize);
    if (fixed) {
        uint64_t n = new_length;
        if (!may_move || !user_range(to, n) || to < kLowest) return Fail(Error::InvalidArgument);
        if (to < address + old_length && address < to + new_length)
            return Fail(Error::InvalidArgument);
    }
    kernel::MutexGuard guard(change_);
    Vma moved;
    {
        kernel::MutexGuard tree(tree_lock_);
        Vma* v = tree_.find(address);
        if (!v || v->end < address + old_length) return Fail(Error::BadAddress);
        bool at_end = v->end == address + old_length;
        if (!fixed && new_length > old_length && at_end) {
            uint64_t end = address + new_length;
            if (end <= posix::kUserEnd && tree_.free(v->end, end)) {
                v->end = end;
                changed();
                return address;
            }
        }
        moved = *v;
    }
    if (new_length < old_length) {
        unmap_locked(address + new_length, address + old_length);
        old_length = new_length;
    }
    if (!fixed && new_length == old_length) return address;
    if (!may_move) return Fail(Error::NoMemory);

    uint64_t delta = address - moved.start;
    moved.offset += delta;
    if (moved.file_bytes != UINT64_MAX) moved.file_bytes -= std::min(moved.file_bytes, delta);
    moved.grows_down = false;
    if (moved.source) ExCache::hold(*moved.source);
    auto target =
        insert_locked(moved, to, new_length, fixed ? MapPlace::Fixed : MapPlace::Anywhere);
    if (!target) {
        release(moved.source);
        return target;
    }
    // The pages go before the old mapping does: unmapping it then finds nothing of them left.
    auto ok = in_shard_retrying(context_.shard, false, [&] {
        return context_.cache.move(*space_, address >> kPageShift, old_length >> kPageShift,
                                   *target >> kPageShift);
    });
    unmap_locked(address, address + old_length);
    if (!ok) return Fail(ok.error());
    return target;
}

Result<void> RemoteAddressSpace::advise(UserAddress address, uint64_t length, posix::Advice a) {
    if (address % kPageSize) return Fail(Error::InvalidArgument);
    if (length == 0) return {};
    if (!user_range(address, length)) return Fail(Error::NoMemory);
    kernel::MutexGuard guard(change_);
    {
        kernel::MutexGuard tree(tree_lock_);
        if (!tree_.covered(address, address + length)) return Fail(Error::NoMemory);
    }
    if (a != posix::Advice::DontNeed) return {};
    // Private pages of the range become absent; shared mappings only lose their translations.
    return in_shard_retrying(context_.shard, true, [&] {
        return context_.cache.discard(*space_, address >> kPageShift, length >> kPageShift);
    });
}

Result<void> RemoteAddressSpace::sync(UserAddress address, uint64_t length) {
    if (address % kPageSize) return Fail(Error::InvalidArgument);
    if (length == 0) return {};
    if (!user_range(address, length)) return Fail(Error::NoMemory);
    std::vector<posix::FileRef> files;
    {
        kernel::MutexGuard tree(tree_lock_);
        if (!tree_.covered(address, address + length)) return Fail(Error::NoMemory);
        for (auto& [start, v] : tree_.all())
            if (v.file && v.sharing == Sharing::Shared && v.end > address &&
                v.start < address + length)
                files.push_back(v.file);
    }
    Nanos deadline = kernel::Thread::now() + kPageDeadline;
    for (const posix::FileRef& f : files) {
        while (in_shard(context_.shard, [&] {
                   return context_.cache.flush_file(vnode_, f.id, f.generation);
               }) > 0) {
            if (kernel::Thread::current().killed()) return Fail(Error::Interrupted);
            if (kernel::Thread::now() >= deadline) return Fail(Error::Timeout);
            context_.shard.help();
            kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(1));
        }
    }
    return {};
}

void RemoteAddressSpace::set_brk_start(UserAddress start) {
    kernel::MutexGuard guard(change_);
    brk_start_ = brk_ = start;
}

posix::UserAddress RemoteAddressSpace::brk(UserAddress wanted) {
    kernel::MutexGuard guard(change_);
    if (wanted < brk_start_ || wanted >= kTop) return brk_;
    uint64_t from = align_up(brk_, kPageSize), to = align_up(wanted, kPageSize);
    if (to < from) {
        unmap_locked(to, from);
    } else if (to > from) {
        kernel::MutexGuard tree(tree_lock_);
        if (!tree_.free(from, to + kPageSize)) return brk_;
        Vma v;
        v.start = from;
        v.end = to;
        v.protection = Protection::Read | Protection::Write;
        v.name = "[heap]";
        tree_.insert(std::move(v));
        changed();
    }
    return brk_ = wanted;
}

Result<Ref<posix::AddressSpace>> RemoteAddressSpace::fork() {
    auto mapper = TRY(context_.mappers.create());
    kernel::MutexGuard guard(change_);
    Space* space = TRY(in_shard_retrying(
        context_.shard, true, [&] { return context_.cache.fork_space(*space_, mapper); }));
    auto* child = new RemoteAddressSpace(context_, vnode_, space);
    kernel::MutexGuard tree(tree_lock_);
    for (auto& [start, v] : tree_.all()) {
        if (v.source) ExCache::hold(*v.source);
        child->tree_.all().emplace(start, v);
    }
    child->brk_start_ = brk_start_;
    child->brk_ = brk_;
    return Ref<posix::AddressSpace>(child);
}

void RemoteAddressSpace::for_each_mapping(Function<void(const posix::Mapping&)> visit) {
    std::vector<posix::Mapping> copy; // visit may do anything
    {
        kernel::MutexGuard tree(tree_lock_);
        for (auto& [start, v] : tree_.all())
            copy.push_back({v.start, v.end, v.protection, v.sharing, v.file, v.offset, v.name});
    }
    for (const posix::Mapping& m : copy)
        visit(m);
}

posix::MemoryUse RemoteAddressSpace::use() const {
    posix::MemoryUse u;
    kernel::MutexGuard tree(tree_lock_);
    u.virtual_pages = tree_.total_pages();
    if (destroyed_) return u;
    u.resident_lines = space_->resident.load(std::memory_order_relaxed);
    u.faults = space_->faults.load(std::memory_order_relaxed);
    u.remote_faults = space_->remote_faults.load(std::memory_order_relaxed);
    return u;
}

void RemoteAddressSpace::activate() {
    space_->mapper->activate();
}

void RemoteAddressSpace::leave() {
    space_->mapper->leave();
}

void RemoteAddressSpace::destroy() {
    kernel::MutexGuard guard(change_);
    std::vector<CacheObject*> released;
    {
        kernel::MutexGuard tree(tree_lock_);
        if (std::exchange(destroyed_, true)) return;
        for (auto& [start, v] : tree_.all())
            if (v.source) released.push_back(v.source);
        tree_.all().clear();
        changed();
    }
    (void)in_shard_retrying(context_.shard, false,
                            [&] { return context_.cache.destroy_space(*space_); });
    space_ = nullptr;
    for (CacheObject* o : released)
        release(o);
}

} // namespace tessera::pmon
