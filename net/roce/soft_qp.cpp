#include "net/roce/soft_qp.hpp"

#include "base/log.hpp"

namespace tessera::roce {
namespace {

Error reason_of(Responder::Verdict v) {
    switch (v) {
        case Responder::Verdict::Access:
            return Error::NotPermitted;
        case Responder::Verdict::TooLong:
            return Error::TooBig;
        case Responder::Verdict::Failed:
            return Error::Io;
        default:
            return Error::Malformed;
    }
}

Error reason_of(Status s) {
    switch (s) {
        case Status::RemoteAccess:
            return Error::NotPermitted;
        case Status::Timeout:
        case Status::RnrExceeded:
            return Error::Timeout;
        case Status::RemoteOperation:
            return Error::Io;
        default:
            return Error::Malformed;
    }
}

} // namespace

SoftQp::SoftQp(Device& device, const QpOptions& options, uint32_t number, QpEvents& events)
    : device_(device),
      options_(options),
      events_(events),
      number_(number),
      requester_(*this, device, options.send_depth),
      responder_(*this, device, options.receive_depth) {}

Result<void> SoftQp::post_send(const WorkRequest& wr) {
    if (!alive()) return Fail(Error::Disconnected);
    TRY(requester_.post(wr));
    if (device_.polling) { // leaves with everything else at the end of poll()
        schedule();
    } else {
        run();
        device_.out.flush();
    }
    return {};
}

Result<void> SoftQp::post_receive(uint64_t id, MutableBytes buffer) {
    if (state_ == State::Broken || destroyed()) return Fail(Error::Disconnected);
    return responder_.post(id, buffer);
}

void SoftQp::connected(const Connection& c) {
    ASSERT(idle());
    path_ = c.path;
    remote_number_ = c.remote_qp;
    mtu_ = c.mtu;
    ready_ = c.ready;
    requester_.start(c.first_psn, c.read_depth, c.held != nullptr);
    responder_.start(c.expected_psn, c.held);
    state_ = State::Connected;
}

void SoftQp::peer_ready() {
    if (ready_ || !alive()) return;
    ready_ = true;
    device_.counters.connections++;
    schedule();
}

void SoftQp::schedule() {
    hooks->ready(*this);
}

void SoftQp::over(Status status) {
    if (status == Status::Ok || !alive()) return;
    device_.counters.broken++;
    disconnect(status, reason_of(status));
}

void SoftQp::on_packet(const net::RocePacket& p) {
    if (!ready_) hooks->peer_talks(*this); // what RTU would have said
    if (!alive()) return;
    if (p.traits.request) {
        auto verdict = responder_.on_request(p);
        if (verdict == Responder::Verdict::Fine || !alive()) return;
        device_.counters.broken++;
        LOG(Warning, "roce", "QP %x: closing the connection from %08x: %s", number_, path_.ip,
            describe(reason_of(verdict)).data());
        disconnect(Status::Flushed, reason_of(verdict));
    } else if (p.opcode == net::Opcode::Acknowledge) {
        over(requester_.on_acknowledge(p));
    } else if (p.opcode != net::Opcode::AtomicAcknowledge) {
        over(requester_.on_read_response(p));
    }
}

void SoftQp::run() {
    if (!alive()) return;
    // Completions are callbacks: only from poll, never inside a post_send.
    if (device_.polling) {
        requester_.deliver();
        if (!alive()) return;
    }
    bool all = responder_.run();
    if (ready_) all = requester_.transmit() && all;
    if (!all || requester_.deliverable()) schedule();
}

void SoftQp::disconnect(Status first, Error why) {
    if (!alive()) return;
    state_ = State::Broken;
    responder_.stop();
    requester_.flush(first);
    if (destroyed()) return; // by a callback
    events_.on_disconnected(*this, why);
}

void SoftQp::destroy() {
    if (alive()) responder_.stop();
    state_ = State::Destroyed;
    requester_.abandon();
}

} // namespace tessera::roce
