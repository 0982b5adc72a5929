// A verbs-shaped port: what the layers above RoCE see of an RDMA device.
//
// Two implementations: roce::SoftPort (net/roce: our own RoCEv2 over any net::Link; kernel, host
// and simulator) and net/host's VerbsPort (libibverbs + librdmacm on a Linux host that has a
// device). Reliable connections only. Names and semantics follow the InfiniBand Architecture
// Specification volume 1, release 1.4 (chapter 9 transport, 12 communication management) and its
// RoCEv2 annex A17.
//
// Concurrency: a port and everything that belongs to it live in one shard. Calls are made from it,
// callbacks arrive in it, never from inside the call that caused them except where said.
// Bounds: queue depths are fixed when a QP is made; a full queue is Error::Full.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.hpp"
#include "base/function.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "net/link/link.hpp"

namespace tessera::roce {

using Ipv4 = Id<struct Ipv4Tag, uint32_t>; // host byte order: 10.0.0.1 = 0x0a000001
using Rkey = Id<struct RkeyTag, uint32_t>; // 0 = none; unguessable
using Pd = Id<struct PdTag, uint32_t>;     // protection domain; 0 = none

// How a posted work request ended.
enum class Status : uint8_t {
    Ok,
    RemoteAccess,    // NAK: rkey, range, rights or protection domain; the QP is now broken
    RemoteInvalid,   // NAK: malformed or unsupported request; broken
    RemoteOperation, // NAK: the responder could not carry it out; broken
    RnrExceeded,     // the peer had no receive posted for too long; broken
    Timeout,         // no progress for the broken-connection time; broken
    Flushed,     // the QP broke or was closed before this request ran or completed: unknown effect
    LocalLength, // the receive buffer was too small; broken
};

enum class Op : uint8_t { Send, SendImmediate, Write, WriteImmediate, Read };

// One work request. Memory in `pieces` / `into` stays untouched by the caller until the completion.
struct WorkRequest {
    uint64_t id = 0; // given back
    Op op = Op::Send;
    std::array<Bytes, 2> pieces = {}; // Send*, Write*: gathered in this order
    MutableBytes into = {};           // Read: destination; its size is the length
    uint64_t remote_address = 0;      // Write*, Read
    Rkey rkey = {};                   // Write*, Read
    uint32_t immediate = 0;           // *Immediate
};

struct Received {
    uint64_t id = 0;     // of the receive buffer that was used
    uint32_t length = 0; // bytes placed in it; 0 for WriteImmediate
    bool write = false;  // consumed by a WRITE_WITH_IMM (its data went to the region)
    std::optional<uint32_t> immediate;
};

class Qp;

// Callbacks of one QP.
class QpEvents {
  public:
    // Work requests complete in the order they were posted.
    virtual void on_sent(Qp& qp, uint64_t id, Status status) = 0;
    virtual void on_received(Qp& qp, const Received& r) = 0;
    // The connection is over: closed by the peer, or broken. All sends were flushed before this;
    // posted receive buffers belong to the caller again. Called once. The owner then destroys the
    // QP (allowed inside this callback).
    virtual void on_disconnected(Qp& qp, Error why) = 0;

  protected:
    ~QpEvents() = default;
};

// A reliable-connected queue pair.
class Qp {
  public:
    virtual Result<void> post_send(const WorkRequest& wr) = 0;               // Full, Disconnected
    virtual Result<void> post_receive(uint64_t id, MutableBytes buffer) = 0; // Full
    virtual uint32_t number() const = 0;                                     // QPN
    virtual Ipv4 peer() const = 0;
    virtual uint32_t path_mtu() const = 0;  // bytes of payload per packet
    virtual unsigned send_room() const = 0; // how many post_send would succeed now

  protected:
    ~Qp() = default;
};

struct QpOptions {
    Pd pd;
    uint16_t send_depth = 64;
    uint16_t receive_depth = 64;
    uint32_t max_mtu = 4096; // further limited by the link and by the peer
};

enum class Access : uint8_t { None = 0, RemoteRead = 1, RemoteWrite = 2, RemoteReadWrite = 3 };

// What is behind a memory region whose pages move. Called by the responder, in the port's shard,
// after rkey, protection domain, rights and range have been checked.
class RegionBackend {
  public:
    struct ReadPiece {
        Bytes bytes;                 // contiguous, starts at `address`, 1..length bytes
        net::TxHold* hold = nullptr; // released when the last packet that uses it has left
    };
    // Error: NAK remote access error.
    virtual Result<ReadPiece> read(Qp& qp, uint64_t address, size_t length) = 0;

