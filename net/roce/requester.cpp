// Posting and sending; what comes back is in requester_events.cpp.
#include "net/roce/requester.hpp"

#include <algorithm>

#include "net/roce/soft_qp.hpp"

namespace tessera::roce {
namespace {

constexpr uint64_t kMaxMessage = mib(64);
constexpr size_t kCopyBelow = 512; // a smaller payload is copied by the link rather than held

using net::Opcode;

struct OpcodeSet {
    Opcode first, middle, last, only;
};

OpcodeSet opcodes_of(Op op) {
    switch (op) {
        case Op::Send:
            return {Opcode::SendFirst, Opcode::SendMiddle, Opcode::SendLast, Opcode::SendOnly};
        case Op::SendImmediate:
            return {Opcode::SendFirst, Opcode::SendMiddle, Opcode::SendLastImmediate,
                    Opcode::SendOnlyImmediate};
        case Op::Write:
            return {Opcode::WriteFirst, Opcode::WriteMiddle, Opcode::WriteLast, Opcode::WriteOnly};
        case Op::WriteImmediate:
            return {Opcode::WriteFirst, Opcode::WriteMiddle, Opcode::WriteLastImmediate,
                    Opcode::WriteOnlyImmediate};
        case Op::Read:
            break;
    }
    return {Opcode::ReadRequest, Opcode::ReadRequest, Opcode::ReadRequest, Opcode::ReadRequest};
}

} // namespace

void Requester::Entry::transmitted() {
    holds--;
    owner->holds_--;
    if (owner->deliverable()) owner->qp_.schedule();
}

Requester::Requester(SoftQp& qp, Device& device, uint16_t depth)
    : qp_(qp), device_(device), ring_(std::make_unique<Entry[]>(depth)), depth_(depth) {
    for (unsigned i = 0; i < depth_; i++)
        ring_[i].owner = this;
}

Requester::~Requester() = default;

void Requester::start(uint32_t first_psn, unsigned read_depth, bool selective) {
    una_ = next_ = limit_ = end_ = first_psn;
    read_depth_ = std::clamp<unsigned>(read_depth, 1, kReadDepth);
    selective_ = selective;
    window_ = device_.options.window;
    progress_ = device_.clock.now();
    started_ = true;
}

Result<void> Requester::post(const WorkRequest& wr) {
    if (!started_) return Fail(Error::Disconnected);
    if (count_ == depth_) return Fail(Error::Full);
    uint64_t length =
        wr.op == Op::Read ? wr.into.size() : wr.pieces[0].size() + wr.pieces[1].size();
    if (length > kMaxMessage) return Fail(Error::InvalidArgument);
    Entry& e = at(count_);
    e.wr = wr;
    e.length = static_cast<uint32_t>(length);
    e.first_psn = end_;
    e.packets = packets_of(length, qp_.path_mtu());
    e.holds = 0;
    end_ = psn_add(end_, e.packets);
    count_++;
    return {};
}

unsigned Requester::reads_outstanding() {
    while (read_count_ && psn_difference(read_ends_[read_first_], una_) <= 0) {
        read_first_ = (read_first_ + 1) % kReadDepth;
        read_count_--;
    }
    return read_count_;
}

bool Requester::transmit() {
    if (!started_ || rnr_wait_) return true;
    if (missing_ && !resend_missing()) return false;
    if (psn_difference(limit_, una_) <= 0) progress_ = device_.clock.now(); // nothing is owed yet
    bool sent_any = false;
    while (cursor_ < count_) {
        Entry& e = at(cursor_);
        auto index = static_cast<uint32_t>(psn_difference(next_, e.first_psn));
        uint32_t packets = 1;
        Result<void> r;
        if (e.wr.op == Op::Read) {
            packets = std::min(e.packets - index, kReadChunk - index % kReadChunk);
            if (in_flight() != 0 && in_flight() + packets > window_) break;
            if (reads_outstanding() >= read_depth_) break;
            r = send_read(e, index, packets);
        } else {
            if (in_flight() >= window_) break;
            r = send_packet(e, index, ask_acknowledge(e, index));
        }
        if (!r) return false;
        sent(next_, packets);
        sent_any = true;
        next_ = psn_add(next_, packets);
        if (psn_difference(next_, e.first_psn) >= static_cast<int32_t>(e.packets)) cursor_++;
        if (psn_difference(next_, limit_) > 0) limit_ = next_;
    }
    if (sent_any && deadline_ == kNever) arm_timer(device_.clock.now());
    return true;
}

// Accounts for packets that have just left: round-trip sample, retransmission counter.
void Requester::sent(uint32_t psn, uint32_t packets) {
    if (psn_difference(psn, limit_) < 0) {
        device_.counters.retransmits += packets;
        if (sampling_ && psn_difference(psn, sample_psn_) <= 0) sampling_ = false; // Karn's rule
    }
}

bool Requester::ask_acknowledge(const Entry& e, uint32_t index) {
    bool last_of_all = cursor_ + 1 == count_ && index + 1 == e.packets;
    bool read_follows =
        index + 1 == e.packets && cursor_ + 1 < count_ && at(cursor_ + 1).wr.op == Op::Read;
    unasked_++;
    if (last_of_all || unasked_ >= std::max(1u, window_ / 2) || in_flight() + 1 >= window_ ||
        read_follows) {
        unasked_ = 0;
        return true;
    }
    return false;
}

Result<void> Requester::send_read(Entry& e, uint32_t index, uint32_t packets) {
    uint32_t mtu = qp_.path_mtu();
    uint32_t offset = index * mtu;
    net::RoceHeaders h;
    h.opcode = Opcode::ReadRequest;
    h.ack_request = true;
    h.destination_qp = qp_.remote_number();
    h.psn = psn_add(e.first_psn, index);
    h.remote_address = e.wr.remote_address + offset;
    h.rkey = e.wr.rkey.value;
    h.dma_length = std::min(e.length - offset, packets * mtu);
    TRY(device_.out.send(qp_.path(), h, {}));
    if (!sampling_ && psn_difference(h.psn, limit_) >= 0) {
        sampling_ = true;
        sample_psn_ = h.psn;
        sample_start_ = device_.clock.now();
    }
    read_ends_[(read_first_ + read_count_) % kReadDepth] = psn_add(h.psn, packets);
    read_count_++;
    return {};
}

Result<void> Requester::send_packet(Entry& e, uint32_t index, bool ask) {
    uint32_t mtu = qp_.path_mtu();
    uint32_t offset = index * mtu;
    uint32_t size = std::min(e.length - offset, mtu);
    OpcodeSet set = opcodes_of(e.wr.op);
    bool first = index == 0;
    bool last = index + 1 == e.packets;
    net::RoceHeaders h;
    h.opcode = first ? (last ? set.only : set.first) : (last ? set.last : set.middle);
    h.ack_request = ask;
    h.destination_qp = qp_.remote_number();
    h.psn = psn_add(e.first_psn, index);
    h.remote_address = e.wr.remote_address;
    h.rkey = e.wr.rkey.value;
    h.dma_length = e.length;
    h.immediate = e.wr.immediate;

    // The packet's bytes are in one piece or straddle both; a straddling one is copied together.
    size_t first_size = e.wr.pieces[0].size();
    Bytes payload;
    bool copied = false;
    if (offset + size <= first_size) {
        payload = e.wr.pieces[0].subspan(offset, size);
    } else if (offset >= first_size) {
        payload = e.wr.pieces[1].subspan(offset - first_size, size);
    } else {
        size_t from_first = first_size - offset;
        std::memcpy(device_.scratch.data(), e.wr.pieces[0].data() + offset, from_first);
        std::memcpy(device_.scratch.data() + from_first, e.wr.pieces[1].data(), size - from_first);
        payload = Bytes(device_.scratch).first(size);
        copied = true;
    }
    net::TxHold* hold = copied || size < kCopyBelow ? nullptr : &e;
    if (hold) {
        e.holds++;
        holds_++;
    }
    Result<void> r = device_.out.send(qp_.path(), h, payload, hold);
    if (!r) {
        if (hold) {
            e.holds--;
            holds_--;
        }
        return r;
    }
    if (ask && !sampling_ && psn_difference(h.psn, limit_) >= 0) {
        sampling_ = true;
        sample_psn_ = h.psn;
        sample_start_ = device_.clock.now();
    }
    return {};
}

// Selective: the peer holds what came after; only the packet at una_ is sent again.
bool Requester::resend_missing() {
    if (acked_ >= count_ || psn_difference(una_, limit_) >= 0) {
        missing_ = false;
        return true;
    }
    Entry& e = at(acked_);
    auto index = static_cast<uint32_t>(psn_difference(una_, e.first_psn));
    if (e.wr.op == Op::Read) {
        missing_ = false; // a READ request that was lost: ask again from here
        go_back();
        return true;
    }
    if (!send_packet(e, index, true)) return false;
    device_.counters.retransmits++;
    sampling_ = false;
    missing_ = false;
    return true;
}

} // namespace tessera::roce
