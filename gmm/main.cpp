// gmm: the global memory manager. Which mComponents hold a vNode's memory, and how much of it.

#include "gmm/service.hpp"
#include "net/host/manager_program.hpp"

using namespace tessera;

int main(int argc, char** argv) {
    return net::host::manager_main(
        argc, argv, "gmm", rpc::NodeKind::Gmm, [](net::host::ManagerProgram& p) {
            return gmm::Service::create(p.node(), p.clock(), p.random(), p.state(),
                                        p.component_options(rpc::NodeKind::Memory));
        });
}
