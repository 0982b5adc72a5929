// Debian's unmodified busybox in a vNode: real code, real memory, our system calls.
#include <gtest/gtest.h>

#include "tests/unit/monitors/posix/world.hpp"

namespace tessera::posix::test {
namespace {

using schema::ConsoleState;

class Busybox : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(tracing_works())
            << "programs run under ptrace here: allow it (podman run --cap-add SYS_PTRACE)";
        ASSERT_TRUE(w.add_busybox()) << "no /bin/busybox (Debian package busybox-static)";
    }
    void expect(const std::string& script, const std::string& out, int code = 0) {
        Outcome o = w.shell(script);
        EXPECT_EQ(o.out, out) << script << "\nstderr: " << o.error << o.reason;
        EXPECT_EQ(o.code, code) << script << "\nstderr: " << o.error;
    }
    World w;
};

TEST_F(Busybox, Echo) {
    Outcome o = w.run({"/bin/busybox", "echo", "hello"});
    EXPECT_EQ(o.out, "hello\n") << o.error;
    EXPECT_EQ(o.state, ConsoleState::Exited);
    EXPECT_EQ(o.code, 0);
    EXPECT_EQ(syscalls::unimplemented_calls(), 1u); // rseq
}

TEST_F(Busybox, FirstShell) {
    expect("echo hi; ls /bin | head -n 3", "hi\nash\nawk\nbase64\n");
    expect("exit 7", "", 7);
}

TEST_F(Busybox, PipesAndRedirections) {
    expect("seq 1 1000 | sort -rn | head -n 2", "1000\n999\n");
    expect("echo one > /tmp/a; echo two >> /tmp/a; cat /tmp/a; wc -l < /tmp/a", "one\ntwo\n2\n");
    expect("yes | head -n 3", "y\ny\ny\n");
    expect("(echo out; echo err >&2) 2>/dev/null", "out\n");
    expect("cat <<X\nhere\nX\n", "here\n");
    expect("dd if=/dev/zero bs=1000 count=300 2>/dev/null | wc -c", "300000\n");
}

TEST_F(Busybox, ForkWaitAndBackground) {
    expect("for i in 1 2 3; do (exit $i); echo $?; done", "1\n2\n3\n");
    expect("sleep 0.2 & p=$!; wait $p; echo done $?", "done 0\n");
    expect("sleep 10 & kill $!; wait $!; echo $?", "143\n");
    expect("trap 'echo term' TERM; kill $$; echo after", "term\nafter\n");
    expect("timeout 0.3 sleep 10; echo $?", "143\n");
}

TEST_F(Busybox, Files) {
    expect("mkdir -p /tmp/d/e; touch /tmp/d/e/f; find /tmp/d | sort",
           "/tmp/d\n/tmp/d/e\n/tmp/d/e/f\n");
    expect("cd /tmp; echo x > a; ln -s a b; ln a c; cat b; readlink b; stat -c %h a", "x\na\n2\n");
    expect("cd /tmp; mv a z; ls; rm -r /tmp/*; ls | wc -l", "b\nc\nd\nz\n0\n");
    expect("cd /tmp; mkdir x; cd x; pwd; cd ..; pwd; rmdir x", "/tmp/x\n/tmp\n");
    expect("cd /tmp; echo data > f; chmod 640 f; stat -c '%a %s' f; rm f", "640 5\n");
    expect("cat /nosuch; echo $?", "1\n");
    expect("rmdir /bin; echo $?", "1\n");
    expect(
        "cd /tmp; seq 1 5000 > s; tar cf - s | tar xf - -O | md5sum; md5sum < s; gzip s; gunzip "
        "s.gz; md5sum < s",
        w.shell("seq 1 5000 | md5sum; seq 1 5000 | md5sum; seq 1 5000 | md5sum").out);
}

TEST_F(Busybox, ProcAndDev) {
    expect("cat /proc/sys/kernel/osrelease; uname -s -r -m -n",
           "6.1.0-tessera\nLinux test 6.1.0-tessera x86_64\n");
    expect("readlink /proc/self/exe", "/bin/busybox\n");
    expect("ps | grep -q '[s]h -c' && echo found", "found\n");
    expect("pidof sh >/dev/null && echo yes", "yes\n");
    expect("free | head -n 2 | tail -n 1 | awk '{print $2}'", "262144\n");
    expect("df / | tail -n 1 | awk '{print $6}'", "/\n");
    expect("mount | cut -d' ' -f3", "/\n/dev\n/proc\n");
    expect("ls /dev",
           "console\nfd\nfull\nnull\npts\nrandom\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n");
    expect("echo via > /dev/stdout; echo in | cat /dev/stdin; head -c 5 /dev/urandom | wc -c",
           "via\nin\n5\n");
    expect("echo x > /dev/full; echo $?", "1\n");
    expect("ls -l /proc/self/fd | wc -l; cat /proc/$$/stat | cut -d' ' -f2", "5\n(sh)\n");
    expect("top -b -n 1 | head -n 1 | cut -c1-4; uptime | grep -c load", "Mem:\n1\n");
}

