#include "tools/tess/process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <thread>

namespace tessera::tess {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

// Start time in clock ticks since boot; 0 when there is no such process or it is a zombie.
unsigned long long start_time(pid_t pid) {
    char path[40], text[1024];
    std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    const char* rest = std::strrchr(text, ')'); // the name may contain anything
    char state = 0;
    unsigned long long start = 0;
    if (!rest ||
        std::sscanf(
            rest + 1,
            " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
            &state, &start) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : start;
}

std::vector<char*> pointers(const Arguments& arguments) {
    std::vector<char*> p;
    for (const std::string& a : arguments)
        p.push_back(const_cast<char*>(a.c_str()));
    p.push_back(nullptr);
    return p;
}

void default_signals() {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int s : {SIGPIPE, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGHUP, SIGWINCH})
        signal(s, SIG_DFL);
}

// The child's half of start(); only async-signal-safe calls and stdio on a private buffer.
[[noreturn]] void become(char** argv, int in, int out, int pidfile, int failure) {
    setsid();
    default_signals();
    char text[64];
    pid_t self = getpid();
    int n = std::snprintf(text, sizeof text, "%d %llu\n", static_cast<int>(self), start_time(self));
    if (write(pidfile, text, static_cast<size_t>(n)) == n) {
        dup2(in, 0);
        dup2(out, 1);
        dup2(out, 2);
        execv(argv[0], argv);
    }
    int e = errno;
    (void)!write(failure, &e, sizeof e);
    _exit(127);
}

} // namespace

Outcome<pid_t> start(const Paths& paths, const std::string& name, const Arguments& arguments) {
    std::string log = paths.log(name), pid_path = paths.pid(name);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int pidfile = open(pid_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int failure[2] = {-1, -1};
    if (in < 0 || out < 0 || pidfile < 0 || pipe2(failure, O_CLOEXEC) != 0) {
        std::string why = std::strerror(errno);
        for (int fd : {in, out, pidfile})
            if (fd >= 0) close(fd);
        return Trouble("cannot start " + name + ": " + why);
    }
    std::vector<char*> argv = pointers(arguments);
    pid_t pid = fork();
    if (pid == 0) become(argv.data(), in, out, pidfile, failure[1]);
    int error = pid < 0 ? errno : 0;
    for (int fd : {in, out, pidfile, failure[1]})
        close(fd);
    if (pid > 0 && read(failure[0], &error, sizeof error) != sizeof error) error = 0;
    close(failure[0]);
    if (error != 0) {
        if (pid > 0) waitpid(pid, nullptr, 0);
        unlink(pid_path.c_str());
        return Trouble("cannot start " + arguments[0] + ": " + std::strerror(error));
    }
    return pid;
}

std::optional<pid_t> running(const Paths& paths, const std::string& name) {
    std::ifstream f(paths.pid(name));
    int pid = 0;
    unsigned long long started = 0;
    if (!(f >> pid >> started) || pid <= 1 || started == 0) return {};
    waitpid(pid, nullptr, WNOHANG); // if it is our own child, so that it does not stay a zombie
    if (start_time(pid) != started) return {};
    return pid;
}

std::vector<std::string> known(const Paths& paths) {
    std::vector<std::string> names;
    DIR* d = opendir((paths.state + "/run").c_str());
    if (!d) return names;
    while (dirent* e = readdir(d)) {
        std::string n = e->d_name;
        if (n.ends_with(".pid")) names.push_back(n.substr(0, n.size() - 4));
    }
    closedir(d);
    std::sort(names.begin(), names.end());
    return names;
}

void send_signal(const Paths& paths, const std::string& name, int signal) {
    if (auto pid = running(paths, name)) kill(*pid, signal);
}

unsigned stop(const Paths& paths, const std::vector<std::string>& names, milliseconds grace) {
    std::vector<std::string> alive;
    for (const std::string& n : names)
        if (running(paths, n)) alive.push_back(n);
    unsigned lived = static_cast<unsigned>(alive.size());
    auto wait_until = [&](SteadyClock::time_point deadline) {
        for (milliseconds nap{1};; nap = std::min(nap * 2, milliseconds(50))) {
            std::erase_if(alive, [&](auto& n) { return !running(paths, n); });
            if (alive.empty() || SteadyClock::now() >= deadline) return;
            std::this_thread::sleep_for(nap);
        }
    };
    for (const std::string& n : alive) {
        send_signal(paths, n, SIGTERM);
        send_signal(paths, n, SIGCONT); // a stopped one could not end
    }
    wait_until(SteadyClock::now() + grace);
    for (const std::string& n : alive)
        send_signal(paths, n, SIGKILL);
    wait_until(SteadyClock::now() + std::chrono::seconds(5));
    for (const std::string& n : names)
        if (!running(paths, n)) unlink(paths.pid(n).c_str());
    return lived;
}

Outcome<std::string> run_and_wait(const Arguments& arguments, milliseconds limit) {
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0)
        return Trouble("cannot start " + arguments[0] + ": " + std::strerror(errno));
    std::vector<char*> argv = pointers(arguments);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        default_signals();
        int in = open("/dev/null", O_RDONLY);
        dup2(in, 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        execvp(argv[0], argv.data());
        dprintf(2, "%s\n", std::strerror(errno));
        _exit(127);
    }
    close(out[1]);
    std::string text;
    auto deadline = SteadyClock::now() + limit;
    bool late = pid < 0;
    while (!late) {
        auto left = std::chrono::duration_cast<milliseconds>(deadline - SteadyClock::now()).count();
        pollfd p{out[0], POLLIN, 0};
        if (left <= 0 || poll(&p, 1, static_cast<int>(left)) == 0) {
            late = true;
            break;
        }
        char b[4096];
        ssize_t n = read(out[0], b, sizeof b);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        if (text.size() < 65536) text.append(b, static_cast<size_t>(n));
    }
    close(out[0]);
    if (pid < 0) return Trouble("cannot start " + arguments[0] + ": " + std::strerror(errno));
    if (late) kill(-pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    if (late)
        return Trouble(arguments[0] + " did not finish within " +
                       std::to_string(limit.count() / 1000) + " s");
    if (status != 0) return Trouble(arguments[0] + " failed: " + text);
    return text;
}

std::optional<std::string> find_program(const std::string& name) {
    const char* path = std::getenv("PATH");
    std::string rest = path ? path : "/usr/local/bin:/usr/bin:/bin";
    while (true) {
        size_t colon = rest.find(':');
        std::string full = rest.substr(0, colon) + "/" + name;
        if (access(full.c_str(), X_OK) == 0) return full;
        if (colon == std::string::npos) return {};
        rest.erase(0, colon + 1);
    }
}

Outcome<std::optional<FileLock>> FileLock::take(const std::string& path) {
    int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return Trouble("cannot open " + path + ": " + std::strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return std::optional<FileLock>();
    }
    return std::optional<FileLock>(FileLock(fd));
}

FileLock::~FileLock() {
    if (fd_ >= 0) close(fd_);
}

std::string last_lines(const std::string& path, unsigned count) {
    std::ifstream f(path);
    std::deque<std::string> lines;
    for (std::string line; std::getline(f, line);) {
        std::erase_if(line, [](char c) { return static_cast<unsigned char>(c) < 32 && c != '\t'; });
        if (line.empty()) continue;
        lines.push_back(line);
        if (lines.size() > count) lines.pop_front();
    }
    std::string text;
    for (const std::string& l : lines)
        text += "  " + l + "\n";
    return text;
}

} // namespace tessera::tess
