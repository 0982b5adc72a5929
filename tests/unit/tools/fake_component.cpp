#include "tests/unit/tools/fake_component.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/hosted.hpp"
#include "net/host/fabric_link.hpp"
#include "net/host/loop.hpp"
#include "net/roce/soft_port.hpp"
#include "net/schema/process.hpp"
#include "tools/fabric/sockets.hpp"
#include "tools/tess/plan.hpp"

namespace tessera::tess {
namespace {

using schema::ConsoleState;

const std::string kKey(64, 'a');

// One node on the fabric.
struct FakeNode {
    HostClock clock;
    HostRandom random;
    Own<net::host::HostFabric> link;
    std::unique_ptr<roce::SoftPort> port;
    Own<rpc::Node> node;

    FakeNode(const std::string& sockets, const std::string& name, uint32_t ip, rpc::NodeKind kind) {
        net::host::FabricOptions options;
        options.fabric_socket = sockets + "/" + name + ".s";
        options.own_socket = sockets + "/" + name + ".g";
        options.mac = net::host::mac_for(ip);
        link = std::move(net::host::HostFabric::open(options).value());
        roce::SoftPortOptions port_options;
        port_options.address = roce::Ipv4(ip);
        port = std::make_unique<roce::SoftPort>(*link, clock, random, port_options);
        rpc::NodeOptions node_options;
        node_options.key.fill(std::byte{0xaa});
        node_options.self = {kind, NodeId(7), Incarnation(random.next() | 1)};
        node = std::move(rpc::Node::create(*port, clock, random, node_options).value());
        EXPECT_TRUE(node->listen());
    }
    void add_to(net::host::Loop& loop) {
        (void)loop.watch(link->fd(), EPOLLIN, [](uint32_t) {});
        loop.add([this] { return port->poll(); }, [this] { return port->next_deadline(); });
        loop.add([this] { return node->poll(), 0u; }, [this] { return node->next_deadline(); });
    }
};

struct FakeConsole {
    std::string program, out, error, input;
    uint64_t input_total = 0;
    bool input_end = false;
    ConsoleState state = ConsoleState::Running;
    uint8_t code = 0;
    std::string reason;
    rpc::Responder waiting;
    schema::ConsolePollRequest poll;
    bool has_poll = false;
};

struct FakeComponent {
    std::map<uint64_t, FakeConsole> consoles;
    uint64_t next = 1;

    static std::vector<std::string> strings(Bytes b) {
        std::vector<std::string> all;
        while (!b.empty()) {
            std::string s(text_of(b).data());
            b = b.subspan(std::min(b.size(), s.size() + 1));
            all.push_back(s);
        }
        return all;
    }

    std::string hung_up; // a file made when a console is given up

    void spawn(Bytes request, rpc::Responder responder) {
        if (request.size() < sizeof(schema::SpawnRequest)) return responder.fail(Error::Malformed);
        auto q = load<schema::SpawnRequest>(request);
        auto words = strings(request.subspan(sizeof q));
        if (words.size() != size_t{q.argc} + q.envc + 1u) return responder.fail(Error::Malformed);
        if (words[0] == "missing") return responder.fail(Error::NotFound);
        if (words[0] == "not-elf") return responder.fail(Error::NotExecutable);
        schema::SpawnReply reply;
        reply.pid = 10u;
        reply.console = next;
        FakeConsole& c = consoles[next++];
        begin(c, q, words);
        responder.reply(bytes_of(reply));
    }

    void begin(FakeConsole& c, const schema::SpawnRequest& q,
               const std::vector<std::string>& words) {
        c.program = words[0];
        auto exit_with = [&](uint8_t code) {
            c.state = ConsoleState::Exited;
            c.code = code;
        };
        if (c.program == "both") { // writes to both streams, exits 3
            c.out = "to stdout\n";
            c.error = "to stderr\n";
            exit_with(3);
        } else if (c.program == "show") { // arguments, environment, working directory
            for (const std::string& w : words)
                c.out += w + "\n";
            exit_with(0);
        } else if (c.program == "big") {
            for (int i = 0; i < 20000; i++)
                c.out += "line " + std::to_string(i) + "\n";
            exit_with(0);
        } else if (c.program == "oom") {
            c.state = ConsoleState::Killed;
            c.code = SIGKILL;
            c.reason = "out of memory: the vNode's limit is 64M";
        } else if (c.program ==
                   "size") { // prints its terminal's size, again at each change; ends at 'q'
            c.out = std::to_string(q.rows) + "x" + std::to_string(q.columns) + "\r\n";
        }
    }

    void react(FakeConsole& c) { // to new input
        if (c.program == "cat") {
            c.out += c.input;
            c.input.clear();
            if (c.input_end) c.state = ConsoleState::Exited;
        } else if (c.program == "size" && c.input.find('q') != std::string::npos) {
            c.state = ConsoleState::Exited;
        }
        answer(c);
    }

    void poll(Bytes request, rpc::Responder responder) {
        auto q = load<schema::ConsolePollRequest>(request);
        auto it = consoles.find(q.console);
        if (it == consoles.end()) return responder.fail(Error::BadHandle);
        it->second.waiting = std::move(responder);
        it->second.poll = q;
        it->second.has_poll = true;
        answer(it->second);
    }

