// sim: runs seeds of the simulated cluster.
//
//   sim --seeds A..B [--jobs N]       each in a process of its own, N at a time; says which fail
//   sim --seed N [--faults LIST] [--trace] [--log]    one, in this process
//   options of both: --work MS. --twice K: the first K seeds twice; their traces must agree.
//   --kept FILE: also the cases listed there
//
// Exit status 0: all passed. Failures print seed, reason, the shortest fault list that still
// fails, and the command that runs it.
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "tests/sim/cluster.hpp"

using namespace tessera;
using namespace tessera::sim;

namespace {

using ull = unsigned long long;

double wall_seconds() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

void log_sink(LogLevel, const char* area, std::string_view line) {
    fprintf(stderr, "  %s: %.*s\n", area, static_cast<int>(line.size()), line.data());
}

// What a child tells its parent.
struct Report {
    uint64_t seed, hash, operations, frames;
    int64_t simulated;
    char failure[600];
};

struct Child {
    uint64_t seed;
    int pipe;
};

class Runner {
  public:
    explicit Runner(const Options& base) : base_(base) {}

    // In a process of its own: one that crashes takes nobody along.
    Child start(uint64_t seed, const FaultList* faults) {
        int ends[2];
        if (pipe(ends) != 0) abort();
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            close(ends[0]);
            alarm(120);
            Options o = base_;
            o.seed = seed;
            if (faults) o.draw = false, o.faults = *faults;
            Outcome out = run(o);
            Report r{seed, out.hash, out.pages.operations, out.frames, out.simulated.value, {}};
            snprintf(r.failure, sizeof r.failure, "%s", out.failure.c_str());
            ssize_t n = write(ends[1], &r, sizeof r);
            _exit(n == sizeof r ? 0 : 1);
        }
        close(ends[1]);
        return children_[pid] = {seed, ends[0]};
    }
    Report finish_one() {
        int status = 0;
        pid_t pid = wait(&status);
        Child c = children_[pid];
        children_.erase(pid);
        Report r{};
        if (read(c.pipe, &r, sizeof r) != sizeof r) {
            r = {};
            r.seed = c.seed;
            if (WIFSIGNALED(status))
                snprintf(
                    r.failure, sizeof r.failure, "ended by signal %d (%s)", WTERMSIG(status),
                    WTERMSIG(status) == SIGALRM ? "takes more than 120 s" : "its stderr says why");
            else
                snprintf(r.failure, sizeof r.failure, "ended with status %d", WEXITSTATUS(status));
        }
        close(c.pipe);
        return r;
    }
    size_t running() const { return children_.size(); }
    bool fails(uint64_t seed, const FaultList& list) {
        start(seed, &list);
        return finish_one().failure[0] != 0;
    }

  private:
    Options base_;
    std::map<pid_t, Child> children_;
};

// The shortest list that still fails: halves, then single faults are left out while it does.
FaultList shrink(Runner& runner, uint64_t seed, FaultList list, double limit) {
    double until = wall_seconds() + limit;
    for (size_t piece = std::max<size_t>(list.size() / 2, 1); !list.empty();) {
        bool shorter = false;
        for (size_t at = 0; at < list.size() && wall_seconds() < until;) {
            FaultList less = list;
            size_t n = std::min(piece, less.size() - at);
            less.erase(less.begin() + static_cast<ptrdiff_t>(at),
                       less.begin() + static_cast<ptrdiff_t>(at + n));
            if (runner.fails(seed, less))
                list = less, shorter = true;
            else
                at += piece;
        }
        if (wall_seconds() >= until || (piece == 1 && !shorter)) break;
        if (piece > 1) piece /= 2;
    }
    return list;
}

FaultList faults_of(const Options& base, uint64_t seed) {
    Options o = base;
    o.seed = seed;
    return o.draw ? drawn_faults(o) : o.faults;
}

// Lines of "SEED LIST|drawn # what it showed".
struct Kept {
    uint64_t seed;
    bool drawn;
    FaultList faults;
};

