// ExCache: lines that are on their way from the owner.
#include <cstring>

#include "monitors/process/core/excache.hpp"

namespace tessera::pmon {

using schema::FetchStatus;

namespace {
constexpr Nanos kRetryRoom = milliseconds(1);
constexpr Nanos kRetryOwner = milliseconds(20);

bool may_pass(Error e) {
    switch (e) {
        case Error::Disconnected:
        case Error::Timeout:
        case Error::Full:
        case Error::Again:
        case Error::Busy:
        case Error::OutcomeUnknown:
        case Error::NoMemory:
            return true;
        default:
            return false;
    }
}
} // namespace

Line* ExCache::filling_line(CacheObject& o, uint64_t page) {
    Line* l = take_line();
    if (!l) return nullptr;
    l->client = o.client;
    l->fill_started = clock_.now();
    set_state(*l, LineState::Filling);
    add_name(*l, o, page);
    return l;
}

// Null: no line is to be had.
Line* ExCache::start_fill(CacheObject& o, uint64_t page) {
    Line* l = filling_line(o, page);
    if (!l) return nullptr;
    counters_.misses++;
    bool sequential = page != 0 && page == o.next_expected;
    o.next_expected = page + 1;
    if (o.kind != ObjectKind::File) {
        issue_fill(*l);
        if (sequential) prefetch(o, page);
        return l;
    }
    std::array<Line*, schema::kMaxFetchPages> lines = {l};
    size_t n = 1;
    while (sequential && n < lines.size() && n < options_.prefetch && entry(o, page + n).absent() &&
           standby_count_ + (limit_ - std::min(limit_, used_)) > clean_target() / 2) {
        Line* more = filling_line(o, page + n);
        if (!more) break;
        more->prefetched = true;
        counters_.prefetches++;
        o.next_expected = page + n + 1;
        lines[n++] = more;
    }
    issue_fetch(std::span<Line* const>(lines.data(), n));
    return l;
}

// Pages of a private object ahead of a sequential miss: only what the owner has, and only while
// there are spare lines.
void ExCache::prefetch(CacheObject& o, uint64_t after) {
    for (uint64_t page = after + 1; page <= after + options_.prefetch; page++) {
        PageEntry e = entry(o, page);
        if (e.in_line()) continue;
        if (!e.remote()) return;
        if (standby_count_ + (limit_ - std::min(limit_, used_)) <= clean_target() / 2) return;
        Line* l = filling_line(o, page);
        if (!l) return;
        l->prefetched = true;
        counters_.prefetches++;
        o.next_expected = page + 1;
        issue_fill(*l);
    }
}

void ExCache::issue_fill(Line& l) {
    CacheObject& o = *l.names->object;
    if (o.kind != ObjectKind::File) {
        auto ok =
            o.client->read(o.id, PageNo(l.names->page), o.structural, frames_.bytes(l.frame), l.id);
        if (ok) return;
        if (ok.error() == Error::Full) return retry_later(l, kRetryRoom);
    }
    Line* one = &l;
    issue_fetch(std::span<Line* const>(&one, 1));
}

bool ExCache::issue_fetch(std::span<Line* const> lines) {
    size_t slot = 0;
    while (slot < fetches_.size() && fetches_[slot].count)
        slot++;
    if (slot == fetches_.size()) fetches_.emplace_back();
    FetchOp& op = fetches_[slot];
    op.count = static_cast<uint32_t>(lines.size());
    op.client = lines[0]->client;
    for (size_t i = 0; i < lines.size(); i++)
        op.lines[i] = lines[i]->id;
    CacheObject& o = *lines[0]->names->object;
    PageNo first(lines[0]->names->page);
    bool file = o.kind == ObjectKind::File;
    auto ok = o.client->fetch(file ? ObjectId{} : o.id, o.file, o.generation, first, op.count,
                              file ? 0 : o.structural, slot);
    if (ok) return true;
    op.count = 0;
    for (Line* l : lines)
        retry_later(*l, kRetryOwner);
    return false;
}

void ExCache::on_read(PageClient&, uint64_t token, Result<void> how) {
    if (how) counters_.remote_reads++;
    filled(line(static_cast<LineId>(token)), how);
    run();
}

void ExCache::on_fetched(PageClient& c, uint64_t token, Result<std::span<const Fetched>> pages) {
    FetchOp op = fetches_[token];
    fetches_[token].count = 0;
    for (uint32_t i = 0; i < op.count; i++) {
        Line& l = line(op.lines[i]);
        Result<void> how;
        if (!pages) {
            how = Fail(pages.error());
        } else if (i >= pages->size()) {
            how = Fail(Error::Again);
        } else {
            const Fetched& f = (*pages)[i];
            bool file = l.names && l.names->object->kind == ObjectKind::File;
            switch (f.status) {
                case FetchStatus::Present:
                    std::memcpy(frames_.bytes(l.frame).data(), f.data.data(), kPageSize);
                    counters_.fetches++;
                    break;
                case FetchStatus::Hole:
                    // A private page that was there and is not any more has been lost.
                    if (l.names && !file)
                        how = Fail(Error::Lost);
                    else
                        std::memset(frames_.bytes(l.frame).data(), 0, kPageSize);
                    break;
                case FetchStatus::End:
                    how = Fail(Error::Range);
                    break;
                case FetchStatus::Lost:
                    how = Fail(Error::Lost);
                    break;
                case FetchStatus::Skipped:
                    how = Fail(Error::Again);
                    break;
                case FetchStatus::Io:
                case FetchStatus::None:
                    how = Fail(Error::Io);
                    break;
            }
        }
        filled(l, how);
    }
    if (!pages && pages.error() == Error::Lost) c.declare_lost(Error::Lost);
    run();
}

void ExCache::filled(Line& l, Result<void> how) {
    ASSERT(l.state == LineState::Filling && !l.retry);
    exhausted_ = false;
    if (!l.names) {
        set_state(l, LineState::Clean);
        return after_unnamed(l);
    }
    bool stale = std::exchange(l.stale, false);
    // An outdated request may also have found nothing where the page was.
    if (stale && (how || (how.error() == Error::Lost && !l.client->lost()))) return issue_fill(l);
    if (how) {
        set_state(l, LineState::Clean);
        return wake(l.waiters);
    }
    Error why = how.error();
    CacheObject& o = *l.names->object;
    if (l.client->lost() ? moves(o) || (o.kind == ObjectKind::File && !o.lost && !o.written)
                         : may_pass(why)) {
        if (clock_.now() - l.fill_started < options_.give_up) return retry_later(l, kRetryOwner);
        why = Error::Timeout;
    }
    while (PageRequest* r = l.waiters.pop_front()) {
        r->where = PageRequest::Where::Idle;
        finish(*r, Fail(why));
    }
    set_state(l, LineState::Clean);
    drop_names(l);
}

void ExCache::retry_later(Line& l, Nanos delay) {
    ASSERT(!l.retry);
    l.retry = true;
    l.retry_at = clock_.now() + delay;
    retrying_.push_back(l);
}

void ExCache::run_retries() {
    if (retrying_.empty()) return;
    Nanos now = clock_.now();
    for (size_t n = retrying_.count(); n > 0 && !retrying_.empty(); n--) {
        Line& l = *retrying_.pop_front();
        if (l.retry_at > now) {
            retrying_.push_back(l);
            continue;
        }
        l.retry = false;
        if (clock_.now() - l.fill_started >= options_.give_up)
            filled(l, Fail(Error::Timeout));
        else
            issue_fill(l);
    }
}

} // namespace tessera::pmon
