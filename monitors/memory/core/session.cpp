#include "monitors/memory/core/session.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace tessera::mmon {

using schema::StreamKind;

namespace {
constexpr size_t kMaxFiles = 4096; // remembered one by one; beyond that every file is revoked
constexpr uint16_t kReceiveSlack = 16;
} // namespace

Session::Session(uint64_t id, VnodeId vnode, const rpc::Identity& peer, roce::Port& port,
                 Ledger& ledger, SessionOwner& owner, const MemoryMonitorOptions& options)
    : id(id),
      vnode(vnode),
      peer(peer),
      port_(port),
      ledger_(ledger),
      account_(ledger.account(vnode)),
      owner_(owner),
      options_(options),
      receive_(options.window + kReceiveSlack) {
    account_.sessions++;
    ledger_.session_opened();
}

Session::~Session() {
    end();
    objects_.clear();
    account_.sessions--;
}

Result<void> Session::start() {
    pd_ = TRY(port_.create_pd());
    return {};
}

schema::PageOpenReply Session::open_reply() const {
    schema::PageOpenReply r;
    r.session = id;
    r.ticket = ticket;
    r.executed = executed_;
    r.consumed = consumed_;
    r.granted = granted_;
    r.returned = returned_;
    r.window = options_.window;
    r.vregion_shift = options_.vregion_shift;
    r.refused_count = static_cast<uint32_t>(refused_.size());
    return r;
}

Result<void> Session::attach(roce::Incoming& request) {
    ASSERT(!qp_ && !ended_);
    roce::QpOptions q;
    q.pd = pd_;
    q.send_depth = kSendBuffers;
    q.receive_depth = static_cast<uint16_t>(receive_.size());
    qp_ = TRY(port_.create_qp(q, *this));
    Result<void> ok;
    for (size_t i = 0; i < receive_.size() && ok; i++)
        ok = qp_->post_receive(i, receive_[i]);
    if (ok) ok = request.accept(*qp_, {});
    if (!ok) {
        drop_connection();
        return ok;
    }
    broken_ = false;
    status_due_ = true;
    revokes_sent_ = 0; // unanswered ones are said again
    return {};
}

void Session::drop_connection() {
    if (!qp_) return;
    roce::Qp* qp = std::exchange(qp_, nullptr);
    port_.destroy_qp(*qp);
    for (SendBuffer& b : send_)
        b.busy = false;
    grants_due_.clear(); // P asks again
    for (auto& [key, o] : objects_)
        for (auto& r : o->regions)
            r->forget_write();
}

void Session::end() {
    if (ended_) return;
    ended_ = true;
    ticket = 0;
    drop_connection();
    for (auto& [key, o] : objects_)
        forget_regions(*o);
    if (pd_) port_.destroy_pd(pd_);
    pd_ = {};
    ledger_.drop_credits(account_, credits_);
    credits_ = 0;
    ledger_.session_closed();
    while (!revokes_.empty()) {
        uint64_t revoke = revokes_.front().id;
        revokes_.pop_front();
        owner_.revoke_answered(revoke);
    }
}

bool Session::free_some(uint64_t most) {
    while (!objects_.empty()) {
        MemoryObject& o = *objects_.begin()->second;
        uint64_t before = o.pages();
        if (!o.discard_some(most)) return false;
        objects_.erase(objects_.begin());
        if (before >= most) return objects_.empty();
        most -= before;
    }
    return true;
}

void Session::forget_regions(MemoryObject& o) {
    for (auto& r : o.regions) {
        r->forget_write();
        port_.deregister(r->rkey);
    }
    o.regions.clear();
}

MemoryObject* Session::object(ObjectId o) {
    auto it = objects_.find(o.value);
    return it == objects_.end() ? nullptr : it->second.get();
}

Result<const Vregion*> Session::grant(ObjectId id, uint64_t page) {
    MemoryObject* o = object(id);
    if (!o || page >= kPageLimit) return Fail(Error::NotFound);
    uint64_t length = 1ull << options_.vregion_shift;
    uint64_t base = align_down(page << kPageShift, length);
    for (auto& r : o->regions)
        if (r->base == base) return r.get();
    auto region = std::make_unique<Vregion>(*this, *o, base, length);
    region->rkey =
        TRY(port_.register_region(pd_, base, length, roce::Access::RemoteReadWrite, *region));
    o->regions.push_back(std::move(region));
    return o->regions.back().get();
}

