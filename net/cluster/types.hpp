// What the cluster knows about its members, as portable code holds it: fixed size, no pointers.
// The wire forms are in net/schema/control.proto; codec.hpp converts.
#pragma once

#include <array>
#include <cstring>
#include <string_view>

#include "base/units.hpp"
#include "net/roce/verbs.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::cluster {

// Text of bounded length inside a record. Longer text is cut.
template <size_t N>
class Name {
  public:
    Name() = default;
    Name(std::string_view s) { // implicit: names are written as literals
        size_t n = s.size() < N - 1 ? s.size() : N - 1;
        std::memcpy(text_, s.data(), n);
        text_[n] = 0;
    }
    Name(const char* s) : Name(std::string_view(s)) {}
    std::string_view view() const { return text_; }
    const char* c_str() const { return text_; }
    bool empty() const { return text_[0] == 0; }
    bool operator==(const Name& o) const { return view() == o.view(); }

  private:
    char text_[N] = {};
};
using ShortName = Name<32>;

enum class ComponentState : uint8_t { Unknown, Up, Suspect, Dead, Draining, Left };
enum class VnodeState : uint8_t { None, Creating, Ready, Removing, Removed };

struct Resources {
    uint32_t cpus = 0;
    uint64_t memory_bytes = 0;      // mComponent: its page pool, what GMM may grant
    uint64_t memory_free_bytes = 0; // of those, not in use now
    uint64_t disk_bytes = 0;
    uint64_t disk_free_bytes = 0;
    uint32_t load_permille = 0; // runnable threads x 1000 / cpus
    uint32_t processes = 0;
    uint64_t excache_lines = 0;
    uint64_t excache_dirty = 0;
    uint64_t remote_faults = 0; // since boot
    uint64_t write_backs = 0;
};

struct Component {
    NodeId node;
    rpc::NodeKind kind = rpc::NodeKind::None;
    roce::Ipv4 ip;
    Incarnation incarnation;
    ComponentState state = ComponentState::Unknown;
    ShortName name;
    ShortName failure_domain;
    Resources resources;
    bool seen = true; // Directory's own, during a restart
};

struct Home {
    NodeId node;
    roce::Ipv4 ip;
    uint64_t quota_pages = 0;
};

inline constexpr size_t kMaxHomes = 8;

struct Vnode {
    VnodeId id;
    ShortName name;
    VnodeState state = VnodeState::None;
    roce::Ipv4 ip;
    NodeId storage;
    roce::Ipv4 storage_ip;
    OwnershipEpoch mount_epoch;
    std::array<Home, kMaxHomes> homes;
    uint8_t home_count = 0;
    uint64_t memory_pages = 0; // limit; 0 = default
    uint32_t max_processes = 0;
    bool seen = true;

    const Home* home_at(size_t i) const { return i < home_count ? &homes[i] : nullptr; }
};

// A vNode as one component has it mounted.
struct Mount {
    Vnode vnode;
    Pid pid_first; // pComponents: their lease of pids
    uint32_t pid_count = 0;
    uint32_t processes = 0; // running now (inventory)
};

} // namespace tessera::cluster
