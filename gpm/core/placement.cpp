#include "gpm/core/placement.hpp"

#include <tuple>

namespace tessera::gpm {

std::optional<size_t> LeastLoaded::choose(std::span<const Candidate> candidates) {
    auto rank = [](const Candidate& c) {
        uint64_t cpus = c.resources.cpus ? c.resources.cpus : 1;
        uint64_t load = c.resources.load_permille + 1000ull * c.placed / cpus;
        return std::tuple(load, !c.mounted, c.node.value);
    };
    std::optional<size_t> best;
    for (size_t i = 0; i < candidates.size(); i++)
        if (!best || rank(candidates[i]) < rank(candidates[*best])) best = i;
    return best;
}

} // namespace tessera::gpm