bool read_kept(const char* path, std::vector<Kept>& into) {
    FILE* f = fopen(path, "r");
    if (!f) return false;
    char line[2000], list[1500];
    bool fine = true;
    while (fgets(line, sizeof line, f)) {
        ull seed = 0;
        if (line[0] == '#' || line[0] == '\n') continue;
        fine = fine && sscanf(line, "%llu %1499s", &seed, list) == 2;
        bool drawn = std::string_view(list) == "drawn";
        auto faults = parse_faults(drawn ? "none" : list);
        fine = fine && faults;
        if (fine) into.push_back({seed, drawn, *faults});
    }
    fclose(f);
    return fine;
}

int run_many(const Options& base, uint64_t first, uint64_t last, unsigned jobs, double shrinking,
             uint64_t twice, const std::vector<Kept>& kept) {
    Runner runner(base);
    double start = wall_seconds();
    std::deque<uint64_t> again; // seeds whose trace is to be compared
    for (uint64_t s = first; s <= last && s < first + twice; s++)
        again.push_back(s);
    uint64_t total = last - first + 1 + again.size();
    std::map<uint64_t, uint64_t> hashes;
    uint64_t next = first, passed = 0, operations = 0, frames = 0;
    double simulated = 0;
    std::vector<Report> failures;
    size_t kept_failures = 0;
    uint64_t hash = 0;
    while (next <= last || !again.empty() || runner.running()) {
        for (; next <= last && runner.running() < jobs; next++)
            runner.start(next, nullptr);
        for (; next > last && !again.empty() && runner.running() < jobs; again.pop_front())
            runner.start(again.front(), nullptr);
        Report r = runner.finish_one();
        auto [known, first_time] = hashes.emplace(r.seed, r.hash);
        if (known->second != r.hash && !r.failure[0])
            snprintf(r.failure, sizeof r.failure, "two runs have different traces: %016llx %016llx",
                     static_cast<ull>(known->second), static_cast<ull>(r.hash));
        if (r.seed >= first + twice) hashes.erase(known);
        operations += r.operations, frames += r.frames;
        simulated += static_cast<double>(r.simulated) / 1e9;
        if (first_time) hash ^= r.hash * (2 * r.seed + 1);
        if (!r.failure[0]) {
            passed++;
            continue;
        }
        printf("FAIL seed %llu: %s\n", static_cast<ull>(r.seed), r.failure);
        fflush(stdout);
        failures.push_back(r);
    }
    for (const Kept& k : kept) { // cases that failed once
        runner.start(k.seed, k.drawn ? nullptr : &k.faults);
        Report r = runner.finish_one();
        total++;
        operations += r.operations, frames += r.frames;
        simulated += static_cast<double>(r.simulated) / 1e9;
        if (!r.failure[0]) {
            passed++;
            continue;
        }
        printf("FAIL kept case, seed %llu: %s\n", static_cast<ull>(r.seed), r.failure);
        kept_failures++;
    }
    double wall = wall_seconds() - start;
    for (Report& r : failures) {
        if (shrinking <= 0) break;
        FaultList shortest = shrink(runner, r.seed, faults_of(base, r.seed), shrinking);
        printf("seed %llu: shortest: sim --seed %llu --faults '%s'\n", static_cast<ull>(r.seed),
               static_cast<ull>(r.seed), describe(shortest).c_str());
        fflush(stdout);
    }
    printf(
        "%.2f seeds/s, %.0f page operations/s of wall time, %.0f per simulated second, "
        "%.1f x simulated over wall time, %.0f frames/s; trace %016llx\n",
        static_cast<double>(total) / wall, static_cast<double>(operations) / wall,
        static_cast<double>(operations) / simulated, simulated / wall,
        static_cast<double>(frames) / wall, static_cast<ull>(hash));
    printf("%llu passed, %zu failed\n", static_cast<ull>(passed), failures.size() + kept_failures);
    return failures.empty() && kept_failures == 0 ? 0 : 1;
}

