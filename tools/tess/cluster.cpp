#include "tools/tess/cluster.hpp"

#include <signal.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include "tools/tess/plan.hpp"
#include "tools/tess/process.hpp"
#include "tools/tess/qemu.hpp"

namespace fs = std::filesystem;

namespace tessera::tess {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

volatile sig_atomic_t interrupt_signal = 0;

class Progress {
  public:
    [[gnu::format(printf, 2, 3)]] void line(const char* format, ...) {
        char text[512];
        va_list a;
        va_start(a, format);
        std::vsnprintf(text, sizeof text, format, a);
        va_end(a);
        std::fprintf(stderr, "%stess: %6.1f s  %s\n", moving_ ? "\r\033[K" : "", elapsed(), text);
        moving_ = false;
    }
    // A line that the next one replaces; only on a terminal.
    void moving(const std::string& text) {
        if (!terminal_) return;
        std::fprintf(stderr, "\r\033[Ktess: %6.1f s  %s", elapsed(), text.c_str());
        std::fflush(stderr);
        moving_ = true;
    }
    void clear() {
        if (moving_) std::fprintf(stderr, "\r\033[K");
        moving_ = false;
    }

  private:
    double elapsed() const {
        return std::chrono::duration<double>(SteadyClock::now() - start_).count();
    }
    SteadyClock::time_point start_ = SteadyClock::now();
    bool terminal_ = isatty(2);
    bool moving_ = false;
};

Outcome<std::string> key_text(const Paths& p) {
    if (access(p.key().c_str(), F_OK) != 0) {
        unsigned char raw[32];
        size_t got = 0;
        while (got < sizeof raw) {
            ssize_t n = getrandom(raw + got, sizeof raw - got, 0);
            if (n > 0) got += static_cast<size_t>(n);
        }
        std::string hex;
        char two[3];
        for (unsigned char c : raw)
            std::snprintf(two, sizeof two, "%02x", c), hex += two;
        if (auto w = write_file(p.key(), hex + "\n", 0600); !w) return Trouble(w.error());
    }
    auto text = read_file(p.key());
    if (!text) return text;
    while (!text->empty() && text->back() == '\n')
        text->pop_back();
    if (text->size() != 64 || text->find_first_not_of("0123456789abcdef") != std::string::npos)
        return Trouble(p.key() + " is not a cluster key (64 hex digits); remove it for a new one");
    return text;
}

Outcome<void> make_disk(const Paths& p, const ComponentConfig& c, const Installation& i) {
    if (access(p.disk(c.name).c_str(), F_OK) == 0) return {};
    std::string fresh = p.disk(c.name) + ".new";
    std::error_code e;
    fs::remove(fresh, e);
    auto made =
        run_and_wait({i.bin + "/tessera-store", "build", fresh, "--size", std::to_string(c.disk),
                      "--from-tar", i.share + "/root.tar", "--template", "--force"},
                     milliseconds(60'000));
    if (!made) return Trouble("cannot make the disk of " + c.name + ": " + made.error());
    fs::rename(fresh, p.disk(c.name), e);
    if (e) return Trouble("cannot make the disk of " + c.name + ": " + e.message());
    return {};
}

std::string marker(const Paths& p) {
    return p.state + "/up";
}

// Ends what is alive, in the order guests, managers, fabric; removes sockets and the marker.
unsigned sweep(const Paths& p) {
    std::vector<std::string> guests, managers, rest;
    for (const std::string& n : known(p))
        (n == "fabric"                            ? rest
         : n == "gpm" || n == "gmm" || n == "gsm" ? managers
                                                  : guests)
            .push_back(n);
    unsigned lived = stop(p, guests, milliseconds(3000));
    lived += stop(p, managers, milliseconds(3000));
    lived += stop(p, rest, milliseconds(3000));
    std::error_code e;
    fs::remove(marker(p), e);
    fs::remove_all(p.sockets, e);
    fs::path parent = fs::path(p.sockets).parent_path();
    if (parent.string().starts_with("/tmp/tess-")) // ours, unlike $XDG_RUNTIME_DIR
        fs::remove(parent, e);                     // only if it is empty
    fs::remove(p.state + "/sockets", e);
    return lived;
}

Outcome<void> wait_for_fabric(const Paths& p) {
    for (int i = 0; i < 500 && !interrupted(); i++) {
        if (fabric_command(p, "show")) return {};
        if (!running(p, "fabric")) break;
        std::this_thread::sleep_for(milliseconds(10));
    }
    return Trouble("the fabric did not start; its log:\n" + last_lines(p.log("fabric"), 10));
}

std::string joined_names(const std::vector<std::string>& names) {
    std::string all;
    for (const std::string& n : names)
        all += (all.empty() ? "" : ", ") + n;
    return all;
}

// Watches until every component has joined.
Outcome<void> wait_for_members(const Paths& p, const Plan& plan, const ControlPlane& control,
                               unsigned seconds, Progress& progress) {
    std::vector<std::string> waiting, quiet;
    for (const Started& c : plan.components)
        waiting.push_back(c.name);
    quiet = waiting;
    Problem trouble; // of the last question to GPM
    auto deadline = SteadyClock::now() + std::chrono::seconds(seconds);
    while (!waiting.empty()) {
        if (interrupted()) return Trouble("interrupted");
        for (const char* name : {"fabric", "gpm", "gmm", "gsm"})
            if (!running(p, name))
                return Trouble(std::string(name) + " ended unexpectedly; its last log lines (" +
                               p.log(name) + "):\n" + last_lines(p.log(name), 15));
        for (const std::string& name : waiting)
            if (!running(p, name))
                return Trouble(name + " ended before it joined; its last log lines (" +
                               p.log(name) + "):\n" + last_lines(p.log(name), 15));
        std::erase_if(quiet, [&](const std::string& name) {
            struct stat s;
            if (stat(p.log(name).c_str(), &s) != 0 || s.st_size == 0) return false;
            progress.line("%s is booting", name.c_str());
            return true;
        });
        auto names = control.joined();
        trouble = names ? Problem() : names.error();
        if (names)
            std::erase_if(waiting, [&](const std::string& name) {
                if (std::find(names->begin(), names->end(), name) == names->end()) return false;
                progress.line("%s has joined", name.c_str());
                return true;
            });
        if (waiting.empty()) break;
        if (SteadyClock::now() > deadline) {
            std::string text = joined_names(waiting) + (waiting.size() == 1 ? " has" : " have") +
                               " not joined within " + std::to_string(seconds) +
                               " s ([cluster] join_timeout)";
            if (!trouble.empty()) text += "; " + trouble;
            for (const std::string& name : waiting)
                text += "\nlast log lines of " + name + " (" + p.log(name) + "):\n" +
                        last_lines(p.log(name), 15);
            return Trouble(text);
        }
        progress.moving("waiting for " + joined_names(waiting));
        std::this_thread::sleep_for(milliseconds(50));
    }
    return {};
}

Outcome<void> start_all(const Paths& p, const UpOptions& options, const ControlPlane& control,
                        Progress& progress) {
    auto here = installation();
    if (!here) return Trouble(here.error());
    std::vector<std::string> needed = {here->share + "/tessera.img"};
    for (const char* program : {"fabric", "gpm", "gmm", "gsm", "tessera-store"})
        needed.push_back(here->bin + "/" + program);
    for (const std::string& file : needed)
        if (access(file.c_str(), R_OK) != 0)
            return Trouble(file + " is missing: run `make image` first");

    std::string note;
    auto machine = find_machine(options.config.accelerator, *here, note);
    if (!machine) return Trouble(machine.error());
    auto key = key_text(p);
    if (!key) return Trouble(key.error());
    auto plan = make_plan(options.config, p, *here, *machine, *key);
    if (!plan) return Trouble(plan.error());

    for (const File& f : plan->files)
        if (auto w = write_file(f.path, f.text, f.mode); !w) return w;
    if (auto w = write_file(p.config(), options.config_text, 0600); !w) return w;
    if (auto w = write_file(p.state + "/sockets", p.sockets + "\n", 0600); !w) return w;
    for (const ComponentConfig& c : options.config.components)
        if (c.kind == Kind::Storage)
            if (auto d = make_disk(p, c, *here); !d) return d;

    if (!note.empty()) progress.line("%s", note.c_str());
    if (auto s = start(p, plan->fabric.name, plan->fabric.arguments); !s) return Trouble(s.error());
    if (auto w = wait_for_fabric(p); !w) return w;
    std::vector<std::string> names;
    for (const std::vector<Started>* group : {&plan->managers, &plan->components})
        for (const Started& one : *group) {
            if (interrupted()) return Trouble("interrupted");
            if (auto s = start(p, one.name, one.arguments); !s) return Trouble(s.error());
            names.push_back(one.name);
        }
    progress.line("started fabric, %s", joined_names(names).c_str());
    if (auto w = wait_for_members(p, *plan, control, options.config.join_timeout, progress); !w)
        return w;
    if (auto v = control.create_vnodes(); !v) return v;
    return write_file(marker(p), "", 0600);
}

// Asks the guests that run to write everything out and power off. What carries the question is
// started again if it was killed; the guests then need a moment to find it.
Outcome<void> flush(const Paths& p, const ControlPlane& control, Progress& progress) {
    auto config = booted_config(p);
    if (!config) return Trouble(config.error());
    std::vector<std::string> guests, started;
    for (const ComponentConfig& c : config->components)
        if (running(p, c.name)) guests.push_back(c.name);
    if (guests.empty()) return {};
    for (const char* name : {"fabric", "gpm", "gmm", "gsm"}) {
        if (running(p, name)) continue;
        if (auto s = start_again(p, *config, name); !s) return s;
        started.push_back(name);
    }
    if (!started.empty()) {
        progress.line("started %s again, to flush what is dirty", joined_names(started).c_str());
        auto deadline = SteadyClock::now() + std::chrono::seconds(15);
        auto all_there = [&] {
            auto names = control.joined();
            return names && std::all_of(guests.begin(), guests.end(), [&](const std::string& g) {
                       return std::find(names->begin(), names->end(), g) != names->end();
                   });
        };
        while (!all_there() && SteadyClock::now() < deadline && !interrupted())
            std::this_thread::sleep_for(milliseconds(50));
    }
    return control.shutdown();
}

} // namespace

int interrupted() {
    return interrupt_signal;
}

void catch_interrupts() {
    struct sigaction a{};
    a.sa_handler = [](int s) { interrupt_signal = s; };
    for (int s : {SIGINT, SIGTERM, SIGHUP})
        sigaction(s, &a, nullptr);
    signal(SIGPIPE, SIG_IGN);
}

bool is_up(const Paths& p) {
    if (access(marker(p).c_str(), F_OK) != 0) return false;
    for (const std::string& name : known(p)) // any: the others may have been killed on purpose
        if (running(p, name)) return true;
    return false;
}

Outcome<ClusterConfig> booted_config(const Paths& p) {
    if (!is_up(p)) return Trouble("no cluster is up in " + p.state + "; boot one with: tess up");
    return load_config(p.config());
}

Outcome<void> up(const Paths& p, const UpOptions& options, const ControlPlane& control) {
    if (auto r = make_folders(p); !r) return r;
    auto lock = FileLock::take(p.state + "/lock");
    if (!lock) return Trouble(lock.error());
    if (!*lock)
        return Trouble("another tess up or down is working in " + p.state +
                       "; wait for it to finish");

    Progress progress;
    if (is_up(p)) {
        if (!options.restart)
            return Trouble("a cluster is already up in " + p.state +
                           ": stop it with `tess down`, or boot another one with --dir");
        if (auto d = flush(p, control, progress); !d)
            progress.line("not everything was flushed: %s", d.error().c_str());
    }
    if (unsigned lived = sweep(p)) progress.line("stopped %u processes of an earlier run", lived);
    if (auto r = make_folders(p); !r) return r; // sweep removed the socket folder
    std::error_code e;
    fs::remove_all(p.state + "/log", e);
    fs::create_directories(p.state + "/log", e);

    auto started = start_all(p, options, control, progress);
    progress.clear();
    if (!started) {
        sweep(p);
        return started;
    }
    progress.line("the cluster is up");
    return {};
}

Outcome<void> down(const Paths& p, const ControlPlane& control, bool quiet) {
    if (access(p.state.c_str(), F_OK) != 0) return {};
    auto lock = FileLock::take(p.state + "/lock");
    if (!lock) return Trouble(lock.error());
    if (!*lock)
        return Trouble("another tess up or down is working in " + p.state +
                       "; wait for it to finish");
    Progress progress;
    Outcome<void> flushed;
    if (is_up(p)) flushed = flush(p, control, progress);
    unsigned lived = sweep(p);
    if (!flushed) return Trouble("stopped, but not everything was flushed: " + flushed.error());
    if (!quiet) progress.line(lived ? "the cluster is down" : "nothing was up");
    return {};
}

Outcome<void> start_again(const Paths& p, const ClusterConfig& config, const std::string& name) {
    auto here = installation();
    if (!here) return Trouble(here.error());
    std::string note;
    auto machine = find_machine(config.accelerator, *here, note);
    if (!machine) return Trouble(machine.error());
    auto key = key_text(p);
    if (!key) return Trouble(key.error());
    auto plan = make_plan(config, p, *here, *machine, *key);
    if (!plan) return Trouble(plan.error());
    std::vector<Started> all = plan->components;
    all.insert(all.end(), plan->managers.begin(), plan->managers.end());
    all.push_back(plan->fabric);
    for (const Started& one : all) {
        if (one.name != name) continue;
        auto s = start(p, name, one.arguments);
        if (!s) return Trouble(s.error());
        return {};
    }
    return Trouble("nothing called '" + name + "' belongs to this cluster");
}

Outcome<std::string> fabric_command(const Paths& p, const std::string& line) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    if (p.control().size() >= sizeof a.sun_path)
        return Trouble("the path " + p.control() + " is too long for a socket");
    std::memcpy(a.sun_path, p.control().c_str(), p.control().size() + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    timeval limit{5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) {
        close(fd);
        return Trouble("the fabric does not answer (" + p.control() + "); is the cluster up?");
    }
    std::string text = line + "\n", got;
    (void)!send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    char b[4096];
    for (ssize_t n; (n = read(fd, b, sizeof b)) > 0;) {
        got.append(b, static_cast<size_t>(n));
        size_t last = got.rfind('\n', got.size() - 2);
        last = last == std::string::npos ? 0 : last + 1;
        if (got.back() != '\n') continue;
        if (got.compare(last, std::string::npos, "ok\n") == 0) {
            close(fd);
            return got.substr(0, last);
        }
        if (got.compare(last, 7, "error: ") == 0) {
            close(fd);
            return Trouble("the fabric refused: " + got.substr(last + 7, got.size() - last - 8));
        }
    }
    close(fd);
    return Trouble("the fabric closed the connection without an answer");
}

} // namespace tessera::tess
