// The simulated Ethernet: one switch, a link for every host, conditions for every directed pair.
//
// A frame sent is read by the sender's device a little later (the body then, if it lies in page
// frames: whoever reuses one too early is found out) and arrives after the pair's delay; it may be
// lost, doubled, overtaken or damaged on the way. The hold on its memory is given back at the
// sender's poll after the device has read it, as a driver that reaps its ring does.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "net/link/link.hpp"
#include "tests/sim/dice.hpp"
#include "tests/sim/memory.hpp"
#include "tests/sim/world.hpp"

namespace tessera::sim {

using Frame = std::vector<std::byte>;

struct Conditions { // per mille, each
    unsigned loss = 0, duplicate = 0, reorder = 0, corrupt = 0;
    Nanos delay = {}; // on top of the usual
    bool cut = false;
    void add(const Conditions& o) {
        loss += o.loss, duplicate += o.duplicate, reorder += o.reorder, corrupt += o.corrupt;
        delay += o.delay;
        cut |= o.cut;
    }
};

class SimNet;

// Belongs to one boot of a host. A dead link (its machine has crashed) sends and receives nothing;
// it is never destroyed while frames of it may be under way.
class SimLink final : public net::Link {
  public:
    SimLink(SimNet& net, uint8_t station) : net_(net), station_(station) {}
    Result<void> send(const net::TxFrame& f) override;
    void flush() override {}
    unsigned poll(net::LinkSink& sink, unsigned budget) override;
    net::MacAddress mac() const override { return {2, 0, 0, 0, 0, station_}; }
    uint32_t max_frame() const override { return 9014; }

    uint8_t station() const { return station_; }
    // Pending transmissions whose holds are to be given back, or frames to hand up.
    bool wants_poll() const { return !inbox_.empty() || !read_.empty(); }
    void die();

    SimFrames* frames = nullptr; // whose bodies may be read late; others are copied at once

  private:
    friend class SimNet;
    SimNet& net_;
    uint8_t station_;
    bool dead_ = false;
    unsigned queued_ = 0; // not yet read by the device
    std::deque<Frame> inbox_;
    std::vector<net::TxHold*> read_; // by the device; to be given back
};

class SimNet {
  public:
    explicit SimNet(World& world) : world(world), dice_(world.seed, "network") {}
    // A station is a socket of the switch; the link plugged into it and its actor change at boots.
    uint8_t add_station();
    void plug(uint8_t station, SimLink* link, Actor* owner);
    Conditions& conditions(uint8_t from, uint8_t to) { return conditions_[{from, to}]; }

    World& world;
    Nanos delay = microseconds(20);
    uint64_t delivered = 0, lost = 0;

  private:
    friend class SimLink;
    struct Station {
        SimLink* link = nullptr;
        Actor* owner = nullptr;
        Nanos last_departure{};
    };
    void accept(SimLink& from, const net::TxFrame& f);
    void depart(SimLink& from, Frame frame, Bytes body, Bytes tail, net::TxHold* hold);
    void route(uint8_t from, Frame frame);
    void deliver(uint8_t from, uint8_t to, Frame frame);
    void arrive(uint8_t from, uint8_t to, Frame frame);

    Dice dice_;
    std::vector<Station> stations_{1}; // 0: nobody
    std::map<std::pair<uint8_t, uint8_t>, Conditions> conditions_;
};

} // namespace tessera::sim
