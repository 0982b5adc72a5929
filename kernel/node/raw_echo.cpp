#include "kernel/node/raw_echo.hpp"

#include <utility>

namespace tessera::node {
namespace {

constexpr uint8_t kProtocol = 253;
constexpr size_t kRequestSize = 64; // the whole frame
constexpr size_t kReplySize = 4096; // behind the headers
alignas(4096) constexpr std::byte kNothing[kReplySize] = {};

} // namespace

Result<void> RawEcho::measure(roce::Ipv4 target, uint32_t rounds, Done done) {
    if (left_) return Fail(Error::Busy);
    if (!target || target == self_ || rounds == 0 || rounds > kMostRounds)
        return Fail(Error::InvalidArgument);
    times_.clear();
    target_ = target;
    target_mac_ = net::kBroadcastMac;
    left_ = rounds + 1; // the first one finds the target and is not counted
    done_ = std::move(done);
    number_++;
    give_up_at_ = clock_.now() + kGiveUp;
    request();
    clean_ = false;
    return {};
}

RawEcho::Header RawEcho::header(const net::MacAddress& to, roce::Ipv4 ip, Kind kind,
                                uint32_t number, size_t payload) const {
    size_t behind_ip = sizeof(Header) - offsetof(Header, kind) + payload;
    return {{to, link_.mac(), net::kEtherTypeIpv4},
            net::make_ipv4_header(self_.value, ip.value, kProtocol, behind_ip, 0),
            kind,
            0,
            number};
}

void RawEcho::request() {
    constexpr size_t payload = kRequestSize - sizeof(Header);
    Header h = header(target_mac_, target_, Request, number_, payload);
    asked_ = clock_.now();
    retry_at_ = asked_ + kRetry;
    clean_ = true;
    // Full: as good as lost.
    (void)link_.send({.head = bytes_of(h), .body = Bytes(kNothing).first(payload), .tail = {}});
    link_.flush();
}

void RawEcho::on_frame(Bytes frame) {
    auto ethernet = net::parse_ethernet(frame);
    if (!ethernet || ethernet->header.type != net::kEtherTypeIpv4) return;
    auto ip = net::parse_ipv4(*ethernet);
    if (!ip || ip->header.protocol != kProtocol || ip->header.destination != self_.value) return;
    if (frame.size() < sizeof(Header)) return;
    auto h = load<Header>(frame);
    roce::Ipv4 from(ip->header.source);
    if (h.kind == Request && !(ip->source_mac[0] & 1)) {
        Header reply = header(ip->source_mac, from, Reply, h.number, kReplySize);
        (void)link_.send(
            {.head = bytes_of(reply), .body = Bytes(kNothing), .tail = {}, .hold = this});
        link_.flush();
        return;
    }
    if (h.kind != Reply || !left_ || h.number != number_ || from != target_ ||
        frame.size() < sizeof h + kReplySize)
        return;
    Nanos now = clock_.now();
    if (clean_) times_.record(now - asked_);
    target_mac_ = ip->source_mac;
    give_up_at_ = now + kGiveUp;
    number_++;
    if (--left_ == 0) return finish({});
    request();
}

void RawEcho::poll() {
    if (!left_ || clock_.now() < retry_at_) return;
    if (clock_.now() >= give_up_at_) return finish(Fail(Error::Timeout));
    request();
    clean_ = false;
}

void RawEcho::finish(Result<void> how) {
    left_ = 0;
    Done done = std::move(done_);
    if (done) done(how);
}

} // namespace tessera::node
