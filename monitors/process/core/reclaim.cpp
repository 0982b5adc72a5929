// ExCache: cleaning ahead of need, and what becomes of a line that was written back.
#include <algorithm>

#include "base/log.hpp"
#include "monitors/process/core/excache.hpp"

namespace tessera::pmon {

using schema::StreamKind;

uint32_t ExCache::clean_target() const {
    return std::clamp<uint32_t>(limit_ / 16, 4, 256);
}

uint32_t ExCache::minimum() const {
    return pins_ + 32u * std::max<uint32_t>(options_.runnable, 1);
}

bool ExCache::too_dirty(const PageClient& c) const {
    return c.dirty_lines >= limit_ - limit_ / 4;
}

bool ExCache::candidate(LineId id) {
    Line& l = line(id);
    if (l.standby || l.read_pins || l.write_pins || !l.names) return false;
    if (l.state == LineState::Clean) return !dirty_only_;
    return l.state == LineState::Dirty && !l.client->lost() &&
           l.blocked_until <= l.client->executed() &&
           l.client->in_flight_writes() < options_.write_backs;
}

bool ExCache::test_and_clear_accessed(LineId id) {
    Line& l = line(id);
    bool used = std::exchange(l.referenced, false);
    for (MappedAt* m = l.maps; m; m = m->next)
        used |= m->space->mapper->test_and_clear_accessed(m->page << kPageShift);
    return used;
}

// Keeps a stock of standby lines, so that a fault rarely waits for a write-back; keeps the share of
// dirty lines down; follows a smaller limit.
void ExCache::balance() {
    while (used_ > limit_ && standby_count_ > 0) {
        Line* l = standby_.front();
        counters_.evictions++;
        drop_names(*l);
    }
    if (exhausted_) return;
    uint32_t excess = used_ > limit_ ? used_ - limit_ : 0;
    uint32_t free = used_ < limit_ ? limit_ - used_ : 0;
    unsigned failures = 0;
    auto turn = [&](bool dirty_only) {
        dirty_only_ = dirty_only;
        LineId id = policy_->pick(*this, 2 * used_ + 2);
        dirty_only_ = false;
        if (id == kNoLine) {
            exhausted_ = true;
            return false;
        }
        Line& l = line(id);
        if (l.state == LineState::Clean)
            enter_standby(l);
        else if (!clean(l) && ++failures >= 8)
            exhausted_ = true;
        return !exhausted_;
    };
    uint32_t target = clean_target();
    while (standby_count_ + free + writing_ < target + excess)
        if (!turn(false)) break;
    exhausted_ = false;
    uint32_t most_dirty = limit_ / 2 + limit_ / 8;
    uint32_t enough = options_.write_backs;
    while (dirty_ > most_dirty && writing_ < enough)
        if (!turn(true)) break;
    exhausted_ = failures > 0 || exhausted_;
}

bool ExCache::clean(Line& l) {
    return l.names->object->kind == ObjectKind::File ? start_store(l) : start_write_back(l);
}

// One WRITE for the first name; the other names then share what it wrote. A version that the owner
// still has under another name goes first, so that at no moment more frames are needed than credits
// say.
bool ExCache::start_write_back(Line& l) {
    PageClient& c = *l.client;
    if (c.lost() || l.write_pins || l.blocked_until > c.executed()) return false;
    Name& first = *l.names;
    if (!c.has_grant(first.object->id, PageNo(first.page))) {
        c.want_grant(first.object->id, PageNo(first.page));
        return false;
    }
    uint32_t names = 0;
    for (Name* n = l.names; n; n = n->next)
        names++;
    if (c.room() < 2 * names + 8) return false;
    for (Name* n = first.next; n; n = n->next)
        if (entry(*n->object, n->page).remote())
            submit(c, StreamKind::Discard, n->object->id, {}, n->page, 1);
    protect_line(l);
    auto sent = c.write_back(first.object->id, PageNo(first.page), frames_.bytes(l.frame), l.id,
                             l.credit ? 1 : 0);
    ASSERT(sent); // room and grant were there
    l.credit = false;
    l.write = *sent;
    l.write_alone = names == 1;
    for (Name* n = first.next; n; n = n->next)
        n->object->structural =
            submit(c, StreamKind::Share, first.object->id, n->object->id, first.page, n->page);
    if (names > 1) {
        for (Name* n = l.names; n; n = n->next) {
            PageEntry e = entry(*n->object, n->page);
            e.set(PageEntry::kShared, true);
            set_entry(*n->object, n->page, e);
        }
    }
    set_state(l, LineState::Writing);
    counters_.write_backs++;
    return true;
}

void ExCache::on_written(PageClient& c, uint64_t token, Sequence, Result<void> how,
                         uint32_t credits) {
    Line& l = line(static_cast<LineId>(token));
    ASSERT(l.state == LineState::Writing && !l.storing);
    if (how) {
        for (Name* n = l.names; n; n = n->next) {
            PageEntry e = entry(*n->object, n->page);
            e.set(PageEntry::kRemote, true);
            // The owner's frame is this page's alone, unless names shared it or a fork came after.
            if (l.write_alone && !n->next && n == l.names && n->object->forked < l.write)
                e.set(PageEntry::kShared, false);
            set_entry(*n->object, n->page, e);
        }
        settle_clean(l);
    } else {
        counters_.refusals++;
        if (!c.lost())
            LOG(Warning, "pmon", "a write-back was refused: %s", describe(how.error()).data());
        if (how.error() == Error::Stale)
            for (Name* n = l.names; n; n = n->next)
                n->object->lost = true;
        set_state(l, LineState::Dirty);
        l.blocked_until = c.submitted();
        if (l.names && credits > 0)
            l.credit = true;
        else if (credits > 0)
            c.put_credit(credits);
        if (!l.names) after_unnamed(l);
    }
    exhausted_ = false;
    // The caller reports that it is done with the batch: on_executed runs the cache.
}

void ExCache::settle_clean(Line& l) {
    set_state(l, LineState::Clean);
    l.storing = false;
    exhausted_ = false;
    if (!l.names) return after_unnamed(l);
    wake(l.waiters);
    if (!l.read_pins && !l.write_pins && !test_and_clear_accessed(l.id)) enter_standby(l);
}

bool ExCache::start_store(Line& l) {
    CacheObject& o = *l.names->object;
    if (writing_ >= options_.write_backs || l.write_pins) return false;
    protect_line(l);
    if (!o.client->store(o.file, o.generation, PageNo(l.names->page), frames_.bytes(l.frame), l.id))
        return false;
    set_state(l, LineState::Writing);
    l.storing = true;
    counters_.write_backs++;
    return true;
}

void ExCache::on_stored(PageClient& c, uint64_t token, Result<void> how) {
    Line& l = line(static_cast<LineId>(token));
    ASSERT(l.state == LineState::Writing && l.storing);
    bool again = !how && !c.lost() &&
                 (how.error() == Error::Disconnected || how.error() == Error::Timeout ||
                  how.error() == Error::Full || how.error() == Error::Again);
    if (again && l.names) {
        l.storing = false;
        set_state(l, LineState::Dirty);
        wake(l.waiters);
    } else {
        if (!how) {
            counters_.refusals++;
            LOG(Warning, "pmon", "a page of a mapped file could not be stored: %s",
                describe(how.error()).data());
        }
        settle_clean(l);
    }
    run();
}

void ExCache::on_executed(PageClient&, Sequence) {
    exhausted_ = false;
    run();
}

} // namespace tessera::pmon