    struct WriteTarget {
        MutableBytes bytes; // `length` bytes; packets are gathered here, in order
        uint64_t token = 0; // names it in finish/abort
    };
    // First packet of a WRITE. Full or NoMemory: RNR-like, the packet is dropped and will be sent
    // again; other errors: NAK.
    virtual Result<WriteTarget> begin_write(Qp& qp, uint64_t address, size_t length) = 0;
    // Last packet is in. Runs before the acknowledgement and before on_received of an immediate.
    virtual Result<void> finish_write(Qp& qp, uint64_t token,
                                      std::optional<uint32_t> immediate) = 0;
    virtual void abort_write(Qp& qp, uint64_t token) = 0; // the connection ended in between

  protected:
    ~RegionBackend() = default;
};

inline constexpr size_t kMaxPrivateData =
    56; // bytes an application may put into REQ (after rdma_cm's header)
using PrivateData = Bytes;

struct Endpoint {
    Ipv4 address;
    uint16_t service = 0; // rdma_cm port number: service id 0x0000000001060000 + port
};

// A connection request that waits for accept() or reject(); valid until one of them is called.
class Incoming {
  public:
    virtual Ipv4 peer() const = 0;
    virtual PrivateData private_data() const = 0;
    // The QP becomes connected (post receives on it before). Private data goes back in REP (max
    // 196).
    virtual Result<void> accept(Qp& qp, PrivateData reply) = 0;
    virtual void reject(PrivateData reason) = 0; // CM REJ, reason 28 (consumer), max 148 bytes

  protected:
    ~Incoming() = default;
};

class Listener {
  public:
    virtual void on_incoming(Incoming& request) = 0;  // may accept or reject inside, or later
    virtual void on_established(Qp& qp) { (void)qp; } // RTU (or first data) arrived

  protected:
    ~Listener() = default;
};

class Port {
  public:
    virtual Result<Pd> create_pd() = 0;
    virtual void destroy_pd(Pd pd) = 0; // its QPs and regions are gone already

    virtual Result<Qp*> create_qp(const QpOptions& options, QpEvents& events) = 0;
    // Flushes silently (no callbacks) and frees. A connected peer is told (DREQ).
    virtual void destroy_qp(Qp& qp) = 0;

    // Connects `qp`. done gets the peer's private data, or Timeout, NotFound (no listener: REJ 8),
    // Unauthenticated/NotPermitted (consumer reject; its private data is in reject_data()),
    // Disconnected.
    virtual Result<void> connect(Qp& qp, const Endpoint& to, PrivateData hello, Nanos deadline,
                                 Function<void(Result<Bytes>), 64> done) = 0;
    // What a consumer reject carried; valid inside the `done` that got the error.
    virtual PrivateData reject_data() const { return {}; }
    virtual Result<void> listen(uint16_t service, Listener& listener) = 0;
    virtual void stop_listening(uint16_t service) = 0;

    // Flat memory: remote addresses are base .. base + memory.size().
    virtual Result<Rkey> register_memory(Pd pd, MutableBytes memory, uint64_t base, Access a) = 0;
    // Paged memory, served by `backend`. SoftPort only: VerbsPort answers Unsupported.
    virtual Result<Rkey> register_region(Pd pd, uint64_t base, uint64_t length, Access a,
                                         RegionBackend& backend) = 0;
    virtual void deregister(Rkey rkey) = 0; // from now on a use is a remote access error

    // Receives, sends what is due, runs timers. Returns how many frames it handled.
    virtual unsigned poll() = 0;
    // When poll() must run again even if nothing arrives; kNever if there is no timer.
    virtual Nanos next_deadline() const = 0;

    virtual Ipv4 address() const = 0;

  protected:
    ~Port() = default;
};

} // namespace tessera::roce
