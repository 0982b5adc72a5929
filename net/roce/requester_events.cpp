// What comes back to the requester: acknowledgements, NAKs, READ responses, the timer.
#include <algorithm>

#include "net/roce/requester.hpp"
#include "net/roce/soft_qp.hpp"

namespace tessera::roce {
namespace {

constexpr Nanos kFirstRto = milliseconds(40); // before the first round trip is known
constexpr Nanos kLongestRto = milliseconds(500);
constexpr unsigned kLeastAttempts = 4; // a stalled clock alone never breaks a connection

Status status_of_nak(uint8_t syndrome) {
    switch (syndrome) {
        case net::kNakRemoteAccess:
            return Status::RemoteAccess;
        case net::kNakRemoteOperation:
            return Status::RemoteOperation;
        default:
            return Status::RemoteInvalid;
    }
}

} // namespace

Nanos Requester::rto() const {
    Nanos base = smoothed_.value == 0 ? kFirstRto : smoothed_ * 4;
    base = std::clamp(base, device_.options.least_rto, kLongestRto);
    for (unsigned i = 0; i < attempts_ && base < kLongestRto; i++)
        base = base * 2;
    return std::min(base, kLongestRto);
}

void Requester::arm_timer(Nanos now) {
    deadline_ = psn_difference(limit_, una_) > 0 ? now + rto() : kNever;
    if (deadline_ != kNever) device_.arm(deadline_);
}

void Requester::go_back() {
    next_ = una_;
    cursor_ = acked_;
    unasked_ = 0;
    read_count_ = 0;
    missing_ = false;
    recovery_ = limit_;
    recovering_ = true;
    qp_.schedule();
}

void Requester::made_progress(Nanos now) {
    progress_ = now;
    attempts_ = 0;
    rnr_since_ = kNever;
    rnr_wait_ = false;
    window_ = device_.options.window;
    if (recovering_ && psn_difference(una_, recovery_) >= 0) recovering_ = false;
    if (sampling_ && psn_difference(una_, sample_psn_) > 0) {
        sampling_ = false;
        Nanos sample = now - sample_start_;
        if (sample.value < 1) sample = Nanos{1};
        smoothed_ = smoothed_.value == 0 ? sample : smoothed_ + (sample - smoothed_) / 8;
    }
    arm_timer(now);
    qp_.schedule(); // room in the window, completions to deliver
}

// Everything before psn has arrived, except that a READ only counts as far as its responses came.
void Requester::advance_to(uint32_t psn) {
    uint32_t before = una_;
    while (acked_ < count_ && psn_difference(psn, una_) > 0) {
        Entry& e = at(acked_);
        if (e.wr.op == Op::Read) {
            // An answer to something later: this READ's responses were lost. Ask once again.
            if (reread_at_ != una_) {
                reread_at_ = una_;
                if (una_ != before) made_progress(device_.clock.now());
                go_back();
                return;
            }
            break;
        }
        uint32_t end = psn_add(e.first_psn, e.packets);
        if (psn_difference(psn, end) >= 0) {
            una_ = end;
            acked_++;
        } else {
            una_ = psn;
        }
    }
    if (una_ == before) return;
    if (psn_difference(una_, next_) > 0) { // went back, but it had arrived after all
        next_ = una_;
        cursor_ = acked_;
    }
    cursor_ = std::max(cursor_, acked_);
    made_progress(device_.clock.now());
}

Status Requester::on_acknowledge(const net::RocePacket& p) {
    if (!started_ || psn_difference(p.psn, limit_) >= 0) return Status::Ok; // never sent: forged
    if (psn_difference(p.psn, psn_add(una_, kPsnModulus - 1)) < 0) return Status::Ok; // old news
    Nanos now = device_.clock.now();
    unsigned kind = p.syndrome >> 5;
    if (kind == 0) {
        advance_to(psn_add(p.psn, 1));
        return Status::Ok;
    }
    if (psn_difference(p.psn, una_) < 0) return Status::Ok;
    if (kind == 1) { // RNR NAK
        device_.counters.rnr_received++;
        advance_to(p.psn);
        if (una_ != p.psn) return Status::Ok;
        if (rnr_since_ == kNever) rnr_since_ = now;
        if (now - rnr_since_ >= device_.options.rnr_limit) return Status::RnrExceeded;
        go_back();
        rnr_wait_ = true;
        progress_ = now; // the peer is alive: its own limit counts
        deadline_ = now + Nanos{net::rnr_timer_nanoseconds(p.syndrome)};
        device_.arm(deadline_);
        return Status::Ok;
    }
    if (kind != 3) return Status::Ok;
    advance_to(p.psn);
    if (una_ != p.psn) return Status::Ok; // an unfinished READ comes first
    if (p.syndrome != net::kNakSequence) return status_of_nak(p.syndrome);
    if (psn_difference(p.psn, next_) >= 0) return Status::Ok;
    if (selective_ && at(acked_).wr.op != Op::Read) {
        if (resent_at_ != una_) {
            resent_at_ = una_;
            missing_ = true;
            qp_.schedule();
        }
    } else {
        go_back();
    }
    arm_timer(now);
    return Status::Ok;
}

Status Requester::on_read_response(const net::RocePacket& p) {
    if (!started_ || psn_difference(p.psn, limit_) >= 0 || psn_difference(p.psn, una_) < 0)
        return Status::Ok;
    if (p.psn != una_) {
        // Implies an acknowledgement of everything before it. What is left in between was lost.
        advance_to(p.psn);
        if (p.psn != una_) return Status::Ok;
    }
    if (acked_ >= count_) return Status::Ok;
    Entry& e = at(acked_);
    if (e.wr.op != Op::Read) return Status::Ok;
    auto index = static_cast<uint32_t>(psn_difference(p.psn, e.first_psn));
    uint32_t offset = index * qp_.path_mtu();
    if (p.payload.size() != std::min(e.length - offset, qp_.path_mtu()))
        return Status::RemoteInvalid;
    if (!p.payload.empty())
        std::memcpy(e.wr.into.data() + offset, p.payload.data(), p.payload.size());
    una_ = psn_add(una_, 1);
    if (index + 1 == e.packets) acked_++;
    if (psn_difference(una_, next_) > 0) next_ = una_;
    cursor_ = std::max(cursor_, acked_);
    made_progress(device_.clock.now());
    return Status::Ok;
}

Status Requester::on_timer(Nanos now) {
    if (now < deadline_) {
        if (deadline_ != kNever) device_.arm(deadline_);
        return Status::Ok;
    }
    deadline_ = kNever;
    if (rnr_wait_) {
        rnr_wait_ = false;
        qp_.schedule();
        return Status::Ok;
    }
    if (psn_difference(limit_, una_) <= 0) return Status::Ok;
    device_.counters.timeouts++;
    if (now - progress_ >= device_.options.broken_after && attempts_ >= kLeastAttempts)
        return Status::Timeout;
    attempts_++;
    sampling_ = false;
    reread_at_ = resent_at_ = kPsnModulus;
    go_back();
    window_ = 1; // probe; the answer tells where to go on
    arm_timer(now);
    return Status::Ok;
}

void Requester::deliver() {
    while (deliverable()) {
        uint64_t id = at(0).wr.id;
        head_ = (head_ + 1) % depth_;
        count_--;
        acked_--;
        cursor_--;
        qp_.events().on_sent(qp_, id, Status::Ok);
        if (!qp_.alive()) return;
    }
}

void Requester::flush(Status first) {
    started_ = false;
    deadline_ = kNever;
    while (count_ > 0) {
        uint64_t id = at(0).wr.id;
        Status status = acked_ > 0 ? Status::Ok : first;
        if (acked_ > 0)
            acked_--;
        else
            first = Status::Flushed;
        head_ = (head_ + 1) % depth_;
        count_--;
        qp_.events().on_sent(qp_, id, status);
        if (qp_.destroyed()) return;
    }
    cursor_ = acked_ = 0;
}

void Requester::abandon() {
    started_ = false;
    deadline_ = kNever;
    count_ = acked_ = cursor_ = 0;
}

} // namespace tessera::roce
