// ExCache: lines, their names and their mappings.
#include "monitors/process/core/excache.hpp"

namespace tessera::pmon {

Line* ExCache::take_line() {
    if (used_ < limit_ && !free_.empty()) {
        if (auto f = frames_.allocate()) {
            Line& l = *free_.pop_front();
            l.frame = *f;
            used_++;
            policy_->inserted(l.id);
            return &l;
        }
    }
    // The oldest standby line changes hands; its frame stays.
    Line* l = standby_.front();
    if (!l) return nullptr;
    ASSERT(l->state == LineState::Clean && !l->maps);
    leave_standby(*l);
    counters_.evictions++;
    env::FrameNo frame = std::exchange(l->frame, {});
    drop_names(*l); // frees the line
    ASSERT(l->state == LineState::Free && l->link.linked());
    l->link.unlink();
    l->frame = frame;
    used_++;
    policy_->inserted(l->id);
    return l;
}

void ExCache::free_line(Line& l) {
    ASSERT(!l.names && !l.maps && l.read_pins == 0 && l.write_pins == 0 && !l.credit);
    ASSERT(l.waiters.empty());
    leave_standby(l);
    set_state(l, LineState::Free);
    policy_->removed(l.id);
    if (l.frame) frames_.release(l.frame);
    l.frame = {};
    l.referenced = l.storing = l.stale = l.retry = l.prefetched = false;
    l.client = nullptr;
    l.write = l.blocked_until = 0;
    used_--;
    exhausted_ = false;
    free_.push_back(l);
}

void ExCache::set_state(Line& l, LineState s) {
    auto count = [&](int by) {
        if (l.state == LineState::Dirty) dirty_ += static_cast<uint32_t>(by);
        if (l.state == LineState::Writing) writing_ += static_cast<uint32_t>(by);
        if (l.client && (l.state == LineState::Dirty || l.state == LineState::Writing))
            l.client->dirty_lines += static_cast<uint32_t>(by);
    };
    count(-1);
    l.state = s;
    count(1);
    if (s == LineState::Dirty && l.names && l.names->object->kind == ObjectKind::File)
        l.names->object->written = true;
}

void ExCache::add_name(Line& l, CacheObject& o, uint64_t page) {
    Name* n = free_names_;
    if (n)
        free_names_ = n->next;
    else
        n = &names_.emplace_back();
    *n = {&o, page, l.names};
    l.names = n;
    if (!l.client) l.client = o.client;
    PageEntry e = entry(o, page);
    ASSERT(!e.in_line());
    e.set_line(l.id);
    set_entry(o, page, e);
    o.lines++;
}

void ExCache::remove_name(Line& l, CacheObject& o, uint64_t page) {
    Name** at = &l.names;
    while (*at && ((*at)->object != &o || (*at)->page != page))
        at = &(*at)->next;
    ASSERT(*at);
    Name* n = *at;
    *at = n->next;
    n->next = free_names_;
    free_names_ = n;
    PageEntry e = entry(o, page);
    e.clear_line();
    set_entry(o, page, e);
    o.lines--;
    // What is on its way may have been asked for under this name, which means another page by now.
    if (l.state == LineState::Filling && l.names) l.stale = true;
    if (o.kind == ObjectKind::File && o.lines == 0 && o.references == 0) sweep_due_ = true;
    if (!l.names) after_unnamed(l);
}

void ExCache::drop_names(Line& l) {
    while (l.names && l.names->next)
        remove_name(l, *l.names->object, l.names->page);
    if (l.names) remove_name(l, *l.names->object, l.names->page);
}

// Nobody can find the line any more: it goes as soon as nothing is in flight for it.
void ExCache::after_unnamed(Line& l) {
    unmap_line(l);
    wake(l.waiters);
    if (l.read_pins || l.write_pins) return;   // unpin() comes back here
    if (l.state == LineState::Writing) return; // on_written
    if (l.state == LineState::Filling) {
        if (!l.retry) return; // filled()
        l.link.unlink();
        l.retry = false;
    }
    drop_credit(l);
    free_line(l);
}

void ExCache::drop_credit(Line& l) {
    if (!l.credit) return;
    l.credit = false;
    l.client->put_credit(1);
}

void ExCache::enter_standby(Line& l) {
    if (l.standby) return;
    unmap_line(l);
    l.standby = true;
    standby_count_++;
    standby_.push_back(l);
    exhausted_ = false;
}

void ExCache::leave_standby(Line& l) {
    if (!l.standby) return;
    l.standby = false;
    standby_count_--;
    l.link.unlink();
}

Result<void> ExCache::map_line(Space& s, uint64_t page, Line& l, env::PageRights rights) {
    uint64_t old = s.mapped.get(page);
    if (old == static_cast<uint64_t>(l.id) + 1) {
        TRY(s.mapper->map(page << kPageShift, l.frame, rights));
        for (MappedAt* m = l.maps; m; m = m->next)
            if (m->space == &s && m->page == page) m->writable = rights.write;
        return {};
    }
    if (old) unmap_page(s, page);
    TRY(s.mapper->map(page << kPageShift, l.frame, rights));
    MappedAt* m = free_maps_;
    if (m)
        free_maps_ = m->next;
    else
        m = &maps_.emplace_back();
    *m = {&s, page, rights.write, l.maps};
    l.maps = m;
    s.mapped.set(page, static_cast<uint64_t>(l.id) + 1);
    s.resident.fetch_add(1, std::memory_order_relaxed);
    return {};
}

void ExCache::unmap_page(Space& s, uint64_t page) {
    uint64_t value = s.mapped.set(page, 0);
    if (!value) return;
    s.mapper->unmap(page << kPageShift);
    Line& l = line(static_cast<LineId>(value - 1));
    MappedAt** at = &l.maps;
    while (*at && ((*at)->space != &s || (*at)->page != page))
        at = &(*at)->next;
    ASSERT(*at);
    MappedAt* m = *at;
    *at = m->next;
    m->next = free_maps_;
    free_maps_ = m;
    s.resident.fetch_sub(1, std::memory_order_relaxed);
}

void ExCache::unmap_line(Line& l) {
    while (l.maps)
        unmap_page(*l.maps->space, l.maps->page);
}

void ExCache::protect_line(Line& l) {
    for (MappedAt* m = l.maps; m; m = m->next) {
        if (!m->writable) continue;
        m->space->mapper->remove_write(m->page << kPageShift);
        m->writable = false;
    }
}

} // namespace tessera::pmon
