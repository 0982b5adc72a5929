// ConnectionManager: connections by IB CM datagrams over QP 1, as rdma_cm does it (IBTA chapter
// 12).
//
//   active:  ARP -> REQ -> (REP) RTU -> established      passive: (REQ) -> accept: REP -> (RTU)
//   established either:  DREQ -> (DREP) gone                          refusal: REJ
//
// One CmRecord per connection or attempt, from a fixed table. Every message that expects an answer
// is repeated with growing pauses until its deadline. Messages for unknown connections are answered
// where the answer ends the peer's doubt (DREQ by DREP, REP by REJ) and dropped otherwise. A record
// belongs to the (IP, MAC) it was made with; messages from elsewhere are dropped.
//
// Tessera ends recognise each other by the CA GUID: its first three bytes are kTesseraOui, the
// fourth the features offered. All 56 bytes of REQ private data stay with the application.
#pragma once

#include <array>
#include <memory>

#include "net/roce/neighbours.hpp"
#include "net/roce/soft_qp.hpp"
#include "net/wire/cm.hpp"

namespace tessera::roce {

using ConnectDone = Function<void(Result<Bytes>), 64>;

struct CmRecord final : public Incoming {
    enum class State : uint8_t {
        Free,
        Resolving, // active: waiting for ARP
        ReqSent,   // active
        ReqHeld,   // passive: the listener has not decided yet
        RepSent,   // passive: waiting for RTU
        Established,
        DreqSent, // the QP is gone
    };
    class ConnectionManager* manager = nullptr;
    State state = State::Free;
    bool tessera = false; // the peer offered out-of-order buffering
    SoftQp* qp = nullptr;
    Listener* listener = nullptr;
    Path path;
    uint16_t service = 0;
    uint64_t transaction = 0;
    uint32_t local_id = 0;
    uint32_t remote_id = 0;
    uint32_t remote_qp = 0;
    uint32_t receive_psn = 0; // we chose it: the peer's first packet
    uint32_t send_psn = 0;    // the peer chose it: our first packet
    uint32_t mtu = 0;
    uint8_t peer_responder_resources = 0;
    uint8_t peer_initiator_depth = 0;
    Nanos next_try = kNever;
    Nanos pause = {};
    Nanos deadline = kNever; // give up
    ConnectDone done;
    std::array<std::byte, net::kRepPrivateSize>
        data; // REQ: hello; ReqHeld: the peer's; RepSent: reply
    uint8_t data_size = 0;

    Ipv4 peer() const override { return Ipv4(path.ip); }
    PrivateData private_data() const override { return Bytes(data).first(data_size); }
    Result<void> accept(Qp& qp, PrivateData reply) override;
    void reject(PrivateData reason) override;
};

// True if a CA GUID is a Tessera end's that offers out-of-order buffering.
bool offers_selective(uint64_t guid);

class ConnectionManager {
  public:
    ConnectionManager(Device& device, Neighbours& neighbours, HeldPool* held);
    ~ConnectionManager();

    Result<void> connect(SoftQp& qp, const Endpoint& to, PrivateData hello, Nanos deadline,
                         ConnectDone done);
    Result<void> listen(uint16_t service, Listener& listener);
    void stop_listening(uint16_t service);

    void on_datagram(const net::RocePacket& p); // to QP 1, ICRC checked
    void on_neighbour(uint32_t ip);
    void on_timer(Nanos now);
    void peer_talks(SoftQp& qp); // data on a connection whose RTU is missing
    void qp_destroyed(SoftQp& qp);
    Bytes reject_data() const { return reject_data_; }

    // Incoming's two calls.
    Result<void> accept(CmRecord& c, SoftQp& qp, PrivateData reply);
    void reject(CmRecord& c, PrivateData reason);

  private:
    struct ListenerEntry {
        uint16_t service = 0;
        Listener* listener = nullptr;
    };

    CmRecord* allocate();
    void release(CmRecord& c);
    CmRecord* by_local_id(uint32_t id, const net::RocePacket& p);
    CmRecord* by_remote(const net::RocePacket& p, uint32_t remote_id, uint32_t remote_qp);
    Listener* listener_of(uint64_t service_id);
    uint64_t guid() const;

    void on_req(const net::RocePacket& p, const net::CmMessage& m);
    void on_rep(const net::RocePacket& p, const net::CmMessage& m);
    void on_rtu(const net::RocePacket& p, const net::CmMessage& m);
    void on_rej(const net::RocePacket& p, const net::CmMessage& m);
    void on_mra(const net::RocePacket& p, const net::CmMessage& m);
    void on_dreq(const net::RocePacket& p, const net::CmMessage& m);
    void on_drep(const net::RocePacket& p, const net::CmMessage& m);

    void send(const Path& path, const net::CmMessage& m);
    void send_req(CmRecord& c);
    void send_rep(CmRecord& c);
    void send_dreq(CmRecord& c);
    void send_short(CmRecord& c, net::CmKind kind);
    void refuse(const net::RocePacket& p, const net::CmMessage& m, net::CmReject reason,
                uint8_t info = 0);
    void begin_tries(CmRecord& c, Nanos first_pause, Nanos deadline);
    void try_again(CmRecord& c, Nanos now);
    void give_up(CmRecord& c);
    void fail_connect(CmRecord& c, Error why);
    void established(CmRecord& c);
    SoftQp::Connection connection_of(const CmRecord& c, bool ready) const;

    Device& device_;
    Neighbours& neighbours_;
    HeldPool* held_;
    std::unique_ptr<CmRecord[]> records_;
    size_t record_count_;
    Nanos earliest_ = kNever; // no record is due before; may be early, never late
    std::unique_ptr<ListenerEntry[]> listeners_;
    uint32_t send_psn_ = 0; // of QP 1
    Bytes reject_data_;
    std::array<std::byte, net::kMadSize> mad_;
};

} // namespace tessera::roce
