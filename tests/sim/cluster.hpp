// A whole cluster and one run of it: hosts, the operator who creates vNodes and starts programs
// again after a crash, faults, workloads, and the checks at the end.
//
// A run: everything boots and joins; vNodes are created and mounted on every pComponent; work goes
// on for `work` while the faults strike; then the faults are over and within bounded time
// everything must work again; work stops, everything it made is given back, and nothing may be
// left.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/faults.hpp"
#include "tests/sim/files.hpp"
#include "tests/sim/pages.hpp"
#include "tests/sim/roles.hpp"

namespace tessera::sim {

struct Options {
    uint64_t seed = 1;
    unsigned processes = 2, memories = 3, storages = 2, vnodes = 2;
    Nanos work = seconds(4);
    bool print = false; // the trace
    // As drawn from the seed unless given.
    bool draw = true;
    FaultList faults;
    Settings sizes;
};

struct Outcome {
    uint64_t seed = 0;
    uint64_t hash = 0;
    uint64_t notes = 0; // what the hash is over
    Nanos simulated{};
    PageStats pages;
    FileStats files;
    uint64_t frames = 0;
    std::string failure; // empty: passed
    FaultList faults;
};

Outcome run(const Options& options);
// What run() would draw.
FaultList drawn_faults(const Options& options);

class Operator;

class Cluster {
  public:
    explicit Cluster(const Options& options);
    ~Cluster();
    void run(Outcome& outcome);

    World world;

  private:
    friend class Operator;
    Host& add(std::string name, uint32_t ip, Host::Maker maker);
    Host* named(std::string_view name);
    void strike(size_t index);
    void relieve(size_t index);
    void weather();
    void trouble(const Fault& f);
    void check_often();
    bool working();
    bool all_joined();
    void check_stores();
    void check_nothing_left();
    void work_and_stop();

    Options options_;
    Settings settings_;
    SimNet net_;
    std::vector<std::unique_ptr<SimDisk>> disks_;
    std::vector<std::unique_ptr<Host>> hosts_;
    std::vector<Host*> processes_, memories_, storages_;
    Host* client_ = nullptr;
    Operator* operator_ = nullptr; // owned by the client's boot
    std::vector<bool> active_;     // faults
    PageStats pages_;
    FileStats files_;
    // By pComponent and vNode: files outlive machines.
    std::map<std::pair<std::string, uint32_t>, FileModel> file_models_;
};

} // namespace tessera::sim
