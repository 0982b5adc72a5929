#include "net/rpc/peer.hpp"

#include <algorithm>

#include "net/rpc/node.hpp"

namespace tessera::rpc {

using schema::SegmentKind;

namespace {
constexpr size_t kMaxQueued = 256; // calls per peer that wait for a slot
constexpr Nanos kFirstBackoff = milliseconds(20);
constexpr Nanos kLongestBackoff = seconds(1);
constexpr Nanos kStable = seconds(3); // a connection that lived this long was a good one
constexpr Nanos kAckDelay = milliseconds(100);
constexpr size_t kAckBytes = 16 * 1024; // replies the server keeps for us before we say so at once
} // namespace

PeerImpl::PeerImpl(NodeImpl& node, roce::Ipv4 address, uint16_t service, uint32_t session)
    : node_(node),
      address_(address),
      service_(service),
      session_(session),
      client_(node.options().credits),
      server_(node.options().credits) {
    for (auto& s : client_) {
        s.out.owner = this;
        s.out.on_handed_over = handed_over;
    }
    // A late answer to a request of an evicted peer must not pass for one of its successor's.
    for (auto& s : server_)
        s.generation = session;
    last_used_ = node.now();
}

PeerImpl::~PeerImpl() {
    ASSERT(queue_.empty());
}

void PeerImpl::call(Opcode op, Bytes head, Bytes body, const CallOptions& options,
                    ReplyHandler done) {
    ASSERT(options.deadline < kNever);
    bool full = queued_ >= kMaxQueued || node_.pool_exhausted();
    Call* c = node_.make_call();
    c->op = op;
    c->deadline = options.deadline;
    c->idempotent = options.idempotent;
    c->done = std::move(done);
    last_used_ = node_.now();
    if (identity_.incarnation && node_.fenced(identity_.incarnation)) {
        probe_ = true; // somebody new may be there by now
        return node_.fail_later(c, Error::Dead);
    }
    if (head.size() + body.size() > kMaxMessage) return node_.fail_later(c, Error::TooBig);
    if (!full) c->body = Buffer::make(node_.budget(), head, body);
    if (!c->body) return node_.fail_later(c, Error::Full);
    queue_.push_back(*c);
    queued_++;
    earliest_deadline_ = std::min(earliest_deadline_, c->deadline);
    dispatch();
}

bool PeerImpl::idle() const {
    if (queued_ > 0) return false;
    if (in_slots_ > 0) return false;
    for (auto& s : server_)
        if (s.work == Work::Executing) return false;
    return true;
}

Call* PeerImpl::take_call(ClientSlot& s) {
    in_slots_--;
    return std::exchange(s.call, nullptr);
}

// Moves waiting calls into free slots of the connection.
void PeerImpl::dispatch() {
    if (!connection_) return;
    size_t slots = std::min<size_t>(client_.size(), connection_->remote_slots());
    for (size_t i = 0; i < slots && !queue_.empty() && connection_; i++) {
        ClientSlot& s = client_[i];
        if (s.call || s.given_up) continue;
        s.call = queue_.pop_front();
        queued_--;
        in_slots_++;
        s.sequence = next_sequence_++;
        s.sent = s.unacked = false;
        s.out.header = {};
        s.out.header.kind = static_cast<unsigned char>(SegmentKind::Request);
        s.out.header.opcode = s.call->op.value;
        s.out.header.slot = static_cast<uint16_t>(i);
        s.out.header.sequence = s.sequence;
        s.out.body = s.call->body;
        connection_->send(s.out);
    }
}

void PeerImpl::handed_over(Outgoing& out, void* owner) {
    PeerImpl& p = *static_cast<PeerImpl*>(owner);
    ClientSlot& s = p.client_[out.header.slot];
    if (static_cast<SegmentKind>(out.header.kind) == SegmentKind::Cancel) {
        s.given_up = false;
        return;
    }
    s.sent = true;
    if (s.given_up) p.send_cancel(s); // gave up half-way through sending
}

void PeerImpl::send_cancel(ClientSlot& s) {
    s.out.header.kind = static_cast<unsigned char>(SegmentKind::Cancel);
    s.out.body = nullptr;
    connection_->send(s.out);
}

void PeerImpl::adopt(Connection& c) {
    bool restarted =
        identity_.incarnation != c.remote().incarnation || remote_session_ != c.remote_session();
    connection_ = &c;
    c.peer = this;
    if (restarted) restart_sessions();
    identity_ = c.remote();
    remote_session_ = c.remote_session();
    stale = probe_ = false;
    adopted_at_ = last_used_ = node_.now();
    resend();
    dispatch();
}

void PeerImpl::restart_sessions() {
    // Back to the front of the queue, in order: walk the slots from the youngest.
    for (;;) {
        ClientSlot* youngest = nullptr;
        for (auto& s : client_)
            if (s.call && (!youngest || s.sequence > youngest->sequence)) youngest = &s;
        if (!youngest) break;
        Call* call = take_call(*youngest);
        if (youngest->sent && !call->idempotent) {
            node_.fail_later(call, Error::OutcomeUnknown);
        } else {
            queue_.push_front(*call);
            queued_++;
        }
    }
    for (auto& s : client_)
        s.given_up = s.sent = s.unacked = false, s.out.body = nullptr;
    unacked_bytes_ = 0;
    for (auto& s : server_) {
        s.sequence = 0;
        s.generation++;
        s.work = Work::Idle;
        s.out.body = nullptr;
    }
}

// What was unfinished on the last connection, oldest first. The server knows what it has seen.
void PeerImpl::resend() {
    uint64_t after = 0;
    for (;;) {
        ClientSlot* next = nullptr;
        for (auto& s : client_)
            if (s.call && s.sequence > after && (!next || s.sequence < next->sequence)) next = &s;
        if (!next || !connection_) return;
        after = next->sequence;
        if (!next->out.link.linked()) connection_->send(next->out);
    }
}

void PeerImpl::lost() {
    connection_ = nullptr;
    // Closing took everything off the connection's queue. A request given up needs no Cancel any
    // more: it is never sent again, and the slot's next request supersedes it at the server.
    for (auto& s : client_)
        s.given_up = false;
    if (node_.now() - adopted_at_ > kStable) backoff_ = {};
    back_off();
}

void PeerImpl::back_off() {
    // Jitter, so that two nodes that met head-on do not do it again.
    int64_t jitter = static_cast<int64_t>(node_.random().next() % kFirstBackoff.value);
    retry_at_ = node_.now() + backoff_ + Nanos{jitter};
    backoff_ = backoff_ == Nanos{} ? kFirstBackoff : std::min(backoff_ * 2, kLongestBackoff);
}

void PeerImpl::attempt_failed(Error why) {
    attempt_ = nullptr;
    probe_ = false; // until the next call
    back_off();
    bool final = why == Error::VersionMismatch || why == Error::Unauthenticated ||
                 why == Error::Stale || why == Error::Malformed;
    if (why == Error::Stale) stale = true;
    if (final) fail_all(why);
}

void PeerImpl::fail_all(Error why) {
    while (Call* c = queue_.pop_front()) {
        queued_--;
        node_.fail_later(c, why);
    }
    for (auto& s : client_) {
        if (connection_) connection_->forget(s.out);
        if (s.call) node_.fail_later(take_call(s), why);
        s.given_up = false;
    }
}

void PeerImpl::on_message(const Message& m) {
    last_used_ = node_.now();
    switch (static_cast<SegmentKind>(m.header.kind)) {
        case SegmentKind::Request:
            return on_request(m);
        case SegmentKind::Reply:
            return on_reply(m);
        case SegmentKind::Cancel:
            return on_cancel(m);
        case SegmentKind::Ack:
            return on_ack(m);
        case SegmentKind::Identity:
            return on_identity(m);
        default:
            return;
    }
}

void PeerImpl::on_request(const Message& m) {
    if (m.header.slot >= server_.size()) return connection_->close(Error::Malformed);
    ServerSlot& s = server_[m.header.slot];
    if (m.header.sequence < s.sequence) return;
    if (m.header.sequence == s.sequence) { // a retry: the first result, once there is one
        if (s.work == Work::Replied && !s.out.link.linked()) connection_->send(s.out);
        return;
    }
    connection_->forget(s.out); // the caller has no use for the old reply
    s.out.body = nullptr;
    s.sequence = m.header.sequence;
    s.generation++;
    s.work = Work::Executing;
    node_.execute(*this, m.header.slot, s.generation, m);
}

void PeerImpl::answer(unsigned slot, uint32_t generation, Error error, Bytes head, Bytes body) {
    if (slot >= server_.size()) return;
    ServerSlot& s = server_[slot];
    if (s.generation != generation || s.work != Work::Executing) return; // cancelled meanwhile
    Ref<Buffer> buffer;
    if (error == Error{}) {
        if (head.size() + body.size() > kMaxMessage)
            error = Error::TooBig;
        else if (!(buffer = Buffer::make(node_.budget(), head, body)))
            error = Error::NoMemory;
    }
    s.work = Work::Replied;
    s.out.header = {};
    s.out.header.kind = static_cast<unsigned char>(SegmentKind::Reply);
    s.out.header.slot = static_cast<uint16_t>(slot);
    s.out.header.error = static_cast<uint16_t>(error);
    s.out.header.sequence = s.sequence;
    s.out.body = std::move(buffer);
    if (connection_) connection_->send(s.out);
}

void PeerImpl::on_reply(const Message& m) {
    if (m.header.slot >= client_.size()) return connection_->close(Error::Malformed);
    ClientSlot& s = client_[m.header.slot];
    if (!s.call || s.sequence != m.header.sequence) return; // given up meanwhile
    connection_->forget(s.out);
    Call* call = take_call(s);
    s.out.body = nullptr;
    s.unacked = true;
    unacked_bytes_ += m.body.size();
    if (ack_at_ == kNever) ack_at_ = node_.now() + kAckDelay;
    if (unacked_bytes_ > kAckBytes) acknowledge(node_.now());
    if (m.header.error)
        node_.finish(call, Fail(static_cast<Error>(m.header.error.get())));
    else
        node_.finish(call, m.body);
    dispatch();
}

void PeerImpl::on_cancel(const Message& m) {
    if (m.header.slot >= server_.size()) return connection_->close(Error::Malformed);
    ServerSlot& s = server_[m.header.slot];
    if (m.header.sequence < s.sequence) return;
    connection_->forget(s.out);
    s.sequence = m.header.sequence;
    s.generation++;
    s.work = Work::Idle;
    s.out.body = nullptr;
}

void PeerImpl::on_ack(const Message& m) {
    for (Bytes b = m.body; b.size() >= sizeof(schema::AckEntry);
         b = b.subspan(sizeof(schema::AckEntry))) {
        auto e = load<schema::AckEntry>(b);
        if (e.slot >= server_.size()) return connection_->close(Error::Malformed);
        ServerSlot& s = server_[e.slot];
        if (s.sequence != e.sequence || s.work != Work::Replied) continue;
        connection_->forget(s.out);
        s.work = Work::Idle;
        s.out.body = nullptr;
    }
}

void PeerImpl::on_identity(const Message& m) {
    if (m.body.size() < sizeof(schema::Hello)) return connection_->close(Error::Malformed);
    Identity who = identity_of(load<schema::Hello>(m.body));
    if (who.incarnation != identity_.incarnation || who.kind != identity_.kind) return;
    identity_.node = who.node;
    connection_->set_remote_node(who.node);
}

void PeerImpl::acknowledge(Nanos now) {
    ack_at_ = kNever;
    unacked_bytes_ = 0;
    if (!connection_) return;
    std::array<schema::AckEntry, 64> entries;
    size_t n = 0;
    for (size_t i = 0; i < client_.size() && n < entries.size(); i++) {
        if (!client_[i].unacked) continue;
        entries[n].slot = static_cast<uint16_t>(i);
        entries[n++].sequence = client_[i].sequence;
    }
    if (n == 0) return;
    Bytes all = std::as_bytes(std::span(entries).first(n));
    // One at a time under way; these wait for the next turn.
    if (Ref<Buffer> b = Buffer::make(node_.budget(), all, {}); b && connection_->send_ack(b)) {
        for (auto& s : client_)
            s.unacked = false;
    } else {
        ack_at_ = now + kAckDelay;
    }
}

void PeerImpl::expire(Nanos now) {
    Nanos earliest = kNever;
    for (Call& c : queue_) {
        if (c.deadline <= now) {
            c.link.unlink();
            queued_--;
            node_.fail_later(&c, Error::Timeout);
        } else {
            earliest = std::min(earliest, c.deadline);
        }
    }
    for (auto& s : client_) {
        if (!s.call) continue;
        if (s.call->deadline > now) {
            earliest = std::min(earliest, s.call->deadline);
            continue;
        }
        node_.fail_later(take_call(s), Error::Timeout);
        if (!connection_) continue; // never sent again; superseded by the slot's next request
        if (s.out.link.linked() && !s.out.started) {
            connection_->forget(s.out);
            s.out.body = nullptr;
        } else {
            s.given_up = true;
            if (!s.out.link.linked()) send_cancel(s);
        }
    }
    earliest_deadline_ = earliest;
    dispatch();
}

Nanos PeerImpl::poll(Nanos now) {
    if (now >= earliest_deadline_) expire(now);
    if (now >= ack_at_) acknowledge(now);
    if (wants_connection() && now >= retry_at_)
        if (auto started = node_.start_connect(*this); !started) attempt_failed(started.error());
    return next_deadline();
}

Nanos PeerImpl::next_deadline() const {
    Nanos next = std::min(earliest_deadline_, ack_at_);
    return wants_connection() ? std::min(next, retry_at_) : next;
}

} // namespace tessera::rpc
