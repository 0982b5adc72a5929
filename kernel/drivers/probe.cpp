#include "kernel/drivers/probe.hpp"

#include "base/format.hpp"
#include "base/log.hpp"
#include "kernel/drivers/rtc.hpp"

namespace tessera::kernel {

namespace {

constexpr uint16_t kVirtioNet = 0x1041, kVirtioRng = 0x1044;
constexpr uint32_t kNvmeClass = 0x010802;

const char* text(const PciFunction& f, char (&out)[16]) {
    PciAddress at = f.address();
    format_text(out, sizeof out, "%02x:%02x.%u", at.bus, at.device, at.function);
    return out;
}

void failed(const PciFunction& f, const char* what, Error e) {
    char place[16];
    auto why = describe(e);
    LOG(Warning, "drivers", "%s at %s is left out: %.*s", what, text(f, place),
        static_cast<int>(why.size()), why.data());
}

// Shared, because each port that is tried needs it and the first may fail to start.
struct Handler : RefCounted {
    explicit Handler(Function<void()> f) : call(std::move(f)) {}
    Function<void()> call;
};

void probe_network(PciFunction f, DriverSet& set, Ref<Handler> on_interrupt) {
    char place[16];
    if (set.network) {
        LOG(Info, "drivers", "another network port at %s is not used", text(f, place));
        return;
    }
    auto nic = VirtioNet::create(f, [on_interrupt] { on_interrupt->call(); });
    if (!nic) return failed(f, "virtio-net", nic.error());
    auto m = (*nic)->mac();
    LOG(Info, "drivers", "virtio-net at %s: %02x:%02x:%02x:%02x:%02x:%02x, frames up to %u bytes",
        text(f, place), m[0], m[1], m[2], m[3], m[4], m[5], (*nic)->max_frame());
    set.network = std::move(*nic);
}

void probe_disk(PciFunction f, DriverSet& set) {
    char place[16];
    auto disk = Nvme::create(f);
    if (!disk) return failed(f, "NVMe", disk.error());
    LOG(Info, "drivers", "NVMe at %s: %s %s, %llu MiB in blocks of %u bytes", text(f, place),
        (*disk)->model(), (*disk)->serial(),
        static_cast<unsigned long long>((*disk)->block_count() / (mib(1) / env::kBlockSize)),
        (*disk)->lba_size());
    set.disks.push_back(std::move(*disk));
}

void probe_rng(PciFunction f, DriverSet& set) {
    auto rng = VirtioRng::create(f);
    if (!rng) return failed(f, "virtio-rng", rng.error());
    set.entropy.seed_from(**rng);
}

} // namespace

DriverSet probe_devices(Platform& platform, PciConfig& config, PortIo& ports,
                        SeedSource* cpu_random, SeedSource& jitter,
                        Function<void()> on_network_interrupt) {
    DriverSet set;
    auto handler = make_ref<Handler>(std::move(on_network_interrupt));
    unsigned functions = pci_scan(config, platform, [&](PciFunction f) {
        if (f.vendor() == kVirtioVendor && f.device() == kVirtioNet)
            probe_network(f, set, handler);
        else if (f.vendor() == kVirtioVendor && f.device() == kVirtioRng)
            probe_rng(f, set);
        else if (f.class_code() == kNvmeClass)
            probe_disk(f, set);
    });
    if (cpu_random) set.entropy.seed_from(*cpu_random);
    set.entropy.seed_from(jitter);

    auto cfg = FwCfg::open(ports);
    if (cfg) set.fw_cfg = std::move(*cfg);
    auto time = read_rtc(ports);
    if (time) set.wall_clock = *time;
    LOG(Info, "drivers", "%u PCI functions, %u disks, %u entropy sources%s%s", functions,
        static_cast<unsigned>(set.disks.size()), set.entropy.sources(),
        set.fw_cfg ? ", fw_cfg" : "", set.wall_clock ? "" : "; the real-time clock makes no sense");
    if (set.entropy.sources() == 0)
        LOG(Warning, "drivers", "no strong entropy source: give the machine RDRAND or virtio-rng");
    return set;
}

} // namespace tessera::kernel
