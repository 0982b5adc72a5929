#include "tools/tess/guardian.hpp"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "net/schema/process.hpp"
#include "tools/tess/client.hpp"

namespace tessera::tess {

Guardian::Guardian(const Paths& paths, const ClusterConfig& config) {
    static_assert(sizeof(Ward) <= PIPE_BUF); // so it is read whole
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    child_ = fork();
    if (child_ == 0) {
        setsid();
        for (int s = 1; s < NSIG; s++)
            signal(s, SIG_IGN); // those of a terminal that hangs up, of a user who kills by name
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, nullptr);
        int terminal = isatty(0) ? fcntl(0, F_DUPFD_CLOEXEC, 10) : -1;
        int from = fcntl(ends[0], F_DUPFD_CLOEXEC, 10);
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; fd++)
            dup2(null, fd);
        dup3(from, 3, O_CLOEXEC);
        if (terminal >= 0) dup3(terminal, 4, O_CLOEXEC);
        close_range(terminal >= 0 ? 5 : 4, ~0u, 0); // our sockets and locks among them
        watch(3, terminal >= 0 ? 4 : -1, paths, config);
    }
    close(ends[0]);
    pipe_ = ends[1];
    if (child_ > 0) return;
    close(pipe_);
    pipe_ = -1;
}

Guardian::~Guardian() {
    ward_.over = true;
    tell();
    if (pipe_ >= 0) close(pipe_);
    while (child_ > 0 && waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

void Guardian::program_started(uint32_t ip, uint64_t console) {
    ward_.ip = ip;
    ward_.console = console;
    tell();
}

void Guardian::terminal_changed(const termios& before) {
    ward_.raw = true;
    ward_.before = before;
    tell();
}

void Guardian::terminal_restored() {
    ward_.raw = false;
    tell();
}

void Guardian::tell() {
    if (pipe_ < 0) return;
    sigset_t pipe, old; // it may be gone, which is nothing to die of
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigprocmask(SIG_BLOCK, &pipe, &old);
    (void)!write(pipe_, &ward_, sizeof ward_);
    timespec now{};
    sigtimedwait(&pipe, nullptr, &now);
    sigprocmask(SIG_SETMASK, &old, nullptr);
}

void Guardian::watch(int from, int terminal, const Paths& paths, const ClusterConfig& config) {
    Ward w, next;
    for (;;) {
        ssize_t n = read(from, &next, sizeof next);
        if (n < 0 && errno == EINTR) continue;
        if (n != static_cast<ssize_t>(sizeof next)) break;
        w = next;
    }
    if (w.over) _exit(0);
    if (w.raw && terminal >= 0) tcsetattr(terminal, TCSANOW, &w.before);
    if (terminal >= 0) close(terminal);
    if (w.console) hang_up(w, paths, config);
    _exit(0);
}

void Guardian::hang_up(const Ward& w, const Paths& paths, const ClusterConfig& config) {
    auto session = Session::open(paths, config);
    if (!session) return;
    schema::SignalRequest q{};
    q.console = w.console;
    (void)(*session)->call(w.ip, schema::kSignal, std::string(text_of(bytes_of(q))),
                           std::chrono::seconds(5));
}

} // namespace tessera::tess
