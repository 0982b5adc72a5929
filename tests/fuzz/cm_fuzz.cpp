// Connection management datagrams: a script of messages, each either decoded fields (ids near those
// in use) or 256 raw bytes, all with good checksums.
#include "tests/fuzz/roce_world.hpp"

using namespace tessera;
using namespace tessera::test;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzInput in{data, size};
    RoceWorld w;
    uint32_t their_id = 0, their_qp = 0;
    auto out = w.port->create_qp({.pd = w.pd}, w);
    w.qps.push_back(*out);
    (void)w.port->connect(**out, {roce::Ipv4(RoceWorld::kPeer), 7}, {}, seconds(100),
                          [](Result<Bytes>) {});
    net::ArpPacket arp = net::make_arp(net::kArpReply, w.headers().source_mac, RoceWorld::kPeer,
                                       w.link.mac(), RoceWorld::kOwn);
    net::EthernetHeader e{w.link.mac(), w.headers().source_mac, net::kEtherTypeArp};
    FrameBytes f(60);
    std::memcpy(f.data(), &e, sizeof e);
    std::memcpy(f.data() + sizeof e, &arp, sizeof arp);
    w.give(f);
    while (in.left > 0) {
        uint8_t how = in.byte();
        if (how & 1) {
            std::array<std::byte, net::kMadSize> mad{};
            Bytes b = in.take(net::kMadSize);
            std::copy(b.begin(), b.end(), mad.begin());
            w.give_mad(mad);
        } else {
            net::CmMessage m = w.request(how & 2 ? 0x0254530100000000ull : in.dword());
            m.kind = static_cast<net::CmKind>(0x10 + in.byte() % 8);
            m.local_id = 0x1234 + (in.byte() & 3);
            m.remote_id = how & 4 ? their_id : in.byte();
            m.qpn = how & 8 ? 0x77 + (in.byte() & 3) : their_qp;
            m.reason = static_cast<net::CmReject>(in.byte());
            m.info_length = in.byte() & 1;
            m.info0 = in.byte();
            m.mtu = net::mtu_bytes(in.byte() % 7);
            if (how & 16) m.service_id = in.word();
            w.give_cm(m);
        }
        w.net.run_for(milliseconds(how));
        // What the port last said is what a clever enemy answers to.
        for (const FrameBytes& frame : w.out) {
            auto p = net::parse_roce_frame(frame);
            if (!p || p->destination_qp != net::kCmQp) continue;
            auto m = net::parse_cm(p->payload);
            if (!m || m->local_id == 0) continue;
            their_id = m->local_id;
            if (m->qpn) their_qp = m->qpn;
        }
        w.out.clear();
    }
    return 0;
}
