#include "gsm/core/mounts.hpp"

#include <tuple>

namespace tessera::gsm {

std::optional<size_t> Configured::choose(const std::vector<Store>& stores, std::string_view wish) {
    std::string_view name = wish.empty() ? std::string_view(name_) : wish;
    std::optional<size_t> best;
    for (size_t i = 0; i < stores.size(); i++) {
        const Store& s = stores[i];
        if (!s.usable || (!name.empty() && s.name.view() != name)) continue;
        if (!best || std::tuple(stores[*best].free_bytes, s.node.value) <
                         std::tuple(s.free_bytes, stores[*best].node.value))
            best = i;
    }
    return best;
}

} // namespace tessera::gsm
