#include "net/cluster/lease_table.hpp"

namespace tessera::cluster {

void LeaseTable::renew(NodeId node, Nanos now) {
    for (auto& l : leases_)
        if (l.node == node) {
            l = {node, now, now + length_, false};
            return;
        }
    leases_.push_back({node, now, now + length_, false});
}

void LeaseTable::forget(NodeId node) {
    std::erase_if(leases_, [&](const Lease& l) { return l.node == node; });
}

std::vector<NodeId> LeaseTable::tick(Nanos now) {
    std::vector<NodeId> ended;
    if (last_tick_ != Nanos{} && now - last_tick_ > heartbeat_) {
        Nanos stalled = now - last_tick_ - heartbeat_ / 2;
        for (auto& l : leases_)
            l.ends += stalled;
    }
    last_tick_ = now;
    for (auto& l : leases_)
        if (!l.expired && now >= l.ends) {
            l.expired = true;
            ended.push_back(l.node);
        }
    return ended;
}

bool LeaseTable::holds(NodeId node) const {
    for (auto& l : leases_)
        if (l.node == node) return !l.expired;
    return false;
}

Nanos LeaseTable::age(NodeId node, Nanos now) const {
    for (auto& l : leases_)
        if (l.node == node) return now - l.renewed;
    return kNever;
}

} // namespace tessera::cluster
