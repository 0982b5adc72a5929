// Where a Responder's answer goes: rpc::NodeImpl, or a test's recorder.
#pragma once

#include "net/rpc/rpc.hpp"

namespace tessera::rpc {

class ResponderTarget {
  public:
    // Error{} (0): head and body are the reply. Called at most once per token.
    virtual void answer(uint64_t token, Error error, Bytes head, Bytes body) = 0;

  protected:
    ~ResponderTarget() = default;
};

} // namespace tessera::rpc
