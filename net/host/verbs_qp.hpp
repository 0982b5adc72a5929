// VerbsQp: one queue pair of a VerbsPort: what is posted, and where in its life it is. Part of
// verbs_port.cpp.
#pragma once

#include <deque>

#include "net/host/verbs_port.hpp"

namespace tessera::net::host {

class VerbsQp final : public roce::Qp {
  public:
    enum class State : uint8_t {
        Idle,
        Resolving, // connecting: address, route, then the peer's answer
        Connecting,
        Connected,
        Ending, // waits until everything posted has come back
        Over,
    };

    VerbsQp(VerbsPort& port, const roce::QpOptions& options, roce::QpEvents& events, VerbsHandle pd,
            VerbsHandle handle)
        : port(port), options(options), events(events), pd(pd), handle(handle) {}

    Result<void> post_send(const roce::WorkRequest& wr) override;
    Result<void> post_receive(uint64_t id, MutableBytes buffer) override;
    uint32_t number() const override { return port.api_->qp_number(handle); }
    roce::Ipv4 peer() const override { return peer_address; }
    uint32_t path_mtu() const override { return port.api_->path_mtu(handle); }
    unsigned send_room() const override {
        return state == State::Connected ? options.send_depth - static_cast<unsigned>(sends.size())
                                         : 0;
    }

    unsigned poll();
    void end(Error why); // the connection is over: bring back what is posted
    void close();        // frees everything, silently

    // What is posted; the device completes each queue in order.
    struct Posted {
        uint64_t id;
        std::array<VerbsHandle, 2> regions = {};
    };
    VerbsPort& port;
    const roce::QpOptions options;
    roce::QpEvents& events;
    VerbsHandle pd;
    VerbsHandle handle;               // null once closed
    VerbsHandle connection = nullptr; // of the connection manager
    State state = State::Idle;
    bool armed = false;
    Error why = Error::Disconnected;
    roce::Ipv4 peer_address;
    std::deque<Posted> sends, receives;

    // While connecting.
    std::vector<std::byte> hello;
    Nanos deadline = kNever;
    Function<void(Result<Bytes>), 64> done;
    roce::Listener* listener = nullptr; // passive side: is told when it is established

  private:
    void complete(const VerbsCompletion& c);
    Result<Posted> prepare(uint64_t id, std::span<const MutableBytes> memory, bool written,
                           std::array<VerbsPiece, 2>& pieces, size_t& count);
    void release(Posted& p);
};

} // namespace tessera::net::host
