#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tools/tess/cluster.hpp"
#include "tools/tess/process.hpp"

namespace tessera::tess {
namespace {

using std::chrono::milliseconds;

struct ProcessTest : testing::Test {
    Paths paths;
    void SetUp() override {
        char name[] = "/tmp/tessera-tess-XXXXXX";
        setenv("XDG_RUNTIME_DIR", "", 1);
        paths = paths_for(std::string(mkdtemp(name)) + "/state").value();
        ASSERT_TRUE(make_folders(paths));
    }
    void TearDown() override {
        stop(paths, known(paths), milliseconds(100));
        std::filesystem::remove_all(paths.sockets);
        std::filesystem::remove_all(std::filesystem::path(paths.state).parent_path());
    }
};

TEST_F(ProcessTest, FindsWhatItStartedAndStopsIt) {
    auto pid = start(paths, "a", {"/bin/sh", "-c", "echo out; echo err >&2; exec sleep 100"});
    ASSERT_TRUE(pid) << pid.error();
    EXPECT_EQ(running(paths, "a"), *pid);
    EXPECT_EQ(known(paths), std::vector<std::string>{"a"});
    for (int i = 0; i < 500 && last_lines(paths.log("a"), 5) != "  out\n  err\n"; i++)
        std::this_thread::sleep_for(milliseconds(10));
    EXPECT_EQ(last_lines(paths.log("a"), 5), "  out\n  err\n");
    EXPECT_EQ(getsid(*pid), *pid); // a Ctrl-C at our terminal does not reach it
    EXPECT_EQ(stop(paths, {"a"}, milliseconds(2000)), 1u);
    EXPECT_FALSE(running(paths, "a"));
    EXPECT_TRUE(known(paths).empty());
}

TEST_F(ProcessTest, KillsWhatIgnoresTheRequestAndWhatIsStopped) {
    ASSERT_TRUE(start(paths, "stubborn",
                      {"/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"}));
    ASSERT_TRUE(start(paths, "stopped", {"/bin/sleep", "100"}));
    for (int i = 0; i < 500 && last_lines(paths.log("stubborn"), 1).empty(); i++)
        std::this_thread::sleep_for(milliseconds(10));
    send_signal(paths, "stopped", SIGSTOP);
    EXPECT_EQ(stop(paths, {"stubborn", "stopped"}, milliseconds(200)), 2u);
    EXPECT_FALSE(running(paths, "stubborn"));
    EXPECT_FALSE(running(paths, "stopped"));
}

TEST_F(ProcessTest, NeverTakesAnotherProgramWithTheSamePidForOurs) {
    std::ofstream(paths.pid("b")) << getpid() << " 12345\n"; // ours by number, not by start time
    EXPECT_FALSE(running(paths, "b"));
    EXPECT_EQ(stop(paths, {"b"}, milliseconds(10)), 0u); // we live to see it
    std::ofstream(paths.pid("c")) << "garbage\n";
    EXPECT_FALSE(running(paths, "c"));
    std::ofstream(paths.pid("d")) << "1 1\n";
    EXPECT_FALSE(running(paths, "d"));
}

TEST_F(ProcessTest, SaysWhyAProgramCannotStart) {
    auto r = start(paths, "x", {"/nonexistent/program"});
    ASSERT_FALSE(r);
    EXPECT_NE(r.error().find("/nonexistent/program: No such file"), std::string::npos);
    EXPECT_TRUE(known(paths).empty());
    EXPECT_TRUE(run_and_wait({"/bin/true"}, milliseconds(5000)));
    EXPECT_EQ(run_and_wait({"/bin/echo", "hi"}, milliseconds(5000)).value(), "hi\n");
    EXPECT_FALSE(run_and_wait({"/bin/false"}, milliseconds(5000)));
    EXPECT_NE(run_and_wait({"/bin/sleep", "100"}, milliseconds(50)).error().find("did not finish"),
              std::string::npos);
}

TEST_F(ProcessTest, OneAtATimeHoldsTheLock) {
    auto first = FileLock::take(paths.state + "/lock");
    ASSERT_TRUE(first && *first);
    EXPECT_FALSE(FileLock::take(paths.state + "/lock").value());
    ControlPlane none;
    EXPECT_NE(down(paths, none).error().find("another tess"), std::string::npos);
}

TEST_F(ProcessTest, CleansUpWhatAKilledUpLeft) {
    ASSERT_TRUE(start(paths, "p1", {"/bin/sleep", "100"}));
    ASSERT_TRUE(start(paths, "fabric", {"/bin/sleep", "100"}));
    std::ofstream(paths.sockets + "/p1.s") << "";
    EXPECT_FALSE(is_up(paths));
    ControlPlane none;
    EXPECT_TRUE(down(paths, none, true));
    EXPECT_FALSE(running(paths, "p1"));
    EXPECT_FALSE(running(paths, "fabric"));
    EXPECT_FALSE(std::filesystem::exists(paths.sockets));
    EXPECT_TRUE(down(paths, none, true)); // nothing left to do
}

TEST_F(ProcessTest, PathsAreShortPrivateAndDifferPerCluster) {
    auto other = paths_for(paths.state + "2").value();
    EXPECT_NE(other.sockets, paths.sockets);
    auto deep = paths_for("/tmp/" + std::string(150, 'x') + "/state").value();
    EXPECT_LE(deep.sockets.size() + 25, 107u);
    struct stat s;
    ASSERT_EQ(stat(paths.sockets.c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 0777, 0700u);
    ASSERT_EQ(chmod(paths.sockets.c_str(), 0755), 0);
    EXPECT_NE(make_folders(paths).error().find("only you"), std::string::npos);
    chmod(paths.sockets.c_str(), 0700);
    EXPECT_FALSE(paths_for("/tmp/a,b")); // QEMU's options are separated by commas
}

} // namespace
} // namespace tessera::tess
