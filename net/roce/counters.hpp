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

// line(name, value) for each, named as `tess stats` shows them.
template <typename Line>
void for_each_counter(const Counters& c, Line&& line) {
    line("roce_frames_in", c.frames_in);
    line("roce_frames_out", c.frames_out);
    line("roce_link_full", c.link_full);
    line("roce_not_ours", c.not_ours);
    line("roce_malformed", c.malformed);
    line("roce_bad_icrc", c.bad_icrc);
    line("roce_unknown_qp", c.unknown_qp);
    line("roce_wrong_peer", c.wrong_peer);
    line("roce_duplicates", c.duplicates);
    line("roce_out_of_order", c.out_of_order);
    line("roce_buffered", c.buffered);
    line("roce_naks_sent", c.naks_sent);
    line("roce_access_errors", c.access_errors);
    line("roce_rnr_sent", c.rnr_sent);
    line("roce_rnr_received", c.rnr_received);
    line("roce_retransmits", c.retransmits);
    line("roce_timeouts", c.timeouts);
    line("roce_broken", c.broken);
    line("roce_connections", c.connections);
    line("roce_rejects", c.rejects);
}

} // namespace tessera::roce
