#include "monitors/process/core/page_client.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace tessera::pmon {

using schema::StreamKind;
using schema::StreamOp;

PageClient::PageClient(roce::Port& port, rpc::Peer& control, Clock& clock,
                       const PageClientOptions& options, PageEvents& events)
    : port_(port),
      control_(control),
      clock_(clock),
      options_(options),
      events_(events),
      reads_(options.reads),
      receive_(kReceives) {}

PageClient::~PageClient() {
    ASSERT(idle());
    drop_connection();
    if (pd_) port_.destroy_pd(pd_);
}

// ---- the stream ---------------------------------------------------------------------------------

uint32_t PageClient::room() const {
    if (lost()) return UINT32_MAX;
    return options_.stream_depth - static_cast<uint32_t>(records_.size());
}

Result<Sequence> PageClient::submit(const StreamOp& op) {
    if (lost() || state_ == State::Over) return executed_;
    if (room() == 0) {
        room_wanted_ = true;
        return Fail(Error::Full);
    }
    Record r;
    r.op = op;
    r.op.sequence = next_;
    records_.push_back(r);
    post_due();
    return next_++;
}

Result<Sequence> PageClient::write_back(ObjectId object, PageNo page, Bytes data, uint64_t token,
                                        uint32_t credits) {
    ASSERT(!lost());
    if (room() == 0) {
        room_wanted_ = true;
        return Fail(Error::Full);
    }
    Grant* g = grant(object, page);
    if (!g || !g->rkey) {
        want_grant(object, page);
        return Fail(Error::Again);
    }
    Record r;
    r.op.object = object.value;
    r.op.first = page.value;
    r.op.sequence = next_;
    r.data = data;
    r.rkey = g->rkey; // the object may be gone from here before it is sent
    r.token = token;
    r.credits = credits;
    records_.push_back(r);
    writes_++;
    next_++;
    post_due();
    return next_ - 1;
}

bool PageClient::post_record(Record& r) {
    roce::WorkRequest wr;
    wr.id = kStreamTag | r.op.sequence;
    if (static_cast<StreamKind>(r.op.kind.get()) == StreamKind::None) {
        wr.op = roce::Op::WriteImmediate;
        wr.pieces[0] = r.data;
        wr.remote_address = r.op.first << kPageShift;
        wr.rkey = r.rkey;
    } else {
        wr.op = roce::Op::Send;
        wr.pieces[0] = bytes_of(r.op);
    }
    return qp_->post_send(wr).has_value();
}

void PageClient::post_due() {
    if (state_ != State::Up) return;
    while (posted_ - executed_ < window_ && posted_ + 1 < first_record_ + records_.size()) {
        // Half of the queue stays free for READs, which somebody waits for.
        if (qp_->send_room() <= options_.reads - reads_in_flight_) return;
        if (!post_record(record(posted_ + 1))) return;
        posted_++;
    }
}

void PageClient::mark_refused(Sequence n, Error why) {
    if (n < first_record_ || n >= first_record_ + records_.size()) return;
    Record& r = record(n);
    if (r.refused) return;
    r.refused = true;
    if (static_cast<StreamKind>(r.op.kind.get()) != StreamKind::None) {
        LOG(Warning, "pmon", "stream operation %u refused: %s", r.op.kind.get(),
            describe(why).data());
        return;
    }
    writes_--;
    events_.on_written(*this, r.token, n, Fail(why), r.credits);
    r.credits = 0;
}

// The owner's counters: everything up to `executed` is settled.
void PageClient::apply(Sequence executed, uint64_t consumed, uint64_t granted, uint64_t returned) {
    if (executed < reported_ || executed > posted_ || consumed < consumed_ || granted < granted_)
        return; // an old message, or nonsense
    pool_ += static_cast<int64_t>(granted - granted_) - static_cast<int64_t>(consumed - consumed_) -
             static_cast<int64_t>(returned - returned_);
    bool credits_changed = granted != granted_;
    granted_ = granted;
    consumed_ = consumed;
    returned_ = returned;
    reported_ = executed;
    settle(credits_changed);
}

