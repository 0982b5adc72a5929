// roce::Port in memory, for tests of what lives above it: SENDs only, delivered in order by
// deliver(), with connections that can be cut, refused or broken after the n-th message. Strict
// where the real thing is: a SEND into an empty receive queue is counted (rnr), a too small buffer
// breaks the QP.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "net/roce/verbs.hpp"
#include "tests/unit/net/support/virtual_clock.hpp"

namespace tessera::test {

class FakePort;

class FakeQp final : public roce::Qp {
  public:
    FakeQp(FakePort& port, const roce::QpOptions& o, roce::QpEvents& e)
        : port(port), options(o), events(&e) {}
    Result<void> post_send(const roce::WorkRequest& wr) override;
    Result<void> post_receive(uint64_t id, MutableBytes buffer) override;
    uint32_t number() const override { return 17; }
    roce::Ipv4 peer() const override;
    uint32_t path_mtu() const override { return 4096; }
    unsigned send_room() const override {
        return options.send_depth - static_cast<unsigned>(sends.size());
    }

    FakePort& port;
    roce::QpOptions options;
    roce::QpEvents* events; // null once disconnected
    FakeQp* other = nullptr;
    std::deque<roce::WorkRequest> sends;
    std::deque<std::pair<uint64_t, MutableBytes>> receives;
};

class FakeNetwork {
  public:
    // Delivers until nothing moves. Returns how much it did.
    unsigned deliver();
    // Both ends learn of it, as after the broken-connection time.
    void break_connections(roce::Ipv4 a, roce::Ipv4 b);
    void partition(roce::Ipv4 a, roce::Ipv4 b, bool cut);
    bool cut(roce::Ipv4 a, roce::Ipv4 b) const;

    VirtualClock clock;
    std::map<roce::Ipv4, FakePort*> ports;
    std::deque<std::function<void()>> events;
    std::set<FakeQp*> qps;
    std::set<std::pair<roce::Ipv4, roce::Ipv4>> cuts;
    unsigned rnr = 0;
    uint64_t messages = 0;
    std::optional<uint64_t> break_at; // when `messages` reaches it, that connection breaks
    bool break_before_delivery = false;
    std::vector<std::vector<std::byte>> sniffed; // every SEND, when sniff is set
    bool sniff = false;
};

class FakePort final : public roce::Port {
  public:
    FakePort(FakeNetwork& net, roce::Ipv4 address) : net(net), address_(address) {
        net.ports[address] = this;
    }
    ~FakePort() { net.ports.erase(address_); }

    Result<roce::Pd> create_pd() override { return roce::Pd(1); }
    void destroy_pd(roce::Pd) override {}
    Result<roce::Qp*> create_qp(const roce::QpOptions& o, roce::QpEvents& e) override;
    void destroy_qp(roce::Qp& qp) override;
    Result<void> connect(roce::Qp& qp, const roce::Endpoint& to, roce::PrivateData hello,
                         Nanos deadline, Function<void(Result<Bytes>), 64> done) override;
    Result<void> listen(uint16_t service, roce::Listener& l) override {
        listeners[service] = &l;
        return {};
    }
    void stop_listening(uint16_t service) override { listeners.erase(service); }
    Result<roce::Rkey> register_memory(roce::Pd, MutableBytes, uint64_t, roce::Access) override {
        return Fail(Error::Unsupported);
    }
    Result<roce::Rkey> register_region(roce::Pd, uint64_t, uint64_t, roce::Access,
                                       roce::RegionBackend&) override {
        return Fail(Error::Unsupported);
    }
    void deregister(roce::Rkey) override {}
    unsigned poll() override { return net.deliver(); }
    Nanos next_deadline() const override { return kNever; }
    roce::Ipv4 address() const override { return address_; }

    FakeNetwork& net;
    std::map<uint16_t, roce::Listener*> listeners;
    std::map<roce::Qp*, std::unique_ptr<FakeQp>> owned;

  private:
    roce::Ipv4 address_;
};

} // namespace tessera::test
