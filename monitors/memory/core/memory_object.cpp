#include "monitors/memory/core/memory_object.hpp"

#include <algorithm>
#include <array>

#include "monitors/memory/core/session.hpp"

namespace tessera::mmon {

using env::FrameNo;

MemoryObject::~MemoryObject() {
    while (!discard_some(1024)) {
    }
}

// Puts `frame` (or nothing) at `page`; what was there loses this user.
void MemoryObject::replace(uint64_t page, FrameNo frame) {
    FrameNo old(pages_.set(page, frame.value));
    if (old) ledger_.drop(account_, old);
}

Result<void> MemoryObject::swap_in(uint64_t page, FrameNo frame, uint64_t& credits) {
    FrameNo old(pages_.get(page));
    bool grows = !old || ledger_.users(old) > 1;
    if (grows) {
        if (credits == 0) return Fail(Error::NoMemory);
        credits--;
        ledger_.consume_credit(account_);
        replace(page, frame);
    } else {
        // One frame for another: the account stays as it is.
        pages_.set(page, frame.value);
        ledger_.pool().release(old);
    }
    return {};
}

void MemoryObject::discard(uint64_t first, uint64_t pages) {
    if (pages == 0) return;
    uint64_t last = pages > UINT64_MAX - first ? UINT64_MAX : first + pages - 1;
    std::array<uint64_t, 64> keys;
    for (;;) {
        size_t n = 0;
        pages_.visit(first, last, [&](uint64_t key, uint64_t&) {
            keys[n++] = key;
            return n < keys.size();
        });
        for (size_t i = 0; i < n; i++)
            replace(keys[i], {});
        if (n < keys.size()) return;
    }
}

bool MemoryObject::discard_some(uint64_t most) {
    std::array<uint64_t, 64> keys;
    while (most > 0 && !pages_.empty()) {
        size_t n = 0, wanted = std::min<uint64_t>(most, keys.size());
        pages_.visit_all([&](uint64_t key, uint64_t&) {
            keys[n++] = key;
            return n < wanted;
        });
        for (size_t i = 0; i < n; i++)
            replace(keys[i], {});
        most -= n;
    }
    return pages_.empty();
}

void MemoryObject::share_all_from(MemoryObject& parent) {
    parent.pages_.visit_all([&](uint64_t key, uint64_t& value) {
        ledger_.share(FrameNo(value));
        replace(key, FrameNo(value));
        return true;
    });
}

void MemoryObject::share_page_from(MemoryObject& from, uint64_t page, uint64_t to) {
    FrameNo f(from.pages_.get(page));
    if (f) ledger_.share(f);
    replace(to, f);
}

void MemoryObject::move(uint64_t first, uint64_t pages, uint64_t to) {
    if (pages == 0 || first == to) return;
    // Pages are taken out first, so that the target may overlap the source.
    std::vector<std::pair<uint64_t, uint64_t>> taken;
    pages_.visit(first, first + pages - 1, [&](uint64_t key, uint64_t& value) {
        taken.emplace_back(key - first + to, value);
        return true;
    });
    for (auto& [key, value] : taken)
        pages_.set(key - to + first, 0);
    discard(to, pages);
    for (auto& [key, value] : taken)
        replace(key, FrameNo(value));
}

Result<roce::RegionBackend::ReadPiece> Vregion::read(roce::Qp& qp, uint64_t address,
                                                     size_t length) {
    if (!session_.owns(qp)) return Fail(Error::NotPermitted);
    FrameNo f = object_.frame(address >> kPageShift);
    if (!f) return Fail(Error::NotFound); // P reads only what it knows to be present
    size_t offset = address & (kPageSize - 1);
    size_t n = std::min(length, kPageSize - offset);
    session_.count_read();
    return ReadPiece{session_.ledger().pool().bytes(f).subspan(offset, n),
                     session_.ledger().lend(f)};
}

Result<roce::RegionBackend::WriteTarget> Vregion::begin_write(roce::Qp& qp, uint64_t address,
                                                              size_t length) {
    if (!session_.owns(qp)) return Fail(Error::NotPermitted);
    if (length != kPageSize || address % kPageSize != 0) return Fail(Error::InvalidArgument);
    if (!gathering_) gathering_ = TRY(session_.ledger().transit_frame());
    gathering_page_ = address >> kPageShift;
    return WriteTarget{session_.ledger().pool().bytes(gathering_), gathering_.value};
}

Result<void> Vregion::finish_write(roce::Qp& qp, uint64_t token,
                                   std::optional<uint32_t> immediate) {
    if (FrameNo(token) != gathering_ || !gathering_) return Fail(Error::InvalidArgument);
    FrameNo f = std::exchange(gathering_, {});
    if (!immediate || !session_.owns(qp)) { // only counted writes are in the protocol
        session_.ledger().pool().release(f);
        return Fail(Error::InvalidArgument);
    }
    session_.execute_write(object_, gathering_page_, f);
    return {};
}

void Vregion::abort_write(roce::Qp&, uint64_t token) {
    if (FrameNo(token) == gathering_) forget_write();
}

void Vregion::forget_write() {
    if (gathering_) session_.ledger().pool().release(std::exchange(gathering_, {}));
}

} // namespace tessera::mmon