void Session::note_file(FileId f) {
    if (holds_any_) return;
    files_.insert(f.value);
    if (files_.size() > kMaxFiles) {
        holds_any_ = true;
        files_.clear();
    }
}

void Session::revoke(uint64_t revoke, FileId f, Generation g, PageNo first, uint64_t pages) {
    schema::PageRevoke m;
    m.kind = static_cast<uint16_t>(schema::PageMessageKind::Revoke);
    m.generation = g.value;
    m.id = revoke;
    m.file = f.value;
    m.first = first.value;
    m.pages = pages;
    revokes_.push_back(m);
}

void Session::on_received(roce::Qp& qp, const roce::Received& r) {
    if (&qp != qp_ || broken_) return;
    std::array<std::byte, sizeof(schema::StreamOp)> copy = receive_[r.id];
    // The buffer goes back first: what it said is in `copy`.
    if (!qp.post_receive(r.id, receive_[r.id])) return violation("no receive");
    if (r.write) return; // executed in finish_write
    if (r.length != sizeof(schema::StreamOp)) return violation("a message of a strange size");
    execute(load<schema::StreamOp>(copy));
}

void Session::on_sent(roce::Qp& qp, uint64_t id, roce::Status) {
    if (&qp == qp_ && id < send_.size()) send_[id].busy = false;
}

void Session::on_disconnected(roce::Qp& qp, Error why) {
    if (&qp != qp_) return;
    LOG(Info, "mmon", "vnode %u: page connection of node %u ended: %s", vnode.value,
        peer.node.value, describe(why).data());
    drop_connection();
}

void Session::violation(const char* what) {
    LOG(Warning, "mmon", "vnode %u: node %u sent %s; its page connection is ended", vnode.value,
        peer.node.value, what);
    owner_.counts().violations++;
    broken_ = true; // not destroyed here: we are inside one of its callbacks
}

void Session::refuse(uint64_t sequence, Error why) {
    schema::PageRefused r;
    r.sequence = sequence;
    r.error = static_cast<uint16_t>(why);
    refused_.push_back(r);
    refusals_++;
    if (refused_.size() > 4u * options_.window) refused_.pop_front();
    owner_.counts().refused++;
}

void Session::execute_write(MemoryObject& o, uint64_t page, env::FrameNo frame) {
    uint64_t n = ++executed_;
    status_due_ = true;
    uint64_t before = credits_;
    if (auto ok = o.swap_in(page, frame, credits_); !ok) {
        ledger_.pool().release(frame);
        refuse(n, ok.error());
    } else {
        owner_.counts().writes++;
    }
    consumed_ += before - credits_;
    owner_.stream_moved(*this);
}

void Session::execute(const schema::StreamOp& op) {
    if (op.sequence != executed_ + 1) return violation("an operation out of sequence");
    executed_++;
    status_due_ = true;
    owner_.counts().operations++;
    if (auto ok = run(op); !ok) {
        if (ok.error() == Error::Malformed) return violation("a malformed operation");
        refuse(executed_, ok.error());
    }
    owner_.stream_moved(*this);
}

