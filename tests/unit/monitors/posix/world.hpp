// One vNode with files in memory and real programs under ptrace, for tests that run Debian's
// busybox.
#pragma once

#include <fstream>
#include <sstream>

#include "base/hosted.hpp"
#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"
#include "monitors/process/syscall/dispatch.hpp"
#include "tests/unit/monitors/posix/memory_files.hpp"
#include "tests/unit/monitors/posix/traced.hpp"

namespace tessera::posix::test {

class TestMachine final : public Machine {
  public:
    int64_t realtime_ns() override {
        timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return t.tv_sec * 1'000'000'000ll + t.tv_nsec;
    }
    MachineInfo info() override {
        MachineInfo m;
        m.total_memory = 256 << 20;
        m.free_memory = 128 << 20;
        return m;
    }
};

struct Outcome {
    std::string out, error;
    schema::ConsoleState state = schema::ConsoleState::Running;
    int code = -1;
    std::string reason;
};

class World {
  public:
    explicit World(AddressSpaceFactory* spaces = nullptr) : spaces_(files) {
        files.add_directory("/tmp");
        files.add_directory("/root");
        files.add_file("/etc/passwd",
                       "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n");
        files.add_file("/etc/group", "root:x:0:\nuser:x:1000:\n");
        vnode = std::move(
            *Vnode::create({files, spaces ? *spaces : spaces_, random, machine, syscalls::run_task},
                           {.id = VnodeId(1), .name = "test"}));
        vnode->lease_pids(Pid(2), 30000);
    }
    ~World() {
        consoles.clear();
        if (!vnode->stop(kernel::Thread::now() + seconds(20))) std::abort();
    }
    // Debian's binary and all its links.
    bool add_busybox() {
        std::ifstream f("/bin/busybox", std::ios::binary);
        std::stringstream s;
        s << f.rdbuf();
        if (s.str().size() < 100000) return false;
        files.add_file("/bin/busybox", s.str(), 0755);
        std::istringstream names(
            "sh ash ls cat cp mv rm mkdir rmdir ln find grep sed awk sort uniq cut tr tar gzip "
            "gunzip xz unxz vi less top "
            "ps kill dd df du date sleep seq xargs md5sum sha256sum wc head tail tee env printf "
            "expr test stat touch "
            "chmod chown id mktemp readlink realpath diff patch od hexdump nohup time timeout "
            "watch yes true false "
            "echo pwd uname free uptime mount pidof pgrep tty stty basename dirname mkfifo "
            "hostname sync truncate "
            "which who whoami cmp comm fold nl rev tac split paste expand unexpand cksum base64 "
            "factor nice renice "
            "setsid cpio bzip2 bunzip2 zcat usleep killall pstree lsof clear reset ed bc dc cal "
            "shuf strings");
        std::string n;
        while (names >> n)
            files.add_link("/bin/" + n, "busybox");
        return true;
    }
    Ref<Console> start(std::vector<std::string> arguments, bool terminal = false) {
        auto c = make_ref<Console>(*vnode, random.next(), terminal, 24, 80);
        ProgramRequest r;
        r.arguments = std::move(arguments);
        r.environment = {"PATH=/bin", "HOME=/root", "TERM=vt100", "PS1=$ "};
        r.console = c;
        auto p = start_program(*vnode, std::move(r));
        if (!p) {
            failure = p.error();
            return nullptr;
        }
        pid = (*p)->pid();
        consoles.push_back(c);
        return c;
    }
    // Collects until the program has ended and its streams are drained.
    Outcome finish(Console& c, Nanos patience = seconds(30)) {
        Outcome o;
        Nanos deadline = kernel::Thread::now() + patience;
        while (kernel::Thread::now() < deadline) {
            auto s = c.poll(o.out.size(), o.error.size(), 32768);
            if (!s) break;
            o.out += text_of(s->out);
            o.error += text_of(s->error);
            o.state = s->state;
            o.code = s->code;
            o.reason = s->reason;
            bool over = s->state == schema::ConsoleState::Exited ||
                        s->state == schema::ConsoleState::Killed;
            if (over && s->out_end && s->error_end) return o;
            kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(1));
        }
        o.code = -1;
        return o;
    }
    Outcome run(std::vector<std::string> arguments, std::string_view input = "") {
        Ref<Console> c = start(std::move(arguments));
        if (!c) return {};
        (void)c->input(0, bytes_of(input), true);
        return finish(*c);
    }
    Outcome shell(std::string script) { return run({"sh", "-c", std::move(script)}); }

    MemoryFiles files;
    HostRandom random;
    TestMachine machine;
    Own<Vnode> vnode;
    std::vector<Ref<Console>> consoles;
    Pid pid;
    Error failure = Error::NotFound;

  private:
    TracedSpaces spaces_;
};

} // namespace tessera::posix::test
