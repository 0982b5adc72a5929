// `tess run` against a fake pComponent: the real session, transport and RPC, over a real fabric.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "tests/unit/tools/fake_component.hpp"
#include "tools/tess/console.hpp"

namespace tessera::tess {
namespace {

struct Ran {
    int status = -1; // exit status of the client; -1: it had to be killed
    std::string out, error;
};

[[noreturn]] void client(const FakeCluster& cluster, const RunOptions& options) {
    auto session = Session::open(cluster.paths, cluster.config);
    if (!session) {
        fprintf(stderr, "%s\n", session.error().c_str());
        _exit(99);
    }
    auto place = place_program(**session, options.vnode);
    if (!place) {
        fprintf(stderr, "%s\n", place.error().c_str());
        _exit(98);
    }
    int status = run_program(**session, cluster.paths, *place, options);
    fflush(nullptr);
    _exit(status);
}

// Reads both until they end or 20 s have passed.
void collect(int out, int error, Ran& ran) {
    pollfd p[2] = {{out, POLLIN, 0}, {error, POLLIN, 0}};
    std::string* into[2] = {&ran.out, &ran.error};
    for (int open = error < 0 ? 1 : 2; open > 0;) {
        if (poll(p, 2, 20'000) <= 0) return;
        for (int i = 0; i < 2; i++) {
            if (p[i].fd < 0 || p[i].revents == 0) continue;
            char b[4096];
            ssize_t n = read(p[i].fd, b, sizeof b);
            if (n > 0)
                into[i]->append(b, static_cast<size_t>(n));
            else
                p[i].fd = -1, open--;
        }
    }
}

struct ConsoleTest : testing::Test {
    FakeCluster cluster;

    pid_t begin(const RunOptions& options, int& in, int& out, int& error) {
        int i[2], o[2], e[2];
        EXPECT_EQ(pipe2(i, O_CLOEXEC) | pipe2(o, O_CLOEXEC) | pipe2(e, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
            dup2(i[0], 0), dup2(o[1], 1), dup2(e[1], 2);
            for (int fd : {i[0], i[1], o[0], o[1], e[0], e[1]})
                close(fd);
            client(cluster, options);
        }
        close(i[0]), close(o[1]), close(e[1]);
        in = i[1], out = o[0], error = e[0];
        return pid;
    }
    static int finish(pid_t pid) {
        int status = 0;
        for (int i = 0; i < 1000; i++) {
            if (waitpid(pid, &status, WNOHANG) == pid)
                return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
            usleep(10'000);
        }
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
        return -1;
    }
    Ran run(std::vector<std::string> arguments, const std::string& input = "",
            RunOptions options = {}) {
        options.arguments = std::move(arguments);
        int in, out, error;
        pid_t pid = begin(options, in, out, error);
        pid_t writer = fork(); // so that a full pipe cannot stop us from reading
        if (writer == 0) {
            (void)!write(in, input.data(), input.size());
            _exit(0);
        }
        close(in);
        Ran ran;
        collect(out, error, ran);
        ran.status = finish(pid);
        close(out), close(error);
        waitpid(writer, nullptr, 0);
        return ran;
    }
};

TEST_F(ConsoleTest, KeepsStreamsApartAndPassesTheStatus) {
    Ran r = run({"both"});
    EXPECT_EQ(r.out, "to stdout\n");
    EXPECT_EQ(r.error, "to stderr\n");
    EXPECT_EQ(r.status, 3);
}

TEST_F(ConsoleTest, PassesArgumentsEnvironmentAndFolder) {
    RunOptions o;
    o.environment = {"HOME=/elsewhere", "EMPTY="};
    o.directory = "/some where";
    Ran r = run({"show", "a b", "", "c"}, "", o);
    EXPECT_EQ(r.out,
              "show\na b\n\nc\nHOME=/elsewhere\nEMPTY=\n"
              "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/some where\n");
}

TEST_F(ConsoleTest, CarriesMuchInputAndOutputInOrder) {
    std::string text;
    for (int i = 0; i < 5000; i++)
        text += "number " + std::to_string(i) + "\n";
    Ran r = run({"cat"}, text);
    EXPECT_EQ(r.status, 0);
    EXPECT_EQ(r.out.size(), text.size());
    EXPECT_TRUE(r.out == text);
    Ran big = run({"big"});
    EXPECT_EQ(big.out.substr(big.out.size() - 11), "line 19999\n");
}

TEST_F(ConsoleTest, NamesWhatIsWrong) {
    Ran r = run({"missing"});
    EXPECT_EQ(r.status, 127);
    EXPECT_EQ(r.error.substr(0, 41), "tess: missing: not found in vNode main (o");
    EXPECT_EQ(run({"not-elf"}).status, 126);
    Ran oom = run({"oom"});
    EXPECT_EQ(oom.status, 128 + SIGKILL);
    EXPECT_EQ(oom.error, "tess: oom: out of memory: the vNode's limit is 64M\n");
    RunOptions other;
    other.vnode = "nope";
    Ran none = run({"cat"}, "", other);
    EXPECT_EQ(none.status, 98);
    EXPECT_NE(none.error.find("no vNode called 'nope'"), std::string::npos);
    Ran long_one = run({"cat", std::string(40'000, 'x')});
    EXPECT_EQ(long_one.status, 125);
}

TEST_F(ConsoleTest, PassesSignalsOn) {
    RunOptions o;
    o.arguments = {"wait"};
    int in, out, error;
    pid_t pid = begin(o, in, out, error);
    usleep(500'000); // until it has started; earlier signals would end the client itself
    kill(pid, SIGINT);
    EXPECT_EQ(finish(pid), 128 + SIGINT);
    close(in), close(out), close(error);
}

TEST_F(ConsoleTest, GivesTheProgramThisTerminalAndRestoresIt) {
    winsize size{30, 100, 0, 0};
    int master;
    RunOptions o;
    o.arguments = {"size"};
    o.terminal = true;
    pid_t pid = forkpty(&master, nullptr, nullptr, &size);
    if (pid == 0) client(cluster, o);
    std::string seen;
    auto read_until = [&](const std::string& text) {
        for (int i = 0; i < 1000 && seen.find(text) == std::string::npos; i++) {
            pollfd p{master, POLLIN, 0};
            char b[1000];
            if (poll(&p, 1, 10) != 1) continue;
            ssize_t n = read(master, b, sizeof b);
            if (n <= 0) break;
            seen.append(b, static_cast<size_t>(n));
        }
        return seen.find(text) != std::string::npos;
    };
    EXPECT_TRUE(read_until("30x100"));
    termios raw;
    ASSERT_EQ(tcgetattr(master, &raw), 0);
    EXPECT_EQ(raw.c_lflag & (ICANON | ECHO | ISIG), 0u);
    size.ws_row = 50, size.ws_col = 120;
    ASSERT_EQ(ioctl(master, TIOCSWINSZ, &size), 0);
    EXPECT_TRUE(read_until("50x120")) << seen;
    // Ctrl-C is a byte for the program, not a signal for us.
    ASSERT_EQ(write(master, "\003x", 2), 2);
    ASSERT_EQ(write(master, "q", 1), 1);
    int status = 0;
    for (int i = 0; i < 1000 && waitpid(pid, &status, WNOHANG) == 0; i++) {
        read_until("never");
        i += 100;
    }
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    close(master);
}

TEST_F(ConsoleTest, KilledItStillRestoresTheTerminalAndEndsTheProgram) {
    RunOptions o;
    o.arguments = {"size"};
    o.terminal = true;
    int master, slave;
    ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
    termios before, now;
    ASSERT_EQ(tcgetattr(slave, &before), 0);
    pid_t pid = fork();
    if (pid == 0) {
        login_tty(slave);
        client(cluster, o);
    }
    auto wait_until = [&](auto&& what) {
        for (int i = 0; i < 1000 && !what(); i++)
            usleep(10'000);
        return what();
    };
    EXPECT_TRUE(wait_until([&] { return tcgetattr(master, &now), (now.c_lflag & ECHO) == 0; }));
    std::string mark = cluster.paths.state + "/hung-up";
    EXPECT_NE(access(mark.c_str(), F_OK), 0);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    EXPECT_TRUE(wait_until([&] {
        tcgetattr(master, &now);
        return now.c_lflag == before.c_lflag && now.c_oflag == before.c_oflag;
    }));
    EXPECT_TRUE(wait_until([&] { return access(mark.c_str(), F_OK) == 0; }));
    close(master), close(slave);
}

} // namespace
} // namespace tessera::tess
