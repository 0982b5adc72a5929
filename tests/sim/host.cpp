#include "tests/sim/host.hpp"

#include <algorithm>

namespace tessera::sim {

namespace {

// Boots that ended in a crash; reachable for ever.
std::vector<std::unique_ptr<Boot>>& abandoned() {
    static auto* all = new std::vector<std::unique_ptr<Boot>>;
    return *all;
}

constexpr Nanos kLeastBootTime = milliseconds(1100);

std::string stream(const Host& h, const char* what) {
    return h.name + "/" + std::to_string(h.boots) + "/" + what;
}

Incarnation next_incarnation(Host& h, rpc::NodeKind kind) {
    Dice dice(h.world.seed, stream(h, "incarnation"));
    bool manager = kind != rpc::NodeKind::Process && kind != rpc::NodeKind::Memory &&
                   kind != rpc::NodeKind::Storage;
    if (manager) return Incarnation(dice.next() | 1);
    // As Component::create: the wall clock's seconds above, chance below.
    auto wall = static_cast<uint64_t>(h.world.now().value / 1'000'000'000) + 1'700'000'000;
    return Incarnation(wall << 24 | (dice.next() & 0xffffff) | 1);
}

} // namespace

Boot::Boot(Host& host, rpc::NodeKind kind)
    : host(host),
      world(host.world),
      incarnation(next_incarnation(host, kind)),
      random(host.world.seed, stream(host, "random")),
      link(std::make_unique<SimLink>(host.net, host.station)),
      kind_(kind) {}

Clock& Boot::clock() {
    return host.clock;
}

Result<void> Boot::make_node(uint16_t max_peers) {
    roce::SoftPortOptions o;
    o.address = host.ip;
    port = std::make_unique<roce::SoftPort>(*link, clock(), random, o);
    rpc::NodeOptions n;
    n.self = {kind_, NodeId(0), incarnation};
    n.max_peers = max_peers;
    node = TRY(rpc::Node::create(*port, clock(), random, n));
    return node->listen();
}

Result<void> Boot::join(cluster::MembershipEvents& events, roce::Ipv4 manager, roce::Ipv4 gpm) {
    cluster::MembershipOptions o;
    o.kind = kind_;
    o.name = std::string_view(host.name);
    o.self = host.ip;
    o.manager = manager;
    o.gpm = gpm;
    o.boot_loader = "simulator";
    o.incarnation = incarnation;
    member = TRY(cluster::Membership::create(*node, clock(), random, o, events));
    return {};
}

void Boot::step() {
    if (!started_) {
        started_ = true;
        Result<void> r = start();
        if (!r)
            return world.fail("%s does not start: %s", host.name.c_str(),
                              describe(r.error()).data());
    }
    more_ = false;
    if (port) more_ = port->poll() > 0;
    if (node) node->poll();
    if (member) member->poll();
    more_ = poll() || more_;
    for (auto& l : loads)
        l->poll();
}

Nanos Boot::next_deadline() {
    if (more_ || link->wants_poll()) return Nanos{};
    Nanos next = role_deadline();
    if (port) next = std::min(next, port->next_deadline());
    if (node) next = std::min(next, node->next_deadline());
    if (member) next = std::min(next, member->next_deadline());
    for (auto& l : loads)
        next = std::min(next, l->next_deadline());
    return next;
}

Host::Host(SimNet& net, std::string name, roce::Ipv4 ip, Maker maker)
    : net(net),
      world(net.world),
      name(std::move(name)),
      ip(ip),
      station(net.add_station()),
      clock(world, seconds(static_cast<int64_t>(Dice(world.seed, this->name).between(5, 5000)))),
      maker_(maker) {
    world.add(*this);
}

void Host::boot() {
    if (boot_) return;
    // Firmware and boot loader take their time. (Incarnations grow by the second:
    // Component::create.)
    if (boots && world.now() < booted_at_ + kLeastBootTime)
        return world.at(booted_at_ + kLeastBootTime, [this] { boot(); });
    boots++;
    booted_at_ = world.now();
    paused_ = false;
    boot_ = maker_(*this);
    net.plug(station, boot_->link.get(), this);
    world.note("boot", station, boots);
    for (auto& w : watchers)
        w(*this);
    world.wake(*this);
}

void Host::crash() {
    if (!boot_) return;
    if (paused_) resume();
    world.note("crash", station, boots);
    boot_->link->die();
    net.plug(station, nullptr, nullptr);
    abandoned().push_back(std::move(boot_));
    for (auto& w : watchers)
        w(*this);
}

void Host::pause(bool still) {
    if (paused_ || !boot_) return;
    world.note("pause", station, still);
    paused_ = true;
    still_ = still;
    paused_at_ = world.now();
}

void Host::resume() {
    if (!paused_) return;
    world.note("resume", station);
    paused_ = false;
    if (still_) clock.stand_still(world.now() - paused_at_);
    world.wake(*this);
}

void Host::run() {
    if (boot_ && !paused_) boot_->step();
}

Nanos Host::next_deadline() {
    if (!boot_ || paused_) return kNever;
    return clock.to_world(boot_->next_deadline());
}

} // namespace tessera::sim
