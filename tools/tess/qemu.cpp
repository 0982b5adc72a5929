#include "tools/tess/qemu.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace tessera::tess {
namespace {

using std::chrono::milliseconds;

bool cpu_has_virtualisation() {
    std::ifstream f("/proc/cpuinfo");
    for (std::string line; std::getline(f, line);)
        if (line.starts_with("flags"))
            return (line + " ").find(" vmx ") != std::string::npos ||
                   (line + " ").find(" svm ") != std::string::npos;
    return false;
}

// Boots the image with KVM and no settings; true as soon as it prints anything.
bool kvm_boots(const std::string& qemu, const std::string& image, milliseconds limit) {
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0) return false;
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(out[1], 1);
        dup2(null, 2);
        std::string drive = "if=none,id=boot,format=raw,readonly=on,file=" + image;
        execl(qemu.c_str(), "qemu", "-nodefaults", "-no-user-config", "-display", "none",
              "-no-reboot", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "128M", "-serial",
              "stdio", "-drive", drive.c_str(), "-device", "virtio-blk-pci,drive=boot,bootindex=0",
              static_cast<char*>(nullptr));
        _exit(127);
    }
    close(out[1]);
    pollfd p{out[0], POLLIN, 0};
    char byte;
    bool works =
        pid > 0 && poll(&p, 1, static_cast<int>(limit.count())) == 1 && read(out[0], &byte, 1) == 1;
    close(out[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    return works;
}

} // namespace

Outcome<Machine> find_machine(Accelerator wanted, const Installation& installation,
                              std::string& note) {
    Machine m;
    auto qemu = find_program("qemu-system-x86_64");
    if (!qemu)
        return Trouble(
            "qemu-system-x86_64 is not in PATH: apt-get install --no-install-recommends "
            "qemu-system-x86");
    m.qemu = *qemu;
    auto version = run_and_wait({m.qemu, "--version"}, milliseconds(10'000));
    if (!version) return Trouble(version.error());
    int major = 0, minor = 0;
    size_t at = version->find("version ");
    if (at == std::string::npos ||
        std::sscanf(version->c_str() + at, "version %d.%d", &major, &minor) != 2)
        return Trouble(m.qemu + " does not say its version; QEMU 7.2 or later is needed");
    if (major < 7 || (major == 7 && minor < 2))
        return Trouble(m.qemu + " is version " + std::to_string(major) + "." +
                       std::to_string(minor) + "; 7.2 or later is needed (for -netdev dgram)");

    for (const char* path : {"/usr/share/ovmf/OVMF.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd",
                             "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
                             "/usr/share/edk2/ovmf/OVMF_CODE.fd"})
        if (m.uefi.empty() && access(path, R_OK) == 0) m.uefi = path;

    if (wanted == Accelerator::Tcg) return m;
    std::string why;
    if (access("/dev/kvm", R_OK | W_OK) != 0)
        why = "/dev/kvm is not there or not yours to use";
    else if (!cpu_has_virtualisation())
        why = "/dev/kvm exists, but this CPU has neither vmx nor svm";
    else if (!kvm_boots(m.qemu, installation.share + "/tessera.img", milliseconds(5000)))
        why = "a test guest printed nothing within 5 s under KVM";
    m.kvm = why.empty();
    if (wanted == Accelerator::Kvm && !m.kvm)
        return Trouble("accelerator = \"kvm\", but KVM does not work here: " + why);
    if (!m.kvm) note = "no KVM (" + why + "): using TCG";
    return m;
}

Outcome<std::string> qmp(const std::string& socket_path, const std::string& command,
                         const std::string& arguments) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    if (socket_path.size() >= sizeof a.sun_path)
        return Trouble("the path " + socket_path + " is too long for a socket");
    std::memcpy(a.sun_path, socket_path.c_str(), socket_path.size() + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    timeval limit{5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) {
        close(fd);
        return Trouble("cannot reach QEMU's control socket " + socket_path + ": " +
                       std::strerror(errno));
    }
    std::string text = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"" + command + "\"" +
                       (arguments.empty() ? "" : ",\"arguments\":" + arguments) + "}\n";
    (void)!send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    std::string got;
    int answers = 0;
    char b[4096];
    for (ssize_t n; (n = read(fd, b, sizeof b)) > 0;) {
        got.append(b, static_cast<size_t>(n));
        for (size_t end; (end = got.find('\n')) != std::string::npos; got.erase(0, end + 1)) {
            std::string line = got.substr(0, end);
            bool failed = line.find("\"error\"") != std::string::npos;
            if (!failed && line.find("\"return\"") == std::string::npos)
                continue; // greeting, events
            if (++answers < 2) continue;
            close(fd);
            if (failed) return Trouble("QEMU refused " + command + ": " + line);
            return line;
        }
    }
    close(fd);
    if (command == "quit") return std::string("{}"); // it may go before it answers
    return Trouble("QEMU did not answer " + command);
}

} // namespace tessera::tess
