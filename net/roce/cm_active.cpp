// The side that connects.
#include <algorithm>

#include "net/roce/connection_manager.hpp"

namespace tessera::roce {
namespace {

constexpr Nanos kArpPause = milliseconds(50);
constexpr Nanos kReqPause = milliseconds(200);

Error error_of(net::CmReject reason) {
    switch (reason) {
        case net::CmReject::InvalidServiceId:
            return Error::NotFound;
        case net::CmReject::Consumer:
            return Error::NotPermitted;
        case net::CmReject::NoQp:
        case net::CmReject::NoResources:
            return Error::Busy;
        default:
            return Error::Disconnected;
    }
}

} // namespace

Result<void> ConnectionManager::connect(SoftQp& qp, const Endpoint& to, PrivateData hello,
                                        Nanos deadline, ConnectDone done) {
    if (!qp.idle() || qp.cm || hello.size() > kMaxPrivateData || !to.address ||
        to.address.value == device_.out.address())
        return Fail(Error::InvalidArgument);
    CmRecord* c = allocate();
    if (!c) return Fail(Error::Full);
    c->qp = &qp;
    qp.cm = c;
    c->service = to.service;
    c->transaction = device_.random.next();
    c->receive_psn = static_cast<uint32_t>(device_.random.next()) & net::kPsnMask;
    uint32_t largest = std::min(qp.options().max_mtu, device_.out.largest_mtu());
    c->mtu = 256;
    while (c->mtu * 2 <= largest)
        c->mtu *= 2;
    c->path = {.mac = {}, .ip = to.address.value, .source_port = 0xc000};
    c->done = std::move(done);
    if (!hello.empty()) std::memcpy(c->data.data(), hello.data(), hello.size());
    c->data_size = static_cast<uint8_t>(hello.size());
    begin_tries(*c, kArpPause, deadline);
    if (auto mac = neighbours_.find(c->path.ip)) {
        c->path.mac = *mac;
        c->state = CmRecord::State::ReqSent;
        begin_tries(*c, kReqPause, deadline);
        send_req(*c);
    } else {
        c->state = CmRecord::State::Resolving;
        neighbours_.ask(c->path.ip);
        if (!device_.polling) device_.out.flush();
    }
    return {};
}

void ConnectionManager::on_neighbour(uint32_t ip) {
    for (size_t i = 0; i < record_count_; i++) {
        CmRecord& c = records_[i];
        bool waits = c.state == CmRecord::State::Resolving || c.state == CmRecord::State::ReqSent;
        if (!waits || c.path.ip != ip) continue;
        auto mac = neighbours_.find(ip);
        if (!mac) return;
        if (c.state == CmRecord::State::ReqSent && c.path.mac == *mac) continue;
        c.path.mac = *mac;
        c.state = CmRecord::State::ReqSent;
        begin_tries(c, kReqPause, c.deadline);
        send_req(c);
    }
}

void ConnectionManager::send_req(CmRecord& c) {
    net::CmMessage m;
    m.kind = net::CmKind::Req;
    m.transaction = c.transaction;
    m.local_id = c.local_id;
    m.service_id = net::kRdmaCmServicePrefix | c.service;
    m.ca_guid = guid();
    m.qpn = c.qp->number();
    m.psn = c.receive_psn;
    m.responder_resources = kReadDepth;
    m.initiator_depth = kReadDepth;
    m.mtu = c.mtu;
    m.source = device_.out.address();
    m.destination = c.path.ip;
    m.source_port = static_cast<uint16_t>(c.local_id | 0x8000);
    m.private_data = c.private_data();
    send(c.path, m);
}

SoftQp::Connection ConnectionManager::connection_of(const CmRecord& c, bool ready) const {
    SoftQp::Connection n;
    n.path = c.path;
    n.path.source_port = net::roce_source_port(c.qp->number(), c.remote_qp);
    n.remote_qp = c.remote_qp;
    n.mtu = c.mtu;
    n.first_psn = c.send_psn;
    n.expected_psn = c.receive_psn;
    n.read_depth = c.peer_responder_resources;
    n.held = c.tessera ? held_ : nullptr;
    n.ready = ready;
    return n;
}

void ConnectionManager::on_rep(const net::RocePacket& p, const net::CmMessage& m) {
    CmRecord* c = by_local_id(m.remote_id, p);
    if (!c || (c->state != CmRecord::State::ReqSent && c->state != CmRecord::State::Established))
        return c ? void() : refuse(p, m, net::CmReject::InvalidCommunicationId);
    if (c->state == CmRecord::State::Established) { // our RTU was lost
        if (m.local_id == c->remote_id) send_short(*c, net::CmKind::Rtu);
        return;
    }
    if (m.qpn <= net::kCmQp) return;
    c->remote_id = m.local_id;
    c->remote_qp = m.qpn;
    c->send_psn = m.psn;
    c->peer_responder_resources = m.responder_resources;
    c->tessera = held_ && offers_selective(m.ca_guid);
    c->qp->connected(connection_of(*c, true));
    established(*c);
    device_.counters.connections++;
    send_short(*c, net::CmKind::Rtu);
    ConnectDone done = std::move(c->done);
    if (done) done(m.private_data);
}

void ConnectionManager::fail_connect(CmRecord& c, Error why) {
    ConnectDone done = std::move(c.done);
    release(c); // the QP is idle again
    if (done) done(Fail(why));
}

void ConnectionManager::on_rej(const net::RocePacket& p, const net::CmMessage& m) {
    CmRecord* c = by_local_id(m.remote_id, p);
    if (!c) return;
    if (c->state == CmRecord::State::ReqSent) {
        if (m.reason == net::CmReject::InvalidMtu && m.info_length > 0) {
            uint32_t mtu = net::mtu_bytes(m.info0);
            if (mtu != 0 && mtu < c->mtu) { // what the peer can do; it has forgotten our REQ
                c->mtu = mtu;
                send_req(*c);
                return;
            }
        }
        device_.counters.rejects++;
        reject_data_ = m.private_data;
        fail_connect(*c, error_of(m.reason));
        reject_data_ = {};
        return;
    }
    if (c->state == CmRecord::State::RepSent || c->state == CmRecord::State::Established) {
        if (m.local_id != 0 && m.local_id != c->remote_id) return;
        SoftQp* qp = c->qp;
        release(*c);
        if (qp) qp->disconnect(Status::Flushed, Error::Disconnected);
    }
}

} // namespace tessera::roce
