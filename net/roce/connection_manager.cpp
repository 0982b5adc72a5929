// Records, sending, timers, and the messages that either side may get.
#include "net/roce/connection_manager.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace tessera::roce {
namespace {

constexpr uint64_t kTesseraOui = 0x025453; // locally administered; says "our GUID, features follow"
constexpr uint64_t kFeatureSelective = 1;
constexpr Nanos kLongestPause = seconds(1);
constexpr Nanos kDreqPause = milliseconds(200);
constexpr Nanos kDreqDeadline = seconds(2);

} // namespace

bool offers_selective(uint64_t guid) {
    return guid >> 40 == kTesseraOui && (guid >> 32 & kFeatureSelective);
}

ConnectionManager::ConnectionManager(Device& device, Neighbours& neighbours, HeldPool* held)
    : device_(device),
      neighbours_(neighbours),
      held_(held),
      record_count_(device.options.max_qps + size_t{32}), // some may wait for their DREP
      listeners_(std::make_unique<ListenerEntry[]>(device.options.max_listeners)) {
    records_ = std::make_unique<CmRecord[]>(record_count_);
    for (size_t i = 0; i < record_count_; i++)
        records_[i].manager = this;
}

ConnectionManager::~ConnectionManager() = default;

uint64_t ConnectionManager::guid() const {
    return kTesseraOui << 40 | (held_ ? kFeatureSelective : 0) << 32 | device_.out.address();
}

CmRecord* ConnectionManager::allocate() {
    for (size_t i = 0; i < record_count_; i++) {
        CmRecord& c = records_[i];
        if (c.state != CmRecord::State::Free) continue;
        bool unique = false;
        while (!unique) {
            c.local_id = static_cast<uint32_t>(device_.random.next());
            unique = c.local_id != 0;
            for (size_t k = 0; k < record_count_ && unique; k++)
                unique = k == i || records_[k].state == CmRecord::State::Free ||
                         records_[k].local_id != c.local_id;
        }
        return &c;
    }
    return nullptr;
}

void ConnectionManager::release(CmRecord& c) {
    if (c.qp) c.qp->cm = nullptr;
    c.qp = nullptr;
    c.listener = nullptr;
    c.done.reset();
    c.state = CmRecord::State::Free;
    c.next_try = c.deadline = kNever;
    c.tessera = false;
    c.data_size = 0;
}

CmRecord* ConnectionManager::by_local_id(uint32_t id, const net::RocePacket& p) {
    for (size_t i = 0; i < record_count_; i++) {
        CmRecord& c = records_[i];
        if (c.state == CmRecord::State::Free || c.local_id != id) continue;
        if (c.path.ip == p.source && c.path.mac == p.source_mac) return &c;
        device_.counters.wrong_peer++;
        return nullptr;
    }
    return nullptr;
}

CmRecord* ConnectionManager::by_remote(const net::RocePacket& p, uint32_t remote_id,
                                       uint32_t remote_qp) {
    for (size_t i = 0; i < record_count_; i++) {
        CmRecord& c = records_[i];
        bool has_remote = c.state == CmRecord::State::ReqHeld ||
                          c.state == CmRecord::State::RepSent ||
                          c.state == CmRecord::State::Established;
        if (!has_remote || c.path.ip != p.source || c.path.mac != p.source_mac) continue;
        if (c.remote_id == remote_id || c.remote_qp == remote_qp) return &c;
    }
    return nullptr;
}

Result<void> ConnectionManager::listen(uint16_t service, Listener& listener) {
    ListenerEntry* empty = nullptr;
    for (size_t i = 0; i < device_.options.max_listeners; i++) {
        ListenerEntry& e = listeners_[i];
        if (!e.listener) {
            empty = &e;
        } else if (e.service == service) {
            return Fail(Error::Exists);
        }
    }
    if (!empty) return Fail(Error::NoMemory);
    *empty = {service, &listener};
    return {};
}

void ConnectionManager::stop_listening(uint16_t service) {
    for (size_t i = 0; i < device_.options.max_listeners; i++) {
        ListenerEntry& e = listeners_[i];
        if (!e.listener || e.service != service) continue;
        for (size_t k = 0; k < record_count_; k++)
            if (records_[k].listener == e.listener) records_[k].listener = nullptr;
        e = {};
    }
}

Listener* ConnectionManager::listener_of(uint64_t service_id) {
    if ((service_id & ~uint64_t{0xffff}) != net::kRdmaCmServicePrefix) return nullptr;
    for (size_t i = 0; i < device_.options.max_listeners; i++)
        if (listeners_[i].listener && listeners_[i].service == (service_id & 0xffff))
            return listeners_[i].listener;
    return nullptr;
}

void ConnectionManager::on_datagram(const net::RocePacket& p) {
    auto m = p.q_key == net::kCmQkey ? net::parse_cm(p.payload) : Fail(Error::Malformed);
    if (!m) {
        device_.counters.malformed++;
        return;
    }
    switch (m->kind) {
        case net::CmKind::Req:
            return on_req(p, *m);
        case net::CmKind::Rep:
            return on_rep(p, *m);
        case net::CmKind::Rtu:
            return on_rtu(p, *m);
        case net::CmKind::Rej:
            return on_rej(p, *m);
        case net::CmKind::Mra:
            return on_mra(p, *m);
        case net::CmKind::Dreq:
            return on_dreq(p, *m);
        case net::CmKind::Drep:
            return on_drep(p, *m);
    }
}

