#include "net/roce/transmitter.hpp"

#include "net/wire/cm.hpp"

namespace tessera::roce {

Transmitter::Transmitter(net::Link& link, uint32_t address, Random& random, Counters& counters)
    : link_(link),
      counters_(counters),
      mac_(link.mac()),
      address_(address),
      largest_mtu_(256),
      identification_(static_cast<uint16_t>(random.next())) {
    for (uint8_t code = 1; code <= 5; code++)
        if (net::mtu_bytes(code) + net::kRoceMaxOverhead <= link.max_frame())
            largest_mtu_ = net::mtu_bytes(code);
}

uint16_t Transmitter::next_identification() {
    if (++identification_ == 0) identification_ = 1; // zero invites routers to choose one
    return identification_;
}

Result<void> Transmitter::count(Result<void> sent) {
    if (sent) {
        counters_.frames_out++;
        unflushed_ = true;
    } else {
        counters_.link_full++;
    }
    return sent;
}

Result<void> Transmitter::send(const Path& path, net::RoceHeaders& h, Bytes payload,
                               net::TxHold* hold) {
    h.source_mac = mac_;
    h.destination_mac = path.mac;
    h.source = address_;
    h.destination = path.ip;
    h.source_port = path.source_port;
    h.identification = next_identification();
    net::build_roce(built_, h, payload);
    return count(
        link_.send({.head = built_.head(), .body = payload, .tail = built_.tail(), .hold = hold}));
}

void Transmitter::send_raw(Bytes frame) {
    static constexpr std::byte zeros[net::kMinimumFrame] = {};
    Bytes pad;
    if (frame.size() < net::kMinimumFrame)
        pad = Bytes(zeros).first(net::kMinimumFrame - frame.size());
    (void)count(link_.send({.head = {}, .body = frame, .tail = pad}));
}

void Transmitter::flush() {
    if (unflushed_) link_.flush();
    unflushed_ = false;
}

} // namespace tessera::roce
