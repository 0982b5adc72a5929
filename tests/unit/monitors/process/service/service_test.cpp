// ProcessService with real programs (Debian's busybox under ptrace) and a client that talks to it
// by messages only. The test's own thread is the shard.
#include "monitors/process/service/service.hpp"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <optional>

#include "tests/unit/monitors/posix/world.hpp"
#include "tests/unit/monitors/support/fake_cluster.hpp"

namespace tessera::pmon {
namespace {

using posix::test::tracing_works;
using schema::ConsoleState;
namespace s = schema;

constexpr roce::Ipv4 kComponent{1}, kClient{2};
constexpr Nanos kPatience = seconds(30);

// The shard's inbox: what other threads post, the test runs.
class Inbox final : public ShardPoster {
  public:
    bool post(Function<void()> step) override {
        kernel::MutexGuard guard(mutex_);
        if (full) return false;
        steps_.push_back(std::move(step));
        return true;
    }
    bool run_one() {
        Function<void()> step;
        {
            kernel::MutexGuard guard(mutex_);
            if (steps_.empty()) return false;
            step = std::move(steps_.front());
            steps_.pop_front();
        }
        step();
        return true;
    }
    std::atomic<bool> full{false};

  private:
    kernel::Mutex mutex_{kernel::LockRank::Leaf};
    std::deque<Function<void()>> steps_;
};

using Answer = std::optional<Result<std::vector<std::byte>>>;

struct Output {
    std::string out, error;
    s::ConsolePollReply last{};
    ConsoleState state() const { return static_cast<ConsoleState>(last.state); }
    bool over() const {
        bool ended = state() == ConsoleState::Exited || state() == ConsoleState::Killed;
        return ended && last.out_end && last.error_end;
    }
};

class ServiceTest : public testing::Test, VnodeDirectory {
  protected:
    void SetUp() override {
        ASSERT_TRUE(tracing_works())
            << "programs run under ptrace here: allow it (podman run --cap-add SYS_PTRACE)";
        ASSERT_TRUE(w.add_busybox()) << "no /bin/busybox (Debian package busybox-static)";
        service.emplace(static_cast<VnodeDirectory&>(*this), inbox, clock, w.random);
        service->register_handlers(cluster.add(kComponent, rpc::NodeKind::Process));
        client = *cluster.add(kClient, rpc::NodeKind::Client).peer(kComponent, 0);
    }
    posix::Vnode* find(VnodeId id) override {
        return mounted && id == w.vnode->id() ? w.vnode.get() : nullptr;
    }
    std::vector<posix::Vnode*> all() override {
        return mounted ? std::vector{w.vnode.get()} : std::vector<posix::Vnode*>{};
    }

    template <typename Until>
    bool run(Until until, Nanos patience = kPatience) {
        Nanos end = kernel::Thread::now() + patience;
        for (;;) {
            while (inbox.run_one()) {
            }
            if (service->next_deadline() <= clock.now()) service->poll();
            cluster.pump();
            if (until()) return true;
            if (kernel::Thread::now() >= end) return false;
            kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(1));
        }
    }
    void start(rpc::Opcode op, Bytes head, Bytes body, Answer& answer) {
        client->call(op, head, body, {}, [&answer](Result<Bytes> r) {
            if (r)
                answer.emplace(std::vector<std::byte>(r->begin(), r->end()));
            else
                answer.emplace(Fail(r.error()));
        });
        cluster.pump();
    }
    Result<std::vector<std::byte>> call(rpc::Opcode op, Bytes head, Bytes body = {}) {
        Answer answer;
        start(op, head, body, answer);
        if (!run([&] { return answer.has_value(); })) std::abort(); // it is referred to
        return *answer;
    }
    Error error_of(rpc::Opcode op, Bytes head, Bytes body = {}) {
        auto r = call(op, head, body);
        return r ? Error{} : r.error();
    }

