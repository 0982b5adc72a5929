// RpingResponder: the server side of librdmacm's rping, so that any Linux host with an RDMA device
// (rxe will do) can check a Tessera component: `rping -c -a <component> -p 7174`.
//
// Protocol (read off tests/wire/rping.pcap): the client SENDs 16 bytes, big-endian address, rkey
// and size of a buffer. On the first the responder READs the buffer and SENDs; on the second it
// WRITEs the same bytes into the buffer named there and SENDs; and so on until the client
// disconnects.
//
// A few sessions at a time, each with a buffer of kLargest bytes; everything is allocated when a
// session is accepted. A client that was silent for kSilent makes room for a new one (its machine
// may have been switched off, which nobody says); other new ones are rejected. Lives in the port's
// shard.
#pragma once

#include <array>
#include <memory>

#include "base/clock.hpp"
#include "base/endian.hpp"
#include "net/roce/verbs.hpp"

namespace tessera::roce {

inline constexpr uint16_t kRpingPort = 7174;

struct RpingInfo { // struct rping_rdma_info of librdmacm's examples/rping.c
    Be64 address;
    Be32 rkey;
    Be32 size;
};
static_assert(sizeof(RpingInfo) == 16 && offsetof(RpingInfo, rkey) == 8);

class RpingResponder final : public Listener, private QpEvents {
  public:
    RpingResponder(Port& port, Clock& clock) : port_(port), clock_(clock) {}
    ~RpingResponder();
    Result<void> start(uint16_t service = kRpingPort);

    uint64_t pings() const { return pings_; } // rounds answered

    void on_incoming(Incoming& request) override;

  private:
    static constexpr size_t kSessions = 4;
    static constexpr size_t kLargest = 65536;
    static constexpr size_t kReceives = 4;
    static constexpr Nanos kSilent = seconds(10);
    enum WorkId : uint64_t { Read = 1, Write = 2, Answer = 3 };

    struct Session {
        Qp* qp = nullptr;
        bool have_data = false; // READ done: the next buffer is to be written
        uint32_t size = 0;
        Nanos last; // heard of
        std::array<RpingInfo, kReceives> in;
        RpingInfo out;
        std::unique_ptr<std::byte[]> data;
    };

    void on_sent(Qp& qp, uint64_t id, Status status) override;
    void on_received(Qp& qp, const Received& r) override;
    void on_disconnected(Qp& qp, Error why) override;
    Session* of(Qp& qp);
    void end(Session& s);
    Result<void> serve(Session& s, const RpingInfo& info);

    Port& port_;
    Clock& clock_;
    Pd pd_;
    uint16_t service_ = 0;
    std::array<Session, kSessions> sessions_;
    uint64_t pings_ = 0;
};

} // namespace tessera::roce