TEST_F(Busybox, ScriptsAndExec) {
    w.files.add_file("/tmp/s", "#!/bin/sh\necho script $0 $1\n", 0755);
    w.files.add_file("/tmp/t", "#!/bin/busybox awk -f\nBEGIN { print \"awk\" }\n", 0755);
    w.files.add_file("/tmp/noexec", "data", 0644);
    w.files.add_file("/tmp/broken", "\177ELF garbage", 0755);
    expect("/tmp/s arg", "script /tmp/s arg\n");
    expect("/tmp/noexec; echo $?", "126\n");
    expect("/tmp/broken 2>/dev/null; echo $((($? == 126) + ($? == 127) + ($? == 2)))", "1\n");
    expect("exec /bin/echo replaced", "replaced\n");
    expect("echo a b c | xargs -n1 echo", "a\nb\nc\n");
    expect("nosuchprogram; echo $?", "127\n");
    expect("env -i X=1 env", "X=1\n");
}

TEST_F(Busybox, FifosAndSubshells) {
    expect("mkfifo /tmp/p; (echo through > /tmp/p &); cat /tmp/p", "through\n");
    expect("echo $(echo $(echo deep))", "deep\n");
    expect("seq 1 3 | while read x; do echo $((x * 2)); done", "2\n4\n6\n");
}

TEST_F(Busybox, FaultsAreSignals) {
    Outcome o = w.run({"sh", "-c", "kill -SEGV $$"});
    EXPECT_EQ(o.state, ConsoleState::Killed);
    EXPECT_EQ(o.code, 11);
}

// --- a terminal ---

class BusyboxTerminal : public Busybox {
  protected:
    void SetUp() override {
        Busybox::SetUp();
        if (!IsSkipped()) c = w.start({"sh", "-i"}, true);
    }
    void type(std::string_view s) {
        auto n = c->input(typed, bytes_of(s), false);
        ASSERT_TRUE(n);
        typed = *n;
    }
    // Waits until the screen shows `what` behind everything that was matched before.
    bool see(std::string_view what, Nanos patience = seconds(10)) {
        Nanos deadline = kernel::Thread::now() + patience;
        while (kernel::Thread::now() < deadline) {
            auto s = c->poll(screen.size(), 0, 32768);
            if (s) screen += text_of(s->out);
            size_t at = screen.find(what, matched);
            if (at != std::string::npos) {
                matched = at + what.size();
                return true;
            }
            kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(2));
        }
        ADD_FAILURE() << "did not see '" << what << "' in:\n" << screen.substr(matched);
        return false;
    }
    Ref<Console> c;
    std::string screen;
    size_t matched = 0;
    uint64_t typed = 0;
};

TEST_F(BusyboxTerminal, EditsALine) {
    ASSERT_TRUE(see("$ "));
    type("echo heXllo\x1b[D\x1b[D\x1b[D\x7f\r");
    ASSERT_TRUE(see("\nhello\r\n"));
    type("tty\r");
    ASSERT_TRUE(see("/dev/pts/0\r\n"));
    type("stty size; exit 3\r");
    ASSERT_TRUE(see("24 80\r\n"));
    Nanos deadline = kernel::Thread::now() + seconds(10);
    Result<Console::Snapshot> last = c->poll(screen.size(), 0, 1000);
    while (last && last->state != ConsoleState::Exited && kernel::Thread::now() < deadline) {
        screen += text_of(last->out);
        last = c->poll(screen.size(), 0, 1000);
    }
    ASSERT_TRUE(last);
    EXPECT_EQ(last->code, 3);
}

TEST_F(BusyboxTerminal, InterruptsTheForeground) {
    ASSERT_TRUE(see("$ "));
    type("sleep 100\r");
    ASSERT_TRUE(see("\r\n"));
    kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(200));
    type("\x03");
    ASSERT_TRUE(see("^C"));
    ASSERT_TRUE(see("$ "));
    type("echo $?\r");
    ASSERT_TRUE(see("130\r\n"));
}

TEST_F(BusyboxTerminal, StopsAndContinuesAJob) {
    ASSERT_TRUE(see("$ "));
    type("cat\r");
    ASSERT_TRUE(see("\r\n"));
    kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(200));
    type("\x1a");
    ASSERT_TRUE(see("Stopped"));
    type("jobs\r");
    ASSERT_TRUE(see("cat"));
    type("fg\r");
    ASSERT_TRUE(see("fg\r\ncat\r\n"));
    type("line\r");
    ASSERT_TRUE(see("line\r\nline\r\n"));
    type("\x04");
    ASSERT_TRUE(see("$ "));
    type("sleep 100 & sleep 0.1; kill %1; wait; echo end\r");
    ASSERT_TRUE(see("end\r\n"));
}

TEST_F(BusyboxTerminal, EndsWithItsConsole) {
    ASSERT_TRUE(see("$ "));
    c->hang_up();
    Nanos deadline = kernel::Thread::now() + seconds(10);
    while (kernel::Thread::now() < deadline && w.vnode->snapshot().size() > 1)
        kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(5));
    EXPECT_EQ(w.vnode->snapshot().size(), 1u); // init
}

TEST_F(Busybox, LeavesNothingBehind) {
    (void)w.shell("true");
    w.consoles.clear();
    size_t spaces = TracedSpace::live(), objects = w.vnode->objects().count();
    for (int i = 0; i < 10; i++) {
        (void)w.shell("for i in 1 2 3; do /bin/true | cat; done; sleep 0 &");
        w.consoles.clear();
    }
    Nanos deadline = kernel::Thread::now() + seconds(5);
    while (kernel::Thread::now() < deadline &&
           (w.vnode->objects().count() > objects || TracedSpace::live() > spaces))
        kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(5));
    EXPECT_EQ(w.vnode->objects().count(), objects);
    EXPECT_EQ(TracedSpace::live(), spaces);
    EXPECT_EQ(w.files.holds(), 0u);
}

} // namespace
} // namespace tessera::posix::test
