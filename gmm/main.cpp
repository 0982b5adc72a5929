// gmm: the global memory manager. Which mComponents hold a vNode's memory, and how much of it.

#include <time.h>

#include "gmm/service.hpp"
#include "net/host/manager_program.hpp"

using namespace tessera;
using namespace tessera::net::host;

int main(int argc, char** argv) {
    auto options = parse_manager_options(argc, argv, "gmm", 0x0a4d0003);
    if (!options) return 2;
    auto program = ManagerProgram::start(*options, "gmm", rpc::NodeKind::Gmm);
    if (!program) return 1;
    ManagerProgram& p = **program;
    ComponentManagerOptions s;
    s.self = rpc::NodeKind::Gmm;
    s.serves = rpc::NodeKind::Memory;
    s.address = roce::Ipv4(options->ip);
    s.gpm = roce::Ipv4(options->gpm);
    s.incarnation = p.incarnation();
    s.heartbeat = milliseconds(options->heartbeat_ms);
    s.missed = options->missed;
    s.realtime = [] {
        timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
    };
    auto service = gmm::Service::create(p.node(), p.clock(), p.random(), p.state(), s);
    if (!service) return 1;
    return p.run([&] { return (*service)->poll(), 0u; },
                 [&] { return (*service)->next_deadline(); });
}
