#include "tools/tess/verbs.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <thread>

#include "tools/tess/cluster.hpp"
#include "tools/tess/plan.hpp"
#include "tools/tess/process.hpp"
#include "tools/tess/qemu.hpp"
#include "tools/tess/tables.hpp"

namespace tessera::tess {
namespace {

using std::chrono::seconds;

int fail(const Problem& problem) {
    std::fprintf(stderr, "tess: %s\n", problem.c_str());
    return 1;
}

// A booted cluster and a session on it.
struct Open {
    Paths paths;
    ClusterConfig config;
    std::unique_ptr<Session> session;
};
Outcome<Open> open_cluster(const std::string& dir) {
    auto paths = paths_for(dir);
    if (!paths) return Trouble(paths.error());
    auto config = booted_config(*paths);
    if (!config) return Trouble(config.error());
    auto session = Session::open(*paths, *config);
    if (!session) return Trouble(session.error());
    return Open{*paths, *config, std::move(*session)};
}

// The control plane over a session that is opened when it is first needed: in `up` that is once the
// fabric runs.
class Control {
  public:
    Control(const Paths& paths, const ClusterConfig& config) : paths_(paths), config_(config) {}

    ControlPlane plane() {
        return {[this] { return joined(); }, [this] { return create_vnodes(); },
                [this] { return shutdown(); }};
    }

  private:
    Outcome<Session*> session() {
        if (!session_) {
            auto s = Session::open(paths_, config_);
            if (!s) return Trouble(s.error());
            session_ = std::move(*s);
        }
        return session_.get();
    }
    Outcome<std::vector<std::string>> joined() {
        auto s = session();
        if (!s) return Trouble(s.error());
        auto r = (*s)->ask<control::StatusReply>((*s)->gpm(), schema::kStatus,
                                                 control::StatusRequest(), seconds(2));
        if (!r) return Trouble(call_problem("gpm", r.error()));
        std::vector<std::string> names;
        for (const auto& c : r->components())
            if (c.component().state() == control::COMPONENT_UP)
                names.push_back(c.component().name());
        return names;
    }
    Outcome<void> create_vnodes() {
        auto s = session();
        if (!s) return Trouble(s.error());
        for (const VnodeConfig& v : config_.vnodes) {
            control::VnodeCreateRequest q;
            q.set_name(v.name);
            q.set_exists_ok(true);
            q.mutable_limits()->set_memory_pages(v.memory / 4096);
            auto r = (*s)->ask<control::VnodeCreateReply>((*s)->gpm(), schema::kVnodeCreate, q,
                                                          seconds(20));
            if (!r)
                return Trouble("cannot create vNode '" + v.name +
                               "': " + call_problem("gpm", r.error()));
        }
        return {};
    }
    // Programs end and dirty lines go to the mComponents, files go to the sComponents, disks are
    // flushed: each kind when the one before is done. Components that do not run are left out:
    // waiting for them would save nothing.
    Outcome<void> shutdown() {
        auto s = session();
        if (!s) return Trouble(s.error());
        std::string troubles;
        for (Kind kind : {Kind::Process, Kind::Memory, Kind::Storage})
            for (const ComponentConfig& c : config_.components) {
                if (c.kind != kind || !running(paths_, c.name)) continue;
                if (auto r = shut_down(**s, c.name); !r)
                    troubles += (troubles.empty() ? "" : "; ") + r.error();
            }
        session_.reset(); // its sockets go before the folder does
        if (!troubles.empty()) return Trouble(troubles);
        return {};
    }
    Outcome<void> shut_down(Session& s, const std::string& name) {
        control::ShutdownRequest q;
        q.set_component(name);
        q.set_deadline_ms(kFlushTime.count() * 1000);
        auto r =
            s.ask<control::ShutdownReply>(s.gpm(), schema::kShutdown, q, kFlushTime + seconds(2));
        if (!r && r.error() == Error::Dead) return Trouble(name + " is not a member any more");
        if (!r) return Trouble(call_problem("gpm", r.error()));
        if (r->failed_size() > 0)
            return Trouble(name + " did not say that it had written everything out");
        for (int i = 0; i < 300 && running(paths_, name); i++) // it powers off by itself
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        return {};
    }

