#include "tools/tess/plan.hpp"

#include "tools/fabric/control.hpp"

namespace tessera::tess {
namespace {

using fabric::ipv4_text;

std::string mac_of(uint32_t ip) {
    return fabric::mac_text(
        {0x02, 0x54, 0x45, 0x53, static_cast<uint8_t>(ip >> 8), static_cast<uint8_t>(ip)});
}

std::string settings_of(const ClusterConfig& c, const ComponentConfig& one, uint32_t ip,
                        const std::string& key) {
    std::string s = "# Written by tess up.\n";
    auto line = [&](const char* name, const std::string& value) {
        s += std::string(name) + "=" + value + "\n";
    };
    line("role", std::string(role_word(one.kind)));
    line("name", one.name);
    line("ip", ipv4_text(ip));
    line("network", ipv4_text(c.network) + "/16");
    for (const char* manager : {"gpm", "gmm", "gsm"})
        line(manager, ipv4_text(manager_ip(c, manager)));
    line("key", key);
    line("failure_domain", one.failure_domain);
    if (one.kind == Kind::Process) line("excache", std::to_string(one.excache));
    return s;
}

Arguments qemu_arguments(const ComponentConfig& one, uint32_t ip, const Paths& p,
                         const Installation& i, const Machine& m) {
    Arguments a = {m.qemu,
                   "-name",
                   one.name,
                   "-nodefaults",
                   "-no-user-config",
                   "-display",
                   "none",
                   "-no-reboot",
                   "-M",
                   "q35",
                   "-rtc",
                   "base=utc",
                   "-smp",
                   std::to_string(one.cpus),
                   "-m",
                   std::to_string(one.memory >> 20) + "M"};
    auto add = [&](std::initializer_list<std::string> more) { a.insert(a.end(), more); };
    if (m.kvm)
        add({"-accel", "kvm", "-cpu", "host"});
    else
        add({"-accel", "tcg,thread=multi", "-cpu", "max,la57=off"});
    if (one.uefi) add({"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + m.uefi});
    // The serial line goes to the log that QEMU's own complaints go to.
    add({"-chardev", "file,id=serial0,append=on,path=" + p.log(one.name), "-serial",
         "chardev:serial0"});
    add({"-qmp", "unix:" + p.qmp(one.name) + ",server=on,wait=off"});
    add({"-fw_cfg", "name=opt/tessera/config,file=" + p.settings(one.name)});
    add({"-drive", "if=none,id=boot,format=raw,readonly=on,file=" + i.share + "/tessera.img",
         "-device", "virtio-blk-pci,drive=boot,bootindex=0"});
    std::string socket = p.sockets + "/" + one.name;
    add({"-netdev",
         "dgram,id=net0,local.type=unix,local.path=" + socket +
             ".g,remote.type=unix,remote.path=" + socket + ".s",
         "-device",
         "virtio-net-pci,disable-legacy=on,netdev=net0,mac=" + mac_of(ip) +
             ",host_mtu=9000,ioeventfd=off,romfile="});
    if (one.kind == Kind::Storage)
        add({"-drive",
             "if=none,id=disk,format=raw,file=" + p.disk(one.name) +
                 ",cache=" + (one.disk_writeback ? "writeback" : "unsafe"),
             "-device", "nvme,drive=disk,serial=" + one.name});
    return a;
}

} // namespace

uint32_t manager_ip(const ClusterConfig& c, const std::string& name) {
    return c.network + (name == "gpm" ? 1 : name == "gmm" ? 2 : 3);
}
Port client_port(const ClusterConfig& c, unsigned number) {
    return {"c" + std::to_string(number), c.network + 64 + number};
}
uint32_t component_ip(const ClusterConfig& c, size_t index) {
    return c.network + 256 + 1 + static_cast<uint32_t>(index);
}

Outcome<Plan> make_plan(const ClusterConfig& c, const Paths& p, const Installation& i,
                        const Machine& m, const std::string& key) {
    Plan plan;
    for (const char* name : {"gpm", "gmm", "gsm"})
        plan.ports.push_back({name, manager_ip(c, name)});
    for (unsigned n = 0; n < kClientPorts; n++)
        plan.ports.push_back(client_port(c, n));
    for (size_t n = 0; n < c.components.size(); n++)
        plan.ports.push_back({c.components[n].name, component_ip(c, n)});

    std::string control = "# Written by tess up; the language is tools/fabric/control.hpp.\n";
    for (const Port& port : plan.ports)
        control += "port add " + port.name + " mac=" + mac_of(port.ip) +
                   " ip=" + ipv4_text(port.ip) + "\n";
    for (const LinkConfig& link : c.links)
        control += "set " + link.port + " " + link.impairment + "\n";
    plan.files.push_back({p.ports(), control});
    plan.fabric = {"fabric",
                   {i.bin + "/fabric", "--dir", p.sockets, "--config", p.ports(), "--seed",
                    std::to_string(c.fabric_seed), "--halt-poll",
                    c.halt_poll == HaltPolling::On    ? "on"
                    : c.halt_poll == HaltPolling::Off ? "off"
                                                      : "auto"}};

    for (const char* name : {"gpm", "gmm", "gsm"}) {
        std::string socket = p.sockets + "/" + name;
        plan.managers.push_back(
            {name,
             {i.bin + "/" + name, "--dir", p.state, "--ip", ipv4_text(manager_ip(c, name)),
              "--fabric-socket", socket + ".s", "--own-socket", socket + ".g", "--key-file",
              p.key(), "--gpm", ipv4_text(manager_ip(c, "gpm")), "--gmm",
              ipv4_text(manager_ip(c, "gmm")), "--gsm", ipv4_text(manager_ip(c, "gsm"))}});
    }

    for (size_t n = 0; n < c.components.size(); n++) {
        const ComponentConfig& one = c.components[n];
        if (one.uefi && m.uefi.empty())
            return Trouble("component '" + one.name +
                           "' wants firmware = \"uefi\", but no UEFI firmware is installed: "
                           "apt-get install ovmf");
        plan.files.push_back({p.settings(one.name), settings_of(c, one, component_ip(c, n), key)});
        plan.components.push_back({one.name, qemu_arguments(one, component_ip(c, n), p, i, m)});
    }
    return plan;
}

} // namespace tessera::tess
