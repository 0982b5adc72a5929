// The fabric on real sockets: delivery, back-pressure from a full peer, restart, control, capture.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "tools/fabric/sockets.hpp"

namespace tessera::fabric {
namespace {

sockaddr_un at(const std::string& path) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    path.copy(a.sun_path, sizeof a.sun_path - 1);
    return a;
}

struct Station {
    std::string dir, name;
    int fd;
    Station(std::string d, std::string n) : dir(std::move(d)), name(std::move(n)) {
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        sockaddr_un a = at(dir + "/" + name + ".g");
        unlink(a.sun_path);
        EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    }
    ~Station() { close(fd); }
    bool send(const std::string& frame) {
        sockaddr_un a = at(dir + "/" + name + ".s");
        return sendto(fd, frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&a),
                      sizeof a) == static_cast<ssize_t>(frame.size());
    }
    std::string receive() {
        char b[10000];
        ssize_t n = recv(fd, b, sizeof b, 0);
        return n < 0 ? std::string() : std::string(b, static_cast<size_t>(n));
    }
};

std::string frame(uint8_t to, uint8_t from, size_t size = 100) {
    std::string f(size, 'x');
    f[0] = 0x52, f[1] = 0x54, f[2] = f[3] = f[4] = 0, f[5] = static_cast<char>(to);
    f[6] = 0x52, f[7] = 0x54, f[8] = f[9] = f[10] = 0, f[11] = static_cast<char>(from);
    return f;
}

struct FabricSockets : testing::Test {
    std::string dir;
    std::unique_ptr<Fabric> fabric;
    void SetUp() override {
        char name[] = "/tmp/tessera-fabric-XXXXXX";
        dir = mkdtemp(name);
        start();
    }
    void TearDown() override {
        fabric.reset();
        std::filesystem::remove_all(dir);
    }
    void start() {
        fabric = std::make_unique<Fabric>(dir, 7, 1);
        ASSERT_TRUE(fabric->open());
        ASSERT_TRUE(fabric->command("port add a mac=52:54:00:00:00:01").ok);
        ASSERT_TRUE(fabric->command("port add b mac=52:54:00:00:00:02").ok);
    }
};

TEST_F(FabricSockets, CarriesJumboFramesBothWays) {
    Station a(dir, "a"), b(dir, "b");
    std::string big = frame(2, 1, kMaxFrame);
    ASSERT_TRUE(a.send(big));
    fabric->step(milliseconds(100));
    EXPECT_EQ(b.receive(), big);
    ASSERT_TRUE(b.send(frame(1, 2)));
    fabric->step(milliseconds(100));
    EXPECT_EQ(a.receive(), frame(1, 2));
}

TEST_F(FabricSockets, KeepsFramesForAPeerWhoseSocketIsFull) {
    Station a(dir, "a"), b(dir, "b");
    unsigned sent = 0;
    while (sent < 2000) { // far more than a socket's queue
        if (a.send(frame(2, 1, 60 + sent)))
            sent++;
        else
            fabric->step(Nanos{0});
    }
    for (int i = 0; i < 1000; i++)
        fabric->step(Nanos{0});
    unsigned got = 0;
    for (int idle = 0; idle < 100;) {
        std::string f = b.receive();
        if (f.empty()) {
            fabric->step(microseconds(200));
            idle++;
            continue;
        }
        EXPECT_EQ(f.size(), 60 + got); // in order
        got++;
        idle = 0;
    }
    EXPECT_EQ(got, sent);
}

TEST_F(FabricSockets, GoesOnAfterEitherSideRestarts) {
    auto a = std::make_unique<Station>(dir, "a");
    Station b(dir, "b");
    fabric.reset();
    EXPECT_FALSE(a->send(frame(2, 1)));
    start();
    EXPECT_TRUE(a->send(frame(2, 1)));
    fabric->step(milliseconds(100));
    EXPECT_EQ(b.receive(), frame(2, 1));
    a.reset();
    b.send(frame(1, 2)); // nobody there: dropped, not an error
    fabric->step(milliseconds(100));
    a = std::make_unique<Station>(dir, "a");
    b.send(frame(1, 2));
    fabric->step(milliseconds(100));
    EXPECT_EQ(a->receive(), frame(1, 2));
}

TEST_F(FabricSockets, ObeysTheControlSocketAndCaptures) {
    Station a(dir, "a"), b(dir, "b");
    int control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = at(dir + "/control");
    ASSERT_EQ(connect(control, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    auto ask = [&](const std::string& line) {
        EXPECT_EQ(write(control, line.data(), line.size()), static_cast<ssize_t>(line.size()));
        std::string answer;
        for (int i = 0; i < 20 && (answer.empty() || answer.back() != '\n'); i++) {
            fabric->step(milliseconds(10));
            char b[4096];
            ssize_t n = recv(control, b, sizeof b, MSG_DONTWAIT);
            if (n > 0) answer.append(b, static_cast<size_t>(n));
        }
        return answer;
    };
    std::string pcap = dir + "/x.pcap";
    EXPECT_EQ(ask("pcap b " + pcap + "\n"), "ok\n");
    a.send(frame(2, 1));
    fabric->step(milliseconds(100));
    EXPECT_EQ(ask("partition a b\n"), "ok\n");
    a.send(frame(2, 1));
    fabric->step(milliseconds(100));
    EXPECT_EQ(b.receive(), frame(2, 1));
    EXPECT_EQ(b.receive(), "");
    EXPECT_EQ(ask("nonsense\n").substr(0, 6), "error:");
    EXPECT_NE(ask("stats\n").find("a.partitioned 1\n"), std::string::npos);
    EXPECT_EQ(std::filesystem::file_size(pcap), 24u + 16 + 100);
    close(control);
    fabric->step(milliseconds(10));
    fabric->step(milliseconds(10));
}

} // namespace
} // namespace tessera::fabric
