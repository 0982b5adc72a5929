#include "kernel/node/component.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/sched/scheduler.hpp"
#include "kernel/sync/thread.hpp"
#include "net/schema/opcodes.hpp"

namespace tessera::node {
namespace {

Component* the_component = nullptr; // for the poll hook, which has no argument

constexpr Nanos kStepFor = microseconds(80); // longest, while frames keep coming

} // namespace

Nanos MachineClock::now() {
    return kernel::arch::now();
}

void RealTime::start(int64_t wall_seconds) {
    offset_.store(wall_seconds * 1'000'000'000 - kernel::arch::now().value);
}

void RealTime::follow(int64_t realtime_ns) {
    int64_t offset = realtime_ns - kernel::arch::now().value;
    int64_t old = offset_.load();
    // Forward at once; backward never: an offset that is too large is kept until time catches up.
    if (offset > old) offset_.store(offset);
}

int64_t RealTime::now() {
    return kernel::arch::now().value + offset();
}

void RoleMonitor::on_fenced_self() {
    LOG(Failure, "join",
        "this incarnation has been declared dead and fenced; starting again as a new one");
    kernel::arch::reset();
}

void RoleMonitor::on_cluster_time(int64_t realtime_ns) {
    component_.real_time().follow(realtime_ns);
}

void RoleMonitor::on_option(std::string_view name, std::string_view value, cluster::Done done) {
    if (name == "echo") return component_.measure_echo(value, std::move(done));
    done(std::unexpected(Error::Unsupported));
}

Result<void> Component::read_settings() {
    std::string problem;
    auto parse = [&](Bytes text, const char* where) -> Result<void> {
        Result<void> r = parse_settings(text_of(text), settings_, problem);
        if (!r) LOG(Failure, "boot", "%s, %s", where, problem.c_str());
        return r;
    };
    Bytes module = boot::module_bytes("component.cfg");
    if (!module.empty()) TRY(parse(module, "boot module component.cfg"));
    if (devices_.fw_cfg) {
        auto file = devices_.fw_cfg->read_file("opt/tessera/config", kib(64));
        if (file) TRY(parse(*file, "fw_cfg file opt/tessera/config"));
    }
    std::string_view line = boot::boot_info().command_line.view();
    for (std::string_view name :
         {"role", "name", "ip", "gpm", "gmm", "gsm", "failure_domain", "excache"}) {
        std::string_view value = boot::command_line_option(line, name);
        if (value.empty()) continue;
        std::string setting = std::string(name) + "=" + std::string(value);
        TRY(parse(bytes_of(std::string_view(setting)), "command line"));
    }
    Result<void> complete = check_settings(settings_, problem);
    if (!complete)
        LOG(Failure, "boot", "%s (fw_cfg opt/tessera/config or boot module component.cfg)",
            problem.c_str());
    return complete;
}

Result<Own<Component>> Component::create() {
    Own<Component> c(new Component);
    the_component = c.get();
    c->devices_ = kernel::probe_devices([] {}); // the poll hook runs after every interrupt
    TRY(c->read_settings());
    if (!c->devices_.network) {
        LOG(Failure, "boot", "no network port found: the component needs a virtio-net device");
        return std::unexpected(Error::NoDevice);
    }
    if (c->devices_.entropy.sources() == 0)
        LOG(Warning, "boot",
            "no strong entropy source (RDRAND, virtio-rng): keys rest on timing jitter");
    if (c->devices_.wall_clock) c->real_time_.start(*c->devices_.wall_clock);
    std::byte seed[64];
    c->devices_.entropy.fill(seed);
    c->random_ = std::make_unique<cluster::Csprng>(Bytes(seed));
    // Grows from boot to boot (protocols.md section 5: fencing one fences what is older), and
    // cannot be guessed.
    uint64_t booted = c->devices_.wall_clock ? static_cast<uint64_t>(*c->devices_.wall_clock) : 0;
    if (!booted)
        LOG(Warning, "boot", "no wall clock: a restart may be taken for an older incarnation");
    c->incarnation_ = Incarnation(booted << 24 | (c->random_->next() & 0xffffff) | 1);

    roce::SoftPortOptions port;
    port.address = c->settings_.address;
    c->echo_ = std::make_unique<RawEcho>(*c->devices_.network, c->clock_, port.address);
    port.other = c->echo_.get();
    c->port_ = std::make_unique<roce::SoftPort>(*c->devices_.network, c->clock_, *c->random_, port);
    c->rping_ = std::make_unique<roce::RpingResponder>(*c->port_, c->clock_);
    TRY(c->rping_->start());
    rpc::NodeOptions node;
    node.key = c->settings_.key;
    node.self = {.kind = c->settings_.role, .node = {}, .incarnation = c->incarnation_};
    c->node_ = TRY(rpc::Node::create(*c->port_, c->clock_, *c->random_, node));
    TRY(c->node_->listen());
    return c;
}

Result<void> Component::start(RoleMonitor& monitor) {
    monitor_ = &monitor;
    cluster::MembershipOptions options;
    options.kind = settings_.role;
    options.name = std::string_view(settings_.name);
    options.self = settings_.address;
    options.manager = settings_.role == rpc::NodeKind::Memory    ? settings_.gmm
                      : settings_.role == rpc::NodeKind::Storage ? settings_.gsm
                                                                 : settings_.gpm;
    options.gpm = settings_.gpm;
    options.failure_domain = std::string_view(settings_.failure_domain);
    options.boot_loader = boot::boot_info().loader.view();
    options.incarnation = incarnation_;
    node_->handle(schema::kEcho,
                  [](const rpc::Identity&, Bytes request, rpc::Responder r) { r.reply(request); });
    node_->handle(schema::kStats, [this](const rpc::Identity&, Bytes, rpc::Responder r) {
        std::string text;
        common_stats(text);
        monitor_->stats(text);
        r.reply(bytes_of(std::string_view(text)));
    });
    membership_ = TRY(cluster::Membership::create(*node_, clock_, *random_, options, monitor));
    kernel::set_idle_poll(&Component::poll_hook);
    kernel::request_poll();
    return {};
}

void Component::common_stats(std::string& out) {
    auto line = [&](const char* name, uint64_t v) {
        out += name;
        out += ' ';
        out += std::to_string(v);
        out += '\n';
    };
    kernel::FrameStats frames = kernel::frame_stats();
    line("frames_total", frames.total);
    line("frames_free", frames.free);
    kernel::LinkCounters link = devices_.network->counters();
    line("link_rx_frames", link.rx_frames);
    line("link_tx_frames", link.tx_frames);
    line("link_rx_drops", link.rx_drops);
    line("link_interrupts", link.interrupts);
    roce::for_each_counter(port_->counters(), line);
    line("rping_rounds", rping_->pings());
    line("echo_4k_count", echo_->times().count());
    line("echo_4k_p50_ns", static_cast<uint64_t>(echo_->times().percentile(500).value));
    line("echo_4k_p99_ns", static_cast<uint64_t>(echo_->times().percentile(990).value));
    line("uptime_ns", static_cast<uint64_t>(clock_.now().value));
    uint64_t idle = 0;
    for (unsigned cpu = 0; cpu < kernel::arch::cpu_count(); cpu++)
        idle += static_cast<uint64_t>(kernel::cpu_times(cpu).idle.value);
    line("idle_ns", idle);
}

void Component::measure_echo(std::string_view value, cluster::Done done) {
    size_t colon = value.find(':');
    if (colon == std::string_view::npos) return done(std::unexpected(Error::InvalidArgument));
    std::string_view name = value.substr(0, colon), digits = value.substr(colon + 1);
    uint32_t rounds = 0;
    for (char c : digits) {
        if (c < '0' || c > '9' || rounds > RawEcho::kMostRounds)
            return done(std::unexpected(Error::InvalidArgument));
        rounds = rounds * 10 + static_cast<uint32_t>(c - '0');
    }
    for (const cluster::Component& other : membership_->directory().components()) {
        if (other.name.view() != name) continue;
        Result<void> started = echo_->measure(other.ip, rounds, [this](Result<void> how) {
            cluster::Done answer = std::move(echo_done_);
            answer(how);
        });
        if (!started) return done(started);
        echo_done_ = std::move(done);
        return;
    }
    done(std::unexpected(Error::NoDevice));
}

void Component::run() {
    power_off_.wait();
    kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(50)); // the last reply leaves
    kernel::arch::power_off();
}

void Component::power_off_soon(Result<void> flushed) {
    if (flushed)
        LOG(Info, "boot", "everything is written out; powering off");
    else
        LOG(Failure, "boot", "powering off, but not everything could be written out: %s",
            describe(flushed.error()).data());
    power_off_.signal();
}

void Component::poll_soon() {
    kernel::request_poll();
}

Nanos Component::poll_hook() {
    return the_component->poll_from_thread();
}

Nanos Component::poll_from_thread() {
    // One step at a time is enough; one that is posted looks at everything when it runs.
    if (!step_posted_.exchange(true)) {
        if (!shard_.post([this] { step(); })) step_posted_.store(false);
    }
    return Nanos{next_deadline_.load()};
}

void Component::step() {
    step_posted_.store(false);
    kernel::VirtioNet& nic = *devices_.network;
    nic.disable_interrupts();
    Nanos end = clock_.now() + kStepFor;
    bool again = false;
    for (;;) {
        port_->poll();
        echo_->poll();
        node_->poll();
        membership_->poll();
        again = monitor_->poll() || nic.receive_ready();
        // What was posted above is sent by another poll; what the link has no room for waits.
        if (!again && !port_->pending()) break;
        if (clock_.now() >= end) break;
    }
    again = nic.enable_interrupts_and_check() || again;
    Nanos next =
        std::min({port_->next_deadline(), nic.reap_deadline(clock_.now()), echo_->next_deadline(),
                  node_->next_deadline(), membership_->next_deadline(), monitor_->next_deadline()});
    next_deadline_.store(again ? 0 : next.value);
    if (again) kernel::request_poll();
}

} // namespace tessera::node
