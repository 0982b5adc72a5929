// rping_host SOCKET_DIR INDEX IP [client SERVER_IP]: a SoftPort on port INDEX of a unix-datagram
// switch (the switch's socket DIR/sINDEX, ours DIR/gINDEX), answering ARP, ping and rping; for
// interoperation tests against a Linux rxe guest on the same switch. With `client` it connects to
// `rping -s` (or to a component) instead.
//
// rping_host verbs IP [client SERVER_IP]: the same over a VerbsPort, on a host whose RDMA device
// has that address.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/hosted.hpp"
#include "net/host/verbs_port.hpp"
#include "net/roce/rping_responder.hpp"
#include "net/roce/soft_port.hpp"

namespace tessera {
namespace {

class UnixLink final : public net::Link {
  public:
    UnixLink(const std::string& dir, const std::string& index) {
        fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        sockaddr_un own{.sun_family = AF_UNIX}, peer{.sun_family = AF_UNIX};
        snprintf(own.sun_path, sizeof own.sun_path, "%s/g%s", dir.c_str(), index.c_str());
        snprintf(peer.sun_path, sizeof peer.sun_path, "%s/s%s", dir.c_str(), index.c_str());
        unlink(own.sun_path);
        if (bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof own) ||
            ::connect(fd_, reinterpret_cast<sockaddr*>(&peer), sizeof peer)) {
            perror("rping_host: socket");
            exit(1);
        }
    }
    Result<void> send(const net::TxFrame& f) override {
        std::vector<std::byte> whole;
        for (Bytes b : {f.head, f.body, f.tail})
            whole.insert(whole.end(), b.begin(), b.end());
        if (::send(fd_, whole.data(), whole.size(), 0) < 0) return Fail(Error::Full);
        if (f.hold) f.hold->transmitted();
        return {};
    }
    void flush() override {}
    unsigned poll(net::LinkSink& sink, unsigned budget) override {
        unsigned n = 0;
        for (; n < budget; n++) {
            ssize_t got = recv(fd_, buffer_, sizeof buffer_, 0);
            if (got < 0) break;
            sink.on_frame({buffer_, static_cast<size_t>(got)});
        }
        return n;
    }
    net::MacAddress mac() const override { return {2, 0x54, 0, 0, 0, 9}; }
    uint32_t max_frame() const override { return 9014; }
    int fd() const { return fd_; }

