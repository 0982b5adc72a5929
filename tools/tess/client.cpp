#include "tools/tess/client.hpp"

#include <sys/epoll.h>

#include <optional>

#include "base/hosted.hpp"
#include "net/host/fabric_link.hpp"
#include "net/host/loop.hpp"
#include "net/roce/soft_port.hpp"
#include "tools/tess/plan.hpp"
#include "tools/tess/process.hpp"

namespace tessera::tess {
namespace {

Outcome<rpc::ClusterKey> read_key(const Paths& paths) {
    auto text = read_file(paths.key());
    if (!text) return Trouble(text.error());
    rpc::ClusterKey key;
    if (text->size() < 64) return Trouble(paths.key() + " is not a cluster key (64 hex digits)");
    for (size_t i = 0; i < key.size(); i++) {
        unsigned value = 0;
        if (std::sscanf(text->c_str() + 2 * i, "%2x", &value) != 1)
            return Trouble(paths.key() + " is not a cluster key (64 hex digits)");
        key[i] = static_cast<std::byte>(value);
    }
    return key;
}

class FabricSession final : public Session {
  public:
    FabricSession(const ClusterConfig& config, FileLock lock, Own<net::host::HostFabric> link,
                  Port port)
        : config_(config),
          lock_(std::move(lock)),
          loop_(clock_),
          link_(std::move(link)),
          port_(*link_, clock_, random_, options_for(port)) {}

    Outcome<void> start(const rpc::ClusterKey& key) {
        rpc::NodeOptions options;
        options.key = key;
        options.self.kind = rpc::NodeKind::Client;
        options.self.incarnation = Incarnation(random_.next() | 1);
        options.max_peers = 16;
        auto node = rpc::Node::create(port_, clock_, random_, options);
        if (!node)
            return Trouble("cannot start the RPC node: " + std::string(describe(node.error())));
        node_ = std::move(*node);
        if (auto l = node_->listen(); !l)
            return Trouble("cannot listen: " + std::string(describe(l.error())));
        auto watched = loop_.watch(link_->fd(), EPOLLIN,
                                   [](uint32_t) {}); // waking up is enough: port_.poll() reads
        if (!watched)
            return Trouble("cannot watch the fabric socket: " +
                           std::string(describe(watched.error())));
        loop_.add([this] { return port_.poll(); }, [this] { return port_.next_deadline(); });
        loop_.add([this] { return node_->poll(), 0u; }, [this] { return node_->next_deadline(); });
        return {};
    }

    net::host::Loop& loop() override { return loop_; }
    Clock& clock() override { return clock_; }
    const ClusterConfig& config() const override { return config_; }
    Result<rpc::Peer*> peer(uint32_t ip) override { return node_->peer(roce::Ipv4(ip)); }

    Result<std::string> call(uint32_t ip, rpc::Opcode opcode, const std::string& request,
                             std::chrono::milliseconds limit) override {
        rpc::Peer* peer = TRY(this->peer(ip));
        // Shared with the completion, which may come after we have given up.
        auto answer = std::make_shared<std::optional<Result<std::string>>>();
        Nanos deadline = clock_.now() + milliseconds(limit.count());
        peer->call(opcode, bytes_of(std::string_view(request)), {}, {deadline, true},
                   [answer](Result<Bytes> reply) {
                       if (reply)
                           *answer = std::string(text_of(*reply));
                       else
                           *answer = Fail(reply.error());
                   });
        while (!*answer) {
            Nanos now = clock_.now();
            if (now > deadline + seconds(1))
                return Fail(Error::Timeout); // the node owes us a completion
            loop_.run_once(milliseconds(100));
        }
        return **answer;
    }

  private:
    static roce::SoftPortOptions options_for(const Port& port) {
        roce::SoftPortOptions o;
        o.address = roce::Ipv4(port.ip);
        o.max_qps = 32;
        o.max_regions = 16;
        return o;
    }

    ClusterConfig config_;
    FileLock lock_;
    HostClock clock_;
    HostRandom random_;
    net::host::Loop loop_;
    Own<net::host::HostFabric> link_;
    roce::SoftPort port_;
    Own<rpc::Node> node_;
};

} // namespace

Outcome<std::unique_ptr<Session>> Session::open(const Paths& paths, const ClusterConfig& config) {
    auto key = read_key(paths);
    if (!key) return Trouble(key.error());
    for (unsigned n = 0; n < kClientPorts; n++) {
        Port port = client_port(config, n);
        std::string base = paths.sockets + "/" + port.name;
        auto lock = FileLock::take(base + ".lock");
        if (!lock) return Trouble(lock.error());
        if (!*lock) continue;
        net::host::FabricOptions options;
        options.fabric_socket = base + ".s";
        options.own_socket = base + ".g";
        options.mac = net::host::mac_for(port.ip);
        auto link = net::host::HostFabric::open(options);
        if (!link)
            return Trouble("cannot open the fabric port " + base +
                           ".g: " + std::string(describe(link.error())));
        auto session =
            std::make_unique<FabricSession>(config, std::move(**lock), std::move(*link), port);
        if (auto s = session->start(*key); !s) return Trouble(s.error());
        return session;
    }
    return Trouble("all " + std::to_string(kClientPorts) +
                   " client ports are in use: that many tess commands are running");
}

uint32_t Session::gpm() const {
    return manager_ip(config(), "gpm");
}

Problem missing_problem(Session& session) {
    auto r = session.ask<control::StatusReply>(session.gpm(), schema::kStatus,
                                               control::StatusRequest(), std::chrono::seconds(5));
    if (!r) return call_problem("gpm", r.error());
    auto up = [&](control::Kind kind) {
        for (const auto& c : r->components())
            if (c.component().kind() == kind && c.component().state() == control::COMPONENT_UP)
                return true;
        return false;
    };
    const char* what = !up(control::KIND_PROCESS)  ? "pComponent is up to run it"
                       : !up(control::KIND_MEMORY) ? "mComponent is up to hold its memory"
                                                   : "sComponent is up to keep its files";
    return std::string("no ") + what + "; see `tess status`";
}

Problem call_problem(const std::string& whom, Error e) {
    switch (e) {
        case Error::Timeout:
        case Error::Disconnected:
            return whom + " does not answer; `tess logs " + whom + "` shows what it last said";
        case Error::Unauthenticated:
            return whom +
                   " does not accept our cluster key; is this --dir the one it was booted from?";
        case Error::VersionMismatch:
            return whom +
                   " speaks another version of the protocol; boot the cluster again with this tess";
        case Error::Unsupported:
            return whom + " does not know this request";
        default:
            return whom + ": " + std::string(describe(e));
    }
}

} // namespace tessera::tess
