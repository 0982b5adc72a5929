#include "tests/sim/cluster.hpp"

#include <algorithm>

#include "tests/sim/operator.hpp"

namespace tessera::sim {

namespace {

using Kind = Fault::Kind;
using ull = unsigned long long;

constexpr Nanos kComeUp = seconds(30);  // from power-on to programs everywhere
constexpr Nanos kRecover = seconds(90); // from the last fault to programs everywhere
constexpr Nanos kEnd = seconds(60);     // from the last operation until nothing is left
constexpr uint64_t kDiskBlocks = 4096;

template <typename B>
std::unique_ptr<Boot> make(Host& h) {
    return std::make_unique<B>(h);
}

} // namespace

Cluster::Cluster(const Options& options)
    : world(options.seed), options_(options), settings_(options.sizes), net_(world) {
    world.print = options.print;
    add("gpm", kGpm.value, make<GpmBoot>);
    add("gmm", kGmm.value, make<GmmBoot>);
    add("gsm", kGsm.value, make<GsmBoot>);
    uint32_t ip = 0x0a4d0064;
    for (unsigned i = 0; i < options.memories; i++)
        memories_.push_back(&add("m" + std::to_string(i + 1), ip++, make<MemoryBoot>));
    for (unsigned i = 0; i < options.storages; i++) {
        storages_.push_back(&add("s" + std::to_string(i + 1), ip++, make<StorageBoot>));
        disks_.push_back(std::make_unique<SimDisk>(world, storages_.back()->name, kDiskBlocks));
        storages_.back()->disk = disks_.back().get();
    }
    for (unsigned i = 0; i < options.processes; i++)
        processes_.push_back(&add("p" + std::to_string(i + 1), ip++, make<ProcessBoot>));
    client_ = &add("c1", 0x0a4d0010, make<ClientBoot>);
}

Cluster::~Cluster() = default;

Host& Cluster::add(std::string name, uint32_t ip, Host::Maker maker) {
    hosts_.push_back(std::make_unique<Host>(net_, std::move(name), roce::Ipv4(ip), maker));
    Host& h = *hosts_.back();
    h.settings = &settings_;
    settings_.hosts[ip] = &h;
    return h;
}

Host* Cluster::named(std::string_view name) {
    for (auto& h : hosts_)
        if (h->name == name) return h.get();
    return nullptr;
}

// ---- faults

void Cluster::trouble(const Fault& f) {
    bool matters = f.kind == Kind::Crash || f.kind == Kind::Power || f.kind == Kind::Forget ||
                   f.kind == Kind::DiskError ||
                   ((f.kind == Kind::Pause || f.kind == Kind::Stop || f.kind == Kind::Cut) &&
                    f.for_ms >= 1500);
    if (!matters) return;
    for (auto& h : hosts_)
        if (f.a == "*" || f.b == "*" || h->name == f.a || h->name == f.b) h->troubles++;
}

void Cluster::strike(size_t i) {
    const Fault& f = options_.faults[i];
    world.note("strike", i);
    active_[i] = true;
    trouble(f);
    Host* h = named(f.a);
    switch (f.kind) {
        case Kind::Crash:
        case Kind::Power:
        case Kind::Forget:
            if (!h || !h->up()) break;
            h->crash();
            if (h->disk) h->disk->reset(f.kind == Kind::Power);
            if (f.kind == Kind::Forget) h->db = nullptr;
            break;
        case Kind::Pause:
        case Kind::Stop:
            if (h) h->pause(f.kind == Kind::Pause);
            break;
        case Kind::DiskError:
            if (h && h->disk) h->disk->read_errors = h->disk->write_errors = f.amount;
            break;
        default:
            weather();
    }
    world.after(milliseconds(f.for_ms), [this, i] { relieve(i); });
}

void Cluster::relieve(size_t i) {
    const Fault& f = options_.faults[i];
    world.note("relieve", i);
    active_[i] = false;
    trouble(f); // what begins now may still suffer from it
    Host* h = named(f.a);
    switch (f.kind) {
        case Kind::Crash:
        case Kind::Power:
        case Kind::Forget:
            if (h) h->boot();
            break;
        case Kind::Pause:
        case Kind::Stop:
            if (h) h->resume();
            break;
        case Kind::DiskError:
            if (!h || !h->disk) break;
            h->disk->read_errors = h->disk->write_errors = 0;
            // After a failed log write a store refuses changes until it is mounted again.
            if (!h->up()) break;
            h->crash();
            h->disk->reset(false);
            h->boot();
            break;
        default:
            weather();
    }
}

// The conditions of every pair, from the faults that are active.
void Cluster::weather() {
    for (auto& from : hosts_)
        for (auto& to : hosts_) {
            Conditions sum;
            for (size_t i = 0; i < options_.faults.size(); i++) {
                const Fault& f = options_.faults[i];
                if (!active_[i]) continue;
                auto is = [](const std::string& name, const Host& h) {
                    return name == "*" || name == h.name;
                };
                std::string b = f.b.empty() ? "*" : f.b;
                bool hit =
                    (is(f.a, *from) && is(b, *to)) || (!f.one_way && is(f.a, *to) && is(b, *from));
                if (!hit) continue;
                Conditions c;
                c.cut = f.kind == Kind::Cut;
                if (f.kind == Kind::Loss) c.loss = f.amount;
                if (f.kind == Kind::Duplicate) c.duplicate = f.amount;
                if (f.kind == Kind::Reorder) c.reorder = f.amount;
                if (f.kind == Kind::Corrupt) c.corrupt = f.amount;
                if (f.kind == Kind::Delay) c.delay = microseconds(f.amount);
                sum.add(c);
            }
            net_.conditions(from->station, to->station) = sum;
        }
}

// ---- checks

void Cluster::check_often() {
    for (Host* m : memories_)
        if (auto* boot = m->as<MemoryBoot>(); boot && boot->monitor) boot->check();
    world.after(milliseconds(50), [this] { check_often(); });
}

bool Cluster::all_joined() {
    for (auto* kind : {&processes_, &memories_, &storages_})
        for (Host* h : *kind) {
            auto* boot = h->as<Boot>();
            if (!boot || !boot->member || !boot->member->joined()) return false;
        }
    return true;
}

bool Cluster::working() {
    return all_joined() && operator_->all_running();
}

// What fsck says, data included.
void Cluster::check_stores() {
    size_t waiting = storages_.size();
    for (Host* h : storages_)
        h->as<StorageBoot>()->store->check({.data = true}, [&waiting, h, this](auto r) {
            waiting--;
            if (!r)
                world.fail("%s: check: %s", h->name.c_str(), describe(r.error()).data());
            else if (!r->clean())
                world.fail("%s: %s", h->name.c_str(), r->problems.front().c_str());
        });
    for (Host* h : storages_)
        world.wake(*h);
    if (!world.run_while_not([&] { return waiting == 0; }, kEnd))
        world.fail("checking the stores takes too long");
}

void Cluster::check_nothing_left() {
    auto left = [&](Host* h, const char* what, uint64_t n) {
        if (n) world.fail("%s: %llu %s left", h->name.c_str(), static_cast<ull>(n), what);
    };
    for (Host* h : processes_) {
        auto* p = h->as<ProcessBoot>();
        left(h, "lines", p->cache->counters().lines);
        left(h, "frames", p->frames.counts().total - p->frames.counts().free);
        left(h, "mounts", p->mounts.size());
    }
    for (Host* h : memories_) {
        auto* m = h->as<MemoryBoot>();
        mmon::MemoryCounters n = m->monitor->counters();
        left(h, "frames in objects", n.frames);
        left(h, "objects", n.objects);
        left(h, "sessions", n.sessions);
        left(h, "credits", n.credits);
        uint64_t used = m->frames.counts().total - m->frames.counts().free;
        left(h, "frames", used - m->home->counters().cached_pages);
    }
}

// ---- the run

void Cluster::run(Outcome& outcome) {
    Dice dice(options_.seed, "cluster");
    if (options_.draw) options_.faults = drawn_faults(options_);
    outcome.faults = options_.faults;
    active_.resize(options_.faults.size());
    for (auto& h : hosts_)
        world.after(milliseconds(static_cast<int64_t>(dice.below(400))), [&h] { h->boot(); });
    check_often();
    world.run_until(world.now() + milliseconds(500));
    auto op = std::make_unique<Operator>(*this, *client_->as<ClientBoot>(), options_.vnodes);
    operator_ = op.get();
    client_->as<ClientBoot>()->loads.push_back(std::move(op));
    world.wake(*client_);
    work_and_stop();
    outcome.failure = world.failure();
    outcome.hash = world.hash();
    outcome.notes = world.notes;
    outcome.simulated = world.now() - seconds(1);
    outcome.pages = pages_;
    outcome.files = files_;
    outcome.frames = net_.delivered;
}

void Cluster::work_and_stop() {
    auto must = [&](bool held, const char* what, Nanos limit) {
        if (!held)
            world.fail("%s takes more than %lld s", what,
                       static_cast<long long>(limit.value / 1'000'000'000));
        return held && !world.failed();
    };
    if (!must(world.run_while_not([&] { return working(); }, kComeUp), "coming up", kComeUp))
        return;
    for (size_t i = 0; i < options_.faults.size(); i++)
        world.after(milliseconds(options_.faults[i].at_ms), [this, i] { strike(i); });
    world.note("work");
    world.run_until(world.now() + options_.work + milliseconds(1));
    world.note("calm");
    if (!must(world.run_while_not([&] { return working(); }, kRecover, milliseconds(100)),
              "working again after the faults", kRecover))
        return;
    uint64_t before = operator_->least_operations();
    if (!must(world.run_while_not(
                  [&] { return working() && operator_->least_operations() > before + 100; },
                  kRecover, milliseconds(100)),
              "100 more operations everywhere after the faults", kRecover))
        return;
    operator_->stop();
    if (!must(world.run_while_not([&] { return operator_->all_ended(); }, kEnd),
              "ending all programs", kEnd))
        return;
    check_stores();
    if (world.failed()) return;
    operator_->remove_vnodes();
    if (!must(world.run_while_not([&] { return operator_->all_removed(); }, kEnd),
              "removing the vNodes", kEnd))
        return;
    world.run_until(world.now() + seconds(10));
    if (!world.failed()) check_nothing_left();
}

FaultList drawn_faults(const Options& options) {
    Targets t;
    auto add = [&](const char* kind, unsigned n) {
        for (unsigned i = 1; i <= n; i++)
            t.components.push_back(kind + std::to_string(i));
    };
    add("p", options.processes), add("m", options.memories), add("s", options.storages);
    for (unsigned i = 1; i <= options.storages; i++)
        t.storage.push_back("s" + std::to_string(i));
    t.managers = {"gpm", "gmm", "gsm"};
    return draw_faults(options.seed, t, options.work.value / 1'000'000);
}

Outcome run(const Options& options) {
    Outcome o;
    o.seed = options.seed;
    auto* c = new Cluster(options); // machines that run are not taken apart
    static auto* kept = new std::vector<Cluster*>;
    kept->push_back(c);
    c->run(o);
    return o;
}

} // namespace tessera::sim
