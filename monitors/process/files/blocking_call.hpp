// BlockingCall: an RPC made by a thread that sleeps until the reply is there.
//
// The call's record, not the thread, owns request and reply: a thread that is killed while it waits
// leaves at once, and the record goes when the RPC has ended.
#pragma once

#include <vector>

#include "base/clock.hpp"
#include "base/function.hpp"
#include "monitors/env/shard.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::pmon {

using ReplyBytes = std::vector<std::byte>;

class BlockingCaller {
  public:
    BlockingCaller(env::Shard& shard, rpc::Node& node, Clock& clock)
        : shard_(shard), node_(node), clock_(clock) {}

    struct Options {
        Nanos within = seconds(30); // deadline from now
        bool idempotent = true;
    };
    // Thread context. Interrupted: killed while waiting; otherwise as rpc::Peer::call.
    // `from`: which incarnation has replied, if one has.
    Result<ReplyBytes> call(roce::Ipv4 to, rpc::Opcode opcode, Bytes head, Bytes body,
                            const Options& options, Incarnation* from = nullptr);
    Result<void> pause(Nanos time); // Interrupted: killed
    Nanos now() { return clock_.now(); }
    // Nobody waits for the outcome (releases). Dropped when the shard's inbox is full. In the
    // shard: not sent after all if `still` says no; `then` gets the reply.
    using Still = Function<bool(), 48>;
    using Then = Function<void(Bytes), 48>;
    void notify(roce::Ipv4 to, rpc::Opcode opcode, Bytes head, const Options& options,
                Still still = nullptr, Then then = nullptr);

  private:
    struct Record;
    Result<void> start(Record* record, roce::Ipv4 to, rpc::Opcode opcode, const Options& options);

    env::Shard& shard_;
    rpc::Node& node_;
    Clock& clock_;
};

} // namespace tessera::pmon
