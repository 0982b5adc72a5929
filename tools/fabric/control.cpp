#include "tools/fabric/control.hpp"

#include <charconv>
#include <cstdio>

namespace tessera::fabric {
namespace {

std::vector<std::string_view> split(std::string_view line) {
    std::vector<std::string_view> words;
    while (true) {
        size_t start = line.find_first_not_of(" \t\r");
        if (start == std::string_view::npos) return words;
        line.remove_prefix(start);
        size_t end = std::min(line.find_first_of(" \t\r"), line.size());
        words.push_back(line.substr(0, end));
        line.remove_prefix(end);
    }
}

Answer error(std::string text) {
    return {false, std::move(text)};
}
std::string quoted(std::string_view s) {
    return "'" + std::string(s) + "'";
}

bool good_name(std::string_view name) {
    if (name.empty() || name.size() > 32 || name == "all") return false;
    return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") ==
           std::string_view::npos;
}

using Words = std::span<const std::string_view>;

Answer add_port(Switch& s, FabricHost& host, Words words) {
    if (words.empty() || !good_name(words[0]))
        return error("a port's name is 1 to 32 of a-z 0-9 _ - and not 'all'");
    PortOptions options;
    for (std::string_view w : words.subspan(1)) {
        if (w.starts_with("mac=")) {
            auto mac = parse_mac(w.substr(4));
            if (!mac) return error(quoted(w) + ": expected mac=52:54:00:00:00:01");
            options.macs.push_back(*mac);
        } else if (w.starts_with("ip=")) {
            auto ip = parse_ipv4(w.substr(3));
            if (!ip) return error(quoted(w) + ": expected ip=10.77.0.1");
            options.addresses.push_back(*ip);
        } else {
            return error(quoted(w) + ": expected mac=... or ip=...");
        }
    }
    auto port = s.add_port(words[0], options);
    if (!port)
        return error("port " + quoted(words[0]) + ": " + std::string(describe(port.error())));
    if (auto opened = host.open_port(*port, words[0]); !opened) {
        (void)s.remove_port(*port);
        return error("port " + quoted(words[0]) + ": " + std::string(describe(opened.error())));
    }
    return {};
}

Answer set_impairment(Switch& s, std::span<const PortNo> ports, Words words) {
    bool in = true, out = true;
    if (!words.empty() && (words[0] == "in" || words[0] == "out")) {
        in = words[0] == "in";
        out = !in;
        words = words.subspan(1);
    }
    if (words.empty()) return error("expected loss=5% or the like; see 'help'");
    for (bool apply : {false, true}) { // all or nothing
        for (PortNo port : ports) {
            for (Direction d : {Direction::In, Direction::Out}) {
                if (!(d == Direction::In ? in : out)) continue;
                Impairment i = s.impairment(port, d);
                for (std::string_view w : words)
                    if (!assign(i, w))
                        return error(quoted(w) +
                                     ": expected loss= dup= reorder= corrupt= (5%, 100ppm), delay= "
                                     "jitter= reorder-by= (10ms, 200us), rate= (10mbit)");
                if (apply) s.impair(port, d, i);
            }
        }
    }
    return {};
}

Answer show(Switch& s) {
    Answer a;
    for (PortNo port : s.ports())
        a.text += s.name(port) + " in: " + to_text(s.impairment(port, Direction::In)) +
                  "; out: " + to_text(s.impairment(port, Direction::Out)) + "\n";
    return a;
}

} // namespace

Answer execute(Switch& s, FabricHost& host, std::string_view line) {
    std::vector<std::string_view> words = split(line);
    if (words.empty() || words[0].starts_with('#')) return {};
    std::string_view verb = words[0];
    Words rest = Words(words).subspan(1);

    auto ports_named = [&](std::string_view name) {
        std::vector<PortNo> ports;
        if (name == "all")
            ports = s.ports();
        else if (auto p = s.find(name))
            ports.push_back(*p);
        return ports;
    };
    auto no_port = [&](std::string_view name) {
        std::string known;
        for (PortNo p : s.ports())
            known += " " + s.name(p);
        return error("no port " + quoted(name) +
                     "; there are:" + (known.empty() ? " none" : known));
    };

    if (verb == "stats" && rest.empty()) return {true, s.statistics()};
    if (verb == "show" && rest.empty()) return show(s);
    if (verb == "port" && rest.size() >= 2 && rest[0] == "add")
        return add_port(s, host, rest.subspan(1));
    if (verb == "heal" && rest.empty()) {
        s.heal();
        return {};
    }
    if (verb == "port" && rest.size() == 2 && rest[0] == "remove") {
        auto port = s.find(rest[1]);
        if (!port) return no_port(rest[1]);
        host.close_port(*port);
        (void)s.remove_port(*port);
        return {};
    }
    if ((verb == "partition" || verb == "heal") && rest.size() == 2) {
        auto a = s.find(rest[0]), b = s.find(rest[1]);
        if (!a) return no_port(rest[0]);
        if (!b) return no_port(rest[1]);
        s.partition(*a, *b, verb == "partition");
        return {};
    }
    if ((verb == "set" && rest.size() >= 2) || (verb == "clear" && rest.size() == 1) ||
        (verb == "link" && rest.size() == 2) || (verb == "pcap" && rest.size() == 2)) {
        std::vector<PortNo> ports = ports_named(rest[0]);
        if (ports.empty()) return no_port(rest[0]);
        if (verb == "set") return set_impairment(s, ports, rest.subspan(1));
        if (verb == "clear") {
            for (PortNo p : ports) {
                s.impair(p, Direction::In, {});
                s.impair(p, Direction::Out, {});
                s.set_link(p, true);
            }
            if (rest[0] == "all") s.heal();
            return {};
        }
        if (verb == "link") {
            if (rest[1] != "up" && rest[1] != "down") return error("expected link NAME up|down");
            for (PortNo p : ports)
                s.set_link(p, rest[1] == "up");
            return {};
        }
        for (PortNo p : ports) {
            std::string_view path = rest[1] == "off" ? std::string_view() : rest[1];
            if (auto r = host.capture_to(p, path); !r)
                return error(quoted(rest[1]) + ": " + std::string(describe(r.error())));
            s.capture(p, !path.empty());
        }
        return {};
    }
    return error(
        quoted(line) +
        ": expected port add|remove, set, clear, partition, heal, link, pcap, show or stats");
}

Result<net::MacAddress> parse_mac(std::string_view text) {
    net::MacAddress mac{};
    if (text.size() != 17) return Fail(Error::InvalidArgument);
    for (size_t i = 0; i < 6; i++) {
        const char* at = text.data() + 3 * i;
        auto [end, e] = std::from_chars(at, at + 2, mac[i], 16);
        if (e != std::errc() || end != at + 2 || (i < 5 && at[2] != ':'))
            return Fail(Error::InvalidArgument);
    }
    return mac;
}

Result<uint32_t> parse_ipv4(std::string_view text) {
    uint32_t address = 0;
    const char *at = text.data(), *end = at + text.size();
    for (int i = 0; i < 4; i++) {
        if (i > 0 && (at == end || *at++ != '.')) return Fail(Error::InvalidArgument);
        uint8_t part = 0;
        auto [next, e] = std::from_chars(at, end, part);
        if (e != std::errc()) return Fail(Error::InvalidArgument);
        at = next;
        address = address << 8 | part;
    }
    if (at != end) return Fail(Error::InvalidArgument);
    return address;
}

std::string ipv4_text(uint32_t a) {
    return std::to_string(a >> 24) + "." + std::to_string(a >> 16 & 255) + "." +
           std::to_string(a >> 8 & 255) + "." + std::to_string(a & 255);
}

std::string mac_text(const net::MacAddress& m) {
    char b[18];
    std::snprintf(b, sizeof b, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    return b;
}

} // namespace tessera::fabric