  private:
    int fd_;
    std::byte buffer_[65536];
};

// Until one of the descriptors is readable or the port's next timer is due; then the port runs.
void step(std::span<const int> descriptors, roce::Port& port, Clock& clock) {
    Nanos next = port.next_deadline();
    int64_t ms = next == kNever ? 1000 : (next - clock.now()).value / 1000000 + 1;
    std::vector<pollfd> p;
    for (int fd : descriptors)
        p.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    ::poll(p.data(), p.size(), static_cast<int>(std::max<int64_t>(0, std::min<int64_t>(ms, 1000))));
    port.poll();
}
using Step = std::function<void()>;

// The client side of rping, enough to try `rping -s`.
struct Client : roce::QpEvents {
    roce::Qp* qp = nullptr;
    bool over = false;
    unsigned received = 0;
    void on_sent(roce::Qp&, uint64_t id, roce::Status s) override {
        printf("sent %lu status %d\n", static_cast<unsigned long>(id), static_cast<int>(s));
    }
    void on_received(roce::Qp&, const roce::Received&) override { received++; }
    void on_disconnected(roce::Qp&, Error why) override {
        printf("disconnected: %s\n", describe(why).data());
        over = true;
    }
};

int client(roce::Port& port, Clock& clock, const Step& step, uint32_t server) {
    Client c;
    auto pd = *port.create_pd();
    c.qp = *port.create_qp({.pd = pd}, c);
    alignas(4096) static std::byte source[64], sink[64]; // as their remote addresses are
    std::memset(source, 't', sizeof source - 1);         // rping measures with strlen
    auto from = port.register_memory(pd, source, 0x1000, roce::Access::RemoteRead);
    auto to = port.register_memory(pd, sink, 0x2000, roce::Access::RemoteReadWrite);
    if (!from || !to) {
        printf("memory: %s\n", describe(from ? to.error() : from.error()).data());
        port.destroy_qp(*c.qp);
        return 1;
    }
    auto src = *from, dst = *to;
    roce::RpingInfo in[4], first, second;
    for (auto& i : in)
        (void)c.qp->post_receive(0, mutable_bytes_of(i));
    std::optional<Error> result;
    (void)port.connect(*c.qp, {roce::Ipv4(server), roce::kRpingPort}, {}, clock.now() + seconds(5),
                       [&](Result<Bytes> r) { result = r ? Error{} : r.error(); });
    while (!result) {
        step();
    }
    if (*result != Error{}) {
        printf("connect: %s\n", describe(*result).data());
        port.destroy_qp(*c.qp);
        return 1;
    }
    first = {0x1000ull, src.value, 64u};
    second = {0x2000ull, dst.value, 64u};
    unsigned rounds = 100;
    for (unsigned i = 0; i < rounds && !c.over; i++) {
        for (auto* info : {&first, &second}) {
            unsigned want = c.received + 1;
            (void)c.qp->post_send({.id = i, .op = roce::Op::Send, .pieces = {bytes_of(*info)}});
            while (c.received < want && !c.over) {
                step();
            }
            (void)c.qp->post_receive(0, mutable_bytes_of(in[0]));
        }
    }
    bool same = std::memcmp(source, sink, sizeof source) == 0;
    printf("%u rounds, data %s\n", rounds, same ? "same" : "DIFFERENT");
    port.destroy_qp(*c.qp);
    for (int i = 0; i < 50; i++) {
        step();
    }
    return same && !c.over ? 0 : 1;
}

int serve(roce::Port& port, Clock& clock, const Step& step) {
    roce::RpingResponder responder(port, clock);
    if (!responder.start()) return 1;
    for (uint64_t seen = 0;; seen = responder.pings()) {
        step();
        if (responder.pings() / 100 != seen / 100)
            fprintf(stderr, "%lu pings\n", static_cast<unsigned long>(responder.pings()));
    }
}

} // namespace
} // namespace tessera

int main(int argc, char** argv) {
    using namespace tessera;
    bool verbs = argc > 1 && std::string_view(argv[1]) == "verbs";
    int ip = verbs ? 2 : 3; // its place among the arguments
    if (argc <= ip) {
        fprintf(stderr,
                "usage: rping_host SOCKET_DIR INDEX IP [client SERVER_IP] (hex addresses)\n"
                "       rping_host verbs IP [client SERVER_IP]\n");
        return 2;
    }
    log_to_stderr("rping_host");
    HostClock clock;
    HostRandom random;
    auto address = [&](int i) { return static_cast<uint32_t>(strtoul(argv[i], nullptr, 16)); };
    auto run = [&](roce::Port& port, std::span<const int> descriptors) {
        Step one = [&] { step(descriptors, port, clock); };
        return argc > ip + 2 ? client(port, clock, one, address(ip + 2)) : serve(port, clock, one);
    };
    if (verbs) {
        auto port = net::host::VerbsPort::open(roce::Ipv4(address(ip)), clock);
        if (!port) {
            fprintf(stderr, "rping_host: no RDMA port: %s\n", describe(port.error()).data());
            return 1;
        }
        auto descriptors = (*port)->descriptors();
        return run(**port, descriptors);
    }
    UnixLink link(argv[1], argv[2]);
    roce::SoftPort port(link, clock, random, {.address = roce::Ipv4(address(ip))});
    int fd = link.fd();
    return run(port, std::span(&fd, 1));
}
