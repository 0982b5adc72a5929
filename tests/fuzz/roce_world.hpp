// A SoftPort whose only peer is the fuzzer: one connection, set up by hand, a flat and a paged
// region.
#pragma once

#include <optional>
#include <vector>

#include "net/wire/cm.hpp"
#include "net/wire/roce.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/net/roce/virtual_net.hpp"

namespace tessera::test {

inline FrameBytes forge(const net::RoceHeaders& h, Bytes payload) {
    net::BuiltRoce b;
    net::build_roce(b, h, payload);
    FrameBytes f(b.head().begin(), b.head().end());
    f.insert(f.end(), payload.begin(), payload.end());
    f.insert(f.end(), b.tail().begin(), b.tail().end());
    return f;
}

struct RoceWorld : roce::Listener, roce::QpEvents, roce::RegionBackend {
    static constexpr uint32_t kPeer = 0x0a000001, kOwn = 0x0a000002;
    static constexpr uint64_t kFlat = 0x1000, kPaged = 0x100000;

    RoceWorld() : net(1), link(net.add_port(9014)), random(7) {
        roce::SoftPortOptions o{.address = roce::Ipv4(kOwn)};
        o.max_qps = 8;
        port.emplace(link, net.clock, random, o);
        net.roce_ports.push_back(&*port);
        net.recording = &out;
        pd = *port->create_pd();
        flat = *port->register_memory(pd, memory, kFlat, roce::Access::RemoteReadWrite);
        paged = *port->register_region(pd, kPaged, 1 << 20, roce::Access::RemoteReadWrite, *this);
        (void)port->listen(7000, *this);
    }
    ~RoceWorld() {
        for (roce::Qp* qp : qps)
            port->destroy_qp(*qp);
        if (open_writes != 0) __builtin_trap(); // every begun write was finished or aborted
        net.run_for(milliseconds(1));
    }

    net::RoceHeaders headers() const {
        net::RoceHeaders h;
        h.source_mac = {2, 0, 0, 0, 0, 99};
        h.destination_mac = link.mac();
        h.source = kPeer;
        h.destination = kOwn;
        return h;
    }
    void give(FrameBytes f) {
        net.inject(link, std::move(f));
        port->poll();
    }
    void give_cm(const net::CmMessage& m) {
        std::array<std::byte, net::kMadSize> mad;
        net::build_cm(mad, m);
        give_mad(mad);
    }
    void give_mad(Bytes mad) {
        auto h = headers();
        h.opcode = net::Opcode::UdSendOnly;
        h.destination_qp = net::kCmQp;
        h.q_key = net::kCmQkey;
        h.source_qp = net::kCmQp;
        give(forge(h, mad));
    }
    net::CmMessage request(uint64_t guid) const {
        net::CmMessage m;
        m.kind = net::CmKind::Req;
        m.local_id = 0x1234;
        m.service_id = net::kRdmaCmServicePrefix | 7000;
        m.ca_guid = guid;
        m.qpn = 0x77;
        m.psn = 100; // where the port's own packets begin
        m.responder_resources = m.initiator_depth = 4;
        m.mtu = 1024;
        m.source = kPeer;
        m.destination = kOwn;
        return m;
    }
    // The REP that the port sent, if any.
    std::optional<net::CmMessage> reply() {
        net.run_for(milliseconds(1));
        for (const FrameBytes& f : out) {
            auto p = net::parse_roce_frame(f);
            if (!p || p->destination_qp != net::kCmQp) continue;
            auto m = net::parse_cm(p->payload);
            if (m && m->kind == net::CmKind::Rep) return *m;
        }
        return std::nullopt;
    }

    void on_incoming(roce::Incoming& r) override {
        if (qps.size() >= 4) return r.reject({});
        auto qp = port->create_qp({.pd = pd}, *this);
        if (!qp) return r.reject({});
        for (uint64_t i = 0; i < 8; i++)
            (void)(*qp)->post_receive(i, MutableBytes(receive));
        if (r.accept(**qp, {}))
            qps.push_back(*qp);
        else
            port->destroy_qp(**qp);
    }
    void on_sent(roce::Qp&, uint64_t, roce::Status) override {}
    void on_received(roce::Qp& qp, const roce::Received& r) override {
        (void)qp.post_receive(r.id, MutableBytes(receive));
    }
    void on_disconnected(roce::Qp& qp, Error) override {
        std::erase(qps, &qp);
        port->destroy_qp(qp);
    }
    Result<ReadPiece> read(roce::Qp&, uint64_t address, size_t length) override {
        size_t offset = address % 4096;
        return ReadPiece{Bytes(page).subspan(offset, std::min<size_t>(length, 4096 - offset))};
    }
    Result<WriteTarget> begin_write(roce::Qp&, uint64_t, size_t length) override {
        if (length > sizeof gather || open_writes != 0) return Fail(Error::NotPermitted);
        open_writes++;
        return WriteTarget{MutableBytes(gather).first(length), 1};
    }
    Result<void> finish_write(roce::Qp&, uint64_t, std::optional<uint32_t>) override {
        open_writes--;
        return {};
    }
    void abort_write(roce::Qp&, uint64_t) override { open_writes--; }

    std::vector<std::byte> own = std::vector<std::byte>(5000);
    VirtualNet net;
    VirtualNet::Port& link;
    SeededRandom random;
    std::optional<roce::SoftPort> port;
    roce::Pd pd;
    roce::Rkey flat, paged;
    std::vector<roce::Qp*> qps;
    std::vector<FrameBytes> out;
    std::byte memory[16384] = {}, receive[3000] = {}, page[4096] = {}, gather[8192] = {};
    int open_writes = 0;
};

} // namespace tessera::test
