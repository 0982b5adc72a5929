// gpm: the global process manager. Which component runs a program; the cluster's directory.

#include <time.h>

#include "gpm/service.hpp"
#include "net/host/manager_program.hpp"

using namespace tessera;
using namespace tessera::net::host;

int main(int argc, char** argv) {
    auto options = parse_manager_options(argc, argv, "gpm", 0x0a4d0002);
    if (!options) return 2;
    auto program = ManagerProgram::start(*options, "gpm", rpc::NodeKind::Gpm);
    if (!program) return 1;
    ManagerProgram& p = **program;
    gpm::ServiceOptions s;
    s.gpm = roce::Ipv4(options->gpm);
    s.gmm = roce::Ipv4(options->gmm);
    s.gsm = roce::Ipv4(options->gsm);
    s.incarnation = p.incarnation();
    s.heartbeat = milliseconds(options->heartbeat_ms);
    s.missed = options->missed;
    s.realtime = [] {
        timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
    };
    auto service = gpm::Service::create(p.node(), p.clock(), p.random(), p.state(), s);
    if (!service) return 1;
    return p.run([&] { return (*service)->poll(), 0u; },
                 [&] { return (*service)->next_deadline(); });
}
