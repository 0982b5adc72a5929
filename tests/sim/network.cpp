#include "tests/sim/network.hpp"

#include <algorithm>

namespace tessera::sim {

Result<void> SimLink::send(const net::TxFrame& f) {
    if (f.size() > max_frame()) return Fail(Error::TooBig);
    if (dead_) {
        if (f.hold) f.hold->transmitted();
        return {};
    }
    if (queued_ >= 1024) return Fail(Error::Full);
    net_.accept(*this, f);
    return {};
}

unsigned SimLink::poll(net::LinkSink& sink, unsigned budget) {
    for (net::TxHold* h : std::exchange(read_, {}))
        h->transmitted();
    unsigned n = 0;
    for (; n < budget && !inbox_.empty(); n++) {
        Frame f = std::move(inbox_.front());
        inbox_.pop_front();
        sink.on_frame(f);
    }
    return n;
}

void SimLink::die() {
    dead_ = true;
    inbox_.clear();
    read_.clear();
}

uint8_t SimNet::add_station() {
    stations_.emplace_back();
    return static_cast<uint8_t>(stations_.size() - 1);
}

void SimNet::plug(uint8_t station, SimLink* link, Actor* owner) {
    stations_[station].link = link;
    stations_[station].owner = owner;
}

void SimNet::accept(SimLink& from, const net::TxFrame& f) {
    Frame frame;
    frame.reserve(f.size());
    frame.assign(f.head.begin(), f.head.end());
    bool late = f.hold && from.frames && from.frames->holds(f.body.data());
    if (!late) {
        frame.insert(frame.end(), f.body.begin(), f.body.end());
        frame.insert(frame.end(), f.tail.begin(), f.tail.end());
    }
    // In the order of sending: the device reads its ring in order, 10 Gbit/s.
    Station& s = stations_[from.station_];
    Nanos read = std::max(world.now() + Nanos{500}, s.last_departure) +
                 Nanos{static_cast<int64_t>(f.size() * 8 / 10)};
    s.last_departure = read;
    from.queued_++;
    if (!late) {
        world.at(read, [this, link = &from, frame = std::move(frame), hold = f.hold]() mutable {
            link->queued_--;
            if (link->dead_) return;
            if (hold) {
                link->read_.push_back(hold);
                if (Actor* a = stations_[link->station_].owner) world.wake(*a);
            }
            route(link->station_, std::move(frame));
        });
        return;
    }
    Frame tail(f.tail.begin(), f.tail.end());
    struct Late {
        Frame frame, tail;
        Bytes body;
        net::TxHold* hold;
    };
    auto l = std::make_unique<Late>(Late{std::move(frame), std::move(tail), f.body, f.hold});
    world.at(read, [this, link = &from, l = std::move(l)]() mutable {
        link->queued_--;
        if (link->dead_) return;
        Frame& frame = l->frame;
        frame.insert(frame.end(), l->body.begin(), l->body.end());
        frame.insert(frame.end(), l->tail.begin(), l->tail.end());
        link->read_.push_back(l->hold);
        if (Actor* a = stations_[link->station_].owner) world.wake(*a);
        route(link->station_, std::move(frame));
    });
}

void SimNet::route(uint8_t from, Frame frame) {
    if (frame.size() < 12) return;
    if ((frame[0] & std::byte{1}) != std::byte{0}) {
        for (size_t to = 1; to < stations_.size(); to++)
            if (to != from) deliver(from, static_cast<uint8_t>(to), frame);
        return;
    }
    auto to = static_cast<uint8_t>(frame[5]);
    if (to < stations_.size() && to != from) deliver(from, to, std::move(frame));
}

void SimNet::deliver(uint8_t from, uint8_t to, Frame frame) {
    Conditions c;
    if (auto it = conditions_.find({from, to}); it != conditions_.end()) c = it->second;
    if (c.cut || dice_.per_mille(c.loss)) {
        lost++;
        return world.note("lost", from, to, frame.size());
    }
    Nanos arrival = world.now() + delay + c.delay;
    if (dice_.per_mille(c.reorder)) arrival += delay * static_cast<int64_t>(dice_.between(1, 8));
    if (dice_.per_mille(c.corrupt))
        for (uint64_t n = dice_.between(1, 3); n > 0; n--)
            frame[dice_.below(frame.size())] ^= std::byte{1} << dice_.below(8);
    if (dice_.per_mille(c.duplicate))
        world.at(arrival + delay * static_cast<int64_t>(dice_.below(20)),
                 [this, from, to, copy = frame]() mutable { arrive(from, to, std::move(copy)); });
    world.at(arrival, [this, from, to, frame = std::move(frame)]() mutable {
        arrive(from, to, std::move(frame));
    });
}

void SimNet::arrive(uint8_t from, uint8_t to, Frame frame) {
    Station& s = stations_[to];
    if (!s.link || s.link->inbox_.size() >= 2048) {
        lost++;
        return world.note("nobody", from, to, frame.size());
    }
    delivered++;
    world.note("frame", static_cast<uint64_t>(from) << 8 | to, frame.size(), digest(frame));
    s.link->inbox_.push_back(std::move(frame));
    world.wake(*s.owner);
}

} // namespace tessera::sim
