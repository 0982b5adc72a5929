// Settings: what a component is told about itself: `name=value` lines, from fw_cfg
// (opt/tessera/config) or the boot module component.cfg. The command line can override all but the
// key. Unknown names are ignored, so that older kernels boot with newer tools.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::node {

struct Settings {
    rpc::NodeKind role = rpc::NodeKind::None;
    std::string name;
    roce::Ipv4 address;
    roce::Ipv4 gpm, gmm, gsm;
    bool has_key = false;
    rpc::ClusterKey key{};
    std::string failure_domain;
    uint64_t excache_bytes = 64ull << 20;
};

// Later lines win. On Malformed, `problem` says which line and what was expected.
Result<void> parse_settings(std::string_view text, Settings& into, std::string& problem);
// What a component of this role cannot do without: NotFound with a sentence in `problem`.
Result<void> check_settings(const Settings& s, std::string& problem);

Result<roce::Ipv4> parse_ipv4(std::string_view text);

} // namespace tessera::node
