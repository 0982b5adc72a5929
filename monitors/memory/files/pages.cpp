// Pages of cached files: reading them in, making them writable, dropping them.
#include <algorithm>

#include "monitors/memory/files/file_home.hpp"
#include "monitors/memory/files/home_operation.hpp"

namespace tessera::mmon {

using namespace schema;

namespace {
constexpr uint64_t kRunPages = kMaxFileData / kPageSize;
}

Result<bool> FileHome::need_pages(CachedFile& f, uint64_t first, uint64_t last) {
    uint64_t stored_end = (f.stored_size + kPageSize - 1) / kPageSize; // no page from here on
    bool all_here = true;
    for (uint64_t p = first; p <= last && p < stored_end; p++) {
        auto at = f.pages.find(PageNo(p));
        if (at != f.pages.end()) {
            if (!at->second.frame) all_here = false; // on its way
            continue;
        }
        all_here = false;
        // Read the aligned window around it, as far as nothing of it is here.
        uint64_t from = p;
        uint64_t to = std::min(stored_end, align_down(p, kRunPages) + kRunPages);
        uint64_t count = 1;
        while (from + count < to && !f.pages.contains(PageNo(from + count)))
            count++;
        TRY(read_run(f, from, count));
    }
    return all_here;
}

Result<void> FileHome::read_run(CachedFile& f, uint64_t first, uint64_t count) {
    rpc::Peer* store = store_of(f);
    if (!store) return std::unexpected(Error::Disconnected);
    for (uint64_t p = first; p < first + count; p++)
        f.pages[PageNo(p)] = CachedPage{};
    f.under_way++;
    StoreData h;
    h.target.vnode = f.key.vnode.value;
    h.target.file.id = f.key.id.value;
    h.target.file.generation = f.key.generation.value;
    h.offset = first * kPageSize;
    h.length = static_cast<uint32_t>(count * kPageSize);
    store->call(kStoreRead, bytes_of(h), {}, store_call(),
                [this, key = f.key, first, count](Result<Bytes> r) {
                    CachedFile& f = *find(key);
                    f.under_way--;
                    Error error = r ? Error::NoMemory : r.error();
                    bool failed = !r;
                    for (uint64_t i = 0; i < count; i++) {
                        auto at = f.pages.find(PageNo(first + i));
                        if (at == f.pages.end() || at->second.frame) continue;
                        Result<env::FrameNo> frame =
                            failed ? Result<env::FrameNo>(std::unexpected(error))
                                   : new_frame(options_.reserved_frames / 2);
                        if (!frame) {
                            f.pages.erase(at);
                            failed = true;
                            continue;
                        }
                        MutableBytes bytes = frames_.bytes(*frame);
                        size_t offset = i * kPageSize;
                        size_t n = r->size() > offset ? std::min(kPageSize, r->size() - offset) : 0;
                        if (n) std::memcpy(bytes.data(), r->data() + offset, n);
                        std::memset(bytes.data() + n, 0, kPageSize - n);
                        at->second.frame = *frame;
                        counters_.pages_read++;
                        counters_.cached_pages++;
                    }
                    wake(f, error, failed);
                });
    return {};
}

Result<env::FrameNo> FileHome::new_frame(uint64_t kept_free) {
    if (frames_.counts().free <= kept_free && shrink(64) == 0)
        return std::unexpected(Error::NoMemory);
    return frames_.allocate();
}

// The page's bytes, in a frame nobody else reads; the old frame goes to who shares it.
Result<MutableBytes> FileHome::writable(CachedFile&, CachedPage& page) {
    if (page.frame && frames_.shares(page.frame) == 1 && !page.sending)
        return frames_.bytes(page.frame);
    env::FrameNo fresh = TRY(new_frame());
    MutableBytes bytes = frames_.bytes(fresh);
    if (page.frame) {
        std::memcpy(bytes.data(), frames_.bytes(page.frame).data(), kPageSize);
        frames_.release(page.frame);
    } else {
        std::memset(bytes.data(), 0, kPageSize);
        counters_.cached_pages++;
    }
    page.frame = fresh;
    return bytes;
}

void FileHome::mark_dirty(CachedFile& f, CachedPage& page) {
    if (!page.changed) {
        f.dirty_pages++;
        counters_.dirty_pages++;
    }
    page.changed = ++change_;
    reserve(f, page);
    if (f.dirty_since == kNever) f.dirty_since = clock_.now();
    take_hold(f);
}

void FileHome::mark_size_dirty(CachedFile& f) {
    f.size_changed = ++change_;
    if (f.dirty_since == kNever) f.dirty_since = clock_.now();
    take_hold(f);
}

void FileHome::drop_page(CachedFile& f, std::map<PageNo, CachedPage>::iterator at) {
    if (at->second.frame) {
        frames_.release(at->second.frame);
        counters_.cached_pages--;
        counters_.pages_dropped++;
    }
    unreserve(f, at->second);
    if (at->second.changed) {
        f.dirty_pages--;
        counters_.dirty_pages--;
    }
    f.pages.erase(at);
}

// Called when nothing of the file is being sent or read: the new end's page keeps its first bytes
// only.
void FileHome::truncate_pages(CachedFile& f, uint64_t size) {
    auto beyond = f.pages.lower_bound(PageNo((size + kPageSize - 1) / kPageSize));
    while (beyond != f.pages.end()) {
        auto next = std::next(beyond);
        drop_page(f, beyond);
        beyond = next;
    }
    if (size % kPageSize == 0) return;
    auto last = f.pages.find(PageNo(size / kPageSize));
    if (last == f.pages.end()) return;
    Result<MutableBytes> bytes = writable(f, last->second);
    if (!bytes) return drop_page(f, last); // the store's copy is truncated already
    std::memset(bytes->data() + size % kPageSize, 0, kPageSize - size % kPageSize);
}

uint64_t FileHome::blocks_to_come(const CachedFile& f) const {
    uint64_t n = 0;
    PageNo end((f.stored_size + kPageSize - 1) / kPageSize);
    for (auto at = f.pages.lower_bound(end); at != f.pages.end(); ++at)
        n += at->second.changed != 0;
    return n * (kPageSize / 512);
}

uint64_t FileHome::shrink(uint64_t wanted) {
    uint64_t freed = 0;
    for (CachedFile& f : recent_) {
        if (freed >= wanted) break;
        for (auto at = f.pages.begin(); at != f.pages.end() && freed < wanted;) {
            auto next = std::next(at);
            const CachedPage& p = at->second;
            if (p.frame && !p.changed && !p.sending && frames_.shares(p.frame) == 1) {
                drop_page(f, at);
                freed++;
            }
            at = next;
        }
        if (f.waiting.empty()) forget_if_idle(f);
    }
    return freed;
}

bool FileHome::over_limit(unsigned part_of_eight) const {
    return counters_.dirty_pages * 8 > frames_.counts().total * part_of_eight;
}

} // namespace tessera::mmon
