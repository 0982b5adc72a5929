// cluster.toml: what a cluster consists of. See default.toml for the format, with every key.
//
// Reading checks everything that can be checked without starting anything: unknown keys, types,
// ranges, names in use twice. A problem is a sentence that names file, line and what was expected.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::tess {

// A sentence for the person at the terminal.
using Problem = std::string;
template <typename T>
using Outcome = std::expected<T, Problem>;
using Trouble = std::unexpected<Problem>;

enum class Kind : uint8_t { Process, Memory, Storage };

struct ComponentConfig {
    std::string name;
    Kind kind = Kind::Process;
    unsigned cpus = 1;
    uint64_t memory = 256ull << 20;
    uint64_t excache = 64ull << 20;
    uint64_t disk = 1ull << 30;
    bool disk_writeback = false;
    bool uefi = false;
    std::string failure_domain;
};

struct VnodeConfig {
    std::string name;
    uint64_t memory = 0; // limit in bytes; 0: the cluster's default
};

struct LinkConfig {
    std::string port;
    std::string impairment; // as in the fabric's `set`
};

enum class Accelerator : uint8_t { Auto, Kvm, Tcg };
enum class HaltPolling : uint8_t { Auto, On, Off };

struct ClusterConfig {
    uint32_t network = 0x0a4d0000; // a /16, host order
    Accelerator accelerator = Accelerator::Auto;
    unsigned join_timeout = 60;
    std::vector<ComponentConfig> components;
    std::vector<VnodeConfig> vnodes;
    uint64_t fabric_seed = 1;
    HaltPolling halt_poll = HaltPolling::Auto; // tools/fabric/halt_poll.hpp
    std::vector<LinkConfig> links;
};

// `file` is how the text is called in problems.
Outcome<ClusterConfig> parse_config(std::string_view text, const std::string& file);
Outcome<ClusterConfig> load_config(const std::string& path);
std::string_view default_config_text();

// "64M", "1G", "4096", "16K": bytes.
Outcome<uint64_t> parse_size(std::string_view text);
std::string size_text(uint64_t bytes);
std::string_view kind_word(Kind kind); // "process"
std::string_view role_word(Kind kind); // "pcomponent"

} // namespace tessera::tess
