#include "kernel/node/raw_echo.hpp"

#include <utility>

namespace tessera::node {
namespace {

constexpr uint16_t kEtherType = 0x88b5;
constexpr size_t kRequestSize = 64;
constexpr size_t kReplySize = 4096;
constexpr std::byte kNothing[kReplySize] = {};

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

void RawEcho::request() {
    Header h{{target_mac_, link_.mac(), kEtherType}, Request, 0, target_.value, number_};
    asked_ = clock_.now();
    retry_at_ = asked_ + kRetry;
    clean_ = true;
    // Full: as good as lost.
    (void)link_.send(
        {.head = bytes_of(h), .body = Bytes(kNothing).first(kRequestSize - sizeof h), .tail = {}});
    link_.flush();
}

void RawEcho::on_frame(Bytes frame) {
    if (frame.size() < sizeof(Header)) return;
    auto h = load<Header>(frame);
    if (h.ethernet.type != kEtherType) return;
    if (h.kind == Request && h.target == self_.value && !(h.ethernet.source[0] & 1)) {
        Header reply{{h.ethernet.source, link_.mac(), kEtherType}, Reply, 0, h.target, h.number};
        (void)link_.send(
            {.head = bytes_of(reply), .body = Bytes(kNothing), .tail = {}, .hold = this});
        link_.flush();
        return;
    }
    if (h.kind != Reply || !left_ || h.number != number_ || h.target != target_.value ||
        frame.size() < sizeof h + kReplySize)
        return;
    Nanos now = clock_.now();
    if (clean_) times_.record(now - asked_);
    target_mac_ = h.ethernet.source;
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
