// PageClient: its connection to the owner: opening, losing, closing, and what comes in.
#include <algorithm>

#include "base/log.hpp"
#include "monitors/process/core/page_client.hpp"

namespace tessera::pmon {

using schema::StreamKind;

namespace {
constexpr Nanos kFirstRetry = milliseconds(10);
constexpr Nanos kLongestRetry = milliseconds(500);
} // namespace

void PageClient::open() {
    drop_connection();
    if (!pd_) {
        auto pd = port_.create_pd();
        if (!pd) return back_off();
        pd_ = *pd;
    }
    state_ = State::Opening;
    schema::PageOpenRequest q;
    q.vnode = options_.vnode.value;
    q.session = session_;
    calls_++;
    uint64_t generation = ++generation_;
    control_.call(schema::kPageOpen, bytes_of(q), {}, {clock_.now() + options_.call_deadline, true},
                  [this, generation](Result<Bytes> answer) {
                      calls_--;
                      if (state_ == State::Opening && generation == generation_) on_opened(answer);
                  });
}

void PageClient::on_opened(Result<Bytes> answer) {
    if (!answer) {
        if (answer.error() == Error::Lost || answer.error() == Error::Dead)
            return declare_lost(answer.error());
        return back_off();
    }
    if (answer->size() < sizeof(schema::PageOpenReply)) return back_off();
    auto reply = load<schema::PageOpenReply>(*answer);
    Bytes rest = answer->subspan(sizeof reply);
    if (reply.session == 0 || reply.window == 0 || reply.vregion_shift < 21 ||
        reply.vregion_shift > 40 || reply.refused_count > rest.size() / sizeof(schema::PageRefused))
        return back_off();
    if (session_ != 0 && session_ != reply.session) return declare_lost(Error::Lost);
    session_ = reply.session;
    window_ = static_cast<uint16_t>(std::min<uint32_t>(reply.window, 1024));
    vregion_shift_ = static_cast<uint8_t>(reply.vregion_shift.get());
    for (uint32_t i = 0; i < reply.refused_count; i++) {
        auto r = load<schema::PageRefused>(rest.subspan(i * sizeof(schema::PageRefused)));
        if (r.sequence > executed_ && r.sequence <= posted_)
            mark_refused(r.sequence, static_cast<Error>(r.error.get()));
    }
    sent_ = posted_; // the old connection is gone: nothing is sent from these buffers any more
    apply(reply.executed, reply.consumed, reply.granted, reply.returned);
    posted_ = sent_ = executed_; // what is above was never executed: it goes again
    connect(reply.ticket);
}

void PageClient::connect(uint64_t ticket) {
    state_ = State::Connecting;
    roce::QpOptions q;
    q.pd = pd_;
    q.send_depth = static_cast<uint16_t>(window_ + options_.reads);
    q.receive_depth = kReceives;
    auto qp = port_.create_qp(q, *this);
    if (!qp) return back_off();
    qp_ = *qp;
    for (size_t i = 0; i < receive_.size(); i++)
        if (!qp_->post_receive(i, receive_[i].bytes)) return back_off();
    schema::PageHello hello;
    hello.magic = schema::kPageMagic;
    hello.vnode = options_.vnode.value;
    hello.session = session_;
    hello.ticket = ticket;
    hello.incarnation = options_.incarnation.value;
    uint64_t generation = generation_;
    auto ok = port_.connect(*qp_, {options_.owner, options_.service}, bytes_of(hello),
                            clock_.now() + options_.call_deadline,
                            [this, generation](Result<Bytes> answer) {
                                if (state_ == State::Connecting && generation == generation_)
                                    on_connected(answer);
                            });
    if (!ok) back_off();
}

void PageClient::on_connected(Result<Bytes> answer) {
    if (!answer) return back_off();
    state_ = State::Up;
    retry_delay_ = kFirstRetry;
    // Grants asked for on the old connection may have been lost on the way.
    for (Granted& o : grants_)
        for (Grant& g : o.grants)
            if (!g.rkey && g.asked) ask_grant(o.object, g);
    post_due();
    events_.on_room(*this);
}

void PageClient::drop_connection() {
    if (!qp_) return;
    roce::Qp* qp = std::exchange(qp_, nullptr);
    port_.destroy_qp(*qp);
}

void PageClient::fail_reads(Error why) {
    for (ReadSlot& slot : reads_) {
        if (!slot.used) continue;
        slot.used = false;
        reads_in_flight_--;
        events_.on_read(*this, slot.token, Fail(why));
    }
}

void PageClient::back_off() {
    state_ = State::Waiting; // a QP that did not connect goes in open(), outside of its callbacks
    generation_++;
    retry_at_ = clock_.now() + retry_delay_;
    retry_delay_ = std::min(retry_delay_ * 2, kLongestRetry);
}

void PageClient::on_sent(roce::Qp& qp, uint64_t id, roce::Status status) {
    if (&qp != qp_) return;
    if (!(id & kReadTag)) {
        if (status == roce::Status::Ok) sent_ = std::max(sent_, id & ~kStreamTag);
        if (reported_ > executed_) settle(false);
        return post_due();
    }
    ReadSlot& slot = reads_[id & ~kReadTag];
    if (!slot.used) return;
    slot.used = false;
    reads_in_flight_--;
    events_.on_read(*this, slot.token,
                    status == roce::Status::Ok ? Result<void>{} : Fail(Error::Disconnected));
    if (room_wanted_ && state_ == State::Up) {
        room_wanted_ = false;
        events_.on_room(*this);
    }
}

void PageClient::on_received(roce::Qp& qp, const roce::Received& r) {
    if (&qp != qp_ || r.id >= receive_.size()) return;
    auto copy = receive_[r.id].bytes;
    Bytes message = Bytes(copy).first(std::min<size_t>(r.length, copy.size()));
    (void)qp.post_receive(r.id, receive_[r.id].bytes); // fails only when the connection is ending
    if (message.size() < sizeof(Le16)) return;
    switch (static_cast<schema::PageMessageKind>(load<Le16>(message).get())) {
        case schema::PageMessageKind::Status:
            return on_status(message);
        case schema::PageMessageKind::Grant:
            return on_grant(message);
        case schema::PageMessageKind::Revoke: {
            if (message.size() < sizeof(schema::PageRevoke)) return;
            auto m = load<schema::PageRevoke>(message);
            return events_.on_revoked(*this, m.id, FileId(m.file), Generation(m.generation),
                                      PageNo(m.first), m.pages);
        }
        case schema::PageMessageKind::None:
            break;
    }
}

void PageClient::on_status(Bytes message) {
    if (message.size() < sizeof(schema::PageStatus)) return;
    auto s = load<schema::PageStatus>(message);
    size_t n = std::min<size_t>(s.refused_count, schema::kStatusRefusals);
    for (size_t i = 0; i < n; i++)
        if (s.refused[i].sequence > executed_ && s.refused[i].sequence <= posted_)
            mark_refused(s.refused[i].sequence, static_cast<Error>(s.refused[i].error.get()));
    apply(s.executed, s.consumed, s.granted, s.returned);
}

void PageClient::on_grant(Bytes message) {
    if (message.size() < sizeof(schema::PageGrant)) return;
    auto g = load<schema::PageGrant>(message);
    add_grant(ObjectId(g.object), g.base, roce::Rkey(g.rkey));
    post_due();
}

void PageClient::on_disconnected(roce::Qp& qp, Error why) {
    if (&qp != qp_) return;
    LOG(Info, "pmon", "vnode %u: page connection lost: %s", options_.vnode.value,
        describe(why).data());
    drop_connection();
    fail_reads(Error::Disconnected);
    if (state_ == State::Lost || state_ == State::Over) return;
    reconnects_++;
    state_ = State::Waiting;
    generation_++;
    retry_at_ = clock_.now();
}

void PageClient::declare_lost(Error why) {
    if (lost() || state_ == State::Over) return;
    state_ = State::Lost;
    generation_++;
    drop_connection();
    fail_reads(why);
    while (!records_.empty()) {
        Record r = records_.front();
        records_.pop_front();
        Sequence n = first_record_++;
        if (static_cast<StreamKind>(r.op.kind.get()) == StreamKind::None && !r.refused) {
            writes_--;
            events_.on_written(*this, r.token, n, Fail(why), 0);
        }
    }
    posted_ = executed_ = reported_ = sent_ = next_ - 1;
    grants_.clear();
    events_.on_lost(*this, why);
}

void PageClient::close() {
    if (state_ == State::Over) return;
    bool tell = session_ != 0 && !lost();
    state_ = State::Over;
    generation_++;
    drop_connection();
    for (ReadSlot& slot : reads_)
        slot.used = false;
    reads_in_flight_ = 0;
    records_.clear();
    grants_.clear();
    first_record_ = next_;
    if (!tell) return;
    schema::PageCloseRequest q;
    q.vnode = options_.vnode.value;
    q.session = session_;
    calls_++;
    control_.call(schema::kPageClose, bytes_of(q), {},
                  {clock_.now() + options_.call_deadline, true},
                  [this](Result<Bytes>) { calls_--; });
}

void PageClient::poll() {
    if (state_ == State::Closed || (state_ == State::Waiting && clock_.now() >= retry_at_))
        open();
    else if (state_ == State::Up)
        post_due();
}

Nanos PageClient::next_deadline() const {
    if (state_ == State::Closed) return Nanos{0};
    return state_ == State::Waiting ? retry_at_ : kNever;
}

} // namespace tessera::pmon