    void answer(FakeConsole& c) {
        if (!c.has_poll) return;
        size_t from = c.poll.out_offset, error_from = c.poll.error_offset;
        std::string out = c.out.substr(std::min(from, c.out.size()), 16000);
        std::string error = c.error.substr(std::min(error_from, c.error.size()), 16000);
        bool ended = c.state != ConsoleState::Running;
        if (out.empty() && error.empty() && !ended) return;
        c.has_poll = false;
        schema::ConsolePollReply r;
        std::memset(&r, 0, sizeof r);
        r.out_length = static_cast<uint32_t>(out.size());
        r.error_length = static_cast<uint32_t>(error.size());
        r.state = static_cast<unsigned char>(ended ? c.state : ConsoleState::Running);
        r.code = c.code;
        r.out_end = ended && from + out.size() == c.out.size();
        r.error_end = ended && error_from + error.size() == c.error.size();
        r.input_room = 4096u;
        c.reason.copy(r.reason, sizeof r.reason - 1);
        c.waiting.reply(bytes_of(r), bytes_of(std::string_view(out + error)));
    }

    void input(Bytes request, rpc::Responder responder) {
        auto q = load<schema::ConsoleInputRequest>(request);
        auto it = consoles.find(q.console);
        if (it == consoles.end()) return responder.fail(Error::BadHandle);
        FakeConsole& c = it->second;
        Bytes bytes = request.subspan(sizeof q);
        if (q.offset > c.input_total) return responder.fail(Error::Range);
        uint64_t skip = c.input_total - q.offset;
        bytes = bytes.subspan(std::min<size_t>(skip, bytes.size()));
        size_t take =
            std::min<size_t>(bytes.size(), 1000); // less than is offered: the rest comes again
        c.input += text_of(bytes.first(take));
        c.input_total += take;
        if (q.end && take == bytes.size()) c.input_end = true;
        schema::ConsoleInputReply r;
        r.accepted = c.input_total;
        responder.reply(bytes_of(r));
        react(c);
    }

    void signal(Bytes request, rpc::Responder responder) {
        auto q = load<schema::SignalRequest>(request);
        auto it = consoles.find(q.console);
        if (it == consoles.end()) return responder.fail(Error::BadHandle);
        if (q.signal == 0u) close(open(hung_up.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        if (q.signal != 0u && q.signal != static_cast<uint32_t>(SIGCONT)) {
            it->second.state = ConsoleState::Killed;
            it->second.code = static_cast<uint8_t>(q.signal);
        }
        responder.reply({});
        answer(it->second);
    }

    void resize(Bytes request, rpc::Responder responder) {
        auto q = load<schema::ConsoleResizeRequest>(request);
        auto it = consoles.find(q.console);
        if (it == consoles.end()) return responder.fail(Error::BadHandle);
        it->second.out += std::to_string(q.rows) + "x" + std::to_string(q.columns) + "\r\n";
        responder.reply({});
        answer(it->second);
    }
};

[[noreturn]] void serve(const Paths& paths, const ClusterConfig& config) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fabric::Fabric fabric(paths.sockets, 3, 0);
    if (!fabric.open()) _exit(1);
    Plan plan = make_plan(config, paths, {"/bin", "/share"}, {}, kKey).value();
    const std::string& ports = plan.files.at(0).text;
    for (size_t at = 0, end; (end = ports.find('\n', at)) != std::string::npos; at = end + 1)
        if (!fabric.command(std::string_view(ports).substr(at, end - at)).ok) _exit(1);

    FakeNode gpm(paths.sockets, "gpm", manager_ip(config, "gpm"), rpc::NodeKind::Gpm);
    FakeNode p1(paths.sockets, "p1", component_ip(config, 0), rpc::NodeKind::Process);
    FakeComponent component;
    component.hung_up = paths.state + "/hung-up";
    uint32_t ip = component_ip(config, 0);
    gpm.node->handle(schema::kPlaceProgram,
                     [ip](const rpc::Identity&, Bytes request, rpc::Responder r) {
                         control::PlaceProgramRequest q;
                         if (!q.ParseFromArray(request.data(), static_cast<int>(request.size())))
                             return r.fail(Error::Malformed);
                         if (q.vnode() != "main") return r.fail(Error::NotFound);
                         control::PlaceProgramReply reply;
                         reply.set_vnode(1);
                         reply.set_ip(ip);
                         reply.set_component("p1");
                         r.reply(bytes_of(std::string_view(reply.SerializeAsString())));
                     });
    auto on = [&](rpc::Opcode opcode, void (FakeComponent::*method)(Bytes, rpc::Responder)) {
        p1.node->handle(
            opcode, [&component, method](const rpc::Identity&, Bytes request, rpc::Responder r) {
                (component.*method)(request, std::move(r));
            });
    };
    on(schema::kSpawn, &FakeComponent::spawn);
    on(schema::kConsolePoll, &FakeComponent::poll);
    on(schema::kConsoleInput, &FakeComponent::input);
    on(schema::kSignal, &FakeComponent::signal);
    on(schema::kConsoleResize, &FakeComponent::resize);

    HostClock clock;
    net::host::Loop loop(clock);
    gpm.add_to(loop);
    p1.add_to(loop);
    while (true) { // two loops in one thread: short turns
        fabric.step(microseconds(300));
        loop.run_once(microseconds(300));
    }
}

} // namespace

FakeCluster::FakeCluster() {
    char name[] = "/tmp/tessera-run-XXXXXX";
    setenv("XDG_RUNTIME_DIR", "", 1);
    paths = paths_for(std::string(mkdtemp(name)) + "/state").value();
    config = parse_config(default_config_text(), "default").value();
    EXPECT_TRUE(make_folders(paths));
    EXPECT_TRUE(write_file(paths.key(), kKey + "\n", 0600));
    child_ = fork();
    if (child_ == 0) serve(paths, config);
    for (int i = 0; i < 1000 && access((paths.sockets + "/p1.g").c_str(), F_OK) != 0; i++)
        usleep(10'000);
}

FakeCluster::~FakeCluster() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    std::filesystem::remove_all(paths.sockets);
    std::filesystem::remove_all(std::filesystem::path(paths.state).parent_path());
}

} // namespace tessera::tess