    static s::SpawnRequest request(size_t arguments, size_t environment) {
        s::SpawnRequest q{};
        q.vnode = 1;
        q.argc = static_cast<uint16_t>(arguments);
        q.envc = static_cast<uint16_t>(environment);
        return q;
    }
    Result<s::SpawnReply> spawn(std::vector<std::string> arguments, bool terminal = false,
                                const char* cwd = "/root") {
        auto q = request(arguments.size(), 1);
        q.terminal = terminal;
        q.rows = terminal ? 24 : 0;
        q.columns = terminal ? 80 : 0;
        std::string strings;
        arguments.push_back("PATH=/bin");
        arguments.push_back(cwd);
        for (auto& a : arguments)
            strings += a + '\0';
        auto r = TRY(call(s::kSpawn, bytes_of(q), bytes_of(std::string_view(strings))));
        EXPECT_EQ(r.size(), sizeof(s::SpawnReply));
        return load<s::SpawnReply>(r);
    }
    uint64_t shell(const char* script, bool terminal = false) {
        auto r = spawn({"sh", "-c", script}, terminal);
        EXPECT_TRUE(r) << describe(r.error());
        return r ? r->console.get() : 0;
    }
    static s::ConsolePollRequest poll_request(uint64_t console, const Output& o, uint32_t wait) {
        s::ConsolePollRequest q{};
        q.console = console;
        q.out_offset = o.out.size();
        q.error_offset = o.error.size();
        q.wait_ms = wait;
        return q;
    }
    Result<void> poll(uint64_t console, Output& o, uint32_t wait = 1000) {
        auto all = TRY(call(s::kConsolePoll, bytes_of(poll_request(console, o, wait))));
        o.last = load<s::ConsolePollReply>(all);
        std::string_view text = text_of(Bytes(all).subspan(sizeof o.last));
        EXPECT_EQ(text.size(), o.last.out_length + o.last.error_length);
        o.out += text.substr(0, o.last.out_length);
        o.error += text.substr(o.last.out_length);
        return {};
    }
    // Polls on from what `o` already has.
    Output finish(uint64_t console, Output o = {}) {
        Nanos end = kernel::Thread::now() + kPatience;
        while (!o.over() && kernel::Thread::now() < end) {
            auto polled = poll(console, o);
            EXPECT_TRUE(polled) << describe(polled.error());
            if (!polled) break;
        }
        return o;
    }
    Result<uint64_t> input(uint64_t console, uint64_t offset, std::string_view text, bool end) {
        s::ConsoleInputRequest q{};
        q.console = console;
        q.offset = offset;
        q.end = end;
        auto r = TRY(call(s::kConsoleInput, bytes_of(q), bytes_of(text)));
        return load<s::ConsoleInputReply>(r).accepted.get();
    }
    Error signal(uint64_t console, uint32_t number, uint32_t pid = 0, uint32_t vnode = 1) {
        s::SignalRequest q{};
        q.console = console;
        q.vnode = vnode;
        q.pid = pid;
        q.signal = number;
        return error_of(s::kSignal, bytes_of(q));
    }
    std::vector<s::ProcessEntry> list(uint32_t vnode, uint32_t first) {
        std::array<Le32, 2> q;
        q[0] = vnode;
        q[1] = first;
        auto all = call(s::kProcessList, bytes_of(q));
        EXPECT_TRUE(all && all->size() % sizeof(s::ProcessEntry) == 0);
        std::vector<s::ProcessEntry> entries;
        for (Bytes left = *all; !left.empty(); left = left.subspan(sizeof(s::ProcessEntry)))
            entries.push_back(load<s::ProcessEntry>(left));
        return entries;
    }