// Forgets what the owner has executed and the port no longer needs: until its acknowledgement a
// request may be sent again from its buffers.
void PageClient::settle(bool credits_changed) {
    Sequence executed = std::max(executed_, std::min(reported_, sent_));
    executed_ = executed;
    while (first_record_ <= executed && !records_.empty()) {
        Record r = records_.front();
        records_.pop_front();
        Sequence n = first_record_++;
        if (static_cast<StreamKind>(r.op.kind.get()) == StreamKind::None) {
            if (r.refused) continue;
            writes_--;
            pool_ += r.credits;
            credits_changed |= r.credits > 0;
            events_.on_written(*this, r.token, n, {}, 0);
        } else {
            pool_ += r.credits; // of a CreditReturn: what was not taken back
        }
    }
    bool refused = false;
    if (credit_request_ && executed >= credit_request_) {
        refused = granted_ == granted_at_request_;
        credit_request_ = 0;
    }
    if (credits_changed || refused) events_.on_credits(*this, refused);
    post_due();
    events_.on_executed(*this, executed);
    if (room_wanted_ && room() > 0) {
        room_wanted_ = false;
        events_.on_room(*this);
    }
}

// ---- credits ------------------------------------------------------------------------------------

void PageClient::ask_credits() {
    if (credit_request_ || lost()) return;
    StreamOp op;
    op.kind = static_cast<uint16_t>(StreamKind::CreditRequest);
    op.pages = options_.credit_batch;
    if (auto n = submit(op)) {
        credit_request_ = *n;
        granted_at_request_ = granted_;
    }
}

bool PageClient::take_credit() {
    if (lost()) return true;
    if (pool_ <= static_cast<int64_t>(options_.credit_batch / 4)) ask_credits();
    if (pool_ <= 0) return false;
    pool_--;
    return true;
}

void PageClient::put_credit(uint32_t n) {
    pool_ += n;
    // What is far more than needed goes back, so that others can have it.
    int64_t surplus = pool_ - 4 * static_cast<int64_t>(options_.credit_batch);
    if (surplus < static_cast<int64_t>(options_.credit_batch) || state_ != State::Up || room() < 2)
        return;
    StreamOp op;
    op.kind = static_cast<uint16_t>(StreamKind::CreditReturn);
    op.pages = static_cast<uint64_t>(surplus);
    if (auto s = submit(op)) {
        record(*s).credits = static_cast<uint32_t>(surplus);
        pool_ -= surplus;
    }
}

// ---- grants -------------------------------------------------------------------------------------

PageClient::Grant* PageClient::grant(ObjectId object, PageNo page) {
    auto it = std::lower_bound(grants_.begin(), grants_.end(), object,
                               [](const Granted& g, ObjectId o) { return g.object < o; });
    if (it == grants_.end() || it->object != object) return nullptr;
    uint64_t region = page.value >> (vregion_shift_ - kPageShift);
    for (Grant& g : it->grants)
        if (g.region == region) return &g;
    return nullptr;
}

bool PageClient::has_grant(ObjectId object, PageNo page) {
    Grant* g = grant(object, page);
    return g && g->rkey;
}

PageClient::Grant& PageClient::make_grant(ObjectId object, PageNo page) {
    if (Grant* g = grant(object, page)) return *g;
    auto it = std::lower_bound(grants_.begin(), grants_.end(), object,
                               [](const Granted& g, ObjectId o) { return g.object < o; });
    if (it == grants_.end() || it->object != object) it = grants_.insert(it, {object, {}});
    it->grants.push_back({page.value >> (vregion_shift_ - kPageShift), {}, false});
    return it->grants.back();
}

void PageClient::ask_grant(ObjectId object, Grant& g) {
    StreamOp op;
    op.kind = static_cast<uint16_t>(StreamKind::VregionOpen);
    op.object = object.value;
    op.first = g.region << (vregion_shift_ - kPageShift);
    if (submit(op)) g.asked = true;
}

void PageClient::want_grant(ObjectId object, PageNo page) {
    if (lost()) return;
    if (session_ == 0) return; // the vRegion size is not known yet; a write-back asks again
    Grant& g = make_grant(object, page);
    if (!g.rkey && !g.asked) ask_grant(object, g);
}

void PageClient::add_grant(ObjectId object, uint64_t base, roce::Rkey rkey) {
    // Only for what is still known here: an object may be gone by now.
    Grant* g = grant(object, PageNo(base >> kPageShift));
    if (!g) return;
    g->rkey = rkey;
    uint64_t pages = 1ull << (vregion_shift_ - kPageShift);
    events_.on_granted(*this, object, PageNo(g->region * pages), pages);
}

