// Two SoftPorts on a VirtualNet with one connection between them, and recorders for their
// callbacks.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/unit/net/roce/virtual_net.hpp"

namespace tessera::test {

using namespace roce;

inline constexpr uint16_t kService = 7000;
inline constexpr uint32_t kJumbo = 9014;
inline constexpr uint32_t kPlain = 1514;

struct Recorder : QpEvents {
    struct Sent {
        uint64_t id;
        Status status;
    };
    std::vector<Sent> sent;
    std::vector<Received> received;
    std::vector<Error> disconnected;
    std::function<void(Qp&, const Received&)> then;
    std::function<void(Qp&)> gone;

    void on_sent(Qp&, uint64_t id, Status status) override { sent.push_back({id, status}); }
    void on_received(Qp& qp, const Received& r) override {
        received.push_back(r);
        if (then) then(qp, r);
    }
    void on_disconnected(Qp& qp, Error why) override {
        disconnected.push_back(why);
        if (gone) gone(qp);
    }
    bool all_ok() const {
        for (const Sent& s : sent)
            if (s.status != Status::Ok) return false;
        return true;
    }
};

struct Node {
    Node(VirtualNet& net, uint32_t ip, uint32_t max_frame, uint64_t seed,
         const std::function<void(SoftPortOptions&)>& tune = {})
        : link(net.add_port(max_frame)), random(seed), net(net) {
        SoftPortOptions o{.address = Ipv4(ip)};
        if (tune) tune(o);
        port = std::make_unique<SoftPort>(link, net.clock, random, o);
        net.roce_ports.push_back(port.get());
        pd = *port->create_pd();
    }
    ~Node() {
        if (qp) port->destroy_qp(*qp);
        std::erase(net.roce_ports, port.get());
    }
    VirtualNet::Port& link;
    SeededRandom random;
    VirtualNet& net;
    std::unique_ptr<SoftPort> port;
    Pd pd;
    Recorder events;
    Qp* qp = nullptr;
};

// Accepts everything with a QP in `node`, posts `receives` buffers first.
struct Acceptor : Listener {
    explicit Acceptor(Node& n) : node(n) {}
    void on_incoming(Incoming& request) override {
        requests++;
        hello = std::string(text_of(request.private_data()));
        peer = request.peer();
        if (reject) {
            request.reject(bytes_of(std::string_view("no entry")));
            return;
        }
        QpOptions o{.pd = node.pd};
        o.max_mtu = max_mtu;
        auto qp = node.port->create_qp(o, node.events);
        ASSERT_TRUE(qp.has_value());
        buffers.assign(receives, std::vector<std::byte>(buffer_size));
        for (size_t i = 0; i < receives; i++)
            ASSERT_TRUE((*qp)->post_receive(i, buffers[i]).has_value());
        auto r = request.accept(**qp, bytes_of(std::string_view("welcome")));
        if (!r) {
            node.port->destroy_qp(**qp);
            return;
        }
        if (node.qp) node.port->destroy_qp(*node.qp);
        node.qp = *qp;
    }
    void on_established(Qp&) override { established++; }

    Node& node;
    std::string hello;
    Ipv4 peer;
    unsigned requests = 0;
    unsigned established = 0;
    bool reject = false;
    size_t receives = 32;
    size_t buffer_size = 20000;
    uint32_t max_mtu = 4096;
    std::vector<std::vector<std::byte>> buffers;
};

struct Pair {
    explicit Pair(uint64_t seed, uint32_t max_frame = kJumbo,
                  const std::function<void(SoftPortOptions&)>& tune = {})
        : net(seed),
          a(net, 0x0a000001, max_frame, seed * 2 + 1, tune),
          b(net, 0x0a000002, max_frame, seed * 2 + 2, tune),
          acceptor(b) {
        EXPECT_TRUE(b.port->listen(kService, acceptor).has_value());
    }

    bool connect(Nanos limit = seconds(5)) {
        a.qp = *a.port->create_qp({.pd = a.pd}, a.events);
        result.reset();
        auto r = a.port->connect(*a.qp, {Ipv4(0x0a000002), kService},
                                 bytes_of(std::string_view("hello")), net.clock.now() + limit,
                                 [this](Result<Bytes> reply) {
                                     result = reply ? Error{} : reply.error();
                                     if (reply) answer = std::string(text_of(*reply).substr(0, 7));
                                 });
        EXPECT_TRUE(r.has_value());
        net.run([this] { return result.has_value(); }, limit + seconds(1));
        return result && *result == Error{};
    }

    VirtualNet net;
    Node a, b;
    Acceptor acceptor;
    std::optional<Error> result;
    std::string answer;
};

inline std::vector<std::byte> pattern(size_t size, uint64_t seed) {
    SeededRandom r(seed);
    std::vector<std::byte> v(size);
    r.fill(v);
    return v;
}

} // namespace tessera::test
