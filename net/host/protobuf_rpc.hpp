// Protobuf over rpc::Node, for hosted programs: typed handlers and typed calls.
#pragma once

#include <google/protobuf/message_lite.h>

#include <memory>
#include <string>
#include <utility>

#include "net/rpc/rpc.hpp"

namespace tessera::net::host {

inline void reply_with(rpc::Responder& r, const google::protobuf::MessageLite& m) {
    std::string bytes = m.SerializeAsString();
    r.reply(bytes_of(std::string_view(bytes)));
}

// handler(const Identity&, Request&&, Responder). A request that does not parse is Malformed.
template <typename Request, typename F>
void handle_proto(rpc::Node& node, rpc::Opcode op, F handler) {
    node.handle(op, [handler = std::move(handler)](const rpc::Identity& who, Bytes in,
                                                   rpc::Responder r) mutable {
        Request m;
        if (!m.ParseFromArray(in.data(), static_cast<int>(in.size())))
            return r.fail(Error::Malformed);
        handler(who, std::move(m), std::move(r));
    });
}

// done(Result<Reply>).
template <typename Reply, typename F>
void call_proto(rpc::Peer& peer, rpc::Opcode op, const google::protobuf::MessageLite& request,
                Nanos deadline, F done) {
    std::string bytes = request.SerializeAsString();
    peer.call(op, bytes_of(std::string_view(bytes)), {}, {deadline, true},
              // On the heap: what managers capture does not fit inline.
              [done = std::make_unique<F>(std::move(done))](Result<Bytes> in) {
                  if (!in) return (*done)(Result<Reply>(Fail(in.error())));
                  Reply m;
                  if (!m.ParseFromArray(in->data(), static_cast<int>(in->size())))
                      return (*done)(Result<Reply>(Fail(Error::Malformed)));
                  (*done)(Result<Reply>(std::move(m)));
              });
}

} // namespace tessera::net::host
