#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "net/wire/cm.hpp"
#include "net/wire/inet.hpp"
#include "net/wire/roce.hpp"

namespace tessera::net {
namespace {

std::vector<std::byte> from_hex(const std::string& text) {
    std::vector<std::byte> out;
    std::string digits;
    for (char c : text)
        if (isxdigit(c)) digits += c;
    for (size_t i = 0; i + 1 < digits.size(); i += 2)
        out.push_back(static_cast<std::byte>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    return out;
}

// A SEND_ONLY between two rxe guests, QPN 17 to 17, 8 bytes of 0x7b.
const char* const kSendOnly =
    "525400123402 525400123401 0800"
    "45000034 b1974000 4011751f 0a000001 0a000002 c12112b7 00200000 0400ffff 00000011 8024ea86"
    "7b7b7b7b 7b7b7b7b 66ea198c";

TEST(Roce, SendOnlyExample) {
    auto frame = from_hex(kSendOnly);
    auto p = parse_roce_frame(frame);
    ASSERT_TRUE(p.has_value());
    EXPECT_EQ(p->opcode, Opcode::SendOnly);
    EXPECT_EQ(p->destination_qp, 17u);
    EXPECT_EQ(p->psn, 0x24ea86u);
    EXPECT_TRUE(p->ack_request);
    EXPECT_EQ(p->payload.size(), 8u);
    EXPECT_TRUE(icrc_valid(*p));
}

TEST(Roce, TheIcrcIgnoresWhatRoutersChange) {
    auto frame = from_hex(kSendOnly);
    frame[14 + 1] = std::byte{3};  // TOS
    frame[14 + 8] = std::byte{63}; // TTL
    frame[14 + 10] = std::byte{0}; // header checksum: to be made right again
    frame[14 + 11] = std::byte{0};
    Be16 sum = internet_checksum(Bytes(frame).subspan(14, 20));
    std::memcpy(frame.data() + 14 + 10, &sum, 2);
    auto p = parse_roce_frame(frame);
    ASSERT_TRUE(p.has_value());
    EXPECT_TRUE(icrc_valid(*p));
    frame[14 + 5] ^= std::byte{1}; // identification is covered
    frame[14 + 11] ^= std::byte{1};
    auto q = parse_roce_frame(frame);
    EXPECT_TRUE(!q || !icrc_valid(*q));
}

TEST(Roce, PadsToFourBytes) {
    for (size_t size = 0; size < 9; size++) {
        std::vector<std::byte> payload(size, std::byte{0xaa});
        BuiltRoce b;
        RoceHeaders h;
        h.opcode = Opcode::WriteOnlyImmediate;
        h.destination_qp = 0x123456;
        h.psn = 0xffffff;
        h.remote_address = 0x0102030405060708;
        h.rkey = 0xdeadbeef;
        h.dma_length = static_cast<uint32_t>(size);
        h.immediate = 0x55667788;
        build_roce(b, h, payload);
        std::vector<std::byte> frame(b.head().begin(), b.head().end());
        frame.insert(frame.end(), payload.begin(), payload.end());
        frame.insert(frame.end(), b.tail().begin(), b.tail().end());
        EXPECT_EQ((frame.size() - 14) % 4, 0u);
        auto p = parse_roce_frame(frame);
        ASSERT_TRUE(p.has_value());
        EXPECT_TRUE(icrc_valid(*p));
        EXPECT_EQ(p->payload.size(), size);
        EXPECT_EQ(p->remote_address, h.remote_address);
        EXPECT_EQ(p->rkey, h.rkey);
        EXPECT_EQ(p->immediate, h.immediate);
        EXPECT_EQ(p->psn, 0xffffffu);
        EXPECT_LE(frame.size(), size + 3 + kRoceMaxOverhead);
    }
}

TEST(Inet, RefusesWhatTesseraNeverSends) {
    auto frame = from_hex(kSendOnly);
    auto mutate = [&](size_t at, uint8_t value) {
        auto f = frame;
        f[14 + at] = std::byte{value};
        f[14 + 10] = f[14 + 11] = std::byte{0};
        Be16 sum = internet_checksum(Bytes(f).subspan(14, 20));
        std::memcpy(f.data() + 14 + 10, &sum, 2);
        return parse_ipv4(*parse_ethernet(f));
    };
    EXPECT_TRUE(mutate(1, 0).has_value());
    EXPECT_EQ(mutate(0, 0x46).error(), Error::Unsupported); // options
    EXPECT_EQ(mutate(0, 0x65).error(), Error::Malformed);   // IPv6
    EXPECT_EQ(mutate(6, 0x20).error(), Error::Unsupported); // more fragments
    EXPECT_EQ(mutate(7, 0x01).error(), Error::Unsupported); // fragment offset
    EXPECT_EQ(mutate(2, 0x40).error(), Error::Malformed);   // longer than the frame
    frame[14 + 10] ^= std::byte{1};
    EXPECT_EQ(parse_ipv4(*parse_ethernet(frame)).error(), Error::Corrupt);
}

TEST(Inet, ChecksumOfRfc1071) {
    auto data = from_hex("0001 f203 f4f5 f6f7");
    EXPECT_EQ(internet_checksum(data), static_cast<uint16_t>(~0xddf2));
    auto odd = from_hex("0001 f2");
    EXPECT_EQ(internet_checksum(odd), static_cast<uint16_t>(~0xf201));
}

TEST(Inet, ArpRoundTrip) {
    MacAddress mac = {2, 0, 0, 0, 0, 1};
    ArpPacket a = make_arp(kArpRequest, mac, 0x0a000001, {}, 0x0a000002);
    std::vector<std::byte> frame(14 + sizeof a);
    EthernetHeader e{kBroadcastMac, mac, kEtherTypeArp};
    std::memcpy(frame.data(), &e, sizeof e);
    std::memcpy(frame.data() + 14, &a, sizeof a);
    auto p = parse_arp(*parse_ethernet(frame));
    ASSERT_TRUE(p.has_value());
    EXPECT_EQ(p->target_ip, 0x0a000002u);
    EXPECT_FALSE(parse_arp(*parse_ethernet(Bytes(frame).first(41))).has_value());
    frame[14 + 4] = std::byte{8}; // hardware address size
    EXPECT_FALSE(parse_arp(*parse_ethernet(frame)).has_value());
}

TEST(Cm, ShortMadsAndForeignClassesAreRefused) {
    std::array<std::byte, kMadSize> mad{};
    CmMessage m;
    m.kind = CmKind::Rep;
    m.local_id = 7;
    build_cm(mad, m);
    EXPECT_TRUE(parse_cm(mad).has_value());
    EXPECT_FALSE(parse_cm(Bytes(mad).first(255)).has_value());
    auto foreign = mad;
    foreign[1] = std::byte{3};
    EXPECT_FALSE(parse_cm(foreign).has_value());
    auto unknown = mad;
    unknown[17] = std::byte{0x19};
    EXPECT_EQ(parse_cm(unknown).error(), Error::Unsupported);
}

TEST(Cm, MtuCodes) {
    EXPECT_EQ(mtu_bytes(0), 0u);
    EXPECT_EQ(mtu_bytes(3), 1024u);
    EXPECT_EQ(mtu_bytes(5), 4096u);
    EXPECT_EQ(mtu_bytes(6), 0u);
    EXPECT_EQ(mtu_code(4096), 5);
    EXPECT_EQ(mtu_code(1500), 0);
}

} // namespace
} // namespace tessera::net
