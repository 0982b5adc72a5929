// Frames captured between two Linux rxe guests (README.md): each must parse, carry a good ICRC, and
// come out of our builders byte for byte.
#include <gtest/gtest.h>

#include <map>

#include "net/wire/cm.hpp"
#include "net/wire/roce.hpp"
#include "tests/wire/pcap.hpp"

namespace tessera::net {
namespace {

using test::Frame;

// Kept for the whole run: parsed packets are views into the frames.
const std::vector<Frame>& golden(const std::string& name) {
    static std::map<std::string, std::vector<Frame>> kept;
    auto [at, fresh] = kept.try_emplace(name);
    if (fresh) at->second = test::read_pcap(std::string(GOLDEN_DIR) + "/" + name + ".pcap");
    EXPECT_FALSE(at->second.empty()) << name;
    return at->second;
}

std::vector<RocePacket> packets(const std::vector<Frame>& frames) {
    std::vector<RocePacket> out;
    for (const Frame& f : frames) {
        auto p = parse_roce_frame(f);
        EXPECT_TRUE(p.has_value());
        if (p) out.push_back(*p);
    }
    return out;
}

Frame rebuild(const Frame& original, const RocePacket& p) {
    auto ethernet = load<EthernetHeader>(original);
    auto ip = load<Ipv4Header>(Bytes(original).subspan(14));
    RoceHeaders h;
    h.source_mac = ethernet.source;
    h.destination_mac = ethernet.destination;
    h.source = p.source;
    h.destination = p.destination;
    h.source_port = p.source_port;
    h.identification = ip.identification;
    h.opcode = p.opcode;
    h.ack_request = p.ack_request;
    h.solicited = p.solicited;
    h.destination_qp = p.destination_qp;
    h.psn = p.psn;
    h.remote_address = p.remote_address;
    h.rkey = p.rkey;
    h.dma_length = p.dma_length;
    h.syndrome = p.syndrome;
    h.msn = p.msn;
    h.immediate = p.immediate;
    h.q_key = p.q_key;
    h.source_qp = p.source_qp;
    BuiltRoce b;
    build_roce(b, h, p.payload);
    Frame out;
    for (Bytes part : {b.head(), p.payload, b.tail()})
        out.insert(out.end(), part.begin(), part.end());
    return out;
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, ParsesChecksAndRebuilds) {
    for (const Frame& f : golden(GetParam())) {
        auto p = parse_roce_frame(f);
        ASSERT_TRUE(p.has_value());
        EXPECT_TRUE(icrc_valid(*p));
        bool atomic = p->opcode == Opcode::FetchAdd || p->opcode == Opcode::AtomicAcknowledge;
        if (!atomic) {
            EXPECT_EQ(rebuild(f, *p), f);
        }
    }
}

TEST_P(Golden, OneFlippedBitIsNoticed) {
    for (Frame f : golden(GetParam())) {
        for (size_t at : {14u + 4u, 14u + 20u + 8u + 9u, static_cast<unsigned>(f.size() - 1)}) {
            Frame bad = f;
            bad[at] ^= std::byte{0x10};
            auto p = parse_roce_frame(bad);
            EXPECT_TRUE(!p || !icrc_valid(*p)) << "byte " << at;
        }
    }
}

TEST_P(Golden, EveryTruncationIsRefused) {
    for (const Frame& f : golden(GetParam()))
        for (size_t n = 0; n < f.size(); n++)
            EXPECT_FALSE(parse_roce_frame(Bytes(f).first(n)).has_value());
}

INSTANTIATE_TEST_SUITE_P(Captured, Golden,
                         testing::Values("rping", "ops-small", "write-immediate-1024", "read-4096",
                                         "nak-sequence", "nak-access-read", "nak-access-write",
                                         "nak-access-range", "nak-operation", "rnr",
                                         "reject-no-listener", "reject-consumer"),
                         [](const auto& info) {
                             std::string name = info.param;
                             for (char& c : name)
                                 if (c == '-') c = '_';
                             return name;
                         });

TEST(GoldenCm, ConnectionSetUpOfRping) {
    auto all = packets(golden("rping"));
    auto req = parse_cm(all[0].payload);
    auto rep = parse_cm(all[1].payload);
    auto rtu = parse_cm(all[2].payload);
    auto dreq = parse_cm(all[39].payload);
    auto drep = parse_cm(all[40].payload);
    ASSERT_TRUE(req && rep && rtu && dreq && drep);
    EXPECT_EQ(all[0].q_key, kCmQkey);
    EXPECT_EQ(all[0].source_qp, kCmQp);
    EXPECT_EQ(req->kind, CmKind::Req);
    EXPECT_EQ(req->service_id, kRdmaCmServicePrefix + 7174);
    EXPECT_EQ(req->source, 0x0a000001u);
    EXPECT_EQ(req->destination, 0x0a000002u);
    EXPECT_EQ(req->qpn, 17u);
    EXPECT_EQ(req->psn, 0xd15028u);
    EXPECT_EQ(req->mtu, 1024u);
    EXPECT_EQ(req->responder_resources, 1);
    EXPECT_EQ(rep->kind, CmKind::Rep);
    EXPECT_EQ(rep->remote_id, req->local_id);
    EXPECT_EQ(rep->psn, 0x22b2bbu);
    // A starting PSN is where the other side begins: the client's first SEND, the server's first
    // READ.
    EXPECT_EQ(all[3].opcode, Opcode::SendOnly);
    EXPECT_EQ(all[3].psn, rep->psn);
    EXPECT_EQ(all[5].opcode, Opcode::ReadRequest);
    EXPECT_EQ(all[5].psn, req->psn);
    EXPECT_EQ(rtu->kind, CmKind::Rtu);
    EXPECT_EQ(rtu->remote_id, rep->local_id);
    EXPECT_EQ(dreq->kind, CmKind::Dreq);
    EXPECT_EQ(dreq->qpn, 17u);
    EXPECT_EQ(drep->kind, CmKind::Drep);
}

TEST(GoldenCm, Rejections) {
    auto none = parse_cm(packets(golden("reject-no-listener"))[1].payload);
    auto consumer = parse_cm(packets(golden("reject-consumer"))[1].payload);
    ASSERT_TRUE(none && consumer);
    EXPECT_EQ(none->reason, CmReject::InvalidServiceId);
    EXPECT_EQ(consumer->reason, CmReject::Consumer);
    EXPECT_EQ(text_of(consumer->private_data.first(7)), "go away");
}

// What we build, a Linux host gets to see: the same values at the same offsets as in the capture.
TEST(GoldenCm, BuiltMessagesDifferFromCapturedOnesOnlyWhereTheyMay) {
    auto all = packets(golden("rping"));
    for (size_t i : {0u, 1u, 2u, 39u, 40u}) {
        auto m = parse_cm(all[i].payload);
        ASSERT_TRUE(m);
        std::array<std::byte, kMadSize> built;
        build_cm(built, *m);
        for (size_t at = 0; at < kMadSize; at++) {
            // REQ's flow label is a hash that Linux chooses.
            if (m->kind == CmKind::Req && at >= 24 + 88 && at < 24 + 91) continue;
            EXPECT_EQ(built[at], all[i].payload[at]) << "message " << i << " byte " << at;
        }
    }
}

TEST(GoldenNak, SyndromesAreAsTheSpecificationSays) {
    auto syndrome = [](const char* name, uint8_t want) {
        unsigned seen = 0;
        for (const RocePacket& p : packets(golden(name)))
            seen += p.opcode == Opcode::Acknowledge && p.syndrome == want;
        return seen;
    };
    EXPECT_EQ(syndrome("nak-sequence", kNakSequence), 2u);
    EXPECT_EQ(syndrome("nak-access-read", kNakRemoteAccess), 1u);
    EXPECT_EQ(syndrome("nak-access-write", kNakRemoteAccess), 1u);
    EXPECT_EQ(syndrome("nak-access-range", kNakRemoteAccess), 1u);
    EXPECT_EQ(syndrome("nak-operation", kNakRemoteOperation), 1u);
    EXPECT_EQ(syndrome("rnr", kRnrNak), 1u); // timer code 0: 655 ms
    EXPECT_EQ(rnr_timer_nanoseconds(0), 655360000);
}

} // namespace
} // namespace tessera::net
