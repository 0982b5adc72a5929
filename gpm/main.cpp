// gpm: the global process manager. Which component runs a program; the cluster's directory.

#include "gpm/service.hpp"
#include "net/host/manager_program.hpp"

using namespace tessera;

int main(int argc, char** argv) {
    return net::host::manager_main(
        argc, argv, "gpm", rpc::NodeKind::Gpm, [](net::host::ManagerProgram& p) {
            const net::host::ManagerOptions& o = p.options();
            gpm::ServiceOptions s;
            s.gpm = roce::Ipv4(o.gpm);
            s.gmm = roce::Ipv4(o.gmm);
            s.gsm = roce::Ipv4(o.gsm);
            s.incarnation = p.incarnation();
            s.heartbeat = milliseconds(o.heartbeat_ms);
            s.missed = o.missed;
            s.realtime = net::host::realtime_now;
            return gpm::Service::create(p.node(), p.clock(), p.random(), p.state(), s);
        });
}
