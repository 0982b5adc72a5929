#include "monitors/process/files/blocking_call.hpp"

#include "base/ref.hpp"
#include "kernel/sync/event.hpp"

namespace tessera::pmon {

struct BlockingCaller::Record final : RefCounted {
    std::vector<std::byte> request;
    size_t head_size = 0;
    rpc::Opcode opcode;
    roce::Ipv4 to;
    rpc::CallOptions options;
    ReplyBytes reply;
    Incarnation from;
    bool ok = false;
    Error error{};
    kernel::Event done;
    Still still;
    Then then;
};

Result<void> BlockingCaller::start(Record* record, roce::Ipv4 to, rpc::Opcode opcode,
                                   const Options& options) {
    record->to = to;
    record->opcode = opcode;
    record->options = {.deadline = clock_.now() + options.within, .idempotent = options.idempotent};
    Ref<Record> held(record);
    return shard_.post([this, held] {
        if (held->still && !held->still()) return held->done.signal();
        Result<rpc::Peer*> peer = node_.peer(held->to);
        if (!peer) {
            held->error = peer.error();
            return held->done.signal();
        }
        Bytes all = held->request;
        rpc::Peer* to = *peer;
        to->call(held->opcode, all.first(held->head_size), all.subspan(held->head_size),
                 held->options, [held, to](Result<Bytes> r) {
                     if (r) held->from = to->identity().incarnation;
                     held->ok = r.has_value();
                     if (r)
                         held->reply.assign(r->begin(), r->end());
                     else
                         held->error = r.error();
                     held->done.signal();
                     if (r && held->then) held->then(*r);
                 });
    });
}

Result<ReplyBytes> BlockingCaller::call(roce::Ipv4 to, rpc::Opcode opcode, Bytes head, Bytes body,
                                        const Options& options, Incarnation* from) {
    auto record = make_ref<Record>();
    record->request.reserve(head.size() + body.size());
    record->request.assign(head.begin(), head.end());
    record->request.insert(record->request.end(), body.begin(), body.end());
    record->head_size = head.size();
    TRY(start(record.get(), to, opcode, options));
    // The RPC ends by its own deadline; the slack covers a shard that is behind.
    kernel::Wake wake =
        record->done.wait(record->options.deadline + seconds(2), kernel::Interruptible::KillOnly);
    if (wake == kernel::Wake::Kicked) return std::unexpected(Error::Interrupted);
    if (wake == kernel::Wake::Timeout) return std::unexpected(Error::Timeout);
    if (!record->ok) return std::unexpected(record->error);
    if (from) *from = record->from;
    return std::move(record->reply);
}

Result<void> BlockingCaller::pause(Nanos time) {
    kernel::Event never;
    if (never.wait(clock_.now() + time, kernel::Interruptible::KillOnly) == kernel::Wake::Kicked)
        return std::unexpected(Error::Interrupted);
    return {};
}

void BlockingCaller::notify(roce::Ipv4 to, rpc::Opcode opcode, Bytes head, const Options& options,
                            Still still, Then then) {
    auto record = make_ref<Record>();
    record->still = std::move(still);
    record->then = std::move(then);
    record->request.assign(head.begin(), head.end());
    record->head_size = head.size();
    (void)start(record.get(), to, opcode, options);
}

} // namespace tessera::pmon
