#include "net/rpc/connection.hpp"

#include "base/log.hpp"
#include "net/rpc/node.hpp"

namespace tessera::rpc {

using schema::SegmentHeader;
using schema::SegmentKind;

namespace {
constexpr size_t kPayload = schema::kSegmentSize - sizeof(SegmentHeader);
constexpr Nanos kHandshakeTime = seconds(5);
} // namespace

Connection::Connection(NodeImpl& node, roce::Ipv4 address, bool outgoing, Own<ReceiveSlab> slab)
    : node_(node), address_(address), outgoing_(outgoing), slab_(std::move(slab)) {
    handshake_deadline_ = node_.now() + kHandshakeTime;
}

Connection::~Connection() {
    if (qp_) node_.port().destroy_qp(*qp_);
    while (queue_.pop_front()) {
    }
}

Result<void> Connection::make_qp() {
    roce::QpOptions options;
    options.pd = node_.pd();
    options.send_depth = kReceiveSegments;
    options.receive_depth = kReceiveSegments;
    qp_ = TRY(node_.port().create_qp(options, *this));
    for (unsigned i = 0; i < kReceiveSegments; i++)
        TRY(qp_->post_receive(i, slab_->segments[i]));
    return {};
}

Result<void> Connection::connect(uint16_t service) {
    TRY(make_qp());
    handshake_.client = node_.port().address();
    handshake_.server = address_;
    handshake_.client_hello = make_hello(node_.options(), node_.random());
    uint64_t id = node_.id_of(*this);
    NodeImpl* node = &node_;
    return node_.port().connect(*qp_, {address_, service}, bytes_of(handshake_.client_hello),
                                handshake_deadline_, [node, id](Result<Bytes> reply) {
                                    // It may be gone by now: found by number, not by pointer.
                                    if (Connection* c = node->find_connection(id))
                                        c->on_connected(reply);
                                });
}

void Connection::on_connected(Result<Bytes> reply) {
    if (state_ != State::Connecting) return;
    if (!reply) return close(reply.error());
    if (reply->size() < sizeof(schema::Welcome)) return close(Error::Malformed);
    auto welcome = load<schema::Welcome>(*reply);
    handshake_.server_hello = welcome.hello;
    // A version mismatch is known to both sides and said by both.
    if (auto checked = check_hello(node_.options(), welcome.hello, address_); !checked)
        return close(checked.error());
    if (welcome.refusal) return close(static_cast<Error>(welcome.refusal.get()));
    if (!proof_matches(node_.options().key, Side::Server, handshake_, welcome.session,
                       welcome.proof)) {
        LOG(Warning, "rpc", "%u.%u.%u.%u does not know our cluster key", address_.value >> 24,
            address_.value >> 16 & 255, address_.value >> 8 & 255, address_.value & 255);
        return close(Error::Unauthenticated);
    }
    remote_ = identity_of(welcome.hello);
    remote_session_ = welcome.session;
    remote_slots_ = welcome.hello.slots;
    want_proof_ = true;
    state_ = State::Ready;
    pump();
    node_.on_ready(*this);
}

void Connection::accept(roce::Incoming& request) {
    schema::Welcome welcome{};
    welcome.hello = make_hello(node_.options(), node_.random());
    auto refuse = [&](Error why) {
        welcome.refusal = static_cast<uint16_t>(why);
        if (auto made = make_qp(); !made) {
            request.reject({});
        } else if (!request.accept(*qp_, bytes_of(welcome))) {
            LOG(Debug, "rpc", "a refused connection could not be answered");
        }
        // Nothing is taken from this connection; the client closes it, or the deadline does.
        state_ = State::AwaitProof;
        remote_ = {};
        refused_ = true;
    };
    Bytes data = request.private_data();
    // Connection management may pad private data with zeros.
    if (data.size() < sizeof(schema::Hello)) return refuse(Error::Malformed);
    handshake_.client = address_;
    handshake_.server = node_.port().address();
    handshake_.client_hello = load<schema::Hello>(data);
    handshake_.server_hello = welcome.hello;
    if (auto checked = check_hello(node_.options(), handshake_.client_hello, address_); !checked)
        return refuse(checked.error());
    remote_ = identity_of(handshake_.client_hello);
    if (node_.fenced(remote_.incarnation)) return refuse(Error::Stale);
    if (node_.superseded(remote_)) {
        LOG(Warning, "rpc", "an older manager at %u.%u.%u.%u was refused", address_.value >> 24,
            address_.value >> 16 & 255, address_.value >> 8 & 255, address_.value & 255);
        return refuse(Error::Stale);
    }
    PeerImpl* p = node_.peer_for(address_);
    if (!p) return refuse(Error::Full);
    remote_slots_ = handshake_.client_hello.slots;
    welcome.session = node_.session_of(*p);
    Proof proof = prove(node_.options().key, Side::Server, handshake_, welcome.session);
    std::memcpy(welcome.proof, proof.data(), proof.size());
    if (auto made = make_qp(); !made) {
        request.reject({});
        return close(made.error());
    }
    state_ = State::AwaitProof;
    if (auto accepted = request.accept(*qp_, bytes_of(welcome)); !accepted) close(accepted.error());
}

void Connection::on_proof(Bytes body) {
    if (outgoing_ || state_ != State::AwaitProof || refused_ ||
        body.size() < sizeof(schema::ProofBody))
        return close(Error::Unauthenticated);
    auto given = load<schema::ProofBody>(body);
    if (!proof_matches(node_.options().key, Side::Client, handshake_, given.session, given.proof)) {
        LOG(Warning, "rpc", "%u.%u.%u.%u tried to connect without knowing the cluster key",
            address_.value >> 24, address_.value >> 16 & 255, address_.value >> 8 & 255,
            address_.value & 255);
        return close(Error::Unauthenticated);
    }
    remote_session_ = given.session;
    state_ = State::Ready;
    node_.on_ready(*this);
}

void Connection::close(Error why, bool tell_node) {
    if (state_ == State::Closed) return;
    state_ = State::Closed;
    while (queue_.pop_front()) {
    }
    node_.on_closed(*this, why, tell_node);
}

void Connection::send(Outgoing& message) {
    ASSERT(state_ == State::Ready && !message.link.linked());
    message.sent = 0;
    message.started = false;
    queue_.push_back(message);
    pump();
}

void Connection::forget(Outgoing& message) {
    if (message.link.linked()) message.link.unlink();
}

bool Connection::send_ack(Ref<Buffer> entries) {
    if (want_ack_) return false;
    want_ack_ = std::move(entries);
    pump();
    return true;
}

// Both bounds at once: our send ring, and the peer's receive buffers less what is kept for control.
bool Connection::room(unsigned reserve) const {
    return posted_ - completed_ < kReceiveSegments && qp_->send_room() > 0 &&
           posted_ - peer_consumed_ < kReceiveSegments - reserve;
}

bool Connection::post(const SegmentHeader& header, const Ref<Buffer>& body, Bytes slice) {
    InFlight& f = in_flight_[posted_ % kReceiveSegments];
    f.header = header;
    f.header.consumed = consumed_;
    f.body = body;
    roce::WorkRequest wr;
    wr.id = posted_;
    wr.op = roce::Op::Send;
    wr.pieces = {bytes_of(f.header), slice};
    if (!qp_->post_send(wr)) return false;
    posted_++;
    announced_ = consumed_;
    want_credit_ = false;
    return true;
}

// Proof, identity, acknowledgements, credits: one segment each, ahead of data. False: no room now.
bool Connection::post_control() {
    auto one = [&](SegmentKind kind, Bytes payload, Ref<Buffer> ready = nullptr) {
        Ref<Buffer> body = ready ? ready : Buffer::make(node_.budget(), payload, {});
        if (!body) return false;
        SegmentHeader h{};
        h.kind = static_cast<unsigned char>(kind);
        h.flags = schema::kFirstSegment | schema::kLastSegment;
        h.length = static_cast<uint32_t>(body->bytes().size());
        return post(h, body, body->bytes());
    };
    if (want_proof_) {
        if (!room(0)) return false;
        schema::ProofBody p{};
        p.session = node_.session_of(*peer);
        Proof proof = prove(node_.options().key, Side::Client, handshake_, p.session);
        std::memcpy(p.proof, proof.data(), proof.size());
        if (!one(SegmentKind::Proof, bytes_of(p))) return false;
        want_proof_ = false;
    }
    if (want_identity_) {
        if (!room(kCreditReserve)) return false;
        schema::Hello hello = make_hello(node_.options(), node_.random());
        if (!one(SegmentKind::Identity, bytes_of(hello))) return false;
        want_identity_ = false;
    }
    if (want_ack_) {
        if (!room(kCreditReserve)) return false;
        if (!one(SegmentKind::Ack, {}, want_ack_)) return false;
        want_ack_ = nullptr;
    }
    return true;
}

void Connection::pump() {
    if (state_ != State::Ready || pumping_) return;
    pumping_ = true;
    bool open = post_control();
    while (open && !queue_.empty() && room(kCreditReserve)) {
        Outgoing& m = *queue_.front();
        Bytes all = m.body ? m.body->bytes() : Bytes{};
        Bytes slice = all.subspan(m.sent, std::min(kPayload, all.size() - m.sent));
        SegmentHeader h = m.header;
        h.length = static_cast<uint32_t>(all.size());
        bool last = m.sent + slice.size() == all.size();
        h.flags = static_cast<unsigned char>((m.started ? 0 : schema::kFirstSegment) |
                                             (last ? schema::kLastSegment : 0));
        if (!post(h, m.body, slice)) break;
        m.started = true;
        m.sent += slice.size();
        if (last) {
            m.link.unlink();
            if (m.on_handed_over) m.on_handed_over(m, m.owner);
        }
    }
    if (want_credit_ && room(0)) {
        SegmentHeader h{};
        h.kind = static_cast<unsigned char>(SegmentKind::Credit);
        h.flags = schema::kFirstSegment | schema::kLastSegment;
        (void)post(h, nullptr, {}); // Full: asked for again with the next segment that comes in
    }
    pumping_ = false;
}

void Connection::on_sent(roce::Qp&, uint64_t id, roce::Status status) {
    InFlight& f = in_flight_[static_cast<uint32_t>(id) % kReceiveSegments];
    f.body = nullptr;
    completed_++;
    if (status != roce::Status::Ok) return; // on_disconnected follows
    pump();
}

void Connection::on_received(roce::Qp& qp, const roce::Received& r) {
    if (state_ == State::Closed) return;
    if (r.write || r.id >= kReceiveSegments || r.length > schema::kSegmentSize)
        return close(Error::Malformed);
    auto& buffer = slab_->segments[r.id];
    on_segment(Bytes(buffer).first(r.length));
    if (state_ == State::Closed) return;
    consumed_++;
    if (!qp.post_receive(r.id, buffer)) return close(Error::Full);
    if (consumed_ - announced_ >= kReceiveSegments / 4) want_credit_ = true;
    pump();
}

void Connection::on_segment(Bytes segment) {
    if (segment.size() < sizeof(SegmentHeader)) return close(Error::Malformed);
    auto h = load<SegmentHeader>(segment);
    Bytes payload = segment.subspan(sizeof(SegmentHeader));
    if (h.consumed - peer_consumed_ > posted_ - peer_consumed_) return close(Error::Malformed);
    peer_consumed_ = h.consumed;

    bool first = h.flags & schema::kFirstSegment, last = h.flags & schema::kLastSegment;
    size_t length = h.length;
    if (length > kMaxMessage || payload.size() > length) return close(Error::Malformed);
    // Until the client has proven itself, its proof is the only thing listened to.
    if (state_ != State::Ready && static_cast<SegmentKind>(h.kind) != SegmentKind::Proof)
        return close(Error::Unauthenticated);
    if (first && last) { // also between the segments of a longer one: credits do not wait
        if (payload.size() != length) return close(Error::Malformed);
        return deliver(h, payload);
    }
    if (state_ != State::Ready) return close(Error::Unauthenticated);
    if (first == in_message_) return close(Error::Malformed);
    if (first) {
        assembling_ = h;
        assembled_ = 0;
        in_message_ = true;
    } else if (h.kind != assembling_.kind || h.sequence != assembling_.sequence ||
               h.length != assembling_.length || payload.size() > length - assembled_) {
        return close(Error::Malformed);
    }
    if (!payload.empty())
        std::memcpy(slab_->assembly.data() + assembled_, payload.data(), payload.size());
    assembled_ += payload.size();
    if (!last) return;
    in_message_ = false;
    if (assembled_ != length) return close(Error::Malformed);
    deliver(assembling_, Bytes(slab_->assembly).first(assembled_));
}

void Connection::deliver(const SegmentHeader& h, Bytes body) {
    switch (static_cast<SegmentKind>(h.kind)) {
        case SegmentKind::Proof:
            return on_proof(body);
        case SegmentKind::Credit:
            return;
        case SegmentKind::Request:
        case SegmentKind::Reply:
        case SegmentKind::Cancel:
        case SegmentKind::Ack:
        case SegmentKind::Identity:
            return node_.on_message(*this, {h, body});
    }
    close(Error::Malformed);
}

void Connection::on_disconnected(roce::Qp& qp, Error why) {
    (void)qp;
    close(refused_ ? Error::Unauthenticated : why);
}

} // namespace tessera::rpc
