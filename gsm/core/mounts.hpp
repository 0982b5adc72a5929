// Which sComponent holds a vNode's root: decided once at mount and kept (protocols.md section 4).
// Pure state and policy.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/cluster/types.hpp"

namespace tessera::gsm {

struct Store {
    NodeId node;
    roce::Ipv4 ip;
    cluster::ShortName name;
    uint64_t free_bytes = 0;
    bool usable = true;
};

class StorePolicy {
  public:
    // `wish`: by name; empty: the policy's own choice. Nothing: there is no such store now.
    virtual std::optional<size_t> choose(const std::vector<Store>& stores,
                                         std::string_view wish) = 0;
    virtual ~StorePolicy() = default;
};

// The store asked for, else the one configured, else (none configured) the one with most room.
class Configured final : public StorePolicy {
  public:
    explicit Configured(std::string name) : name_(std::move(name)) {}
    std::optional<size_t> choose(const std::vector<Store>& stores, std::string_view wish) override;

  private:
    std::string name_;
};

} // namespace tessera::gsm