int run_one(const Options& o) {
    double start = wall_seconds();
    Outcome out = run(o);
    double wall = wall_seconds() - start,
           simulated = static_cast<double>(out.simulated.value) / 1e9;
    printf("seed %llu: faults %s\n", static_cast<ull>(o.seed), describe(out.faults).c_str());
    const PageStats& p = out.pages;
    printf(
        "%llu page operations (%llu asked the cache), %llu forks, %llu exits, %llu moves, "
        "%llu discards, %llu pins, %llu programs lost\n",
        static_cast<ull>(p.operations), static_cast<ull>(p.faults), static_cast<ull>(p.forks),
        static_cast<ull>(p.exits), static_cast<ull>(p.moves), static_cast<ull>(p.discards),
        static_cast<ull>(p.pins), static_cast<ull>(p.lost));
    const FileStats& f = out.files;
    printf("files: %llu creates, %llu writes, %llu reads, %llu syncs, %llu unlinks, %llu errors\n",
           static_cast<ull>(f.creates), static_cast<ull>(f.writes), static_cast<ull>(f.reads),
           static_cast<ull>(f.syncs), static_cast<ull>(f.unlinks), static_cast<ull>(f.errors));
    printf(
        "%.3f s simulated in %.3f s (%.1f x), %.0f page operations/s of wall time, %llu frames\n",
        simulated, wall, simulated / wall, static_cast<double>(p.operations) / wall,
        static_cast<ull>(out.frames));
    printf("trace %016llx over %llu notes\n", static_cast<ull>(out.hash),
           static_cast<ull>(out.notes));
    printf("%s\n", out.failure.empty() ? "passed" : ("FAIL " + out.failure).c_str());
    return out.failure.empty() ? 0 : 1;
}

int usage() {
    fprintf(stderr,
            "usage: sim --seeds A..B [--jobs N] [--shrink SECONDS] [--work MS]\n"
            "       sim --seed N [--faults LIST|none] [--trace] [--log] [--work MS]\n");
    return 2;
}

} // namespace

int main(int argc, char** argv) {
    Options o;
    uint64_t first = 0, last = 0, twice = 0;
    unsigned jobs = 1;
    double shrinking = 60;
    std::vector<Kept> kept;
    bool many = false, one = false;
    set_log_sink(log_sink);
    set_log_level(LogLevel::Failure);
    const option longs[] = {{"seeds", required_argument, nullptr, 's'},
                            {"seed", required_argument, nullptr, 'n'},
                            {"jobs", required_argument, nullptr, 'j'},
                            {"faults", required_argument, nullptr, 'f'},
                            {"shrink", required_argument, nullptr, 'h'},
                            {"work", required_argument, nullptr, 'w'},
                            {"twice", required_argument, nullptr, '2'},
                            {"kept", required_argument, nullptr, 'k'},
                            {"trace", no_argument, nullptr, 't'},
                            {"log", no_argument, nullptr, 'l'},
                            {}};
    for (int c; (c = getopt_long(argc, argv, "", longs, nullptr)) != -1;) {
        switch (c) {
            case 's': {
                char* rest = nullptr;
                first = strtoull(optarg, &rest, 10);
                last = strncmp(rest, "..", 2) == 0 ? strtoull(rest + 2, nullptr, 10) : first;
                many = true;
                break;
            }
            case 'n':
                o.seed = strtoull(optarg, nullptr, 10);
                one = true;
                break;
            case 'j':
                jobs = static_cast<unsigned>(strtoul(optarg, nullptr, 10));
                break;
            case 'f': {
                auto list = parse_faults(optarg);
                if (!list) {
                    fprintf(stderr, "sim: --faults %s: see tests/sim/faults.hpp\n", optarg);
                    return 2;
                }
                o.draw = false;
                o.faults = *list;
                break;
            }
            case 'h':
                shrinking = strtod(optarg, nullptr);
                break;
            case 'w':
                o.work = milliseconds(strtoll(optarg, nullptr, 10));
                break;
            case 'k':
                if (!read_kept(optarg, kept)) {
                    fprintf(stderr, "sim: %s: expected lines of SEED LIST|drawn\n", optarg);
                    return 2;
                }
                break;
            case '2':
                twice = strtoull(optarg, nullptr, 10);
                break;
            case 't':
                o.print = true;
                break;
            case 'l':
                set_log_level(LogLevel::Debug);
                break;
            default:
                return usage();
        }
    }
    if (many == one || jobs == 0 || last < first) return usage();
    return one ? run_one(o) : run_many(o, first, last, jobs, shrinking, twice, kept);
}
