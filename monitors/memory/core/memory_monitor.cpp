#include "monitors/memory/core/memory_monitor.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "monitors/memory/core/monitor_core.hpp"

namespace tessera::mmon {

using schema::FetchStatus;

namespace {
constexpr uint64_t kFramesPerPoll = 512; // freed of ended sessions
constexpr size_t kMaxParked = 1024;
constexpr uint64_t kFilePageLimit = uint64_t{1} << 52; // offsets in files are 64 bits of bytes

template <typename T>
Result<T> parse(Bytes b) {
    if (b.size() < sizeof(T)) return Fail(Error::Malformed);
    return load<T>(b);
}
} // namespace

Result<Own<MemoryMonitor>> MemoryMonitor::create(roce::Port& port, rpc::Node& node,
                                                 env::FramePool& frames, Clock& clock,
                                                 Random& random, PageProvider* provider,
                                                 const MemoryMonitorOptions& options) {
    if (options.vregion_shift < 21 || options.vregion_shift > 40 || options.window == 0)
        return Fail(Error::InvalidArgument);
    auto m = std::make_unique<MonitorCore>(port, node, frames, clock, random, provider, options);
    TRY(m->start(node));
    return Own<MemoryMonitor>(std::move(m));
}

MonitorCore::MonitorCore(roce::Port& port, rpc::Node&, env::FramePool& frames, Clock& clock,
                         Random& random, PageProvider* provider,
                         const MemoryMonitorOptions& options)
    : port_(port),
      clock_(clock),
      random_(random),
      provider_(provider),
      options_(options),
      ledger_(frames, provider, options),
      scratch_(schema::kMaxFetchPages * kPageSize) {}

MonitorCore::~MonitorCore() {
    if (listening_) port_.stop_listening(options_.service);
    while (!sessions_.empty())
        end_session(sessions_.begin()->first);
}

Result<void> MonitorCore::start(rpc::Node& node) {
    TRY(port_.listen(options_.service, *this));
    listening_ = true;
    node.handle(schema::kPageOpen, [this](const rpc::Identity& who, Bytes q, rpc::Responder r) {
        open(who, q, std::move(r));
    });
    node.handle(schema::kPageFetch, [this](const rpc::Identity& who, Bytes q, rpc::Responder r) {
        fetch(who, q, std::move(r));
    });
    node.handle(schema::kPageStore, [this](const rpc::Identity& who, Bytes q, rpc::Responder r) {
        store(who, q, std::move(r));
    });
    node.handle(schema::kPageClose, [this](const rpc::Identity& who, Bytes q, rpc::Responder r) {
        close(who, q, std::move(r));
    });
    return {};
}

void MonitorCore::set_quota(VnodeId vnode, uint64_t pages) {
    ledger_.account(vnode).quota = pages;
}

void MonitorCore::end_session(uint64_t id) {
    auto it = sessions_.find(id);
    if (it == sessions_.end()) return;
    Own<Session> s = std::move(it->second);
    sessions_.erase(it);
    s->end();
    ending_.push_back(std::move(s));
    unpark_due_ = true; // its fetches get an error
}

void MonitorCore::fence(NodeId node, Incarnation incarnation) {
    uint64_t& newest = fenced_[node.value];
    newest = std::max(newest, incarnation.value);
    std::vector<uint64_t> gone;
    for (auto& [id, s] : sessions_)
        if (s->peer.node == node && s->peer.incarnation <= incarnation) gone.push_back(id);
    for (uint64_t id : gone)
        end_session(id);
}

void MonitorCore::remove_vnode(VnodeId vnode) {
    ledger_.account(vnode).quota = 0;
    std::vector<uint64_t> gone;
    for (auto& [id, s] : sessions_)
        if (s->vnode == vnode) gone.push_back(id);
    for (uint64_t id : gone)
        end_session(id);
}

Result<Session*> MonitorCore::session(const rpc::Identity& caller, uint64_t id, uint32_t vnode) {
    auto it = sessions_.find(id);
    if (it == sessions_.end() || it->second->vnode.value != vnode || it->second->peer != caller)
        return Fail(Error::Lost);
    return it->second.get();
}

void MonitorCore::open(const rpc::Identity& caller, Bytes request, rpc::Responder r) {
    auto q = parse<schema::PageOpenRequest>(request);
    if (!q) return r.fail(q.error());
    VnodeId vnode(q->vnode);
    if (caller.kind != rpc::NodeKind::Process || !vnode) return r.fail(Error::NotPermitted);
    auto fenced = fenced_.find(caller.node.value);
    if (fenced != fenced_.end() && caller.incarnation.value <= fenced->second)
        return r.fail(Error::Dead);
    Session* s = nullptr;
    if (q->session != 0) {
        auto found = session(caller, q->session, vnode.value);
        if (!found) return r.fail(found.error());
        s = *found;
        counters_.resumed++;
    } else {
        for (auto& [id, other] : sessions_)
            if (other->vnode == vnode && other->peer == caller) s = other.get();
    }
    if (!s) {
        const Ledger::Account* a = ledger_.find(vnode);
        if (!a || a->quota == 0) return r.fail(Error::NotPermitted);
        if (sessions_.size() >= options_.max_sessions) return r.fail(Error::Full);
        uint64_t id = 0;
        while (id == 0 || sessions_.contains(id))
            id = random_.next();
        SessionOwner& owner = *this;
        auto made = std::make_unique<Session>(id, vnode, caller, port_, ledger_, owner, options_);
        if (auto ok = made->start(); !ok) return r.fail(ok.error());
        s = made.get();
        sessions_[id] = std::move(made);
    }
    // From here on nothing of an older connection is executed: the reply's numbers are final.
    s->drop_connection();
    do
        s->ticket = random_.next();
    while (s->ticket == 0);
    schema::PageOpenReply reply = s->open_reply();
    std::vector<schema::PageRefused> refused(s->refused().begin(), s->refused().end());
    r.reply(bytes_of(reply), std::as_bytes(std::span(refused)));
}

void MonitorCore::on_incoming(roce::Incoming& request) {
    auto hello = parse<schema::PageHello>(request.private_data());
    if (!hello || hello->magic != schema::kPageMagic) return request.reject({});
    auto it = sessions_.find(hello->session);
    if (it == sessions_.end()) return request.reject({});
    Session& s = *it->second;
    if (s.ticket == 0 || s.ticket != hello->ticket || s.vnode.value != hello->vnode ||
        s.peer.incarnation.value != hello->incarnation)
        return request.reject({});
    s.ticket = 0;
    s.drop_connection();
    if (auto ok = s.attach(request); !ok)
        LOG(Warning, "mmon", "page connection of node %u not accepted: %s", s.peer.node.value,
            describe(ok.error()).data());
}

void MonitorCore::close(const rpc::Identity& caller, Bytes request, rpc::Responder r) {
    auto q = parse<schema::PageCloseRequest>(request);
    if (!q) return r.fail(q.error());
    auto s = session(caller, q->session, q->vnode);
    if (!s) return r.fail(s.error());
    end_session((*s)->id);
    r.reply({});
}

void MonitorCore::fetch(const rpc::Identity& caller, Bytes request, rpc::Responder r) {
    auto q = parse<schema::PageFetchRequest>(request);
    if (!q) return r.fail(q.error());
    auto found = session(caller, q->session, q->vnode);
    if (!found) return r.fail(found.error());
    if (q->count < 1 || q->count > schema::kMaxFetchPages || q->first > UINT64_MAX - q->count)
        return r.fail(Error::Malformed);
    Session& s = **found;
    if (q->object == 0) {
        if (q->first + q->count > kFilePageLimit) return r.fail(Error::Malformed);
        return fetch_file(s, *q, std::move(r));
    }
    if (s.executed() >= q->after_sequence) return answer_fetch(s, *q, r);
    if (parked_.size() >= kMaxParked) return r.fail(Error::Full);
    parked_.push_back({s.id, *q, clock_.now() + options_.fetch_deadline, std::move(r)});
}

void MonitorCore::answer_fetch(Session& s, const schema::PageFetchRequest& q, rpc::Responder& r) {
    ObjectId id(q.object);
    MemoryObject* o = s.object(id);
    if (!o) return r.fail(Error::Stale);
    schema::PageFetchReply reply;
    reply.count = q.count;
    if (auto g = s.grant(id, q.first)) {
        reply.rkey = (*g)->rkey.value;
        reply.base = (*g)->base;
        reply.length = (*g)->length;
        reply.epoch = (*g)->epoch.value;
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < q.count; i++) {
        env::FrameNo f = o->frame(q.first + i);
        reply.status[i] = static_cast<unsigned char>(f ? FetchStatus::Present : FetchStatus::Hole);
        if (!f) continue;
        Bytes page = ledger_.pool().bytes(f);
        std::memcpy(scratch_.data() + bytes, page.data(), kPageSize);
        bytes += kPageSize;
        counters_.fetched++;
    }
    r.reply(bytes_of(reply), Bytes(scratch_).first(bytes));
}

void MonitorCore::fetch_file(Session& s, const schema::PageFetchRequest& q, rpc::Responder r) {
    if (!provider_) return r.fail(Error::Unsupported);
    s.note_file(FileId(q.file));
    uint64_t id = next_fetch_++;
    FileFetch& f = file_fetches_[id];
    f.request = q;
    f.missing = q.count + 1;
    f.responder = std::move(r);
    uint32_t count = q.count;
    for (uint32_t i = 0; i < count; i++)
        provider_->get_page(VnodeId(q.vnode), FileId(q.file), Generation(q.generation),
                            PageNo(q.first + i),
                            [this, id, i](Result<FilePage> p) { got_file_page(id, i, p); });
    got_file_page(id, schema::kMaxFetchPages, FilePage{}); // answers that came at once count now
}

void MonitorCore::got_file_page(uint64_t id, uint32_t index, Result<FilePage> page) {
    FileFetch& f = file_fetches_.at(id);
    if (index < f.pages.size()) f.pages[index] = page;
    if (--f.missing > 0) return;
    schema::PageFetchReply reply;
    reply.count = f.request.count;
    size_t bytes = 0;
    Error stale{};
    for (uint32_t i = 0; i < f.request.count; i++) {
        FetchStatus status = FetchStatus::Io;
        if (!f.pages[i]) {
            if (f.pages[i].error() == Error::Stale) stale = Error::Stale;
        } else if (f.pages[i]->kind == FilePage::Kind::Present) {
            status = FetchStatus::Present;
            Bytes data = ledger_.pool().bytes(f.pages[i]->frame);
            std::memcpy(scratch_.data() + bytes, data.data(), kPageSize);
            bytes += kPageSize;
            counters_.fetched++;
            ledger_.pool().release(f.pages[i]->frame);
        } else {
            status =
                f.pages[i]->kind == FilePage::Kind::Hole ? FetchStatus::Hole : FetchStatus::End;
        }
        reply.status[i] = static_cast<unsigned char>(status);
    }
    rpc::Responder r = std::move(f.responder);
    file_fetches_.erase(id);
    if (stale == Error::Stale) return r.fail(stale);
    r.reply(bytes_of(reply), Bytes(scratch_).first(bytes));
}

void MonitorCore::store(const rpc::Identity& caller, Bytes request, rpc::Responder r) {
    auto q = parse<schema::PageStoreRequest>(request);
    if (!q) return r.fail(q.error());
    if (request.size() != sizeof(*q) + kPageSize || q->page >= kFilePageLimit)
        return r.fail(Error::Malformed);
    auto s = session(caller, q->session, q->vnode);
    if (!s) return r.fail(s.error());
    if (!provider_) return r.fail(Error::Unsupported);
    provider_->put_page(VnodeId(q->vnode), FileId(q->file), Generation(q->generation),
                        PageNo(q->page), request.subspan(sizeof(*q)),
                        [r = std::move(r)](Result<void> ok) mutable {
                            if (ok)
                                r.reply({});
                            else
                                r.fail(ok.error());
                        });
}

void MonitorCore::revoke_file(VnodeId vnode, FileId file, Generation generation, PageNo first,
                              uint64_t pages, NodeId except, Function<void(), 64> done) {
    uint64_t id = next_revocation_++;
    Revocation& v = revocations_[id];
    v.done = std::move(done);
    v.missing = 1;
    for (auto& [key, s] : sessions_) {
        if (s->vnode != vnode || s->peer.node == except || !s->may_hold(file)) continue;
        v.missing++;
        s->revoke(id, file, generation, first, pages);
    }
    revoke_answered(id);
}

void MonitorCore::revoke_answered(uint64_t id) {
    auto it = revocations_.find(id);
    if (it == revocations_.end() || --it->second.missing > 0) return;
    Function<void(), 64> done = std::move(it->second.done);
    revocations_.erase(it);
    if (done) done();
}

void MonitorCore::stream_moved(Session&) {
    unpark_due_ = !parked_.empty();
}

void MonitorCore::unpark() {
    Nanos now = clock_.now();
    size_t n = parked_.size();
    for (size_t i = 0; i < n; i++) {
        Parked p = std::move(parked_.front());
        parked_.pop_front();
        auto it = sessions_.find(p.session);
        if (it == sessions_.end())
            p.responder.fail(Error::Lost);
        else if (it->second->executed() >= p.request.after_sequence)
            answer_fetch(*it->second, p.request, p.responder);
        else if (now >= p.deadline)
            p.responder.fail(Error::Timeout);
        else
            parked_.push_back(std::move(p));
    }
    unpark_due_ = false;
}

bool MonitorCore::poll() {
    if (unpark_due_ || (!parked_.empty() && clock_.now() >= parked_.front().deadline)) unpark();
    for (auto& [id, s] : sessions_)
        s->flush();
    if (!ending_.empty() && ending_.back()->free_some(kFramesPerPoll)) ending_.pop_back();
    return !ending_.empty();
}

Nanos MonitorCore::next_deadline() const {
    if (!ending_.empty()) return Nanos{0};
    return parked_.empty() ? kNever : parked_.front().deadline;
}

MemoryCounters MonitorCore::counters() const {
    MemoryCounters c = counters_;
    c.frames = ledger_.frames();
    c.credits = ledger_.credits();
    c.sessions = sessions_.size();
    for (auto& [id, s] : sessions_)
        c.objects += s->objects().size();
    return c;
}

VnodeMemoryUse MonitorCore::use(VnodeId vnode) const {
    const Ledger::Account* a = ledger_.find(vnode);
    if (!a) return {};
    return {a->quota, a->frames, a->credits};
}

void MonitorCore::inventory(Function<void(const InventoryEntry&), 64> visit) const {
    for (auto& [id, s] : sessions_)
        for (auto& [key, o] : s->objects())
            visit({s->vnode, s->peer.node, s->peer.incarnation, o->id, o->pages()});
}

} // namespace tessera::mmon
