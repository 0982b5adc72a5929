// Faults: what is done to a cluster, as a list that can be printed, read back and shrunk.
//
//   crash:m1@1200+800          at 1.2 s m1 stops, 0.8 s later it starts again (times in ms)
//   power:s1@1200+800          the same with its disk's power
//   pause:p1@1200+800          it and its clock stand still (QMP stop); stop: its clock goes on
//   forget:gpm@1200+800        crash, and its database is deleted
//   cut:p1>m1@1200+800         one way; cut:p1-m1 both ways; cut:p1-* from everybody
//   loss:*:30@0+5000           30 per mille of all frames; also dup, reorder, corrupt;
//   delay:p1-m1:400@0+5000     400 us more. Pairs as for cut, * for all
//   diskerror:s1:5@1200+800    5 per mille of its reads and writes fail
//
// Times count from the start of the workload. Two faults on one machine may overlap: a crash of a
// machine that is down does nothing.
#pragma once

#include <string>
#include <vector>

#include "tests/sim/host.hpp"

namespace tessera::sim {

struct Fault {
    enum class Kind : uint8_t {
        Crash,
        Power,
        Pause,
        Stop,
        Forget,
        Cut,
        Loss,
        Duplicate,
        Reorder,
        Corrupt,
        Delay,
        DiskError
    };
    Kind kind = Kind::Crash;
    std::string a, b;     // b: the other end of a pair; empty: not a pair. "*": everybody
    bool one_way = false; // a > b only
    unsigned amount = 0;
    int64_t at_ms = 0, for_ms = 0;
};
using FaultList = std::vector<Fault>;

std::string describe(const FaultList& list); // "none" if empty
Result<FaultList> parse_faults(std::string_view text);

// Which hosts there are to be hurt.
struct Targets {
    std::vector<std::string> components, managers, storage;
};
// Some of everything, nothing of most things: each seed has its own mixture. All are over by `end`.
FaultList draw_faults(uint64_t seed, const Targets& targets, int64_t end_ms);

} // namespace tessera::sim
