#include "net/host/manager_program.hpp"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/log.hpp"
#include "net/host/component_manager.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::net::host {

Result<uint32_t> parse_ipv4(std::string_view text) {
    uint32_t ip = 0;
    const char* at = text.data();
    const char* end = at + text.size();
    for (int i = 0; i < 4; i++) {
        unsigned byte = 0;
        auto [next, wrong] = std::from_chars(at, end, byte);
        if (wrong != std::errc{} || byte > 255) return Fail(Error::InvalidArgument);
        ip = ip << 8 | byte;
        at = next;
        if (i < 3 && (at == end || *at++ != '.')) return Fail(Error::InvalidArgument);
    }
    if (at != end) return Fail(Error::InvalidArgument);
    return ip;
}

Result<MacAddress> parse_mac(std::string_view text) {
    MacAddress mac;
    if (text.size() != 17) return Fail(Error::InvalidArgument);
    for (size_t i = 0; i < 6; i++) {
        const char* at = text.data() + 3 * i;
        auto [next, wrong] = std::from_chars(at, at + 2, mac[i], 16);
        if (wrong != std::errc{} || next != at + 2 || (i < 5 && at[2] != ':'))
            return Fail(Error::InvalidArgument);
    }
    return mac;
}

Result<rpc::ClusterKey> read_key(const std::string& path) {
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Fail(errno == ENOENT ? Error::NotFound : Error::AccessDenied);
    std::array<char, 128> text;
    ssize_t n = read(fd, text.data(), text.size());
    close(fd);
    rpc::ClusterKey key;
    if (n == static_cast<ssize_t>(key.size())) {
        std::memcpy(key.data(), text.data(), key.size());
        return key;
    }
    while (n > 0 &&
           (text[static_cast<size_t>(n) - 1] == '\n' || text[static_cast<size_t>(n) - 1] == '\r'))
        n--;
    if (n != 64) return Fail(Error::Malformed);
    for (size_t i = 0; i < key.size(); i++) {
        uint8_t byte = 0;
        auto [next, wrong] = std::from_chars(&text[2 * i], &text[2 * i] + 2, byte, 16);
        if (wrong != std::errc{} || next != &text[2 * i] + 2) return Fail(Error::Malformed);
        key[i] = std::byte{byte};
    }
    return key;
}

Result<ManagerOptions> parse_manager_options(int argc, char** argv, const char* program,
                                             uint32_t default_ip) {
    ManagerOptions o;
    o.ip = default_ip;
    bool mac_given = false;
    const option long_options[] = {{"dir", required_argument, nullptr, 'd'},
                                   {"fabric-socket", required_argument, nullptr, 'f'},
                                   {"own-socket", required_argument, nullptr, 'o'},
                                   {"ip", required_argument, nullptr, 'i'},
                                   {"mac", required_argument, nullptr, 'm'},
                                   {"key-file", required_argument, nullptr, 'k'},
                                   {"gpm", required_argument, nullptr, 1},
                                   {"gmm", required_argument, nullptr, 2},
                                   {"gsm", required_argument, nullptr, 3},
                                   {"heartbeat-ms", required_argument, nullptr, 'b'},
                                   {"missed", required_argument, nullptr, 'n'},
                                   {"storage", required_argument, nullptr, 's'},
                                   {"mtu", required_argument, nullptr, 'u'},
                                   {"help", no_argument, nullptr, 'h'},
                                   {}};
    auto usage = [&](FILE* to) {
        fprintf(to,
                "usage: %s --dir STATE_DIR --fabric-socket PATH --own-socket PATH --key-file PATH\n"
                "  [--ip A.B.C.D] [--mac 02:..] [--gpm IP] [--gmm IP] [--gsm IP] [--mtu BYTES]\n"
                "  [--heartbeat-ms N] [--missed N] [--storage NAME (gsm)]\n"
                "A manager of a Tessera cluster; `tess up` starts it. Logs go to stderr.\n",
                program);
    };
    auto wrong = [&](const char* what, const char* expected) {
        fprintf(stderr, "%s: %s: expected %s\n", program, what, expected);
        return Fail(Error::InvalidArgument);
    };
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "", long_options, nullptr)) != -1;) {
        auto address = [&](uint32_t& into) {
            auto ip = parse_ipv4(optarg);
            if (ip) into = *ip;
            return ip.has_value();
        };
        auto number = [&](unsigned& into, unsigned least, unsigned most) {
            auto [end, bad] = std::from_chars(optarg, optarg + strlen(optarg), into);
            return bad == std::errc{} && *end == 0 && into >= least && into <= most;
        };
        unsigned n = 0;
        switch (c) {
            case 'd':
                o.dir = optarg;
                break;
            case 'f':
                o.fabric.fabric_socket = optarg;
                break;
            case 'o':
                o.fabric.own_socket = optarg;
                break;
            case 'k':
                o.key_file = optarg;
                break;
            case 's':
                o.storage = optarg;
                break;
            case 'i':
                if (!address(o.ip)) return wrong("--ip", "an IPv4 address such as 10.77.0.2");
                break;
            case 'm': {
                auto mac = parse_mac(optarg);
                if (!mac) return wrong("--mac", "six hexadecimal bytes such as 02:54:45:53:00:02");
                o.fabric.mac = *mac;
                mac_given = true;
                break;
            }
            case 1:
                if (!address(o.gpm)) return wrong("--gpm", "an IPv4 address");
                break;
            case 2:
                if (!address(o.gmm)) return wrong("--gmm", "an IPv4 address");
                break;
            case 3:
                if (!address(o.gsm)) return wrong("--gsm", "an IPv4 address");
                break;
            case 'b':
                if (!number(o.heartbeat_ms, 10, 60000))
                    return wrong("--heartbeat-ms", "10 to 60000");
                break;
            case 'n':
                if (!number(o.missed, 2, 100)) return wrong("--missed", "2 to 100");
                break;
            case 'u':
                if (!number(n, 1280, 9000)) return wrong("--mtu", "1280 to 9000");
                o.fabric.mtu = n;
                break;
            case 'h':
                usage(stdout);
                exit(0);
            default:
                usage(stderr);
                return Fail(Error::InvalidArgument);
        }
    }
    if (optind != argc || o.dir.empty() || o.fabric.fabric_socket.empty() ||
        o.fabric.own_socket.empty() || o.key_file.empty()) {
        usage(stderr);
        return Fail(Error::InvalidArgument);
    }
    if (!mac_given) o.fabric.mac = mac_for(o.ip);
    return o;
}

