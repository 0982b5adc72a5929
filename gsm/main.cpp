// gsm: the global storage manager. Which sComponent holds a vNode's files.

#include <time.h>

#include "gsm/service.hpp"
#include "net/host/manager_program.hpp"

using namespace tessera;
using namespace tessera::net::host;

int main(int argc, char** argv) {
    auto options = parse_manager_options(argc, argv, "gsm", 0x0a4d0004);
    if (!options) return 2;
    auto program = ManagerProgram::start(*options, "gsm", rpc::NodeKind::Gsm);
    if (!program) return 1;
    ManagerProgram& p = **program;
    ComponentManagerOptions s;
    s.self = rpc::NodeKind::Gsm;
    s.serves = rpc::NodeKind::Storage;
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
    auto service =
        gsm::Service::create(p.node(), p.clock(), p.random(), p.state(), s, options->storage);
    if (!service) return 1;
    return p.run([&] { return (*service)->poll(), 0u; },
                 [&] { return (*service)->next_deadline(); });
}
