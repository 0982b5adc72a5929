#include "tools/fabric/switch.hpp"

#include <algorithm>

#include "base/crc.hpp"
#include "base/endian.hpp"

namespace tessera::fabric {
namespace {

constexpr size_t kHeader = 14;
constexpr uint16_t kIpv4 = 0x0800, kArp = 0x0806;

uint64_t mac_number(Bytes six) {
    uint64_t v = 0;
    for (size_t i = 0; i < 6; i++)
        v = v << 8 | static_cast<uint64_t>(six[i]);
    return v;
}
uint16_t be16(Bytes frame, size_t at) {
    return load<Be16>(frame.subspan(at));
}
uint32_t be32(Bytes frame, size_t at) {
    return load<Be32>(frame.subspan(at));
}
bool is_group(uint64_t mac) {
    return (mac >> 40) & 1;
}

} // namespace

Switch::Switch(Clock& clock, FabricOutput& output, uint64_t seed)
    : clock_(clock), output_(output), seed_(seed) {}

Result<PortNo> Switch::add_port(std::string_view name, const PortOptions& options) {
    if (find(name)) return Fail(Error::Exists);
    if (ports_.size() >= kMaxPorts) return Fail(Error::Full);
    for (const net::MacAddress& m : options.macs) {
        uint64_t mac = mac_number(std::as_bytes(std::span(m)));
        if (is_group(mac)) return Fail(Error::InvalidArgument);
        if (auto it = stations_.find(mac); it != stations_.end()) return Fail(Error::Exists);
    }
    PortNo no = next_++;
    uint64_t seed = seed_ ^ (static_cast<uint64_t>(crc32(bytes_of(name))) << 8);
    ports_.emplace(no, std::make_unique<Port>(name, options, no, seed));
    for (const net::MacAddress& m : options.macs)
        stations_[mac_number(std::as_bytes(std::span(m)))] = no;
    return no;
}

Result<void> Switch::remove_port(PortNo port) {
    if (ports_.erase(port) == 0) return Fail(Error::NotFound);
    learned_ = 0; // learned entries come back with the next frames
    std::erase_if(stations_, [&](const auto& s) {
        auto it = ports_.find(s.second);
        return it == ports_.end() || it->second->options.macs.empty();
    });
    std::erase_if(apart_, [&](const auto& p) { return p.first == port || p.second == port; });
    return {};
}

Result<PortNo> Switch::find(std::string_view name) const {
    for (const auto& [no, port] : ports_)
        if (port->name == name) return no;
    return Fail(Error::NotFound);
}

std::vector<PortNo> Switch::ports() const {
    std::vector<PortNo> all;
    for (const auto& [no, port] : ports_)
        all.push_back(no);
    return all;
}

bool Switch::admit(Port& port, Bytes frame) {
    PortCounters& c = port.counters;
    if (frame.size() < kHeader || frame.size() > kMaxFrame) return c.malformed++, false;
    uint64_t source = mac_number(frame.subspan(6));
    if (is_group(source)) return c.malformed++, false;
    const auto& macs = port.options.macs;
    auto is_mine = [&](uint64_t mac) {
        return std::any_of(macs.begin(), macs.end(), [&](const net::MacAddress& m) {
            return mac_number(std::as_bytes(std::span(m))) == mac;
        });
    };
    if (!macs.empty() && !is_mine(source)) return c.spoofed_mac++, false;

    const auto& addresses = port.options.addresses;
    if (addresses.empty()) return true;
    auto is_my_address = [&](uint32_t a) {
        return std::find(addresses.begin(), addresses.end(), a) != addresses.end();
    };
    switch (be16(frame, 12)) {
        case kIpv4:
            if (frame.size() < kHeader + 20) return c.malformed++, false;
            if (!is_my_address(be32(frame, kHeader + 12))) return c.spoofed_ip++, false;
            return true;
        case kArp: {
            if (frame.size() < kHeader + 28) return c.malformed++, false;
            if (!macs.empty() && !is_mine(mac_number(frame.subspan(kHeader + 8))))
                return c.spoofed_mac++, false;
            uint32_t sender = be32(frame, kHeader + 14); // zero: an address probe (RFC 5227)
            if (sender != 0 && !is_my_address(sender)) return c.spoofed_ip++, false;
            return true;
        }
        default: // anything else would get around the address pin
            return c.foreign++, false;
    }
}

void Switch::receive(PortNo no, Bytes frame) {
    auto it = ports_.find(no);
    if (it == ports_.end()) return;
    Port& port = *it->second;
    if (port.captured) output_.captured(no, frame);
    if (!port.up) return void(port.counters.link_down++);
    if (!admit(port, frame)) return;
    port.counters.received++;
    port.counters.received_bytes += frame.size();
    push(port.in, frame);
}

void Switch::on_pipe_output(uint32_t tag, Bytes frame) {
    PortNo no = tag / 2;
    if (tag % 2 == 0) return forward(no, frame);
    Port& port = *ports_.at(no);
    if (!port.up) return void(port.counters.link_down++);
    port.counters.sent++;
    port.counters.sent_bytes += frame.size();
    if (port.captured) output_.captured(no, frame);
    output_.transmit(no, frame);
}

void Switch::forward(PortNo from, Bytes frame) {
    uint64_t to = mac_number(frame), source = mac_number(frame.subspan(6));
    if (ports_.at(from)->options.macs.empty()) {
        auto [it, fresh] = stations_.try_emplace(source, from);
        if (fresh && ++learned_ > kMaxLearned) {
            stations_.erase(it);
            learned_--;
        } else if (!fresh && it->second != from) {
            // A learned station may move; a pinned one may not be taken over.
            if (!ports_.at(it->second)->options.macs.empty())
                return void(ports_.at(from)->counters.spoofed_mac++);
            it->second = from;
        }
    }
    if (!is_group(to)) {
        if (auto it = stations_.find(to); it != stations_.end()) {
            if (it->second != from) deliver(from, it->second, frame);
            return;
        }
        ports_.at(from)->counters.flooded++;
    }
    for (const auto& [no, port] : ports_)
        if (no != from) deliver(from, no, frame);
}

void Switch::deliver(PortNo from, PortNo to, Bytes frame) {
    if (!apart_.empty() && apart_.contains(std::minmax(from, to)))
        return void(ports_.at(from)->counters.partitioned++);
    push(ports_.at(to)->out, frame);
}

void Switch::push(Pipe& pipe, Bytes frame) {
    pipe.push(frame, clock_.now(), *this);
    if (!pipe.empty()) holding_ = true;
}

void Switch::poll() {
    if (holding_) {
        Nanos now = clock_.now();
        for (const auto& [no, port] : ports_) {
            port->in.release(now, *this);
            port->out.release(now, *this);
        }
    }
    flush_output();
}

void Switch::flush_output() {
    output_.flush();
    if (!holding_) return;
    holding_ = false;
    for (const auto& [no, port] : ports_) {
        for (Pipe* pipe : {&port->in, &port->out}) {
            pipe->forget();
            holding_ = holding_ || !pipe->empty();
        }
    }
}

Nanos Switch::next_deadline() const {
    Nanos first = kNever;
    if (!holding_) return first;
    for (const auto& [no, port] : ports_)
        first = std::min({first, port->in.next_deadline(), port->out.next_deadline()});
    return first;
}

void Switch::impair(PortNo port, Direction d, const Impairment& impairment) {
    (d == Direction::In ? ports_.at(port)->in : ports_.at(port)->out).set(impairment);
}
const Impairment& Switch::impairment(PortNo port, Direction d) const {
    return (d == Direction::In ? ports_.at(port)->in : ports_.at(port)->out).impairment();
}
void Switch::set_link(PortNo port, bool up) {
    ports_.at(port)->up = up;
}
void Switch::capture(PortNo port, bool on) {
    ports_.at(port)->captured = on;
}
void Switch::partition(PortNo a, PortNo b, bool apart) {
    if (apart)
        apart_.insert(std::minmax(a, b));
    else
        apart_.erase(std::minmax(a, b));
}
void Switch::heal() {
    apart_.clear();
}

std::string Switch::statistics() const {
    std::string out;
    for (const auto& [no, port] : ports_) {
        auto line = [&, &name = port->name](const char* counter, uint64_t v) {
            if (v) out += name + "." + counter + " " + std::to_string(v) + "\n";
        };
        const PortCounters& c = port->counters;
        line("received", c.received);
        line("received_bytes", c.received_bytes);
        line("sent", c.sent);
        line("sent_bytes", c.sent_bytes);
        line("malformed", c.malformed);
        line("spoofed_mac", c.spoofed_mac);
        line("spoofed_ip", c.spoofed_ip);
        line("foreign", c.foreign);
        line("partitioned", c.partitioned);
        line("link_down", c.link_down);
        line("flooded", c.flooded);
        for (const auto& [prefix, pipe] : {std::pair{"in.", &port->in}, {"out.", &port->out}}) {
            const PipeCounters& p = pipe->counters();
            line((std::string(prefix) + "lost").c_str(), p.lost);
            line((std::string(prefix) + "duplicated").c_str(), p.duplicated);
            line((std::string(prefix) + "reordered").c_str(), p.reordered);
            line((std::string(prefix) + "corrupted").c_str(), p.corrupted);
            line((std::string(prefix) + "overflowed").c_str(), p.overflowed);
        }
    }
    return out;
}

} // namespace tessera::fabric
