// In-order execution of requests; duplicates, gaps and READ responses are in responder_flow.cpp.
#include "net/roce/responder.hpp"

#include "net/roce/soft_qp.hpp"

namespace tessera::roce {
namespace {

constexpr unsigned kAccessErrorsAllowed = 2;

} // namespace

Responder::Responder(SoftQp& qp, Device& device, uint16_t depth)
    : qp_(qp), device_(device), receives_(std::make_unique<Receive[]>(depth)), depth_(depth) {}

Responder::~Responder() {
    stop();
}

void Responder::start(uint32_t expected_psn, HeldPool* held) {
    expected_ = expected_psn;
    pool_ = held;
    started_ = true;
}

Result<void> Responder::post(uint64_t id, MutableBytes buffer) {
    if (receive_count_ == depth_) return Fail(Error::Full);
    receives_[(first_receive_ + receive_count_) % depth_] = {id, buffer};
    receive_count_++;
    return {};
}

Responder::Verdict Responder::on_request(const net::RocePacket& p) {
    if (!started_) return Verdict::Fine;
    verdict_ = Verdict::Fine;
    int32_t distance = psn_difference(p.psn, expected_);
    if (distance < 0) {
        on_duplicate(p);
    } else if (distance > 0) {
        on_gap(p);
    } else {
        Outcome o = execute(p);
        if (o == Outcome::Done) replay_held();
    }
    return verdict_;
}

Responder::Outcome Responder::execute(const net::RocePacket& p) {
    Outcome o = p.traits.send                          ? execute_send(p)
                : p.traits.write                       ? execute_write(p)
                : p.opcode == net::Opcode::ReadRequest ? execute_read(p)
                                                       : fatal(net::kNakInvalidRequest,
                                                               Verdict::Invalid); // atomics
    if (o == Outcome::Done) {
        gap_reported_ = false;
        not_ready_ = 0;
    }
    return o;
}

// The PSN is not consumed: the peer sends it again.
Responder::Outcome Responder::not_ready() {
    constexpr uint8_t kFirstTimer = 8; // 0.16 ms, then longer up to
    constexpr uint8_t kLastTimer = 18; // 5.12 ms: a peer that waits does not flood us
    uint8_t code = static_cast<uint8_t>(kFirstTimer + not_ready_);
    if (code < kLastTimer) not_ready_++;
    device_.counters.rnr_sent++;
    nak_due_ = net::kRnrNak | code;
    gap_reported_ = true; // what is behind it comes again as well
    qp_.schedule();
    return Outcome::Retry;
}

Responder::Outcome Responder::fatal(uint8_t syndrome, Verdict verdict) {
    verdict_ = verdict;
    device_.counters.naks_sent++;
    (void)send_acknowledge(syndrome, expected_);
    return Outcome::Stop;
}

Responder::Outcome Responder::refuse_access() {
    device_.counters.access_errors++;
    if (++access_errors_ > kAccessErrorsAllowed)
        return fatal(net::kNakRemoteAccess, Verdict::Access);
    device_.counters.naks_sent++;
    nak_due_ = net::kNakRemoteAccess;
    gap_reported_ = true;
    qp_.schedule();
    return Outcome::Stop;
}

Responder::Outcome Responder::execute_send(const net::RocePacket& p) {
    if (p.traits.first != (message_.kind == Kind::None) ||
        (!p.traits.first && message_.kind != Kind::Send))
        return fatal(net::kNakInvalidRequest, Verdict::Invalid);
    uint32_t mtu = qp_.path_mtu();
    if (p.traits.last ? p.payload.size() > mtu : p.payload.size() != mtu)
        return fatal(net::kNakInvalidRequest, Verdict::Invalid);
    if (p.traits.first) {
        if (receive_count_ == 0) return not_ready();
        message_ = {.kind = Kind::Send, .target = receives_[first_receive_].buffer};
    }
    if (p.payload.size() > message_.target.size() - message_.done)
        return fatal(net::kNakInvalidRequest, Verdict::TooLong);
    if (!p.payload.empty())
        std::memcpy(message_.target.data() + message_.done, p.payload.data(), p.payload.size());
    message_.done += static_cast<uint32_t>(p.payload.size());
    return finish(p, message_.done);
}

Responder::Outcome Responder::begin_write(const net::RocePacket& p) {
    Message m{.kind = Kind::Write};
    if (p.dma_length != 0) { // IBTA 9.7.4.1.4: a write of nothing is not checked
        Region* r = device_.memory.check(qp_.pd(), p.rkey, p.remote_address, p.dma_length,
                                         Access::RemoteWrite);
        if (!r) return refuse_access();
        m.rkey = p.rkey;
        if (r->backend) {
            auto target = r->backend->begin_write(qp_, p.remote_address, p.dma_length);
            if (!target) {
                bool later = target.error() == Error::Full || target.error() == Error::NoMemory;
                return later ? not_ready() : refuse_access();
            }
            m.backend = r->backend;
            m.token = target->token;
            m.target = target->bytes;
            ASSERT(m.target.size() == p.dma_length);
        } else {
            m.target = {r->memory + (p.remote_address - r->base), p.dma_length};
        }
    }
    message_ = m;
    return Outcome::Done;
}

Responder::Outcome Responder::execute_write(const net::RocePacket& p) {
    if (p.traits.first != (message_.kind == Kind::None) ||
        (!p.traits.first && message_.kind != Kind::Write))
        return fatal(net::kNakInvalidRequest, Verdict::Invalid);
    uint32_t mtu = qp_.path_mtu();
    size_t size = p.payload.size();
    if (p.traits.last ? size > mtu : size != mtu)
        return fatal(net::kNakInvalidRequest, Verdict::Invalid);
    size_t expected = p.traits.first ? p.dma_length : message_.target.size() - message_.done;
    if (p.traits.last ? size != expected : size >= expected)
        return fatal(net::kNakInvalidRequest, Verdict::Invalid);
    if (p.traits.last && p.traits.immediate && receive_count_ == 0) return not_ready();
    if (p.traits.first) {
        Outcome o = begin_write(p);
        if (o != Outcome::Done) return o;
    }
    if (size) std::memcpy(message_.target.data() + message_.done, p.payload.data(), size);
    message_.done += static_cast<uint32_t>(size);
    if (p.traits.last && message_.backend) {
        std::optional<uint32_t> immediate;
        if (p.traits.immediate) immediate = p.immediate;
        RegionBackend* backend = message_.backend;
        message_.backend = nullptr; // from here on it is not ours to abort
        auto r = backend->finish_write(qp_, message_.token, immediate);
        if (!qp_.alive()) return Outcome::Stop;
        if (!r) {
            message_ = {};
            return fatal(net::kNakRemoteOperation, Verdict::Failed);
        }
    }
    return finish(p, 0);
}

// A packet of a SEND or WRITE was carried out.
Responder::Outcome Responder::finish(const net::RocePacket& p, uint32_t length) {
    expected_ = psn_add(expected_, 1);
    if (p.ack_request) {
        ack_due_ = true;
        qp_.schedule();
    }
    if (!p.traits.last) return Outcome::Done;
    message_ = {};
    msn_ = psn_add(msn_, 1);
    if (!p.traits.send && !p.traits.immediate) return Outcome::Done;
    Received r{.id = receives_[first_receive_].id, .length = length, .write = p.traits.write};
    if (p.traits.immediate) r.immediate = p.immediate;
    first_receive_ = (first_receive_ + 1) % depth_;
    receive_count_--;
    qp_.events().on_received(qp_, r);
    return qp_.alive() ? Outcome::Done : Outcome::Stop;
}

Responder::Outcome Responder::execute_read(const net::RocePacket& p) {
    if (message_.kind != Kind::None) return fatal(net::kNakInvalidRequest, Verdict::Invalid);
    if (p.dma_length > 1u << 31) return fatal(net::kNakInvalidRequest, Verdict::Invalid);
    if (p.dma_length != 0 &&
        !device_.memory.check(qp_.pd(), p.rkey, p.remote_address, p.dma_length, Access::RemoteRead))
        return refuse_access();
    if (read_count_ == kReadDepth) return Outcome::Retry; // more than we offered: as if lost
    uint32_t packets = packets_of(p.dma_length, qp_.path_mtu());
    msn_ = psn_add(msn_, 1);
    reads_[(first_read_ + read_count_) % kReadDepth] = {.psn = p.psn,
                                                        .packets = packets,
                                                        .address = p.remote_address,
                                                        .rkey = p.rkey,
                                                        .length = p.dma_length,
                                                        .msn = msn_};
    read_count_++;
    expected_ = psn_add(expected_, packets);
    qp_.schedule();
    return Outcome::Done;
}

void Responder::abort_message() {
    if (message_.backend) message_.backend->abort_write(qp_, message_.token);
    message_ = {};
}

void Responder::forget_region(uint32_t rkey) {
    if (message_.kind != Kind::Write || message_.rkey != rkey) return;
    abort_message();
    message_.kind = Kind::Write; // the next packet of this write is refused by its size
}

void Responder::stop() {
    if (started_) abort_message();
    started_ = false;
    ack_due_ = false;
    nak_due_ = 0;
    receive_count_ = 0;
    read_count_ = 0;
    while (HeldPacket* h = held_.pop_front())
        pool_->destroy(h);
}

} // namespace tessera::roce
