// ProcessService: programs and consoles for clients (net/schema/process.hpp) over RPC.
//
// Handlers run in the node's shard, which neither blocks nor locks: they only queue a job. The
// service thread works on it (a spawner thread starts programs, which takes long), and the answer
// is posted back. A long poll is parked until the console has something or its time is over. At
// most kMostConsoles at a time (Error::Full).
#pragma once

#include <map>
#include <vector>

#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::pmon {

// Posts into the shard that runs the rpc::Node. From any thread. False: its inbox is full.
class ShardPoster {
  public:
    virtual bool post(Function<void()> step) = 0;

  protected:
    ~ShardPoster() = default;
};

// The vNodes mounted here. Called from any thread; a returned Vnode outlives its consoles.
class VnodeDirectory {
  public:
    virtual posix::Vnode* find(VnodeId id) = 0;
    virtual std::vector<posix::Vnode*> all() = 0;

  protected:
    ~VnodeDirectory() = default;
};

class ProcessService {
  public:
    static constexpr size_t kMostConsoles = 256;

    ProcessService(VnodeDirectory& vnodes, ShardPoster& shard, Clock& clock, Random& random);
    ~ProcessService(); // in no shard step; ends its thread

    void register_handlers(rpc::Node& node); // once, before traffic
    // Forgets every console of a vNode that is no longer in the directory and whose programs have
    // ended. Blocks; any thread that is not a shard's, one at a time.
    void forget(posix::Vnode& vnode);
    // In the shard, after Node::poll(): sends answers whose post found the inbox full.
    void poll();
    Nanos next_deadline() const;
    size_t console_count() const;

  private:
    struct State;
    Ref<RefCounted> keep_;
    State* state_;
};

} // namespace tessera::pmon
