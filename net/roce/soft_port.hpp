// SoftPort: the verbs-shaped port in software, RoCEv2 over any net::Link (IBTA 1.4 chapters 9 and
// 12, annex A17). One source for kernel, hosts and simulator; speaks to Linux rxe as to another
// Tessera.
//
// Way of a packet: Link::poll -> on_frame -> (ARP, ICMP | QP 1: ConnectionManager | a QP's peer
// check, ICRC, then Responder for requests and Requester for answers). What is to be sent leaves
// from poll() in one batch per QP, or from post_send when no poll is under way; one doorbell per
// batch.
//
// A completion with Status::Ok means that the link has read the memory. Requests that end otherwise
// (destroy_qp, a broken connection) may still have frames in the device's queue: their memory may
// be reused at once, the device then sends a packet whose ICRC does not match and that nobody
// accepts; but it must stay readable until the device has drained (kernel frames do; a program
// keeps its buffers).
//
// Lives in one shard: nothing here locks. After set-up (constructor, create_qp, register) nothing
// allocates. A frame that is not for this port (other protocols) goes to options.other, if there is
// one.
#pragma once

#include <memory>

#include "base/clock.hpp"
#include "base/list.hpp"
#include "net/link/link.hpp"
#include "net/roce/counters.hpp"
#include "net/roce/verbs.hpp"

namespace tessera::roce {

struct SoftPortOptions {
    Ipv4 address;
    uint16_t max_qps = 256;      // connections, their CM records and pending requests
    uint16_t max_regions = 1024; // registered at one time
    uint16_t max_listeners = 16;
    uint16_t window = 64;            // packets of one QP in flight
    uint16_t receive_budget = 256;   // frames handled by one poll()
    Nanos broken_after = seconds(2); // without progress: Status::Timeout
    Nanos rnr_limit = seconds(5);    // without a receive posted at the peer: Status::RnrExceeded
    Nanos least_rto = milliseconds(5);
    bool selective = true; // offer out-of-order buffering to Tessera peers
    net::LinkSink* other = nullptr;
};

class SoftPort final : public Port {
  public:
    // Link, clock and random outlive the port. All QPs are destroyed before it.
    SoftPort(net::Link& link, Clock& clock, Random& random, const SoftPortOptions& options);
    ~SoftPort();
    SoftPort(const SoftPort&) = delete;
    SoftPort& operator=(const SoftPort&) = delete;

    Result<Pd> create_pd() override;
    void destroy_pd(Pd pd) override;
    Result<Qp*> create_qp(const QpOptions& options, QpEvents& events) override;
    void destroy_qp(Qp& qp) override;
    Result<void> connect(Qp& qp, const Endpoint& to, PrivateData hello, Nanos deadline,
                         Function<void(Result<Bytes>), 64> done) override;
    PrivateData reject_data() const override;
    Result<void> listen(uint16_t service, Listener& listener) override;
    void stop_listening(uint16_t service) override;
    Result<Rkey> register_memory(Pd pd, MutableBytes memory, uint64_t base, Access a) override;
    Result<Rkey> register_region(Pd pd, uint64_t base, uint64_t length, Access a,
                                 RegionBackend& backend) override;
    void deregister(Rkey rkey) override;
    unsigned poll() override;
    // Something posted or answered waits to be sent by the next poll().
    bool pending() const;
    Nanos next_deadline() const override;
    Ipv4 address() const override;

    const Counters& counters() const;

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace tessera::roce