void ConnectionManager::send(const Path& path, const net::CmMessage& m) {
    net::build_cm(mad_, m);
    net::RoceHeaders h;
    h.opcode = net::Opcode::UdSendOnly;
    h.ack_request = true; // as rxe does; nobody acknowledges a datagram
    h.destination_qp = net::kCmQp;
    h.psn = send_psn_;
    send_psn_ = psn_add(send_psn_, 1);
    h.q_key = net::kCmQkey;
    h.source_qp = net::kCmQp;
    Path to = path;
    to.source_port = net::roce_source_port(net::kCmQp, net::kCmQp);
    (void)device_.out.send(to, h, mad_); // link full: as if lost, the timer repeats it
    if (!device_.polling) device_.out.flush();
}

void ConnectionManager::send_short(CmRecord& c, net::CmKind kind) {
    net::CmMessage m;
    m.kind = kind;
    m.transaction = c.transaction;
    m.local_id = c.local_id;
    m.remote_id = c.remote_id;
    m.qpn = c.remote_qp;
    send(c.path, m);
}

void ConnectionManager::send_dreq(CmRecord& c) {
    send_short(c, net::CmKind::Dreq);
}

void ConnectionManager::refuse(const net::RocePacket& p, const net::CmMessage& m,
                               net::CmReject reason, uint8_t info) {
    device_.counters.rejects++;
    net::CmMessage rej;
    rej.kind = net::CmKind::Rej;
    rej.transaction = m.transaction;
    rej.remote_id = m.local_id;
    rej.rejected_message = m.kind == net::CmKind::Rep ? 1 : 0;
    rej.reason = reason;
    rej.info0 = info;
    rej.info_length = info ? 1 : 0;
    send({.mac = p.source_mac, .ip = p.source}, rej);
}

void ConnectionManager::begin_tries(CmRecord& c, Nanos first_pause, Nanos deadline) {
    c.pause = first_pause;
    c.deadline = deadline;
    c.next_try = device_.clock.now() + first_pause;
    earliest_ = std::min({earliest_, c.next_try, c.deadline});
    device_.arm(earliest_);
}

void ConnectionManager::on_timer(Nanos now) {
    if (now < earliest_) { // the port's timer ran for a QP
        if (earliest_ != kNever) device_.arm(earliest_);
        return;
    }
    earliest_ = kNever;
    for (size_t i = 0; i < record_count_; i++) {
        CmRecord& c = records_[i];
        if (c.state == CmRecord::State::Free || c.next_try == kNever) continue;
        if (now >= c.deadline)
            give_up(c);
        else if (now >= c.next_try)
            try_again(c, now);
        if (c.next_try != kNever) earliest_ = std::min({earliest_, c.next_try, c.deadline});
    }
    if (earliest_ != kNever) device_.arm(earliest_);
}

void ConnectionManager::try_again(CmRecord& c, Nanos now) {
    switch (c.state) {
        case CmRecord::State::Resolving:
            neighbours_.ask(c.path.ip);
            break;
        case CmRecord::State::ReqSent:
            send_req(c);
            neighbours_.ask(c.path.ip); // silence may mean that its MAC is not what we think
            break;
        case CmRecord::State::RepSent:
            send_rep(c);
            break;
        case CmRecord::State::DreqSent:
            send_dreq(c);
            break;
        default:
            c.next_try = kNever;
            return;
    }
    c.pause = std::min(c.pause * 2, kLongestPause);
    c.next_try = now + c.pause;
}

void ConnectionManager::give_up(CmRecord& c) {
    switch (c.state) {
        case CmRecord::State::Resolving:
        case CmRecord::State::ReqSent:
            return fail_connect(c, Error::Timeout);
        case CmRecord::State::RepSent: {
            SoftQp* qp = c.qp;
            release(c);
            device_.counters.broken++;
            if (qp) qp->disconnect(Status::Timeout, Error::Timeout);
            return;
        }
        default:
            return release(c);
    }
}

void ConnectionManager::established(CmRecord& c) {
    c.state = CmRecord::State::Established;
    c.next_try = c.deadline = kNever;
}

void ConnectionManager::on_mra(const net::RocePacket& p, const net::CmMessage& m) {
    // The peer needs longer: stop repeating for a while, the deadline stands.
    CmRecord* c = by_local_id(m.remote_id, p);
    if (c && c->next_try != kNever) c->next_try = device_.clock.now() + kLongestPause;
}

void ConnectionManager::on_dreq(const net::RocePacket& p, const net::CmMessage& m) {
    CmRecord* c = by_local_id(m.remote_id, p);
    net::CmMessage drep;
    drep.kind = net::CmKind::Drep;
    drep.transaction = m.transaction;
    drep.local_id = m.remote_id;
    drep.remote_id = m.local_id;
    bool ours = c && c->remote_id == m.local_id &&
                (c->state == CmRecord::State::RepSent || c->state == CmRecord::State::Established ||
                 c->state == CmRecord::State::DreqSent);
    if (c && !ours) return;
    send({.mac = p.source_mac, .ip = p.source}, drep); // also for one we no longer know
    if (!c) return;
    SoftQp* qp = c->qp;
    release(*c);
    if (qp) qp->disconnect(Status::Flushed, Error::Disconnected);
}

void ConnectionManager::on_drep(const net::RocePacket& p, const net::CmMessage& m) {
    CmRecord* c = by_local_id(m.remote_id, p);
    if (c && c->state == CmRecord::State::DreqSent) release(*c);
}

void ConnectionManager::qp_destroyed(SoftQp& qp) {
    CmRecord* c = qp.cm;
    if (!c) return;
    qp.cm = nullptr;
    c->qp = nullptr;
    c->done.reset();
    if (c->state != CmRecord::State::RepSent && c->state != CmRecord::State::Established)
        return release(*c); // a late REP is answered with REJ
    c->state = CmRecord::State::DreqSent;
    send_dreq(*c);
    begin_tries(*c, kDreqPause, device_.clock.now() + kDreqDeadline);
}

} // namespace tessera::roce
