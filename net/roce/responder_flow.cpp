// Duplicates, gaps, READ responses and acknowledgements.
#include <algorithm>

#include "net/roce/responder.hpp"
#include "net/roce/soft_qp.hpp"

namespace tessera::roce {

void Responder::on_duplicate(const net::RocePacket& p) {
    device_.counters.duplicates++;
    if (p.opcode != net::Opcode::ReadRequest) {
        if (p.traits.send || p.traits.write) { // our acknowledgement may have been lost
            ack_due_ = true;
            qp_.schedule();
        }
        return;
    }
    // Executed again. One that no longer passes is dropped silently (protocols.md section 2).
    if (p.dma_length > 1u << 31) return;
    uint32_t packets = packets_of(p.dma_length, qp_.path_mtu());
    if (psn_difference(psn_add(p.psn, packets), expected_) > 0) return; // never was such a request
    if (p.dma_length != 0 &&
        !device_.memory.check(qp_.pd(), p.rkey, p.remote_address, p.dma_length, Access::RemoteRead))
        return;
    for (unsigned i = 0; i < read_count_; i++) { // not even begun: the network doubled the request
        ReadJob& job = reads_[(first_read_ + i) % kReadDepth];
        if (job.psn == p.psn && job.packets == packets && job.sent == 0) return;
    }
    // Whoever asks again from here ignores what else was under way from here on.
    while (read_count_ > 0) {
        ReadJob& last = reads_[(first_read_ + read_count_ - 1) % kReadDepth];
        if (psn_difference(psn_add(last.psn, last.packets), p.psn) <= 0) break;
        read_count_--;
    }
    reads_[(first_read_ + read_count_) % kReadDepth] = {.psn = p.psn,
                                                        .packets = packets,
                                                        .address = p.remote_address,
                                                        .rkey = p.rkey,
                                                        .length = p.dma_length,
                                                        .msn = msn_,
                                                        .repeated = true};
    if (read_count_ < kReadDepth) read_count_++;
    qp_.schedule();
}

void Responder::on_gap(const net::RocePacket& p) {
    device_.counters.out_of_order++;
    if (pool_ && psn_difference(p.psn, expected_) < static_cast<int32_t>(kHeldPerPort)) {
        HeldPacket* before = nullptr;
        bool known = false;
        for (HeldPacket& h : held_) {
            int32_t d = psn_difference(h.packet.psn, p.psn);
            known |= d == 0;
            if (d > 0 && !before) before = &h;
        }
        HeldPacket* h =
            known || p.payload.size() > sizeof(HeldPacket::bytes) ? nullptr : pool_->create();
        if (h) {
            device_.counters.buffered++;
            h->packet = p;
            if (!p.payload.empty())
                std::memcpy(h->bytes.data(), p.payload.data(), p.payload.size());
            h->packet.payload = Bytes(h->bytes).first(p.payload.size());
            h->packet.covered = {};
            if (before)
                held_.insert_before(*before, *h);
            else
                held_.push_back(*h);
        }
    }
    if (gap_reported_) return;
    gap_reported_ = true;
    nak_due_ = net::kNakSequence;
    device_.counters.naks_sent++;
    qp_.schedule();
}

// The gap has closed: execute what was kept, up to the next gap, which is reported at once.
void Responder::replay_held() {
    while (HeldPacket* h = held_.front()) {
        int32_t d = psn_difference(h->packet.psn, expected_);
        if (d > 0) {
            gap_reported_ = true;
            nak_due_ = net::kNakSequence;
            device_.counters.naks_sent++;
            qp_.schedule();
            return;
        }
        HeldList::remove(*h);
        Outcome o = d == 0 ? execute(h->packet) : Outcome::Done;
        pool_->destroy(h);
        if (o != Outcome::Done) return;
    }
}

bool Responder::run() {
    if (!started_) return true;
    if (!send_reads()) return false;
    if (nak_due_) {
        if (!send_acknowledge(nak_due_, expected_)) return false;
        nak_due_ = 0;
        ack_due_ = false; // a NAK acknowledges what is before it
    }
    if (ack_due_) {
        if (!send_acknowledge(net::kAckNoCredit, psn_add(expected_, kPsnModulus - 1))) return false;
        ack_due_ = false;
    }
    return true;
}

bool Responder::send_acknowledge(uint8_t syndrome, uint32_t psn) {
    net::RoceHeaders h;
    h.opcode = net::Opcode::Acknowledge;
    h.destination_qp = qp_.remote_number();
    h.psn = psn;
    h.syndrome = syndrome;
    h.msn = msn_;
    return device_.out.send(qp_.path(), h, {}).has_value();
}

bool Responder::send_reads() {
    for (unsigned burst = 0; read_count_ > 0;) {
        ReadJob& job = reads_[first_read_];
        while (job.sent < job.packets) {
            if (burst++ == kReadBurst) return false;
            ReadStep step = send_read_packet(job);
            if (step == ReadStep::LinkFull) return false;
            if (step == ReadStep::Sent) continue;
            if (!job.repeated) { // the NAK stands in for the response that cannot be given
                device_.counters.access_errors++;
                device_.counters.naks_sent++;
                if (!send_acknowledge(net::kNakRemoteAccess, psn_add(job.psn, job.sent)))
                    return false;
            }
            break;
        }
        uint32_t end = psn_add(job.psn, job.packets);
        if (job.sent == job.packets && end == expected_) ack_due_ = false; // the response says it
        first_read_ = (first_read_ + 1) % kReadDepth;
        read_count_--;
    }
    return true;
}

// The bytes of one response packet: a view of the region, or of the scratch buffer when the
// region's pages make several pieces of it.
Result<Bytes> Responder::gather(ReadJob& job, uint64_t address, uint32_t size, net::TxHold*& hold) {
    Region* r = device_.memory.check(qp_.pd(), job.rkey, address, size, Access::RemoteRead);
    if (!r) return Fail(Error::NotPermitted);
    if (!r->backend) return Bytes(r->memory + (address - r->base), size);
    auto piece = TRY(r->backend->read(qp_, address, size));
    ASSERT(!piece.bytes.empty());
    if (piece.bytes.size() >= size) {
        hold = piece.hold;
        return piece.bytes.first(size);
    }
    uint32_t done = 0;
    while (true) {
        size_t n = std::min<size_t>(piece.bytes.size(), size - done);
        std::memcpy(device_.scratch.data() + done, piece.bytes.data(), n);
        if (piece.hold) piece.hold->transmitted();
        done += static_cast<uint32_t>(n);
        if (done == size) return Bytes(device_.scratch).first(size);
        piece = TRY(r->backend->read(qp_, address + done, size - done));
        ASSERT(!piece.bytes.empty());
    }
}

Responder::ReadStep Responder::send_read_packet(ReadJob& job) {
    uint32_t mtu = qp_.path_mtu();
    uint32_t offset = job.sent * mtu;
    uint32_t size = std::min(job.length - offset, mtu);
    Bytes payload;
    net::TxHold* hold = nullptr;
    if (size != 0) {
        auto bytes = gather(job, job.address + offset, size, hold);
        if (!bytes) return ReadStep::Refused;
        payload = *bytes;
    }
    bool first = job.sent == 0;
    bool last = job.sent + 1 == job.packets;
    net::RoceHeaders h;
    h.opcode = first ? (last ? net::Opcode::ReadResponseOnly : net::Opcode::ReadResponseFirst)
                     : (last ? net::Opcode::ReadResponseLast : net::Opcode::ReadResponseMiddle);
    h.destination_qp = qp_.remote_number();
    h.psn = psn_add(job.psn, job.sent);
    h.syndrome = net::kAckNoCredit;
    h.msn = job.msn;
    if (!device_.out.send(qp_.path(), h, payload, hold)) {
        if (hold) hold->transmitted(); // asked for again on the next try
        return ReadStep::LinkFull;
    }
    job.sent++;
    return ReadStep::Sent;
}

} // namespace tessera::roce
