// Fencing: to declare X dead, every holder of X's grants first refuses X's incarnation; the death
// is acted on only when each has acknowledged or is itself being fenced (protocols.md section 5).
// Bookkeeping only; the service sends kFence to whom due() names and reports the answers.
#pragma once

#include <vector>

#include "base/units.hpp"

namespace tessera::gpm {

struct FenceCase {
    NodeId node;
    Incarnation incarnation;
    std::vector<NodeId> waiting; // holders that have not acknowledged
    std::vector<NodeId> asked;   // of those, with a request under way
};

class Fencing {
  public:
    bool under_way(Incarnation incarnation) const;
    // Holders that are being fenced themselves are not waited for.
    void start(NodeId node, Incarnation incarnation, std::vector<NodeId> holders);
    void acknowledged(Incarnation incarnation, NodeId holder);
    void unanswered(Incarnation incarnation, NodeId holder); // ask again
    // Holders to ask now; each is named once until it answers or unanswered() is called.
    struct Request {
        NodeId holder;
        NodeId node;
        Incarnation incarnation;
    };
    std::vector<Request> due();
    // Cases that are complete; each is given once.
    std::vector<FenceCase> finished();

  private:
    bool being_fenced(NodeId node) const;
    std::vector<FenceCase> cases_;
};

} // namespace tessera::gpm
