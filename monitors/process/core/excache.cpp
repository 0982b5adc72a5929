#include "monitors/process/core/excache.hpp"

#include <algorithm>
#include <cstring>

#include "base/log.hpp"

namespace tessera::pmon {

using schema::StreamKind;

namespace {
constexpr Nanos kRenewDelay = milliseconds(250); // before a lost owner is asked again
}

Result<Own<ExCache>> ExCache::create(roce::Port& port, env::FramePool& frames, Clock& clock,
                                     const ExCacheOptions& options, Own<ReplacementPolicy> policy) {
    if (options.lines < 32u * std::max<uint32_t>(options.runnable, 1) ||
        options.most_lines < options.lines)
        return Fail(Error::InvalidArgument);
    if (!policy) policy = std::make_unique<ClockPolicy>();
    return Own<ExCache>(new ExCache(port, frames, clock, options, std::move(policy)));
}

ExCache::ExCache(roce::Port& port, env::FramePool& frames, Clock& clock,
                 const ExCacheOptions& options, Own<ReplacementPolicy> policy)
    : port_(port), frames_(frames), clock_(clock), options_(options), policy_(std::move(policy)) {
    limit_ = options.lines;
    add_lines(limit_);
}

ExCache::~ExCache() {
    ASSERT(spaces_.empty());
    while (!vnodes_.empty())
        remove_vnode(vnodes_.back().id);
    while (free_.pop_front()) {
    }
}

void ExCache::add_lines(uint32_t n) {
    policy_->resize(n);
    while (lines_.size() < n) {
        Line& l = lines_.emplace_back();
        l.id = static_cast<LineId>(lines_.size() - 1);
        free_.push_back(l);
    }
}

Result<void> ExCache::set_limit(uint32_t lines) {
    if (lines < minimum() || lines > options_.most_lines) return Fail(Error::InvalidArgument);
    add_lines(lines);
    limit_ = lines;
    exhausted_ = false;
    run();
    return {};
}

// ---- vNodes and owners
// ----------------------------------------------------------------------------

ExCache::Vnode* ExCache::vnode(VnodeId id) {
    for (Vnode& v : vnodes_)
        if (v.id == id) return &v;
    return nullptr;
}

bool ExCache::has_owner(VnodeId id) const {
    for (const Vnode& v : vnodes_)
        if (v.id == id) return true;
    return false;
}

// Nothing in flight for this client will be answered any more.
void ExCache::abandon_lines(PageClient& c) {
    for (FetchOp& op : fetches_)
        if (op.client == &c) op.count = 0;
    for (Line& l : lines_) {
        if (l.client != &c || l.names || l.state == LineState::Free) continue;
        if (l.state == LineState::Filling && l.retry) continue;
        if (l.state != LineState::Filling && l.state != LineState::Writing) continue;
        set_state(l, LineState::Clean);
        after_unnamed(l);
    }
}

void ExCache::on_lost(PageClient& c, Error why) {
    renew_at_ = std::min(renew_at_, clock_.now() + kRenewDelay);
    for (Vnode& v : vnodes_)
        if (std::find(v.successors.begin(), v.successors.end(), &c) != v.successors.end()) return;
    LOG(Failure, "pmon", "vnode %u: its memory at %u.%u.%u.%u is lost: %s", c.vnode().value,
        c.owner().value >> 24, c.owner().value >> 16 & 255, c.owner().value >> 8 & 255,
        c.owner().value & 255, describe(why).data());
    for (CacheObject& o : objects_) {
        if (o.client != &c) continue;
        o.lost = !moves(o);
        drop_entries(o, 0, UINT64_MAX);
    }
    wake(for_credit_);
    wake(for_line_);
    run();
}

// ---- objects
// --------------------------------------------------------------------------------------

CacheObject* ExCache::new_object(ObjectKind kind, ObjectId id, PageClient* client) {
    auto* o = new CacheObject;
    o->kind = kind;
    o->id = id ? id : ObjectId(static_cast<uint64_t>(options_.node.value) << 40 | next_object_++);
    o->client = client;
    o->references = 1;
    objects_.push_back(*o);
    return o;
}

void ExCache::free_object(CacheObject& o) {
    ASSERT(o.lines == 0);
    o.client->forget_object(o.id);
    if (o.kind == ObjectKind::File) {
        auto& same = files_[o.file.value];
        std::erase(same, &o);
        if (same.empty()) files_.erase(o.file.value);
    }
    o.link.unlink();
    delete &o;
}

CacheObject* ExCache::find_file(VnodeId id, FileId file, Generation g) {
    auto it = files_.find(file.value);
    if (it == files_.end()) return nullptr;
    for (CacheObject* o : it->second)
        if (o->generation == g && !o->lost && o->client->vnode() == id) return o;
    return nullptr;
}

Result<CacheObject*> ExCache::file_object(VnodeId id, FileId file, Generation g) {
    if (CacheObject* o = find_file(id, file, g)) {
        o->references++;
        return o;
    }
    Vnode* v = vnode(id);
    if (!v) return Fail(Error::NoDevice);
    PageClient* home = file_home(*v, file);
    if (!home) return Fail(Error::NoDevice);
    CacheObject* o = new_object(ObjectKind::File, {}, home);
    o->file = file;
    o->generation = g;
    o->lost = o->client->lost();
    files_[file.value].push_back(o);
    return o;
}

Result<CacheObject*> ExCache::shared_object(VnodeId id) {
    Vnode* v = vnode(id);
    if (!v) return Fail(Error::NoDevice);
    PageClient& c = *new_owner(*v);
    if (c.lost()) return Fail(Error::Lost);
    if (c.room() < 1) return Fail(Error::Again);
    CacheObject* o = new_object(ObjectKind::Shared, {}, &c);
    o->structural = submit(c, StreamKind::ObjectCreate, o->id);
    return o;
}

Result<void> ExCache::release(CacheObject& o) {
    ASSERT(o.references > 0);
    if (o.references > 1 || o.kind == ObjectKind::File) {
        if (--o.references == 0 && o.lines == 0) sweep_due_ = true;
        run();
        return {};
    }
    PageClient& c = *o.client;
    if (c.room() < 1) return Fail(Error::Again);
    drop_entries(o, 0, UINT64_MAX);
    submit(c, StreamKind::ObjectDestroy, o.id);
    free_object(o);
    run();
    return {};
}

// Files nobody has open or mapped stay for their lines' sake, and go with the last one.
void ExCache::sweep() {
    if (!std::exchange(sweep_due_, false)) return;
    for (CacheObject& o : objects_)
        if (o.kind == ObjectKind::File && o.references == 0 && o.lines == 0) free_object(o);
}

Sequence ExCache::submit(PageClient& c, StreamKind kind, ObjectId object, ObjectId other,
                         uint64_t first, uint64_t pages) {
    schema::StreamOp op;
    op.kind = static_cast<uint16_t>(kind);
    op.object = object.value;
    op.other = other.value;
    op.first = first;
    op.pages = pages;
    auto n = c.submit(op);
    ASSERT(n); // callers have looked at room()
    return *n;
}

// Everything in the range becomes absent here. True if the owner has, or may get, some of it.
bool ExCache::drop_entries(CacheObject& o, uint64_t first, uint64_t pages) {
    if (pages == 0) return false;
    uint64_t last = pages - 1 > UINT64_MAX - first ? UINT64_MAX : first + pages - 1;
    bool remote = false;
    uint64_t key, value;
    for (uint64_t at = first; o.pages.next(at, &key, &value) && key <= last; at = key + 1) {
        PageEntry e{value};
        remote |= e.remote();
        if (e.in_line()) {
            Line& l = line(e.line());
            remote |= l.state == LineState::Writing;
            remove_name(l, o, key);
        }
        o.pages.set(key, 0);
        if (key == UINT64_MAX) break;
    }
    return remote;
}

// ---- spaces
// ---------------------------------------------------------------------------------------

Result<Space*> ExCache::create_space(VnodeId id, Own<env::PageMapper>& mapper) {
    Vnode* v = vnode(id);
    if (!v) return Fail(Error::NoDevice);
    PageClient& c = *new_owner(*v);
    if (c.lost()) return Fail(Error::Lost);
    if (c.room() < 1) return Fail(Error::Again);
    auto* s = new Space;
    s->vnode = id;
    s->mapper = std::move(mapper);
    s->object = new_object(ObjectKind::Private, {}, &c);
    s->object->structural = submit(c, StreamKind::ObjectCreate, s->object->id);
    spaces_.push_back(*s);
    return s;
}

// The owner shares every page it has at this point of the stream; lines are shared here. Nothing is
// written back and no credit is taken.
Result<Space*> ExCache::fork_space(Space& parent, Own<env::PageMapper>& mapper) {
    CacheObject& from = *parent.object;
    PageClient& c = *from.client;
    if (from.lost || c.lost()) return Fail(Error::Lost);
    if (parent.write_pins > 0 || c.room() < 1) return Fail(Error::Again);
    auto* s = new Space;
    s->vnode = parent.vnode;
    s->mapper = std::move(mapper);
    s->object = new_object(ObjectKind::Private, {}, &c);
    CacheObject& to = *s->object;
    Sequence n = submit(c, StreamKind::Fork, from.id, to.id);
    from.forked = to.forked = to.structural = n;
    from.pages.visit_all([&](uint64_t page, uint64_t& value) {
        PageEntry e{value};
        e.set(PageEntry::kShared, true);
        value = e.raw;
        if (e.in_line()) {
            Line& l = line(e.line());
            protect_line(l);
            PageEntry copy = e;
            copy.clear_line();
            to.pages.set(page, copy.raw | PageEntry::kPresent);
            add_name(l, to, page);
        } else {
            to.pages.set(page, e.raw);
        }
        return true;
    });
    spaces_.push_back(*s);
    return s;
}

Result<void> ExCache::destroy_space(Space& s) {
    ASSERT(s.requests == 0 && s.write_pins == 0);
    CacheObject& o = *s.object;
    PageClient& c = *o.client;
    if (c.room() < 1) return Fail(Error::Again);
    s.dying = true;
    unmap(s, 0, UINT64_MAX);
    drop_entries(o, 0, UINT64_MAX);
    submit(c, StreamKind::ObjectDestroy, o.id);
    free_object(o);
    s.link.unlink();
    delete &s;
    run();
    return {};
}

void ExCache::unmap(Space& s, uint64_t first, uint64_t pages) {
    if (pages == 0) return;
    uint64_t last = pages - 1 > UINT64_MAX - first ? UINT64_MAX : first + pages - 1;
    uint64_t key, value;
    for (uint64_t at = first; s.mapped.next(at, &key, &value) && key <= last; at = key + 1) {
        unmap_page(s, key);
        if (key == UINT64_MAX) break;
    }
}

Result<void> ExCache::discard(Space& s, uint64_t first, uint64_t pages) {
    if (!s.object->lost && s.object->client->room() < 1) return Fail(Error::Again);
    unmap(s, first, pages);
    return discard_object(*s.object, first, pages);
}

Result<void> ExCache::discard_object(CacheObject& o, uint64_t first, uint64_t pages) {
    if (o.lost) return {};
    if (o.client->room() < 1) return Fail(Error::Again);
    if (drop_entries(o, first, pages) && o.kind != ObjectKind::File)
        o.structural = submit(*o.client, StreamKind::Discard, o.id, {}, first, pages);
    run();
    return {};
}

Result<void> ExCache::move(Space& s, uint64_t first, uint64_t pages, uint64_t to) {
    CacheObject& o = *s.object;
    if (o.lost) return Fail(Error::Lost);
    if (o.client->room() < 1) return Fail(Error::Again);
    unmap(s, first, pages);
    unmap(s, to, pages);
    bool any = drop_entries(o, to, pages);
    uint64_t key, value;
    for (uint64_t at = first; o.pages.next(at, &key, &value) && key < first + pages; at = key + 1) {
        any = true;
        PageEntry e{value};
        uint64_t target = key - first + to;
        o.pages.set(key, 0);
        o.pages.set(target, value);
        if (!e.in_line()) continue;
        Line& l = line(e.line());
        if (l.state == LineState::Filling) l.stale = true; // asked for under the old name
        for (Name* n = l.names; n; n = n->next)
            if (n->object == &o && n->page == key) n->page = target;
    }
    if (any) o.structural = submit(*o.client, StreamKind::Move, o.id, ObjectId(to), first, pages);
    run();
    return {};
}

// ---- files
// ----------------------------------------------------------------------------------------

void ExCache::patch_file(VnodeId id, FileId file, Generation g, uint64_t offset, Bytes data) {
    CacheObject* o = find_file(id, file, g);
    if (!o || data.empty()) return;
    while (!data.empty()) {
        uint64_t page = offset >> kPageShift;
        size_t at = offset & (kPageSize - 1), n = std::min(data.size(), kPageSize - at);
        PageEntry e = entry(*o, page);
        if (e.in_line()) {
            Line& l = line(e.line());
            if (l.state == LineState::Filling)
                l.stale = true; // it may be older than this write
            else
                std::memcpy(frames_.bytes(l.frame).data() + at, data.data(), n);
        }
        data = data.subspan(n);
        offset += n;
    }
}

void ExCache::drop_file(VnodeId id, FileId file, Generation g, uint64_t first, uint64_t pages) {
    CacheObject* o = find_file(id, file, g);
    if (!o) return;
    drop_entries(*o, first, pages);
    run();
}

uint64_t ExCache::flush_file(VnodeId id, FileId file, Generation g) {
    CacheObject* o = find_file(id, file, g);
    if (!o || o->lost) return 0;
    uint64_t left = 0;
    o->pages.visit_all([&](uint64_t, uint64_t& value) {
        Line& l = line(PageEntry{value}.line());
        if (l.state == LineState::Dirty) start_store(l);
        if (l.state == LineState::Dirty || l.state == LineState::Writing) left++;
        return true;
    });
    return left;
}

void ExCache::on_revoked(PageClient& c, uint64_t id, FileId file, Generation g, PageNo first,
                         uint64_t pages) {
    drop_file(c.vnode(), file, g, first.value, pages);
    c.revoke_done(id);
}

// ---- events and time
// --------------------------------------------------------------------------------

void ExCache::on_credits(PageClient& c, bool refused) {
    for (size_t n = for_credit_.count(); n > 0; n--) {
        PageRequest& r = *for_credit_.pop_front();
        r.where = PageRequest::Where::Idle;
        if (r.generation != r.space->generation.load(std::memory_order_acquire)) {
            park(r, later_, PageRequest::Where::Later); // its source may be gone
            continue;
        }
        CacheObject& o = r.source && !r.private_copy ? *r.source : *r.space->object;
        if (o.client != &c)
            park(r, for_credit_, PageRequest::Where::ForCredit);
        else if (refused && c.pool() <= 0)
            finish(r, Fail(Error::NoMemory));
        else
            park(r, later_, PageRequest::Where::Later);
    }
    run();
}

void ExCache::on_granted(PageClient&, ObjectId, PageNo, uint64_t) {
    exhausted_ = false;
    run();
}

void ExCache::on_room(PageClient& c) {
    exhausted_ = false;
    wake(for_credit_);
    for (size_t n = retrying_.count(); n > 0 && !retrying_.empty(); n--) {
        Line& l = *retrying_.pop_front();
        if (l.client != &c) {
            retrying_.push_back(l);
            continue;
        }
        l.retry = false;
        issue_fill(l);
    }
    run();
}

bool ExCache::poll() {
    if (clock_.now() >= renew_at_) renew_owners();
    for (auto& c : clients_)
        c->poll();
    std::erase_if(closing_, [](const Own<PageClient>& c) { return c->idle(); });
    run_retries();
    run();
    return false;
}

Nanos ExCache::next_deadline() const {
    Nanos next = renew_at_;
    for (auto& c : clients_)
        next = std::min(next, c->next_deadline());
    for (Line& l : const_cast<ExCache*>(this)->retrying_)
        next = std::min(next, l.retry_at);
    return next;
}

ExCacheCounters ExCache::counters() const {
    ExCacheCounters c = counters_;
    c.lines = used_;
    c.limit = limit_;
    c.dirty = dirty_;
    c.writing = writing_;
    c.standby = standby_count_;
    return c;
}

} // namespace tessera::pmon
