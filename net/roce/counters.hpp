// What a SoftPort has seen; for tess top, tests and diagnosis. Plain numbers that only grow.
#pragma once

#include <cstdint>

namespace tessera::roce {

struct Counters {
    uint64_t frames_in = 0;
    uint64_t frames_out = 0;
    uint64_t link_full = 0; // a frame was put off because the link had no room
    uint64_t not_ours = 0;  // other protocol, address or port
    uint64_t malformed = 0; // does not parse
    uint64_t bad_icrc = 0;
    uint64_t unknown_qp = 0;
    uint64_t wrong_peer = 0;    // source MAC or IP is not the QP's peer
    uint64_t duplicates = 0;    // requests seen before
    uint64_t out_of_order = 0;  // requests ahead of a gap
    uint64_t buffered = 0;      // of those, kept until the gap closed
    uint64_t naks_sent = 0;     // sequence errors included
    uint64_t access_errors = 0; // bad rkey, range, rights or protection domain
    uint64_t rnr_sent = 0;
    uint64_t rnr_received = 0;
    uint64_t retransmits = 0; // request packets sent again
    uint64_t timeouts = 0;
    uint64_t broken = 0;      // connections that ended other than by a DREQ
    uint64_t connections = 0; // established so far
    uint64_t rejects = 0;     // connection requests refused, by us or by the peer
};

} // namespace tessera::roce
