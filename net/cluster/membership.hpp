// Membership: a component's life in the cluster. Joins its manager (pComponent GPM, mComponent GMM,
// sComponent GSM), gets node id and lease, heartbeats with a resource report, joins again with its
// inventory after a manager restart, follows GPM's directory by version, and answers what managers
// ask (fence, mount, unmount, options, shutdown). protocols.md sections 4 and 5.
//
// Passive: driven by rpc completions and poll(). A manager that is down changes nothing but that
// calls to it are repeated with backoff; the component serves on. Being told FENCED is final for
// this incarnation: on_fenced_self(); the component has to start again as a new one.
//
// Owner: kernel/node (components), g?m (managers joining GPM use it too). One shard with its Node.
#pragma once

#include "base/clock.hpp"
#include "base/function.hpp"
#include "base/ref.hpp"
#include "net/cluster/directory.hpp"
#include "net/cluster/types.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::cluster {

struct MembershipOptions {
    rpc::NodeKind kind = rpc::NodeKind::None;
    ShortName name;     // may be empty: the manager makes one
    roce::Ipv4 self;    // own address on the fabric
    roce::Ipv4 manager; // whom to join (by kind: GPM, GMM, GSM)
    roce::Ipv4 gpm;     // whose directory to follow; may be 0: learnt at join
    ShortName failure_domain;
    Name<64> boot_loader;
    uint64_t build_id = 0;
    Incarnation incarnation; // the same as in rpc::NodeOptions::self
};

// Answers a manager's request once the work is done; may be kept for a while.
class Done {
  public:
    Done() = default;
    explicit Done(rpc::Responder responder) : responder_(std::move(responder)) {}
    void operator()(Result<void> outcome);

  private:
    rpc::Responder responder_;
};

// What the component itself supplies. Called in the node's shard, never from inside a Membership
// call except where said.
class MembershipEvents {
  public:
    virtual Resources resources() = 0; // called inside poll(), for every heartbeat
    // vNodes held now, for a (re)join: fills at most out.size(), returns how many.
    virtual size_t inventory(std::span<Mount> out) { return (void)out, 0; }

    virtual void on_joined(NodeId node) { (void)node; }
    virtual void on_directory_changed() {}
    virtual void on_fenced_self() = 0;

    // Destroy what `node`'s incarnation holds here, then answer. Sessions are refused already.
    virtual void on_fence(NodeId node, Incarnation incarnation, Done done) {
        (void)node, (void)incarnation, done({});
    }
    virtual void on_mount(const Mount& m, Done done) { (void)m, done(Fail(Error::Unsupported)); }
    virtual void on_unmount(VnodeId vnode, Done done) { (void)vnode, done({}); }
    // The join reply names vNodes removed while this component was away: free them.
    virtual void on_reclaim(VnodeId vnode) { (void)vnode; }
    // sComponent: make (or check) the root of this vNode.
    virtual void on_mount_storage(VnodeId vnode, std::string_view name, bool release, Done done) {
        (void)vnode, (void)name, (void)release, done(Fail(Error::Unsupported));
    }
    virtual void on_option(std::string_view name, std::string_view value, Done done) {
        (void)name, (void)value, done(Fail(Error::Unsupported));
    }
    virtual void on_shutdown(Done done) { done({}); } // flush, answer, then power off
    // CLOCK_REALTIME of the cluster, with every heartbeat: follow it, never back.
    virtual void on_cluster_time(int64_t realtime_ns) { (void)realtime_ns; }

  protected:
    ~MembershipEvents() = default;
};

class Membership {
  public:
    // Registers its handlers with `node` (before traffic) and starts joining at the next poll.
    static Result<Own<Membership>> create(rpc::Node& node, Clock& clock, Random& random,
                                          const MembershipOptions& options,
                                          MembershipEvents& events);
    virtual ~Membership() = default;

    virtual bool joined() const = 0;
    virtual NodeId node() const = 0; // 0 before the first join
    virtual const Directory& directory() const = 0;
    virtual Nanos last_contact() const = 0; // when the manager last answered; for status
    virtual roce::Ipv4 gmm() const = 0;     // 0 until joined
    // Leaves in order (everything flushed and empty): done when the manager knows, or Timeout.
    virtual void leave(Nanos deadline, Function<void(Result<void>)> done) = 0;
    // mComponent: asks GMM for more quota for a vNode. done gets the new total.
    virtual void request_quota(VnodeId vnode, uint64_t pages, Nanos deadline,
                               Function<void(Result<uint64_t>)> done) = 0;

    virtual void poll() = 0; // after Node::poll()
    virtual Nanos next_deadline() const = 0;
};

} // namespace tessera::cluster
