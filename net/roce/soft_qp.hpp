// SoftQp: one reliable-connected queue pair of a SoftPort: a Requester, a Responder, the peer they
// talk to and the state that both share. Made and freed by the port; connected by the connection
// manager.
//
// Life: Idle -> Connected (post_send works; on the passive side nothing leaves before the peer is
// known to be ready) -> Broken (callbacks told) -> destroyed. The object itself goes when the poll
// under way is over and the link no longer refers to its memory.
#pragma once

#include "net/roce/requester.hpp"
#include "net/roce/responder.hpp"

namespace tessera::roce {

struct CmRecord;

// What a QP asks of its port.
class SoftPortHooks {
  public:
    virtual void ready(SoftQp& qp) = 0;      // has something to send: run() it soon
    virtual void peer_talks(SoftQp& qp) = 0; // first packet on an accepted connection

  protected:
    ~SoftPortHooks() = default;
};

class SoftQp final : public Qp {
  public:
    SoftQp(Device& device, const QpOptions& options, uint32_t number, QpEvents& events);

    Result<void> post_send(const WorkRequest& wr) override;
    Result<void> post_receive(uint64_t id, MutableBytes buffer) override;
    uint32_t number() const override { return number_; }
    Ipv4 peer() const override { return Ipv4(path_.ip); }
    uint32_t path_mtu() const override { return mtu_; }
    unsigned send_room() const override { return requester_.room(); }

    // What the connection manager settles.
    struct Connection {
        Path path;
        uint32_t remote_qp = 0;
        uint32_t mtu = 0;
        uint32_t first_psn = 0;    // of ours
        uint32_t expected_psn = 0; // of theirs
        unsigned read_depth = 1;   // READs that the peer lets us have outstanding
        HeldPool* held = nullptr;  // both ends buffer out of order
        bool ready = false;        // may send at once
    };
    void connected(const Connection& c);
    void peer_ready(); // RTU or data arrived: send what was posted

    void on_packet(const net::RocePacket& p); // from the peer, ICRC checked
    void on_timer(Nanos now) { over(requester_.on_timer(now)); }
    Nanos deadline() const { return requester_.deadline(); }
    void run(); // completions, then everything that is due to be sent
    void schedule();
    void forget_region(uint32_t rkey) { responder_.forget_region(rkey); }

    // Ends the connection: flushes sends (the oldest with `first`), then on_disconnected(why).
    void disconnect(Status first, Error why);
    // destroy_qp: silent.
    void destroy();

    bool alive() const { return state_ == State::Connected; }
    bool idle() const { return state_ == State::Idle; }
    bool destroyed() const { return state_ == State::Destroyed; }
    bool referenced() const { return requester_.referenced(); }
    bool from_peer(const net::RocePacket& p) const {
        return p.source == path_.ip && p.source_mac == path_.mac;
    }

    QpEvents& events() { return events_; }
    Pd pd() const { return options_.pd; }
    const QpOptions& options() const { return options_; }
    const Path& path() const { return path_; }
    uint32_t remote_number() const { return remote_number_; }

    ListLink all_link;   // port: every QP
    ListLink ready_link; // port: something to send
    CmRecord* cm = nullptr;
    SoftPortHooks* hooks = nullptr;

  private:
    enum class State : uint8_t { Idle, Connected, Broken, Destroyed };
    void over(Status status);

    Device& device_;
    QpOptions options_;
    QpEvents& events_;
    uint32_t number_;
    uint32_t remote_number_ = 0;
    uint32_t mtu_ = 0;
    Path path_;
    State state_ = State::Idle;
    bool ready_ = false;
    Requester requester_;
    Responder responder_;
};

using QpList = List<SoftQp, &SoftQp::all_link>;
using ReadyList = List<SoftQp, &SoftQp::ready_link>;

} // namespace tessera::roce