int64_t realtime_now() {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
}

uint32_t default_address(rpc::NodeKind manager) {
    ManagerOptions o;
    if (manager == rpc::NodeKind::Gmm) return o.gmm;
    if (manager == rpc::NodeKind::Gsm) return o.gsm;
    return o.gpm;
}

Result<Incarnation> next_incarnation(StateDb& state) {
    auto now = static_cast<uint64_t>(realtime_now());
    for (auto& record : TRY(state.all("incarnation"))) {
        uint64_t last = 0;
        if (record.value.size() == sizeof last)
            std::memcpy(&last, record.value.data(), sizeof last);
        now = std::max(now, last + 1);
    }
    TRY(state.put("incarnation", 0, {reinterpret_cast<const char*>(&now), sizeof now}));
    return Incarnation(now);
}

Result<Own<ManagerProgram>> ManagerProgram::start(const ManagerOptions& options,
                                                  const char* program, rpc::NodeKind kind) {
    log_to_stderr(program);
    Own<ManagerProgram> p(new ManagerProgram(options, kind));
    auto say = [&](const std::string& what, Error e) {
        LOG(Failure, "start", "%s: %s", what.c_str(), std::string(describe(e)).c_str());
        return Fail(e);
    };
    auto key = read_key(options.key_file);
    if (!key)
        return say(options.key_file + " (cluster key: 32 bytes or 64 hexadecimal digits)",
                   key.error());
    if (mkdir(options.dir.c_str(), 0700) != 0 && errno != EEXIST)
        return say(options.dir + " (state folder)", Error::AccessDenied);
    std::string file = options.dir + "/" + program + ".db";
    auto state = StateDb::open(file);
    if (!state) return say(file, state.error());
    p->state_ = std::move(*state);
    auto link = HostFabric::open(options.fabric);
    if (!link) return say(options.fabric.own_socket + " (own socket)", link.error());
    p->link_ = std::move(*link);
    roce::SoftPortOptions port;
    port.address = roce::Ipv4(options.ip);
    port.max_regions = 16;
    p->port_ = std::make_unique<roce::SoftPort>(*p->link_, p->clock_, p->random_, port);
    auto incarnation = next_incarnation(*p->state_);
    if (!incarnation) return say(file, incarnation.error());
    p->incarnation_ = *incarnation;
    rpc::NodeOptions node;
    node.key = *key;
    node.self = {kind, NodeId(0), p->incarnation_};
    node.max_peers = 200;
    auto made = rpc::Node::create(*p->port_, p->clock_, p->random_, node);
    if (!made) return say("rpc node", made.error());
    p->node_ = std::move(*made);
    p->node_->handle(
        schema::kStats, [port = p->port_.get()](const rpc::Identity&, Bytes, rpc::Responder r) {
            std::string text;
            roce::for_each_counter(port->counters(), [&](const char* name, uint64_t value) {
                text += std::string(name) + ' ' + std::to_string(value) + '\n';
            });
            r.reply(bytes_of(std::string_view(text)));
        });
    if (auto caught = p->loop_.catch_signals(); !caught) return say("signals", caught.error());
    if (auto w = p->loop_.watch(p->link_->fd(), EPOLLIN, [](uint32_t) {}); !w)
        return say("event loop", w.error());
    return p;
}

ComponentManagerOptions ManagerProgram::component_options(rpc::NodeKind serves) const {
    ComponentManagerOptions s;
    s.self = kind_;
    s.serves = serves;
    s.address = roce::Ipv4(options_.ip);
    s.gpm = roce::Ipv4(options_.gpm);
    s.incarnation = incarnation_;
    s.heartbeat = milliseconds(options_.heartbeat_ms);
    s.missed = options_.missed;
    s.realtime = realtime_now;
    return s;
}

int ManagerProgram::run(Function<unsigned()> poll, Function<Nanos()> deadline) {
    if (auto listening = node_->listen(); !listening) return 1;
    auto p = std::make_unique<Function<unsigned()>>(std::move(poll));
    auto d = std::make_unique<Function<Nanos()>>(std::move(deadline));
    loop_.add([this] { return port_->poll(); }, [this] { return port_->next_deadline(); });
    loop_.add([this] { return node_->poll(), 0u; }, [this] { return node_->next_deadline(); });
    loop_.add([&] { return (*p)(); }, [&] { return (*d)(); });
    loop_.add([this] { return port_->poll(); }, [] { return kNever; });
    LOG(Info, "start", "ready");
    int signal = loop_.run();
    LOG(Info, "start", "ending on signal %d", signal);
    return 0;
}

} // namespace tessera::net::host
