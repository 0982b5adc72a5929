// VerbsApi: the calls of libibverbs and librdmacm that VerbsPort makes, in this project's types, so
// that the port's own logic runs in unit tests on machines without a device. verbs_library.cpp is
// the real one; each function there is a call or two.
//
// Handles are the libraries' pointers. No function blocks except where said; events and completions
// are fetched, never called back.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/ref.hpp"
#include "net/roce/verbs.hpp"

namespace tessera::net::host {

struct VerbsHandleTag;
using VerbsHandle = void*; // protection domain, region, queue pair or connection id

// What one event of the connection manager says.
struct VerbsEvent {
    enum class Kind : uint8_t {
        AddressResolved,
        RouteResolved,
        Request,     // id is new and ours to accept or reject
        Response,    // the peer has accepted: make the QP ready, then establish
        Established, // passive side
        Rejected,    // status: the reason of the REJ message
        Failed,      // address, route or peer cannot be reached
        Disconnected,
        Other,
    };
    Kind kind = Kind::Other;
    VerbsHandle id = nullptr;
    VerbsHandle listener = nullptr; // Request
    int status = 0;
    roce::Ipv4 peer;
    std::vector<std::byte> data; // private data; longer than what was sent: padded with zeros
};

struct VerbsCompletion {
    enum class Kind : uint8_t { Sent, Received, ReceivedWrite };
    uint64_t id = 0; // as given when it was posted
    roce::Status status = roce::Status::Ok;
    Kind kind = Kind::Sent; // valid only if status is Ok
    uint32_t length = 0;
    std::optional<uint32_t> immediate;
};

struct VerbsPiece {
    MutableBytes memory;
    VerbsHandle region = nullptr;
};

class VerbsApi {
  public:
    virtual ~VerbsApi() = default;

    // Finds the device behind a local address. NoDevice.
    virtual Result<void> open(roce::Ipv4 address) = 0;
    // Readable when there is an event or a completion.
    virtual std::array<int, 2> descriptors() const = 0;

    virtual Result<VerbsHandle> create_pd() = 0;
    virtual void destroy_pd(VerbsHandle pd) = 0;
    struct Region {
        VerbsHandle handle;
        uint32_t rkey;
    };
    // `written`: this side's device writes into it (receives, READ), not only reads from it.
    virtual Result<Region> create_region(VerbsHandle pd, MutableBytes memory, uint64_t base,
                                         roce::Access access, bool written) = 0;
    virtual void destroy_region(VerbsHandle region) = 0;

    // A QP with a completion queue of its own, receives may be posted.
    virtual Result<VerbsHandle> create_qp(VerbsHandle pd, unsigned send_depth,
                                          unsigned receive_depth) = 0;
    virtual void destroy_qp(VerbsHandle qp) = 0;
    virtual uint32_t qp_number(VerbsHandle qp) = 0;
    virtual uint32_t path_mtu(VerbsHandle qp) = 0;                     // 0 before it is connected
    virtual Result<void> ready_qp(VerbsHandle qp, VerbsHandle id) = 0; // to RTR and RTS
    virtual void break_qp(VerbsHandle qp) = 0; // whatever is posted completes as flushed
    virtual Result<void> post_send(VerbsHandle qp, const roce::WorkRequest& wr, uint64_t id,
                                   std::span<const VerbsPiece> pieces) = 0;
    virtual Result<void> post_receive(VerbsHandle qp, uint64_t id, const VerbsPiece& piece) = 0;
    virtual size_t poll(VerbsHandle qp, std::span<VerbsCompletion> out) = 0;
    virtual void arm(VerbsHandle qp) = 0; // its next completion makes a descriptor readable, once
    virtual bool
    completions_signalled() = 0; // since the last call; armed QPs may need arming again

    virtual Result<VerbsHandle> create_id() = 0;
    virtual void destroy_id(VerbsHandle id) = 0; // its unfetched events are gone
    virtual Result<void> resolve_address(VerbsHandle id, roce::Ipv4 to, uint16_t service) = 0;
    virtual Result<void> resolve_route(VerbsHandle id) = 0;
    virtual Result<void> connect(VerbsHandle id, VerbsHandle qp, Bytes data) = 0;
    virtual Result<void> establish(VerbsHandle id) = 0;
    virtual Result<void> listen(VerbsHandle id, uint16_t service) = 0;
    virtual Result<void> accept(VerbsHandle id, VerbsHandle qp, Bytes data) = 0;
    virtual void reject(VerbsHandle id, Bytes data) = 0;
    virtual void disconnect(VerbsHandle id) = 0;
    virtual bool next_event(VerbsEvent& out) = 0; // false: none
};

// libibverbs and librdmacm.
Own<VerbsApi> verbs_library();

} // namespace tessera::net::host
