// ExCache: from a wish for a page to the page.
#include <cstring>

#include "monitors/process/core/excache.hpp"

namespace tessera::pmon {

using Where = PageRequest::Where;
using Mode = PageRequest::Mode;

namespace {
bool wants_write(const PageRequest& r) {
    return r.mode == Mode::WritePin || (r.mode == Mode::Map && r.write);
}
} // namespace

void ExCache::request(PageRequest& r) {
    ASSERT(r.where == Where::Idle && r.space);
    counters_.requests++;
    r.space->requests++;
    park(r, later_, Where::Later);
    run();
}

void ExCache::cancel(PageRequest& r) {
    if (r.where == Where::Idle) return;
    finish(r, Fail(Error::Cancelled));
    run();
}

// Resolves whatever has become resolvable. Every entry into the cache ends here; it never nests.
void ExCache::run() {
    if (running_) return;
    running_ = true;
    for (;;) {
        while (PageRequest* r = later_.pop_front()) {
            r->where = Where::Idle;
            resolve(*r);
        }
        balance();
        if (for_line_.empty() || !line_available()) break;
        // One look at each: some wait for more than a line (an owner with too much that is dirty).
        size_t waiting = for_line_.count(), before = waiting;
        for (; waiting > 0 && line_available() && !for_line_.empty(); waiting--) {
            PageRequest* r = for_line_.pop_front();
            r->where = Where::Idle;
            resolve(*r);
        }
        if (later_.empty() && for_line_.count() >= before) break;
    }
    sweep();
    running_ = false;
}

void ExCache::park(PageRequest& r, Waiting& list, Where where) {
    r.where = where;
    list.push_back(r);
}

void ExCache::wake(Waiting& list) {
    while (PageRequest* r = list.pop_front())
        park(*r, later_, Where::Later);
}

void ExCache::finish(PageRequest& r, Result<void> how) {
    if (r.where != Where::Idle) r.link.unlink();
    r.where = Where::Idle;
    r.space->requests--;
    r.done(how); // r may be gone now
}

void ExCache::resolve(PageRequest& r) {
    if (r.space->dying) return finish(r, Fail(Error::Cancelled));
    if (r.generation != r.space->generation.load(std::memory_order_acquire))
        return finish(r, Fail(Error::Again));
    CacheObject& own = *r.space->object;
    if (r.source && !r.private_copy) return resolve_object(r, *r.source, r.source_page);
    if (own.lost) return finish(r, Fail(Error::Lost));
    if (!r.source || !entry(own, r.page).absent()) return resolve_object(r, own, r.page);
    resolve_source(r);
}

void ExCache::resolve_object(PageRequest& r, CacheObject& o, uint64_t page) {
    if (o.lost) return finish(r, Fail(Error::Lost));
    PageEntry e = entry(o, page);
    if (e.in_line()) return resolve_line(r, o, page, line(e.line()));
    if (!e.remote() && o.kind != ObjectKind::File) return zero_fill(r, o, page);
    Line* l = start_fill(o, page);
    if (!l) return park(r, for_line_, Where::ForLine), void(counters_.waits++);
    r.remote = true;
    park(r, l->waiters, Where::OnLine);
}

void ExCache::resolve_line(PageRequest& r, CacheObject& o, uint64_t page, Line& found) {
    Line* l = &found;
    if (l->standby) {
        leave_standby(*l);
        counters_.rescues++;
    }
    l->referenced = true;
    if (l->prefetched) {
        l->prefetched = false;
        counters_.prefetch_hits++;
    }
    if (l->state == LineState::Filling) {
        r.remote = true;
        return park(r, l->waiters, Where::OnLine);
    }
    counters_.hits++;
    if (wants_write(r) && !(l = make_writable(r, o, page, *l))) return; // parked
    finish_with(r, *l);
}

// A private mapping of a file whose page has not been written: the file's own line serves reads.
void ExCache::resolve_source(PageRequest& r) {
    CacheObject& o = *r.source;
    if (!wants_write(r) && r.source_bytes >= kPageSize) return resolve_object(r, o, r.source_page);
    if (o.lost) return finish(r, Fail(Error::Lost));
    PageEntry e = entry(o, r.source_page);
    if (e.in_line()) {
        Line& l = line(e.line());
        if (l.standby) leave_standby(l);
        l.referenced = true;
        if (l.state != LineState::Filling) return copy_source(r, l);
        r.remote = true;
        return park(r, l.waiters, Where::OnLine);
    }
    Line* l = start_fill(o, r.source_page);
    if (!l) return park(r, for_line_, Where::ForLine), void(counters_.waits++);
    r.remote = true;
    park(r, l->waiters, Where::OnLine);
}

// A dirty line that is named (o, page) from now on, or null: the request was parked or has failed.
Line* ExCache::new_dirty_line(PageRequest& r, CacheObject& o, uint64_t page, bool needs_credit) {
    if (too_dirty(*o.client) || !line_available()) {
        counters_.waits++;
        park(r, for_line_, Where::ForLine);
        return nullptr;
    }
    if (needs_credit && !o.client->take_credit()) {
        counters_.credit_waits++;
        park(r, for_credit_, Where::ForCredit);
        return nullptr;
    }
    Line* l = take_line();
    if (!l) { // the machine itself has no frame and nothing is on standby
        if (needs_credit) o.client->put_credit(1);
        counters_.waits++;
        park(r, for_line_, Where::ForLine);
        return nullptr;
    }
    if (r.space->object == &o) unmap_page(*r.space, r.page); // the page it had so far
    PageEntry e = entry(o, page);
    if (e.in_line()) remove_name(line(e.line()), o, page);
    l->client = o.client;
    l->credit = needs_credit;
    l->referenced = true;
    set_state(*l, LineState::Dirty);
    add_name(*l, o, page);
    return l;
}

void ExCache::zero_fill(PageRequest& r, CacheObject& o, uint64_t page) {
    Line* l = new_dirty_line(r, o, page, true);
    if (!l) return;
    counters_.misses++;
    counters_.zero_fills++;
    std::memset(frames_.bytes(l->frame).data(), 0, kPageSize);
    o.client->want_grant(o.id, PageNo(page));
    finish_with(r, *l);
}

void ExCache::copy_source(PageRequest& r, Line& source) {
    // The source must not be what take_line() finds; it is not on standby, so it is not.
    Line* l = new_dirty_line(r, *r.space->object, r.page, true);
    if (!l) return;
    counters_.copies++;
    std::byte* to = frames_.bytes(l->frame).data();
    size_t n = r.source_bytes < kPageSize ? r.source_bytes : kPageSize;
    std::memcpy(to, frames_.bytes(source.frame).data(), n);
    std::memset(to + n, 0, kPageSize - n);
    r.space->object->client->want_grant(r.space->object->id, PageNo(r.page));
    finish_with(r, *l);
}

// A line of (o, page) that may be written now: dirty, with this one name, not on its way out. Null:
// the request was parked.
Line* ExCache::make_writable(PageRequest& r, CacheObject& o, uint64_t page, Line& l) {
    PageEntry e = entry(o, page);
    bool alone = !l.names->next;
    if (alone && l.state == LineState::Dirty) return &l;
    if (alone && l.state == LineState::Clean) {
        if (too_dirty(*o.client)) {
            counters_.waits++;
            park(r, for_line_, Where::ForLine);
            return nullptr;
        }
        if (e.shared() && !l.credit) {
            if (!o.client->take_credit()) {
                counters_.credit_waits++;
                park(r, for_credit_, Where::ForCredit);
                return nullptr;
            }
            l.credit = true;
        }
        set_state(l, LineState::Dirty);
        return &l;
    }
    if (o.kind == ObjectKind::File) { // being stored: what was sent was copied, but one at a time
        park(r, l.waiters, Where::OnLine);
        return nullptr;
    }
    // Shared with other names (copy-on-write) or being sent: the writer gets a line of its own. If
    // it is only being sent, its new version will replace what arrives, which costs nothing more,
    // unless a fork came after it.
    bool sending = l.state == LineState::Writing;
    bool needs_credit = !alone || (e.shared() && o.forked > l.write);
    Sequence blocked = sending ? l.write : l.blocked_until;
    l.read_pins++; // stays while its name moves
    Line* fresh = new_dirty_line(r, o, page, needs_credit);
    l.read_pins--;
    if (fresh) {
        fresh->blocked_until = blocked;
        std::memcpy(frames_.bytes(fresh->frame).data(), frames_.bytes(l.frame).data(), kPageSize);
        counters_.copies++;
        if (!l.names) after_unnamed(l);
    }
    return fresh;
}

void ExCache::finish_with(PageRequest& r, Line& l) {
    if (r.remote) r.space->remote_faults.fetch_add(1, std::memory_order_relaxed);
    if (r.mode == Mode::Map) {
        env::PageRights rights = r.rights;
        bool private_page = l.names->object == r.space->object || !r.private_copy;
        rights.write =
            rights.write && l.state == LineState::Dirty && !l.names->next && private_page;
        ASSERT(!r.write || rights.write || !r.rights.write);
        return finish(r, map_line(*r.space, r.page, l, rights));
    }
    r.line = l.id;
    r.frame = l.frame;
    pins_++;
    if (r.mode == Mode::WritePin) {
        l.write_pins++;
        r.space->write_pins++;
    } else {
        l.read_pins++;
    }
    finish(r, {});
}

void ExCache::unpin(LineId id, Mode mode, Space& space) {
    Line& l = line(id);
    pins_--;
    if (mode == Mode::WritePin) {
        ASSERT(l.write_pins > 0);
        l.write_pins--;
        space.write_pins--;
    } else {
        ASSERT(l.read_pins > 0);
        l.read_pins--;
    }
    if (!l.names) after_unnamed(l);
    if (l.read_pins == 0 && l.write_pins == 0) exhausted_ = false;
    run();
}

} // namespace tessera::pmon
