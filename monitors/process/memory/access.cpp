// RemoteAddressSpace: faults, and copies to and from user memory.
//
// Copies go through the frames of pinned lines, so they work for any address space in any thread
// and never fault. Each page is looked up, pinned, copied and unpinned; no lock is held meanwhile.
#include <algorithm>
#include <atomic>

#include "monitors/process/memory/address_space_impl.hpp"
#include "monitors/process/memory/in_shard.hpp"

namespace tessera::pmon {

using kernel::Interruptible;
using kernel::Wake;

namespace {
constexpr uint64_t kStackMost = mib(8);
constexpr uint64_t kStackGuard = 256 * kPageSize; // between a growing stack and what is below it

bool permits(posix::Protection have, posix::Protection access) {
    // x86: what can be written or executed can be read.
    if (access == posix::Protection::Read || access == posix::Protection::None)
        return have != posix::Protection::None;
    return allows(have, access);
}
} // namespace

// Waits until the shard has answered. On kill or deadline the request is taken back first.
Result<void> RemoteAddressSpace::ask(PageRequest& r) {
    struct Frame {
        kernel::Event answered;
        Result<void> how;
    } frame;
    r.done = [&frame](Result<void> how) {
        frame.how = how;
        frame.answered.signal();
    };
    ExCache& cache = context_.cache;
    post_until_taken(context_.shard,
                     [&] { return env::Shard::Job([&cache, &r] { cache.request(r); }); });
    if (frame.answered.try_take()) return frame.how;
    context_.shard.help();
    Wake w = frame.answered.wait(kernel::Thread::now() + kPageDeadline, Interruptible::KillOnly);
    if (w == Wake::Event) return frame.how;
    in_shard(context_.shard, [&] {
        cache.cancel(r);
        return true;
    });
    while (frame.answered.wait(kNever, Interruptible::No) != Wake::Event) {
    }
    if (!frame.how && frame.how.error() == Error::Cancelled)
        return Fail(w == Wake::Kicked ? Error::Interrupted : Error::Timeout);
    return frame.how;
}

// tree_lock_ is held. Extends a stack down to `address` if that is what lies above it.
Vma* RemoteAddressSpace::grow_stack(uint64_t address) {
    Vma* v = tree_.next(address);
    uint64_t page = align_down(address, kPageSize);
    if (!v || !v->grows_down || v->source || v->end - page > kStackMost) return nullptr;
    Vma* below = tree_.before(v->start);
    if (below && below->end + kStackGuard > page) return nullptr;
    Vma grown = *v;
    tree_.all().erase(v->start);
    grown.start = page;
    return &tree_.all().emplace(page, std::move(grown)).first->second;
}

// Looks the mapping up, asks for the page, and does both again if the mapping changed meanwhile.
Result<void> RemoteAddressSpace::page(UserAddress address, Protection access, PageRequest& r) {
    if (address >= posix::kUserEnd) return Fail(Error::BadAddress);
    Nanos deadline = kernel::Thread::now() + kPageDeadline;
    uint64_t at = align_down(address, kPageSize);
    r.space = space_;
    r.page = at >> kPageShift;
    r.write = access == Protection::Write;
    for (;;) {
        {
            kernel::MutexGuard tree(tree_lock_);
            if (destroyed_) return Fail(Error::BadAddress);
            Vma* v = tree_.find(address);
            if (!v) v = grow_stack(address);
            if (!v) return Fail(Error::BadAddress);
            if (!permits(v->protection, access)) return Fail(Error::AccessDenied);
            r.generation = space_->generation.load(std::memory_order_acquire);
            r.rights = {true, allows(v->protection, Protection::Write),
                        allows(v->protection, Protection::Execute)};
            uint64_t delta = at - v->start;
            r.source = v->source;
            r.private_copy = v->sharing == posix::Sharing::Private;
            r.source_bytes = kPageSize;
            if (v->source) {
                r.source_page = (v->offset + delta) >> kPageShift;
                if (delta >= v->file_bytes)
                    r.source = nullptr;
                else if (v->file_bytes - delta < kPageSize)
                    r.source_bytes = static_cast<uint32_t>(v->file_bytes - delta);
            }
        }
        auto how = ask(r);
        if (how || how.error() != Error::Again) return how;
        if (kernel::Thread::now() >= deadline) return Fail(Error::Timeout);
    }
}

Result<void> RemoteAddressSpace::fault(UserAddress address, Protection access) {
    PageRequest r;
    r.mode = PageRequest::Mode::Map;
    if (space_) space_->faults.fetch_add(1, std::memory_order_relaxed);
    Nanos start = kernel::Thread::now();
    Result<void> how = page(address, access, r);
    if (how && r.remote && !r.source)
        context_.cache.remote_fault_times().record(kernel::Thread::now() - start);
    return how;
}

// Calls f(page bytes from `address` on) with the line held.
template <typename F>
Result<void> RemoteAddressSpace::with_pinned(UserAddress address, bool write, F&& f) {
    PageRequest r;
    r.mode = write ? PageRequest::Mode::WritePin : PageRequest::Mode::ReadPin;
    if (auto ok = page(address, write ? Protection::Write : Protection::Read, r); !ok)
        return Fail(ok.error() == Error::AccessDenied ? Error::BadAddress : ok.error());
    f(context_.frames.bytes(r.frame).subspan(address & (kPageSize - 1)));
    ExCache& cache = context_.cache;
    // Waits: destroy() counts on every pin being gone.
    in_shard(context_.shard, [&] {
        cache.unpin(r.line, r.mode, *space_);
        return true;
    });
    return {};
}

Result<void> RemoteAddressSpace::read(UserAddress from, MutableBytes to) {
    while (!to.empty()) {
        size_t n = std::min<size_t>(to.size(), kPageSize - (from & (kPageSize - 1)));
        TRY(with_pinned(from, false,
                        [&](MutableBytes page) { std::memcpy(to.data(), page.data(), n); }));
        to = to.subspan(n);
        from += n;
    }
    return {};
}

Result<void> RemoteAddressSpace::write(UserAddress to, Bytes from) {
    while (!from.empty()) {
        size_t n = std::min<size_t>(from.size(), kPageSize - (to & (kPageSize - 1)));
        TRY(with_pinned(to, true,
                        [&](MutableBytes page) { std::memcpy(page.data(), from.data(), n); }));
        from = from.subspan(n);
        to += n;
    }
    return {};
}

Result<std::string> RemoteAddressSpace::read_string(UserAddress from, size_t most) {
    std::string text;
    for (;;) {
        bool ended = false;
        TRY(with_pinned(from, false, [&](MutableBytes page) {
            size_t n = 0, limit = std::min(page.size(), most + 1 - text.size());
            while (n < limit && page[n] != std::byte{0})
                n++;
            ended = n < limit;
            text.append(reinterpret_cast<const char*>(page.data()), n);
            from += n;
        }));
        if (ended) return text;
        if (text.size() > most) return Fail(Error::TooBig);
    }
}

Result<uint32_t> RemoteAddressSpace::load_word(UserAddress a) {
    if (a % 4) return Fail(Error::InvalidArgument);
    uint32_t value = 0;
    TRY(with_pinned(a, false, [&](MutableBytes page) {
        value = std::atomic_ref(*reinterpret_cast<uint32_t*>(page.data())).load();
    }));
    return value;
}

Result<bool> RemoteAddressSpace::compare_exchange_word(UserAddress a, uint32_t& expected,
                                                       uint32_t desired) {
    if (a % 4) return Fail(Error::InvalidArgument);
    bool done = false;
    TRY(with_pinned(a, true, [&](MutableBytes page) {
        std::atomic_ref word(*reinterpret_cast<uint32_t*>(page.data()));
        done = word.compare_exchange_strong(expected, desired);
    }));
    return done;
}

Result<posix::AddressSpace::WordKey> RemoteAddressSpace::word_key(UserAddress a,
                                                                  bool process_private) {
    if (a % 4) return Fail(Error::InvalidArgument);
    kernel::MutexGuard tree(tree_lock_);
    Vma* v = destroyed_ ? nullptr : tree_.find(a);
    if (!v) return Fail(Error::BadAddress);
    if (process_private || !v->source || v->sharing == posix::Sharing::Private)
        return WordKey{space_->object->id.value, a};
    return WordKey{v->source->id.value, v->offset + (a - v->start)};
}

} // namespace tessera::pmon