    static constexpr seconds kFlushTime{30}; // for each component
    Paths paths_;
    ClusterConfig config_;
    std::unique_ptr<Session> session_;
};

template <typename Reply, typename Request>
Outcome<Reply> ask_gpm(Session& s, rpc::Opcode opcode, const Request& q,
                       seconds limit = seconds(10)) {
    auto r = s.ask<Reply>(s.gpm(), opcode, q, limit);
    if (!r) return Trouble(call_problem("gpm", r.error()));
    return *r;
}

// A path as one would type it in this folder.
std::string from_here(const std::string& path) {
    char here[4096];
    if (!getcwd(here, sizeof here)) return path;
    std::string prefix = std::string(here) + "/";
    return path.starts_with(prefix) ? path.substr(prefix.size()) : path;
}

bool is_host_service(const std::string& n) {
    return n == "gpm" || n == "gmm" || n == "gsm" || n == "fabric";
}

Outcome<void> known_name(const Paths& p, const ClusterConfig& c, const std::string& name) {
    if (is_host_service(name)) return {};
    std::string all = "fabric gpm gmm gsm";
    for (const ComponentConfig& one : c.components) {
        if (one.name == name) return {};
        all += " " + one.name;
    }
    return Trouble("no component called '" + name + "' in " + p.state + "; there are: " + all);
}

// The incarnation GPM knows of a component that is up; 0 if it is not up.
Outcome<uint64_t> member_incarnation(Session& s, const std::string& name) {
    auto r = ask_gpm<control::StatusReply>(s, schema::kStatus, control::StatusRequest());
    if (!r) return Trouble(r.error());
    for (const auto& c : r->components())
        if (c.component().name() == name && c.component().state() == control::COMPONENT_UP)
            return c.component().incarnation();
    return uint64_t{0};
}

int wait_until_joined(const Paths& paths, Session& s, const std::string& name, uint64_t before) {
    auto deadline = std::chrono::steady_clock::now() + seconds(s.config().join_timeout);
    while (running(paths, name) && std::chrono::steady_clock::now() < deadline) {
        auto now = member_incarnation(s, name);
        if (now && *now != 0 && *now != before) return 0;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return fail(name + (running(paths, name) ? " has not joined in time" : " ended again") +
                "; its last log lines (" + paths.log(name) + "):\n" +
                last_lines(paths.log(name), 15));
}

} // namespace

int verb_up(const std::string& dir, const std::string& config_file, const std::string& accelerator,
            bool restart) {
    auto paths = paths_for(dir);
    if (!paths) return fail(paths.error());
    UpOptions options;
    options.restart = restart;
    options.config_text = std::string(default_config_text());
    if (!config_file.empty()) {
        auto text = read_file(config_file);
        if (!text)
            return fail(text.error() + "; `tess up` without --config boots the default cluster");
        options.config_text = *text;
    }
    auto config = parse_config(options.config_text,
                               config_file.empty() ? "the default cluster" : config_file);
    if (!config) return fail(config.error());
    if (accelerator == "kvm") config->accelerator = Accelerator::Kvm;
    if (accelerator == "tcg") config->accelerator = Accelerator::Tcg;
    options.config = *config;
    catch_interrupts();
    Control control(*paths, *config);
    if (auto r = up(*paths, options, control.plane()); !r) {
        fail(r.error());
        return interrupted() ? 128 + interrupted() : 1;
    }
    return 0;
}

int verb_down(const std::string& dir) {
    auto paths = paths_for(dir);
    if (!paths) return fail(paths.error());
    auto config = booted_config(*paths);
    Control control(*paths, config ? *config : ClusterConfig());
    if (auto r = down(*paths, control.plane()); !r) return fail(r.error());
    return 0;
}

int verb_status(const std::string& dir, bool json) {
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    auto r =
        ask_gpm<control::StatusReply>(*open->session, schema::kStatus, control::StatusRequest());
    if (!r) return fail(r.error());
    std::string text = json ? status_json(*r) : status_table(*r);
    std::fputs(text.c_str(), stdout);
    return 0;
}

int verb_run(const std::string& dir, const RunOptions& options) {
    auto open = open_cluster(dir);
    if (!open) return fail(open.error()), 125;
    if (options.terminal && options.no_input) return fail("-t and -n exclude each other"), 125;
    if (options.terminal && !isatty(0)) return fail("-t needs a terminal on stdin"), 125;
    if (options.no_input) {
        int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null < 0)
            return fail(std::string("cannot open /dev/null: ") + std::strerror(errno)), 125;
        dup2(null, 0);
        close(null);
    }
    auto place = place_program(*open->session, options.vnode);
    if (!place) return fail(place.error()), 125;
    if (options.greet) {
        auto status = ask_gpm<control::StatusReply>(*open->session, schema::kStatus,
                                                    control::StatusRequest());
        if (!status) return fail(status.error()), 125;
        std::fputs(greeting_text(
                       *status, options.vnode, place->component, from_here(program_invocation_name),
                       dir.empty() || std::getenv("TESS_DIR") ? "" : " --dir " + from_here(dir))
                       .c_str(),
                   stderr);
    }
    return run_program(*open->session, open->paths, *place, options);
}

int verb_ps(const std::string& dir, const std::string& vnode) {
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    auto status =
        ask_gpm<control::StatusReply>(*open->session, schema::kStatus, control::StatusRequest());
    if (!status) return fail(status.error());
    uint32_t wanted = 0;
    for (const auto& v : status->vnodes())
        if (v.vnode().name() == vnode) wanted = v.vnode().vnode();
    if (!vnode.empty() && wanted == 0)
        return fail("no vNode called '" + vnode + "'; see `tess vnode list`");
    std::vector<ProcessRow> rows;
    for (const auto& c : status->components()) {
        if (c.component().kind() != control::KIND_PROCESS ||
            c.component().state() != control::COMPONENT_UP)
            continue;
        for (uint32_t first = 0;;) {
            Le32 q[2] = {wanted, first};
            std::string request(reinterpret_cast<const char*>(q), sizeof q);
            auto reply =
                open->session->call(c.component().ip(), schema::kProcessList, request, seconds(5));
            if (!reply) {
                fail(call_problem(c.component().name(), reply.error()));
                break;
            }
            size_t count = reply->size() / sizeof(schema::ProcessEntry);
            for (size_t i = 0; i < count; i++)
                rows.push_back(
                    {c.component().name(),
                     load<schema::ProcessEntry>(bytes_of(std::string_view(*reply))
                                                    .subspan(i * sizeof(schema::ProcessEntry)))});
            first += static_cast<uint32_t>(count);
            if (count == 0 || (count + 1) * sizeof(schema::ProcessEntry) <= rpc::kMaxMessage) break;
        }
    }
    std::fputs(process_table(*status, rows).c_str(), stdout);
    return 0;
}

int verb_vnode_create(const std::string& dir, const std::string& name, const std::string& memory) {
    control::VnodeCreateRequest q;
    q.set_name(name);
    if (!memory.empty()) {
        auto bytes = parse_size(memory);
        if (!bytes) return fail(bytes.error());
        q.mutable_limits()->set_memory_pages(*bytes / 4096);
    }
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    auto r = open->session->ask<control::VnodeCreateReply>(open->session->gpm(),
                                                           schema::kVnodeCreate, q, seconds(20));
    if (!r && r.error() == Error::Exists)
        return fail("a vNode called '" + name + "' already exists");
    if (!r && r.error() == Error::NoDevice) return fail(missing_problem(*open->session));
    if (!r) return fail(call_problem("gpm", r.error()));
    std::printf("%s\n", name.c_str());
    return 0;
}

int verb_vnode_list(const std::string& dir) {
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    auto r =
        ask_gpm<control::StatusReply>(*open->session, schema::kStatus, control::StatusRequest());
    if (!r) return fail(r.error());
    std::fputs(vnode_table(*r).c_str(), stdout);
    return 0;
}

int verb_vnode_remove(const std::string& dir, const std::string& name) {
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    control::VnodeRemoveRequest q;
    q.set_name(name);
    auto r = open->session->call(open->session->gpm(), schema::kVnodeRemove, q.SerializeAsString(),
                                 seconds(20));
    if (!r && r.error() == Error::NotFound)
        return fail("no vNode called '" + name + "'; see `tess vnode list`");
    if (!r) return fail(call_problem("gpm", r.error()));
    return 0;
}

int verb_logs(const std::string& dir, const std::string& component, bool follow) {
    auto paths = paths_for(dir);
    if (!paths) return fail(paths.error());
    std::string path = paths->log(component);
    std::ifstream f(path, std::ios::binary);
    if (!f) {
        if (auto c = booted_config(*paths); c)
            if (auto k = known_name(*paths, *c, component); !k) return fail(k.error());
        return fail("no log " + path + "; has this cluster been up?");
    }
    char b[8192];
    while (true) {
        f.read(b, sizeof b);
        if (f.gcount() > 0) std::fwrite(b, 1, static_cast<size_t>(f.gcount()), stdout);
        if (f) continue;
        std::fflush(stdout);
        if (!follow) return 0;
        f.clear();
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

int verb_top(const std::string& dir, double every, unsigned rounds) {
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    control::StatusReply before;
    for (unsigned i = 0; rounds == 0 || i < rounds; i++) {
        if (i > 0) std::this_thread::sleep_for(std::chrono::duration<double>(every));
        auto r = ask_gpm<control::StatusReply>(*open->session, schema::kStatus,
                                               control::StatusRequest());
        if (!r) return fail(r.error());
        if (isatty(1)) std::fputs("\033[H\033[J", stdout);
        std::fputs(top_table(before, *r, every).c_str(), stdout);
        std::fflush(stdout);
        before = *r;
    }
    return 0;
}

int verb_set(const std::string& dir, const std::string& component, const std::string& assignment) {
    size_t equals = assignment.find('=');
    if (equals == std::string::npos)
        return fail("'" + assignment + "': expected NAME=VALUE, such as excache=16M");
    std::string name = assignment.substr(0, equals), value = assignment.substr(equals + 1);
    if (name == "excache") {
        auto bytes = parse_size(value);
        if (!bytes) return fail(bytes.error());
        value = std::to_string(*bytes);
    }
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    if (auto k = known_name(open->paths, open->config, component); !k) return fail(k.error());
    control::SetOptionRequest q;
    q.set_component(component);
    q.set_name(name);
    q.set_value(value);
    auto r = open->session->call(open->session->gpm(), schema::kSetOption, q.SerializeAsString(),
                                 seconds(20));
    if (r) return 0;
    switch (r.error()) {
        case Error::NotFound:
        case Error::Unsupported:
            return fail(component + " has no setting called '" + name + "'");
        case Error::InvalidArgument:
        case Error::Range:
            return fail(component + " cannot take " + assignment + ": out of its range");
        default:
            return fail(call_problem(component, r.error()));
    }
}

int verb_stats(const std::string& dir, const std::string& component) {
    auto open = open_cluster(dir);
    if (!open) return fail(open.error());
    if (auto k = known_name(open->paths, open->config, component); !k) return fail(k.error());
    if (component == "fabric") return verb_fabric(dir, {"stats"});
    uint32_t ip = is_host_service(component) ? manager_ip(open->config, component) : 0;
    for (size_t i = 0; i < open->config.components.size(); i++)
        if (open->config.components[i].name == component) ip = component_ip(open->config, i);
    auto r = open->session->call(ip, schema::kStats, "", seconds(5));
    if (!r) return fail(call_problem(component, r.error()));
    std::fputs(r->c_str(), stdout);
    return 0;
}

int verb_fabric(const std::string& dir, const std::vector<std::string>& words) {
    auto paths = paths_for(dir);
    if (!paths) return fail(paths.error());
    std::string line;
    for (const std::string& w : words)
        line += (line.empty() ? "" : " ") + w;
    // The fabric has a working folder of its own.
    if (words.size() == 3 && words[0] == "pcap" && words[2] != "off" && words[2][0] != '/') {
        char here[4096];
        if (getcwd(here, sizeof here))
            line = words[0] + " " + words[1] + " " + here + "/" + words[2];
    }
    auto r = fabric_command(*paths, line);
    if (!r) return fail(r.error());
    std::fputs(r->c_str(), stdout);
    return 0;
}

int verb_fault(const std::string& dir, const std::string& what, const std::string& name) {
    auto paths = paths_for(dir);
    if (!paths) return fail(paths.error());
    auto config = booted_config(*paths);
    if (!config) return fail(config.error());
    if (auto k = known_name(*paths, *config, name); !k) return fail(k.error());
    if (what == "start") {
        if (running(*paths, name)) return fail(name + " is already running");
        std::optional<uint64_t> before;
        std::unique_ptr<Session> session;
        if (!is_host_service(name) && running(*paths, "gpm") && running(*paths, "fabric")) {
            auto opened = Session::open(*paths, *config);
            if (!opened) return fail(opened.error());
            session = std::move(*opened);
            if (auto member = member_incarnation(*session, name)) before = *member;
        }
        if (auto r = start_again(*paths, *config, name); !r) return fail(r.error());
        return before ? wait_until_joined(*paths, *session, name, *before) : 0;
    }
    if (!running(*paths, name))
        return fail(name + " is not running; `tess start " + name + "` starts it again");
    if (what == "kill") send_signal(*paths, name, SIGKILL);
    if (what == "pause") send_signal(*paths, name, SIGSTOP);
    if (what == "resume") send_signal(*paths, name, SIGCONT);
    return 0;
}

} // namespace tessera::tess
