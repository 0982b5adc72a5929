// ManagerProgram: what the three managers' main.cpp have in common: options, the port on the
// fabric, the rpc node, the state database, the event loop. A manager adds its service and runs it
// with manager_main().
//
// Options: --dir STATE_DIR --fabric-socket PATH --own-socket PATH --ip A.B.C.D [--mac ..]
// --key-file PATH [--gpm IP] [--gmm IP] [--gsm IP] [--heartbeat-ms N] [--storage NAME] [--mtu N]
#pragma once

#include <string>

#include "base/hosted.hpp"
#include "net/host/fabric_link.hpp"
#include "net/host/loop.hpp"
#include "net/host/state_db.hpp"
#include "net/roce/soft_port.hpp"
#include "net/rpc/rpc.hpp"

namespace tessera::net::host {

struct ManagerOptions {
    std::string dir;
    FabricOptions fabric;
    uint32_t ip = 0;
    std::string key_file;
    uint32_t gpm = 0x0a4d0002; // 10.77.0.2, .3, .4
    uint32_t gmm = 0x0a4d0003;
    uint32_t gsm = 0x0a4d0004;
    unsigned heartbeat_ms = 1000;
    unsigned missed = 5;
    std::string storage; // gsm: the sComponent that gets every mount; empty: the first
};

Result<uint32_t> parse_ipv4(std::string_view text);
Result<MacAddress> parse_mac(std::string_view text);
// 32 raw bytes, or 64 hexadecimal digits with an optional newline.
Result<rpc::ClusterKey> read_key(const std::string& path);
// Above every earlier one of this manager, which components refuse from then on: the time of day,
// and never at or below what the database remembers. Only a deleted database together with a clock
// set back makes one that is refused, until the clock has caught up.
Result<Incarnation> next_incarnation(StateDb& state);
// Says on stderr what is wrong and how it should be. `usage_only`: --help was asked for.
Result<ManagerOptions> parse_manager_options(int argc, char** argv, const char* program,
                                             uint32_t default_ip);

struct ComponentManagerOptions; // net/host/component_manager.hpp

int64_t realtime_now(); // CLOCK_REALTIME in nanoseconds

class ManagerProgram {
  public:
    // Opens everything; says on stderr what failed.
    static Result<Own<ManagerProgram>> start(const ManagerOptions& options, const char* program,
                                             rpc::NodeKind kind);

    const ManagerOptions& options() const { return options_; }
    rpc::Node& node() { return *node_; }
    StateDb& state() { return *state_; }
    Loop& loop() { return loop_; }
    HostClock& clock() { return clock_; }
    HostRandom& random() { return random_; }
    Incarnation incarnation() const { return incarnation_; }
    // For the service of GMM and GSM, which look after the components of one kind.
    ComponentManagerOptions component_options(rpc::NodeKind serves) const;
    // Until SIGTERM or SIGINT. `poll` and `deadline` are the service's.
    int run(Function<unsigned()> poll, Function<Nanos()> deadline);

  private:
    ManagerProgram(const ManagerOptions& o, rpc::NodeKind kind)
        : options_(o), kind_(kind), loop_(clock_) {}

    ManagerOptions options_;
    rpc::NodeKind kind_;
    HostClock clock_;
    HostRandom random_;
    Loop loop_;
    Own<HostFabric> link_;
    Own<roce::SoftPort> port_;
    Own<rpc::Node> node_;
    Own<StateDb> state_;
    Incarnation incarnation_;
};

// The address a manager has where none is given, as ManagerOptions says.
uint32_t default_address(rpc::NodeKind manager);

// A manager's main(): its options, its program, the service that `make(program)` creates (a Result
// of an Own), the loop. The exit status: 2 for wrong options, 1 when it cannot start.
template <typename Make>
int manager_main(int argc, char** argv, const char* name, rpc::NodeKind kind, Make&& make) {
    auto options = parse_manager_options(argc, argv, name, default_address(kind));
    if (!options) return 2;
    auto program = ManagerProgram::start(*options, name, kind);
    if (!program) return 1;
    auto service = make(**program);
    if (!service) return 1;
    return (*program)->run([&] { return (*service)->poll(), 0u; },
                           [&] { return (*service)->next_deadline(); });
}

} // namespace tessera::net::host
