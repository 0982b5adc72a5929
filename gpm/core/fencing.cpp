#include "gpm/core/fencing.hpp"

#include <algorithm>

namespace tessera::gpm {

bool Fencing::under_way(Incarnation incarnation) const {
    for (auto& c : cases_)
        if (c.incarnation == incarnation) return true;
    return false;
}

bool Fencing::being_fenced(NodeId node) const {
    for (auto& c : cases_)
        if (c.node == node) return true;
    return false;
}

void Fencing::start(NodeId node, Incarnation incarnation, std::vector<NodeId> holders) {
    if (under_way(incarnation)) return;
    std::erase_if(holders, [&](NodeId h) { return h == node || being_fenced(h); });
    for (auto& c : cases_)
        std::erase(c.waiting, node);
    cases_.push_back({node, incarnation, std::move(holders), {}});
}

void Fencing::acknowledged(Incarnation incarnation, NodeId holder) {
    for (auto& c : cases_)
        if (c.incarnation == incarnation)
            std::erase(c.waiting, holder), std::erase(c.asked, holder);
}

void Fencing::unanswered(Incarnation incarnation, NodeId holder) {
    for (auto& c : cases_)
        if (c.incarnation == incarnation) std::erase(c.asked, holder);
}

std::vector<Fencing::Request> Fencing::due() {
    std::vector<Request> out;
    for (auto& c : cases_)
        for (NodeId h : c.waiting)
            if (std::find(c.asked.begin(), c.asked.end(), h) == c.asked.end()) {
                c.asked.push_back(h);
                out.push_back({h, c.node, c.incarnation});
            }
    return out;
}

std::vector<FenceCase> Fencing::finished() {
    std::vector<FenceCase> out;
    for (auto& c : cases_)
        if (c.waiting.empty()) out.push_back(c);
    std::erase_if(cases_, [](const FenceCase& c) { return c.waiting.empty(); });
    return out;
}

} // namespace tessera::gpm