    posix::test::World w;
    HostClock clock;
    rpc::FakeCluster cluster; // answers of what is left come as the service goes
    Inbox inbox;
    std::optional<ProcessService> service;
    rpc::Peer* client = nullptr;
    bool mounted = true;
};

TEST_F(ServiceTest, KeepsStreamsApartAndTellsTheExit) {
    Output o = finish(shell("echo out; echo err >&2; pwd; exit 3"));
    EXPECT_EQ(o.out, "out\n/root\n");
    EXPECT_EQ(o.error, "err\n");
    EXPECT_EQ(o.state(), ConsoleState::Exited);
    EXPECT_EQ(o.last.code, 3);
}

TEST_F(ServiceTest, LongOutputComesInPieces) {
    Output o = finish(shell("seq 1 30000"));
    EXPECT_EQ(o.out.size(), 168894u);
    EXPECT_TRUE(o.out.ends_with("\n30000\n"));
}

TEST_F(ServiceTest, OutputMayBeAskedForAgainUntilMoreIsAskedFor) {
    uint64_t c = shell("echo first; read x; echo second; read x");
    Output a, again;
    while (a.out.empty())
        ASSERT_TRUE(poll(c, a));
    ASSERT_TRUE(poll(c, again));
    EXPECT_EQ(again.out, "first\n");
    ASSERT_TRUE(input(c, 0, "\n", false));
    while (a.out.size() == 6)
        ASSERT_TRUE(poll(c, a));
    EXPECT_EQ(a.out, "first\nsecond\n");
    Output stale;
    EXPECT_EQ(poll(c, stale).error(), Error::Range);
}

TEST_F(ServiceTest, InputIsTakenOnceAndInOrder) {
    uint64_t c = shell("cat");
    EXPECT_EQ(input(c, 0, "hello ", false), 6u);
    EXPECT_EQ(input(c, 0, "hello ", false), 6u); // the answer was lost, the client repeats
    EXPECT_EQ(input(c, 3, "lo world", false), 11u);
    EXPECT_EQ(input(c, 12, "x", false).error(), Error::Range);
    EXPECT_EQ(input(c, 11, "", true), 11u);
    Output o = finish(c);
    EXPECT_EQ(o.out, "hello world");
    EXPECT_EQ(o.last.code, 0);
}

TEST_F(ServiceTest, APollWaitsForNewsOrItsTime) {
    uint64_t c = shell("read x; echo $x; read x");
    Output o;
    Nanos before = kernel::Thread::now();
    ASSERT_TRUE(poll(c, o, 60));
    EXPECT_GE(kernel::Thread::now() - before, milliseconds(60));
    EXPECT_EQ(o.state(), ConsoleState::Running);
    Answer parked;
    start(s::kConsolePoll, bytes_of(poll_request(c, o, 30'000)), {}, parked);
    EXPECT_FALSE(run([&] { return parked.has_value(); }, milliseconds(50)));
    ASSERT_TRUE(input(c, 0, "news\n", false));
    ASSERT_TRUE(run([&] { return parked.has_value(); }, seconds(10)));
    ASSERT_TRUE(*parked);
    EXPECT_EQ(text_of(Bytes(**parked).subspan(sizeof(s::ConsolePollReply))), "news\n");
}

TEST_F(ServiceTest, SignalsReachTheProgram) {
    uint64_t c = shell("trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.05; done");
    Output o;
    while (o.out.empty())
        ASSERT_TRUE(poll(c, o));
    EXPECT_EQ(signal(c, 10), Error{});
    Output end = finish(c, o);
    EXPECT_EQ(end.out, "ready\nusr1\n");
    EXPECT_EQ(end.last.code, 5);

    auto sleeping = spawn({"sleep", "100"});
    ASSERT_TRUE(sleeping);
    EXPECT_EQ(signal(0, 15, sleeping->pid), Error{});
    end = finish(sleeping->console);
    EXPECT_EQ(end.state(), ConsoleState::Killed);
    EXPECT_EQ(end.last.code, 15);
}

TEST_F(ServiceTest, BadSignalsAreRefused) {
    auto p = spawn({"sleep", "100"});
    ASSERT_TRUE(p);
    EXPECT_EQ(signal(p->console, 65), Error::InvalidArgument);
    EXPECT_EQ(signal(p->console, 0xffffffff), Error::InvalidArgument);
    EXPECT_EQ(signal(p->console + 1, 15), Error::NotFound);
    EXPECT_EQ(signal(0, 15, p->pid, 2), Error::NotFound);
    EXPECT_EQ(signal(0, 15, 29'999), Error::NoProcess);
    EXPECT_EQ(signal(0, 65, p->pid), Error::InvalidArgument);
    EXPECT_EQ(signal(0, 0xffffffff, p->pid), Error::InvalidArgument);
    Output o;
    ASSERT_TRUE(poll(p->console, o, 0));
    EXPECT_EQ(o.state(), ConsoleState::Running);
}

TEST_F(ServiceTest, SignalZeroEndsTheConsole) {
    uint64_t c = shell("trap 'echo hup > /tmp/hup' HUP; sleep 100 & wait");
    ASSERT_TRUE(run([&] { return list(0, 0).size() >= 3; })); // init, the shell, sleep
    Answer parked;
    Output o;
    start(s::kConsolePoll, bytes_of(poll_request(c, o, 30'000)), {}, parked);
    EXPECT_EQ(service->console_count(), 1u);
    EXPECT_EQ(signal(c, 0), Error{});
    ASSERT_TRUE(run([&] { return parked.has_value(); }));
    EXPECT_EQ(parked->error(), Error::Cancelled);
    EXPECT_EQ(poll(c, o).error(), Error::NotFound);
    ASSERT_TRUE(run([&] { return service->console_count() == 0; }));
    Output look;
    ASSERT_TRUE(run([&] {
        look = finish(shell("cat /tmp/hup 2>/dev/null"));
        return !look.out.empty();
    }));
    EXPECT_EQ(look.out, "hup\n");
}

TEST_F(ServiceTest, StoppingAndContinuingIsTold) {
    uint64_t c = shell("echo on; kill -STOP $$; echo off");
    Output o;
    while (o.state() != ConsoleState::Stopped)
        ASSERT_TRUE(poll(c, o));
    EXPECT_EQ(o.last.code, 19);
    EXPECT_EQ(signal(c, 18), Error{});
    o = finish(c, o);
    EXPECT_EQ(o.out, "on\noff\n");
}

TEST_F(ServiceTest, ATerminalHasOneStreamAndASize) {
    uint64_t c = shell("stty size; read x; stty size; echo err >&2", true);
    Output o;
    while (o.out.find("24 80") == o.out.npos)
        ASSERT_TRUE(poll(c, o));
    s::ConsoleResizeRequest q{};
    q.console = c;
    q.rows = 30;
    q.columns = 132;
    EXPECT_EQ(error_of(s::kConsoleResize, bytes_of(q)), Error{});
    ASSERT_TRUE(input(c, 0, "\n", false));
    o = finish(c, o);
    EXPECT_NE(o.out.find("30 132\r\nerr\r\n"), o.out.npos) << o.out;
    EXPECT_EQ(o.error, "");

    q.console = shell("read x");
    EXPECT_EQ(error_of(s::kConsoleResize, bytes_of(q)), Error::NotTty);
    q.console = c + 1;
    EXPECT_EQ(error_of(s::kConsoleResize, bytes_of(q)), Error::NotFound);
}

TEST_F(ServiceTest, WhatCannotBeStartedSaysWhy) {
    EXPECT_EQ(spawn({"/bin/nosuch"}).error(), Error::NotFound);
    EXPECT_EQ(spawn({"nosuch"}).error(), Error::NotFound);
    EXPECT_EQ(spawn({"/etc/passwd"}).error(), Error::AccessDenied);
    EXPECT_EQ(spawn({"true"}, false, "/nosuch").error(), Error::NotFound);
    mounted = false;
    EXPECT_EQ(spawn({"true"}).error(), Error::NoDevice);
    EXPECT_TRUE(run([&] { return service->console_count() == 0; }));
}

TEST_F(ServiceTest, MalformedRequestsAreRefused) {
    std::array<std::byte, 64> zeros{};
    for (rpc::Opcode op : {s::kSpawn, s::kConsolePoll, s::kConsoleInput, s::kConsoleResize,
                           s::kSignal, s::kProcessList})
        for (size_t size : {0, 1, 7})
            EXPECT_EQ(error_of(op, Bytes(zeros).first(size)), Error::Malformed) << op.value;
    auto strings = [](std::string_view text) { return bytes_of(text); };
    using namespace std::string_view_literals;
    EXPECT_EQ(error_of(s::kSpawn, bytes_of(request(0, 0)), strings("/\0"sv)),
              Error::InvalidArgument);
    EXPECT_EQ(error_of(s::kSpawn, bytes_of(request(1, 0)), strings("true"sv)), Error::Malformed);
    EXPECT_EQ(error_of(s::kSpawn, bytes_of(request(1, 0)), strings("true\0/root"sv)),
              Error::Malformed); // the folder does not end
    EXPECT_EQ(error_of(s::kSpawn, bytes_of(request(2, 1)), strings("true\0a\0/\0"sv)),
              Error::Malformed);
    EXPECT_EQ(error_of(s::kSpawn, bytes_of(request(65535, 65535)), strings("true\0/\0"sv)),
              Error::Malformed);
    EXPECT_EQ(service->console_count(), 0u);
}

TEST_F(ServiceTest, OnlySoManyPollsWait) {
    uint64_t c = shell("read x");
    Output o;
    std::array<Answer, 4> parked;
    for (Answer& a : parked)
        start(s::kConsolePoll, bytes_of(poll_request(c, o, 30'000)), {}, a);
    EXPECT_EQ(poll(c, o, 30'000).error(), Error::Full);
    ASSERT_TRUE(input(c, 0, "", true));
    ASSERT_TRUE(run([&] {
        return std::all_of(parked.begin(), parked.end(), [](auto& a) { return a.has_value(); });
    }));
}

TEST_F(ServiceTest, ListsProcesses) {
    ASSERT_TRUE(spawn({"sleep", "100"}));
    auto p = spawn({"sleep", "101"});
    ASSERT_TRUE(p);
    auto everything = list(0, 0);
    ASSERT_GE(everything.size(), 3u); // init and two
    bool found = false;
    for (auto& e : everything) {
        if (e.pid != p->pid) continue;
        found = true;
        EXPECT_EQ(e.vnode, 1u);
        EXPECT_STREQ(e.name, "sleep");
        EXPECT_EQ(e.parent, 1u);
    }
    EXPECT_TRUE(found);
    EXPECT_EQ(list(1, 0).size(), everything.size());
    EXPECT_EQ(list(1, 1).size(), everything.size() - 1);
    EXPECT_EQ(list(1, 0xffffffff).size(), 0u);
    EXPECT_EQ(list(2, 0).size(), 0u);
}

TEST_F(ServiceTest, ForgettingAVnodeEndsItsConsoles) {
    uint64_t c = shell("true");
    Output o = finish(c);
    Answer parked;
    start(s::kConsolePoll, bytes_of(poll_request(c, {}, 30'000)), {}, parked); // answers at once
    mounted = false;
    service->forget(*w.vnode);
    EXPECT_TRUE(run([&] { return parked.has_value(); }));
    EXPECT_EQ(poll(c, o).error(), Error::NotFound);
    EXPECT_EQ(service->console_count(), 0u);
}

TEST_F(ServiceTest, AFullInboxLosesNoAnswer) {
    inbox.full = true;
    Output o = finish(shell("echo through"));
    EXPECT_EQ(o.out, "through\n");
}

} // namespace
} // namespace tessera::pmon