Result<void> Session::run(const schema::StreamOp& op) {
    ObjectId id{op.object}, other{op.other};
    uint64_t first = op.first, pages = op.pages;
    auto bad_range = [](uint64_t from, uint64_t n) {
        return from >= kPageLimit || n > kPageLimit - from;
    };
    auto find = [&](ObjectId which) -> Result<MemoryObject*> {
        MemoryObject* o = object(which);
        if (!o) return Fail(Error::Stale);
        return o;
    };
    auto create = [&](ObjectId which) -> Result<MemoryObject*> {
        if (!which || object(which)) return Fail(Error::Malformed);
        auto o = std::make_unique<MemoryObject>(which, ledger_, account_);
        return (objects_[which.value] = std::move(o)).get();
    };
    switch (static_cast<StreamKind>(op.kind.get())) {
        case StreamKind::ObjectCreate:
            TRY(create(id));
            return {};
        case StreamKind::ObjectDestroy: {
            MemoryObject* o = TRY(find(id));
            forget_regions(*o);
            objects_.erase(id.value);
            return {};
        }
        case StreamKind::VregionOpen:
            TRY(find(id));
            if (bad_range(first, 1) || grants_due_.size() >= 2u * options_.window)
                return Fail(Error::Malformed);
            grants_due_.push_back({id, first});
            return {};
        case StreamKind::Discard:
            if (bad_range(first, pages)) return Fail(Error::Malformed);
            TRY(find(id))->discard(first, pages);
            return {};
        case StreamKind::Fork: {
            MemoryObject* parent = TRY(find(id));
            TRY(create(other))->share_all_from(*parent);
            return {};
        }
        case StreamKind::Share: {
            if (bad_range(first, 1) || bad_range(pages, 1)) return Fail(Error::Malformed);
            MemoryObject* from = TRY(find(id));
            TRY(find(other))->share_page_from(*from, first, pages);
            return {};
        }
        case StreamKind::Move:
            if (bad_range(first, pages) || bad_range(op.other, pages))
                return Fail(Error::Malformed);
            TRY(find(id))->move(first, pages, op.other);
            return {};
        case StreamKind::CreditRequest: {
            uint64_t k = ledger_.grant(account_, pages);
            granted_ += k;
            credits_ += k;
            return {};
        }
        case StreamKind::CreditReturn: {
            uint64_t k = std::min(pages, credits_);
            returned_ += k;
            credits_ -= k;
            ledger_.drop_credits(account_, k);
            return {};
        }
        case StreamKind::RevokeDone:
            for (auto it = revokes_.begin(); it != revokes_.end(); ++it) {
                if (it->id != op.other) continue;
                if (static_cast<size_t>(it - revokes_.begin()) < revokes_sent_) revokes_sent_--;
                revokes_.erase(it);
                owner_.revoke_answered(op.other);
                break;
            }
            return {};
        case StreamKind::None:
            break;
    }
    return Fail(Error::Malformed);
}

bool Session::send(Bytes message) {
    for (size_t i = 0; i < send_.size(); i++) {
        SendBuffer& b = send_[i];
        if (b.busy) continue;
        std::copy(message.begin(), message.end(), b.bytes.begin());
        roce::WorkRequest wr;
        wr.id = i;
        wr.op = roce::Op::Send;
        wr.pieces[0] = Bytes(b.bytes).first(message.size());
        if (!qp_->post_send(wr)) return false;
        b.busy = true;
        return true;
    }
    return false;
}

void Session::flush() {
    if (qp_ && broken_) drop_connection();
    if (!qp_ || ended_) return;
    while (!grants_due_.empty()) {
        Due due = grants_due_.front();
        auto region = grant(due.object, due.page);
        if (region) {
            schema::PageGrant g;
            g.kind = static_cast<uint16_t>(schema::PageMessageKind::Grant);
            g.rkey = (*region)->rkey.value;
            g.object = due.object.value;
            g.base = (*region)->base;
            g.length = (*region)->length;
            g.epoch = (*region)->epoch.value;
            if (!send(bytes_of(g))) return;
        }
        grants_due_.pop_front();
    }
    while (revokes_sent_ < revokes_.size()) {
        if (!send(bytes_of(revokes_[revokes_sent_]))) return;
        revokes_sent_++;
    }
    while (status_due_) {
        schema::PageStatus s;
        s.kind = static_cast<uint16_t>(schema::PageMessageKind::Status);
        // Refusals go out before the number that covers them counts as executed at the other end.
        refusals_sent_ = std::max(refusals_sent_, refusals_ - refused_.size());
        size_t at = refused_.size() - static_cast<size_t>(refusals_ - refusals_sent_);
        size_t n = std::min(schema::kStatusRefusals, refused_.size() - at);
        for (size_t i = 0; i < n; i++)
            s.refused[i] = refused_[at + i];
        bool last = at + n == refused_.size();
        s.refused_count = static_cast<uint16_t>(n);
        s.executed = last ? executed_ : refused_[at + n - 1].sequence.get();
        s.consumed = consumed_;
        s.granted = granted_;
        s.returned = returned_;
        if (!send(bytes_of(s))) return;
        refusals_sent_ += n;
        status_due_ = !last;
    }
}

} // namespace tessera::mmon
