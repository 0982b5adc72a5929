// The side that listens.
#include <algorithm>

#include "net/roce/connection_manager.hpp"

namespace tessera::roce {
namespace {

constexpr Nanos kRepPause = milliseconds(200);
constexpr Nanos kRepDeadline = seconds(10);

} // namespace

void ConnectionManager::on_req(const net::RocePacket& p, const net::CmMessage& m) {
    if (m.source != p.source || m.destination != device_.out.address() || m.local_id == 0 ||
        m.qpn <= net::kCmQp) {
        device_.counters.malformed++;
        return;
    }
    if (CmRecord* known = by_remote(p, m.local_id, m.qpn)) {
        if (known->remote_id == m.local_id && known->remote_qp == m.qpn) { // repeated
            if (known->state == CmRecord::State::RepSent) send_rep(*known);
            return;
        }
        // The peer uses the QPN or id anew: the old connection is dead on its side
        // (IBTA 12.9.8.3.1).
        SoftQp* qp = known->qp;
        release(*known);
        if (qp) qp->disconnect(Status::Flushed, Error::Disconnected);
    }
    Listener* listener = listener_of(m.service_id);
    if (!listener) return refuse(p, m, net::CmReject::InvalidServiceId);
    if (m.mtu > device_.out.largest_mtu())
        return refuse(p, m, net::CmReject::InvalidMtu, net::mtu_code(device_.out.largest_mtu()));
    CmRecord* c = allocate();
    if (!c) return refuse(p, m, net::CmReject::NoResources);
    c->state = CmRecord::State::ReqHeld;
    c->listener = listener;
    c->path = {.mac = p.source_mac, .ip = p.source, .source_port = 0xc000};
    c->transaction = m.transaction;
    c->remote_id = m.local_id;
    c->remote_qp = m.qpn;
    c->send_psn = m.psn;
    c->receive_psn = static_cast<uint32_t>(device_.random.next()) & net::kPsnMask;
    c->mtu = m.mtu;
    c->peer_responder_resources = m.responder_resources;
    c->peer_initiator_depth = m.initiator_depth;
    c->tessera = held_ && offers_selective(m.ca_guid);
    std::memcpy(c->data.data(), m.private_data.data(), m.private_data.size());
    c->data_size = static_cast<uint8_t>(m.private_data.size());
    listener->on_incoming(*c);
}

Result<void> CmRecord::accept(Qp& q, PrivateData reply) {
    return manager->accept(*this, static_cast<SoftQp&>(q), reply);
}

void CmRecord::reject(PrivateData reason) {
    manager->reject(*this, reason);
}

Result<void> ConnectionManager::accept(CmRecord& c, SoftQp& qp, PrivateData reply) {
    if (c.state != CmRecord::State::ReqHeld) return Fail(Error::BadHandle);
    if (!qp.idle() || qp.cm || reply.size() > net::kRepPrivateSize)
        return Fail(Error::InvalidArgument);
    if (qp.options().max_mtu < c.mtu) {
        // Refused with what would do; the peer asks again if it can (a Tessera peer does).
        net::CmMessage rej;
        rej.kind = net::CmKind::Rej;
        rej.transaction = c.transaction;
        rej.local_id = c.local_id;
        rej.remote_id = c.remote_id;
        rej.reason = net::CmReject::InvalidMtu;
        rej.info_length = 1;
        uint32_t mtu = 256;
        while (mtu * 2 <= qp.options().max_mtu)
            mtu *= 2;
        rej.info0 = net::mtu_code(mtu);
        send(c.path, rej);
        release(c);
        return Fail(Error::Unsupported);
    }
    c.qp = &qp;
    qp.cm = &c;
    if (!reply.empty()) std::memcpy(c.data.data(), reply.data(), reply.size());
    c.data_size = static_cast<uint8_t>(reply.size());
    qp.connected(connection_of(c, false));
    c.state = CmRecord::State::RepSent;
    begin_tries(c, kRepPause, device_.clock.now() + kRepDeadline);
    send_rep(c);
    return {};
}

void ConnectionManager::reject(CmRecord& c, PrivateData reason) {
    if (c.state != CmRecord::State::ReqHeld) return;
    device_.counters.rejects++;
    net::CmMessage rej;
    rej.kind = net::CmKind::Rej;
    rej.transaction = c.transaction;
    rej.local_id = c.local_id;
    rej.remote_id = c.remote_id;
    rej.reason = net::CmReject::Consumer;
    rej.private_data = reason.first(std::min(reason.size(), net::kRejPrivateSize));
    send(c.path, rej);
    release(c);
}

void ConnectionManager::send_rep(CmRecord& c) {
    net::CmMessage m;
    m.kind = net::CmKind::Rep;
    m.transaction = c.transaction;
    m.local_id = c.local_id;
    m.remote_id = c.remote_id;
    m.ca_guid = guid();
    m.qpn = c.qp->number();
    m.psn = c.receive_psn;
    m.responder_resources = std::min(c.peer_initiator_depth, kReadDepth);
    m.initiator_depth = std::min(c.peer_responder_resources, kReadDepth);
    m.private_data = c.private_data();
    send(c.path, m);
}

void ConnectionManager::on_rtu(const net::RocePacket& p, const net::CmMessage& m) {
    CmRecord* c = by_local_id(m.remote_id, p);
    if (c && c->state == CmRecord::State::RepSent && c->remote_id == m.local_id) peer_talks(*c->qp);
}

void ConnectionManager::peer_talks(SoftQp& qp) {
    CmRecord* c = qp.cm;
    if (!c || c->state != CmRecord::State::RepSent) return;
    established(*c);
    qp.peer_ready();
    if (c->listener) c->listener->on_established(qp);
}

} // namespace tessera::roce
