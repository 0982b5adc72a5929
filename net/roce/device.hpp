// Device: what the QPs, the connection manager and the port of one SoftPort share. Plain wiring,
// owned by the port; everything is used from the port's shard only.
#pragma once

#include "base/clock.hpp"
#include "base/list.hpp"
#include "net/roce/counters.hpp"
#include "net/roce/memory_table.hpp"
#include "net/roce/soft_port.hpp"
#include "net/roce/transmitter.hpp"

namespace tessera::roce {

class SoftQp;

// READ requests that a responder keeps at one time, offered to the peer as responder resources.
inline constexpr uint8_t kReadDepth = 16;
// A long READ is asked for in requests of at most this many response packets, so that neither a
// burst nor a loss ever concerns more.
inline constexpr uint32_t kReadChunk = 16;
// READ response packets that one QP sends per poll.
inline constexpr unsigned kReadBurst = 64;

struct Device {
    Clock& clock;
    Random& random;
    const SoftPortOptions& options;
    Counters& counters;
    Transmitter& out;
    MemoryTable& memory;
    MutableBytes scratch; // one packet's payload, for what must be gathered by copying

    Nanos earliest = kNever; // no timer is due before; may be early, never late
    bool polling = false;    // inside poll(): sending waits for its end
    bool work = false;       // some QP has something to send

    void arm(Nanos when) {
        if (when < earliest) earliest = when;
    }
};

} // namespace tessera::roce
