// LeaseTable: who has been heard of lately. A manager's failure detector, without policy: it says
// "expired", the manager fences before it acts (protocols.md section 5).
//
// A lease is `missed` heartbeats long. The detector subtracts its own stalls: when tick() comes
// late, every lease is prolonged by what it is late, for heartbeats may be waiting unread. A
// restarted manager grants every known component a full lease (restart()).
#pragma once

#include <vector>

#include "base/units.hpp"

namespace tessera::cluster {

class LeaseTable {
  public:
    LeaseTable(Nanos heartbeat, unsigned missed)
        : heartbeat_(heartbeat), length_(heartbeat * missed) {}

    void renew(NodeId node, Nanos now);
    void forget(NodeId node);
    // Call at least every heartbeat. Returns those whose lease ended since the last call.
    std::vector<NodeId> tick(Nanos now);
    bool holds(NodeId node) const;
    // Since the last renewal; kNever for an unknown node.
    Nanos age(NodeId node, Nanos now) const;

    Nanos heartbeat() const { return heartbeat_; }
    Nanos length() const { return length_; }
    Nanos next_tick() const { return last_tick_ + heartbeat_ / 2; }

  private:
    struct Lease {
        NodeId node;
        Nanos renewed;
        Nanos ends;
        bool expired = false;
    };
    Nanos heartbeat_;
    Nanos length_;
    Nanos last_tick_{};
    std::vector<Lease> leases_;
};

} // namespace tessera::cluster
