// MemoryMonitor: the page service of an mComponent (protocols.md 1-3). It owns the memory objects
// of the process monitors that use it, serves their vRegions as paged RDMA regions, executes their
// ordered streams, and counts frames against quota.
//
// Invariants: a frame in an object is never written in place, so sharing one is always safe; for
// each vNode used frames + outstanding credits <= quota; the pool keeps a free frame for every
// outstanding credit plus a write-back window per session, so what has a credit can always be
// written back.
//
// Owned by the composition root (kernel/node), one shard: the one of the port and the RPC node.
// Passive: it acts in callbacks of the port, in RPC handlers and in poll().
#pragma once

#include <cstdint>

#include "base/clock.hpp"
#include "base/function.hpp"
#include "base/ref.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "monitors/env/frames.hpp"
#include "monitors/memory/core/page_provider.hpp"
#include "net/roce/verbs.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::mmon {

struct MemoryMonitorOptions {
    uint8_t vregion_shift = 30;         // log2 of the vRegion size in bytes: 21..40
    uint16_t window = 48;               // unanswered stream operations per session
    uint16_t max_sessions = 64;         // (vNode, process monitor) pairs
    uint32_t reserve_frames = 64;       // kept free for other users of the pool
    Nanos fetch_deadline = seconds(20); // longest a fetch waits for its stream
    uint16_t service = rpc::kPageService;
};

struct MemoryCounters {
    uint64_t writes = 0;     // lines swapped in
    uint64_t refused = 0;    // operations refused
    uint64_t reads = 0;      // pages served by RDMA READ
    uint64_t fetched = 0;    // pages served by RPC
    uint64_t operations = 0; // stream operations
    uint64_t frames = 0;     // in objects now
    uint64_t credits = 0;    // outstanding now
    uint64_t objects = 0;    // now
    uint64_t sessions = 0;   // now
    uint64_t resumed = 0;    // page connections set up again
    uint64_t violations = 0; // connections ended because of what the peer sent
};

// One memory object in the inventory that a component sends when it joins again.
struct InventoryEntry {
    VnodeId vnode;
    NodeId node;
    Incarnation incarnation;
    ObjectId object;
    uint64_t pages = 0;
};

struct VnodeMemoryUse {
    uint64_t quota = 0; // pages
    uint64_t frames = 0;
    uint64_t credits = 0;
};

class MemoryMonitor {
  public:
    // Registers its RPC handlers with `node` and listens for page connections on `port`. provider
    // may be null: then every file page is Error::Unsupported.
    static Result<Own<MemoryMonitor>> create(roce::Port& port, rpc::Node& node,
                                             env::FramePool& frames, Clock& clock, Random& random,
                                             PageProvider* provider,
                                             const MemoryMonitorOptions& options = {});
    virtual ~MemoryMonitor() = default;

    // GMM's grant for a vNode on this component, in pages; 0 withdraws it: nothing new is granted,
    // what is there stays until the session ends. Without a quota a vNode cannot open a session.
    virtual void set_quota(VnodeId vnode, uint64_t pages) = 0;

    // Nothing that this incarnation of a process monitor (or an older one) sends has an effect from
    // the moment this returns. Its memory is freed by later polls, in bounded steps.
    virtual void fence(NodeId node, Incarnation incarnation) = 0;
    // The vNode is gone: all its sessions go, as by fence.
    virtual void remove_vnode(VnodeId vnode) = 0;

    // The file cache calls this before a write or truncate by somebody other than `except` takes
    // effect: every process monitor that fetched pages of the file drops them. done: all answered,
    // or have been fenced, or lost their connection.
    virtual void revoke_file(VnodeId vnode, FileId file, Generation generation, PageNo first,
                             uint64_t pages, NodeId except, Function<void(), 64> done) = 0;

    // After Port::poll() and Node::poll(): sends due answers, ends late fetches, frees a bounded
    // number of frames of ended sessions. Returns true if there is more to do at once.
    virtual bool poll() = 0;
    virtual Nanos next_deadline() const = 0;

    // Frames the pool must keep free for promises made (credits, windows); the file cache takes
    // frames only while the pool has more free than this.
    virtual uint64_t promised_frames() const = 0;

    virtual MemoryCounters counters() const = 0;
    virtual VnodeMemoryUse use(VnodeId vnode) const = 0;
    virtual void inventory(Function<void(const InventoryEntry&), 64> visit) const = 0;
};

} // namespace tessera::mmon
