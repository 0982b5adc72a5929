// Session: this program's own port on a cluster's fabric, and calls over it.
//
// Opening takes the first free client port (c0, c1, ...: a lock file each, so ports of dead clients
// are free again at once), and authenticates with the cluster's key at every connection. call()
// drives the loop until the answer is in; calls made from inside loop callbacks use peer()
// directly.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "net/rpc/rpc.hpp"
#include "net/schema/control.pb.h"
#include "net/schema/opcodes.hpp"
#include "tools/tess/config.hpp"
#include "tools/tess/paths.hpp"

namespace tessera::net::host {
class Loop;
}

namespace tessera::tess {

class Session {
  public:
    static Outcome<std::unique_ptr<Session>> open(const Paths& paths, const ClusterConfig& config);
    virtual ~Session() = default;

    virtual net::host::Loop& loop() = 0;
    virtual Clock& clock() = 0;
    virtual const ClusterConfig& config() const = 0;
    virtual Result<rpc::Peer*> peer(uint32_t ip) = 0;

    // Blocks until the answer, an Error, or `limit`. All requests of tess are idempotent.
    virtual Result<std::string> call(uint32_t ip, rpc::Opcode opcode, const std::string& request,
                                     std::chrono::milliseconds limit) = 0;

    // The same with control.proto's messages.
    template <typename Reply, typename Request>
    Result<Reply> ask(uint32_t ip, rpc::Opcode opcode, const Request& request,
                      std::chrono::milliseconds limit = std::chrono::seconds(10)) {
        std::string bytes = TRY(call(ip, opcode, request.SerializeAsString(), limit));
        Reply reply;
        if (!reply.ParseFromString(bytes)) return Fail(Error::Malformed);
        return reply;
    }
    uint32_t gpm() const;
};

// "gpm does not answer (timeout)": a sentence for an Error of a call to `whom`.
// For Error::NoDevice: which kind of component is missing.
Problem missing_problem(Session& session);
Problem call_problem(const std::string& whom, Error e);

} // namespace tessera::tess
