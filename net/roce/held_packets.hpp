// Packets that arrived ahead of a gap, kept until it closes (Tessera peers only). A pool per port,
// all of it allocated at its start; an empty pool means the packet is dropped and sent again.
#pragma once

#include <array>

#include "base/list.hpp"
#include "base/pool.hpp"
#include "net/wire/roce.hpp"

namespace tessera::roce {

struct HeldPacket {
    ListLink link;
    net::RocePacket packet; // its payload points into `bytes`
    std::array<std::byte, 4096> bytes;
};

using HeldPool = Pool<HeldPacket>;
using HeldList = List<HeldPacket, &HeldPacket::link>;

inline constexpr size_t kHeldPerPort = 64;

} // namespace tessera::roce
