// tess tour: what is different about a disaggregated cluster, shown on the one that is up. Every
// step runs the same verbs a user would type, and prints them.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <map>
#include <thread>

#include "tools/tess/cluster.hpp"
#include "tools/tess/verbs.hpp"

namespace tessera::tess {
namespace {

class Tour {
  public:
    Tour(std::string dir, bool no_pause)
        : dir_(std::move(dir)), no_pause_(no_pause || !isatty(0)) {}

    void say(const std::string& text) {
        bool terminal = isatty(1);
        std::printf("\n%s%s%s\n", terminal ? "\033[1m" : "", text.c_str(),
                    terminal ? "\033[0m" : "");
    }

    // Runs a verb as a user would. In a child, because each opens a session of its own.
    int step(const std::string& typed, int (*act)(const std::string& dir, const void* with),
             const void* with) {
        std::printf("$ tess %s\n", typed.c_str());
        std::fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            int status = act(dir_, with);
            std::fflush(nullptr);
            _exit(status);
        }
        return wait_for(pid);
    }
    pid_t begin(const std::vector<std::string>& arguments) {
        std::fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            RunOptions run;
            run.arguments = arguments;
            int status = verb_run(dir_, run);
            std::fflush(nullptr);
            _exit(status);
        }
        return pid;
    }
    static int wait_for(pid_t pid) {
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    }
    int run(const std::string& script) {
        std::printf("$ tess run -- sh -c '%s'\n", script.c_str());
        return wait_for(begin({"/bin/sh", "-c", script}));
    }
    int set(const std::string& component, const std::string& setting) {
        std::pair<std::string, std::string> with(component, setting);
        return step(
            "set " + component + " " + setting,
            [](const std::string& dir, const void* w) {
                auto& [c, s] = *static_cast<const std::pair<std::string, std::string>*>(w);
                return verb_set(dir, c, s);
            },
            &with);
    }
    int ps() {
        return step(
            "ps", [](const std::string& dir, const void*) { return verb_ps(dir, ""); }, nullptr);
    }
    // The counters of `component` that the tour is about, and how much they have grown.
    void counters(const std::string& component) {
        std::printf("$ tess stats %s\n", component.c_str());
        std::fflush(stdout);
        int ends[2];
        if (pipe(ends) != 0) return;
        pid_t pid = fork();
        if (pid == 0) {
            dup2(ends[1], 1);
            int status = verb_stats(dir_, component);
            std::fflush(nullptr);
            _exit(status);
        }
        close(ends[1]);
        FILE* from = fdopen(ends[0], "r");
        char name[64];
        unsigned long long value;
        while (from && std::fscanf(from, "%63s %llu", name, &value) == 2) {
            if (std::none_of(std::begin(kShown), std::end(kShown),
                             [&](const char* s) { return std::strcmp(s, name) == 0; }))
                continue;
            auto old = seen_.find(name);
            std::printf("%-22s %8llu", name, value);
            if (old != seen_.end() && value > old->second)
                std::printf("   (%+lld)", static_cast<long long>(value - old->second));
            std::printf("\n");
            seen_[name] = value;
        }
        if (from) std::fclose(from);
        std::printf("...\n");
        wait_for(pid);
    }
    int fault(const std::string& what, const std::string& name) {
        std::pair<std::string, std::string> with(what, name);
        return step(
            what + " " + name,
            [](const std::string& dir, const void* w) {
                auto& [f, n] = *static_cast<const std::pair<std::string, std::string>*>(w);
                return verb_fault(dir, f, n);
            },
            &with);
    }
    void pause() {
        if (no_pause_) return;
        std::printf("\n(Enter for the next step, Ctrl-C to leave) ");
        std::fflush(stdout);
        for (int c; (c = std::getchar()) != '\n' && c != EOF;) {
        }
    }

  private:
    static constexpr const char* kShown[] = {"excache_limit", "excache_lines",
                                             "excache_remote_reads", "excache_write_backs"};
    std::string dir_;
    bool no_pause_;
    std::map<std::string, unsigned long long> seen_;
};

} // namespace

int verb_tour(const std::string& dir, bool no_pause) {
    auto paths = paths_for(dir);
    auto config = paths ? booted_config(*paths) : Outcome<ClusterConfig>(Trouble(paths.error()));
    if (!config) {
        std::fprintf(stderr, "tess: %s\n", config.error().c_str());
        return 1;
    }
    std::string process, memory;
    uint64_t excache = 0;
    for (const ComponentConfig& c : config->components) {
        if (c.kind == Kind::Process && process.empty()) process = c.name, excache = c.excache;
        if (c.kind == Kind::Memory && memory.empty()) memory = c.name;
    }
    Tour tour(dir, no_pause);
    const std::string work = "seq 60000 | sort -rn | md5sum";
    tour.say(
        "1. Memory is elsewhere. The pComponent only caches it, in lines of 4 KiB. What fits in "
        "that\n"
        "   cache stays: a sort of some 3 MiB, and no page goes to " +
        memory + " and comes back.");
    tour.counters(process);
    tour.run(work);
    tour.counters(process);
    tour.pause();

    tour.say("2. Make that cache smaller than the sort, and watch the faults rise.");
    tour.set(process, "excache=2M");
    tour.run(work);
    tour.counters(process);
    tour.set(process, "excache=" + size_text(excache));
    tour.pause();

    tour.say("3. Where a shell's pages live. Its heap and stack are one memory object, held by " +
             memory + ";\n   RESIDENT is how much of it " + process +
             " has in its cache just now.");
    pid_t holder =
        tour.begin({"/bin/sh", "-c",
                    "x=$(seq 100000); echo \"/proc/$$/maps:\"; cat /proc/$$/maps; sleep 3; :"});
    std::this_thread::sleep_for(std::chrono::seconds(2));
    tour.ps();
    tour.wait_for(holder);
    tour.pause();

    tour.say(
        "4. Managers only decide ahead. GMM dies while a loop prints; the loop does not notice.");
    pid_t loop =
        tour.begin({"/bin/sh", "-c", "for i in 1 2 3 4 5 6; do echo tick $i; sleep 1; done"});
    std::this_thread::sleep_for(std::chrono::seconds(2));
    tour.fault("kill", "gmm");
    tour.wait_for(loop);
    tour.fault("start", "gmm");
    tour.pause();

    tour.say("5. The mComponent dies, and with it the only copy. The program is told why it ends.");
    pid_t victim =
        tour.begin({"/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo alive $i; sleep 1; done"});
    std::this_thread::sleep_for(std::chrono::seconds(3));
    tour.fault("kill", memory);
    int status = tour.wait_for(victim);
    std::printf("exit status %d\n", status);
    tour.fault("start", memory);
    tour.say(
        "That was the tour. `tess status` shows the cluster; `tess up --restart` boots it afresh.");
    return 0;
}

} // namespace tessera::tess