void PageClient::forget_object(ObjectId object) {
    auto it = std::lower_bound(grants_.begin(), grants_.end(), object,
                               [](const Granted& g, ObjectId o) { return g.object < o; });
    if (it != grants_.end() && it->object == object) grants_.erase(it);
}

// ---- pages --------------------------------------------------------------------------------------

Result<void> PageClient::read(ObjectId object, PageNo page, Sequence after, MutableBytes into,
                              uint64_t token) {
    if (state_ != State::Up || after > executed_) return Fail(Error::Again);
    Grant* g = grant(object, page);
    if (!g || !g->rkey) return Fail(Error::Again);
    if (reads_in_flight_ == reads_.size() || qp_->send_room() == 0) {
        room_wanted_ = true;
        return Fail(Error::Full);
    }
    size_t slot = 0;
    while (reads_[slot].used)
        slot++;
    roce::WorkRequest wr;
    wr.id = kReadTag | slot;
    wr.op = roce::Op::Read;
    wr.into = into;
    wr.remote_address = page.value << kPageShift;
    wr.rkey = g->rkey;
    TRY(qp_->post_send(wr));
    reads_[slot] = {token, true};
    reads_in_flight_++;
    reads_posted_++;
    return {};
}

Result<void> PageClient::fetch(ObjectId object, FileId file, Generation gen, PageNo first,
                               uint32_t count, Sequence after, uint64_t token) {
    if (session_ == 0 || lost()) return Fail(Error::Again);
    schema::PageFetchRequest q;
    q.vnode = options_.vnode.value;
    q.count = count;
    q.session = session_;
    q.object = object.value;
    q.file = file.value;
    q.generation = gen.value;
    q.first = first.value;
    q.after_sequence = after;
    if (object && session_) make_grant(object, first); // so that the answer's rkey has a place
    calls_++;
    control_.call(schema::kPageFetch, bytes_of(q), {},
                  {clock_.now() + options_.call_deadline, true},
                  [this, token, object, count](Result<Bytes> answer) {
                      calls_--;
                      if (state_ == State::Over) return;
                      if (!answer) return events_.on_fetched(*this, token, Fail(answer.error()));
                      Bytes b = *answer;
                      if (b.size() < sizeof(schema::PageFetchReply))
                          return events_.on_fetched(*this, token, Fail(Error::Malformed));
                      auto reply = load<schema::PageFetchReply>(b);
                      b = b.subspan(sizeof reply);
                      std::array<Fetched, schema::kMaxFetchPages> pages;
                      size_t n = std::min<size_t>(reply.count, count);
                      for (size_t i = 0; i < n; i++) {
                          pages[i].status = static_cast<schema::FetchStatus>(reply.status[i]);
                          if (pages[i].status != schema::FetchStatus::Present) continue;
                          if (b.size() < kPageSize)
                              return events_.on_fetched(*this, token, Fail(Error::Malformed));
                          pages[i].data = b.first(kPageSize);
                          b = b.subspan(kPageSize);
                      }
                      if (object && reply.rkey != 0)
                          add_grant(object, reply.base, roce::Rkey(reply.rkey));
                      events_.on_fetched(*this, token, std::span<const Fetched>(pages.data(), n));
                  });
    return {};
}

Result<void> PageClient::store(FileId file, Generation gen, PageNo page, Bytes data,
                               uint64_t token) {
    if (session_ == 0 || lost()) return Fail(Error::Again);
    schema::PageStoreRequest q;
    q.vnode = options_.vnode.value;
    q.generation = gen.value;
    q.session = session_;
    q.file = file.value;
    q.page = page.value;
    calls_++;
    control_.call(schema::kPageStore, bytes_of(q), data,
                  {clock_.now() + options_.call_deadline, true},
                  [this, token](Result<Bytes> answer) {
                      calls_--;
                      if (state_ == State::Over) return;
                      if (answer)
                          events_.on_stored(*this, token, {});
                      else
                          events_.on_stored(*this, token, Fail(answer.error()));
                  });
    return {};
}

void PageClient::revoke_done(uint64_t id) {
    StreamOp op;
    op.kind = static_cast<uint16_t>(StreamKind::RevokeDone);
    op.other = id;
    // A full stream: the owner says it again after a reconnect, and writers wait until then.
    if (auto ok = submit(op); !ok) LOG(Warning, "pmon", "no room to answer a revocation");
}

} // namespace tessera::pmon
