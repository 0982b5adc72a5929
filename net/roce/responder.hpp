// Responder: the receiving half of a reliable connection (IBTA 9.7.4, 9.7.5.1, 9.7.5.2.8, 9.9.3).
//
// Requests are executed in PSN order, each exactly once, except that a repeated READ is executed
// again. A gap is answered by one sequence NAK; with a Tessera peer the packets behind it are kept
// and executed when it closes. SEND needs a posted receive and WRITE_WITH_IMM one at its end,
// otherwise RNR NAK. Acknowledgements are coalesced: at most one per run(), and behind READ
// responses that are due.
//
// A READ reads when its responses are sent: a WRITE posted behind it may be seen by it, as IBTA
// allows without a fence. Whoever needs the old bytes waits for the READ's completion first.
//
// A payload is copied once, from the frame to where it belongs.
#pragma once

#include <memory>

#include "net/roce/device.hpp"
#include "net/roce/held_packets.hpp"
#include "net/roce/psn.hpp"
#include "net/wire/roce.hpp"

namespace tessera::roce {

class Responder {
  public:
    Responder(SoftQp& qp, Device& device, uint16_t depth);
    ~Responder();

    void start(uint32_t expected_psn, HeldPool* held); // held: null without out-of-order buffering
    Result<void> post(uint64_t id, MutableBytes buffer);

    // What a request did to the connection.
    enum class Verdict : uint8_t {
        Fine,
        Invalid, // malformed or out of protocol: NAK sent, the connection is over
        Access,  // third use of memory that was not granted: over
        TooLong, // SEND longer than the receive buffer: over
        Failed,  // the region's backend could not carry out a write: over
    };
    Verdict on_request(const net::RocePacket& p);

    // Sends READ responses, then what is owed of ACK and NAK. False: link full or burst used up.
    bool run();

    // The region goes away: a write in progress to it is dropped.
    void forget_region(uint32_t rkey);
    // The connection is over: give back what is held.
    void stop();

  private:
    struct Receive {
        uint64_t id = 0;
        MutableBytes buffer;
    };
    struct ReadJob {
        uint32_t psn = 0; // of the first response
        uint32_t packets = 0;
        uint32_t sent = 0;
        uint64_t address = 0;
        uint32_t rkey = 0;
        uint32_t length = 0;
        uint32_t msn = 0;
        bool repeated = false;
    };
    enum class Kind : uint8_t { None, Send, Write };
    struct Message { // being received
        Kind kind = Kind::None;
        MutableBytes target;
        uint32_t done = 0;
        uint32_t rkey = 0;                // Write with a length
        RegionBackend* backend = nullptr; // paged Write
        uint64_t token = 0;
    };
    // Result of executing one packet that is in order.
    enum class Outcome : uint8_t { Done, Retry, Stop };

    Outcome execute(const net::RocePacket& p);
    Outcome execute_send(const net::RocePacket& p);
    Outcome execute_write(const net::RocePacket& p);
    Outcome begin_write(const net::RocePacket& p);
    Outcome execute_read(const net::RocePacket& p);
    Outcome finish(const net::RocePacket& p, uint32_t length);
    Outcome not_ready();
    Outcome refuse_access();
    Outcome fatal(uint8_t syndrome, Verdict verdict);
    void on_duplicate(const net::RocePacket& p);
    void on_gap(const net::RocePacket& p);
    void replay_held();
    void abort_message();
    bool send_reads();
    enum class ReadStep : uint8_t { Sent, LinkFull, Refused };
    ReadStep send_read_packet(ReadJob& job);
    Result<Bytes> gather(ReadJob& job, uint64_t address, uint32_t size, net::TxHold*& hold);
    bool send_acknowledge(uint8_t syndrome, uint32_t psn);

    SoftQp& qp_;
    Device& device_;
    std::unique_ptr<Receive[]> receives_;
    unsigned depth_;
    unsigned first_receive_ = 0;
    unsigned receive_count_ = 0;

    bool started_ = false;
    uint32_t expected_ = 0; // PSN
    uint32_t msn_ = 0;
    Message message_;
    ReadJob reads_[kReadDepth];
    unsigned first_read_ = 0;
    unsigned read_count_ = 0;

    bool ack_due_ = false;
    uint8_t nak_due_ = 0;       // syndrome, 0: none
    bool gap_reported_ = false; // one NAK per gap
    uint8_t not_ready_ = 0;     // RNR NAKs in a row
    unsigned access_errors_ = 0;
    Verdict verdict_ = Verdict::Fine;
    HeldPool* pool_ = nullptr;
    HeldList held_;
};

} // namespace tessera::roce
