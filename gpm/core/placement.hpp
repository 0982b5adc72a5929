// Which pComponent runs a new program. A policy is a pure function of what is known; GPM's service
// asks it, the simulator and trace replay can too (architecture.md section 6).
#pragma once

#include <optional>
#include <span>

#include "net/cluster/types.hpp"

namespace tessera::gpm {

struct Candidate {
    NodeId node;
    cluster::Resources resources; // last report
    uint32_t placed = 0;          // programs sent there since that report
    bool mounted = false;         // the vNode is there already
};

class PlacementPolicy {
  public:
    // Index into `candidates`; nothing if there is none that may be used.
    virtual std::optional<size_t> choose(std::span<const Candidate> candidates) = 0;
    virtual ~PlacementPolicy() = default;
};

// Least runnable work per processor, counting what was placed since the report; among equals where
// the vNode is mounted, then the lowest node id.
class LeastLoaded final : public PlacementPolicy {
  public:
    std::optional<size_t> choose(std::span<const Candidate> candidates) override;
};

} // namespace tessera::gpm
