// gsm: the global storage manager. Which sComponent holds a vNode's files.

#include "gsm/service.hpp"
#include "net/host/manager_program.hpp"

using namespace tessera;

int main(int argc, char** argv) {
    return net::host::manager_main(
        argc, argv, "gsm", rpc::NodeKind::Gsm, [](net::host::ManagerProgram& p) {
            return gsm::Service::create(p.node(), p.clock(), p.random(), p.state(),
                                        p.component_options(rpc::NodeKind::Storage),
                                        p.options().storage);
        });
}
