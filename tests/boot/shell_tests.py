"""Programs in a vNode: the shell session of the README, streams, statuses, signals, terminals, copying."""
import os
import pty
import signal
import subprocess
import termios
import time

from harness import TOP, Terminal, Tess, check, equal, test


@test()
def a_script_on_stdin_runs_and_its_status_is_ours(tess):
    r = tess("run", "--", "/bin/sh", input="uname -s; uname -r; echo to stderr >&2; exit 7\n")
    equal(r.stdout, "Linux\n6.1.0-tessera\n", "stdout")
    equal(r.stderr, "to stderr\n", "stderr")
    equal(r.returncode, 7, "exit status")


@test()
def every_applet_has_its_link(tess):
    expected = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout
    equal(tess.sh_ok("busybox --list"), expected, "busybox --list")
    links = tess.sh_ok("ls -l /bin/cat /usr/bin/awk | sed 's/.* -> //'")
    equal(links, "/bin/busybox\n/bin/busybox\n", "links")


@test()
def pipelines_files_and_jobs_work(tess):
    equal(tess.sh_ok("seq 1000 | sort -rn | head -3 | tr '\\n' ' '"), "1000 999 998 ", "pipeline")
    equal(tess.sh_ok("cd /tmp && echo hello >a && cp a b && cat a b | wc -l && rm a b && ls a 2>/dev/null | wc -l"),
          "2\n0\n", "files")
    equal(tess.sh_ok("sleep 0.2 & wait $!; echo $?; (exit 3) & wait $!; echo $?"), "0\n3\n", "jobs")
    equal(tess.sh_ok("f() { trap 'echo got it' USR1; kill -USR1 $$; }; f"), "got it\n", "trap")
    equal(tess.sh("kill -9 $$").returncode, 128 + 9, "status of a killed shell")


@test()
def what_cannot_run_is_refused_with_the_usual_statuses(tess):
    r = tess("run", "--", "no-such-program")
    equal(r.returncode, 127, "status of an unknown program")
    check("not found" in r.stderr and "no-such-program" in r.stderr, r.stderr)
    tess.sh_ok("printf 'garbage' >/tmp/g; chmod +x /tmp/g; head -c 100 /bin/busybox >/tmp/cut; chmod +x /tmp/cut")
    for bad in ("/tmp/g", "/tmp/cut", "/tmp"):
        r = tess("run", "--", bad)
        equal(r.returncode, 126, f"status of {bad} ({r.stderr})")
    r = tess("run", "--vnode", "nope", "--", "true")
    check(r.returncode == 125 and "nope" in r.stderr, r.stderr)


@test()
def environment_folder_and_arguments_arrive(tess):
    equal(tess.ok("run", "--env", "A=b c", "--cwd", "/tmp", "--", "/bin/sh", "-c", 'echo "$A|$PWD|$1|$#"', "x", "", "y z"),
          "b c|/tmp||2\n", "output")


@test()
def interrupts_reach_the_program(tess):
    p = tess.popen("run", "--", "/bin/sh", "-c", "trap 'echo stopped; exit 5' INT; echo ready; while :; do sleep 1; done",
                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    equal(p.stdout.readline(), b"ready\n", "first line")
    p.send_signal(signal.SIGINT)
    equal(p.stdout.read(), b"stopped\n", "after the interrupt")
    equal(p.wait(20), 5, "exit status")


@test()
def large_streams_pass_unchanged(tess):
    data = os.urandom(1 << 20)
    r = tess("run", "--", "/bin/cat", input=data, binary=True, limit=60)
    equal(r.returncode, 0, "exit status")
    check(r.stdout == data, f"{len(r.stdout)} bytes came back, or others than {len(data)} sent")


@test()
def a_terminal_edits_lines_interrupts_and_stops(tess):
    t = Terminal(tess, "/bin/sh", "-l", rows=31, columns=97)
    t.expect(r"[#$] (\x1b\[6n)?$")
    t.send("stty size\r")
    t.expect(r"31 97")
    t.send("ecko\x7f\x7f\x7fcho ed''ited\r")
    t.expect(r"\nedited")
    wait = "sh -c 'echo wait''ing; exec sleep 100'\r"
    t.send(wait)
    t.expect(r"waiting")
    t.send("\x03")
    t.expect(r"[#$] (\x1b\[6n)?$")
    t.send("echo status $?\r")
    t.expect(r"\nstatus 130")
    t.send(wait)
    t.expect(r"waiting")
    t.send("\x1a")
    t.expect(r"Stopped")
    t.send("jobs; echo after''wards\r")
    t.expect(r"\[1\].*Stopped[\s\S]*\nafterwards")
    t.send("bg; jobs; echo in_the''_back\r")
    t.expect(r"\[1\].*Running[\s\S]*\nin_the_back")
    t.send("fg\r")
    t.expect(r"exec sleep 100.\r?\n")
    t.send("\x03")
    t.expect(r"[#$] (\x1b\[6n)?$")
    t.send("echo status $?; jobs; echo over''\r")
    t.expect(r"\nstatus 130\r?\nover")
    t.resize(40, 120)
    t.send("stty size\r")
    t.expect(r"40 120")
    t.send("exit 4\r")
    equal(t.finish(), 4, "exit status of the shell")


@test()
def vi_edits_a_file_on_a_terminal(tess):
    tess.sh_ok("printf 'one\\ntwo\\nthree\\n' >/tmp/vi")
    t = Terminal(tess, "vi", "/tmp/vi")
    t.expect(r"three")
    t.send("jddGofour\x1b")
    t.expect(r"four")
    t.send("1Gxu/hre\r:%s/four/4/\r:wq\r")
    equal(t.finish(), 0, "exit status of vi")
    equal(tess.sh_ok("cat /tmp/vi"), "one\nthree\n4\n", "file")


@test()
def less_and_more_show_pages(tess):
    tess.sh_ok("seq 100 >/tmp/pages")
    t = Terminal(tess, "less", "/tmp/pages", rows=12)
    t.expect(r"(?<!\d)11\r")
    check("K12" not in t.text, f"more than a page: {t.text!r}")
    t.send(" ")
    t.expect(r"(?<!\d)22\r")
    t.send("G")
    t.expect(r"(?<!\d)100\r")
    t.send("g")
    t.expect(r"(?<!\d)1\r")
    t.send("/^57\r")
    t.expect(r"57\x1b\[m\r\n")  # highlighted
    t.expect(r"(?<!\d)67\r")
    t.send("q")
    equal(t.finish(), 0, "exit status of less")
    t = Terminal(tess, "more", "/tmp/pages", rows=12)
    t.expect(r"--More--")
    t.send(" ")
    t.expect(r"(?<!\d)20\r")
    t.send("q")
    equal(t.finish(), 0, "exit status of more")


@test()
def copies_go_both_ways(tess):
    here = tess.parent + "/file"
    with open(here, "wb") as f:
        f.write(os.urandom(300_000))
    os.chmod(here, 0o750)
    tess.ok("cp", here, "main:/tmp/copied")
    equal(tess.sh_ok("stat -c %a /tmp/copied").strip(), "750", "mode")
    tess.ok("cp", here, "main:/tmp")
    tess.ok("cp", "main:/tmp/file", here + ".back")
    with open(here, "rb") as a, open(here + ".back", "rb") as b:
        check(a.read() == b.read(), "the file came back changed")
    r = tess("cp", "main:/nothing", here + ".x")
    check(r.returncode != 0 and not os.path.exists(here + ".x"), r.stderr)


@test()
def folders_are_copied_too(tess):
    top = tess.parent + "/folder"
    os.makedirs(top + "/a/empty")
    with open(top + "/a/file", "wb") as f:
        f.write(os.urandom(50_000))
    os.symlink("file", top + "/a/link")
    tess.ok("cp", top, "main:/tmp")
    equal(tess.sh_ok("cd /tmp/folder; find . | sort | xargs; readlink a/link"),
          ". ./a ./a/empty ./a/file ./a/link\nfile\n", "the folder in the vNode")
    tess.ok("cp", "main:/tmp/folder", top + ".back")
    r = subprocess.run(["diff", "-r", top, top + ".back"], capture_output=True, text=True)
    equal((r.returncode, r.stdout), (0, ""), "differences of the folder that came back")
    check(tess("cp", top, "main:/tmp/no/such/place").returncode != 0, "copied into a folder that is not there")


def processes_in_the_vnode(tess):
    return [line.split()[-1] for line in tess.ok("ps").splitlines()[1:]]


@test()
def a_reader_that_goes_away_ends_the_program(tess):
    run = tess.popen("run", "--", "yes", stdout=subprocess.PIPE)
    equal(run.stdout.readline(), b"y\n", "first line")
    run.stdout.close()
    equal(run.wait(20), 141, "exit status, as of SIGPIPE")
    check("yes" not in processes_in_the_vnode(tess), "yes is still there")


def begin_to_sleep(tess, *options, **streams):
    """A `tess run` whose program has got to its sleep."""
    run = tess.popen("run", *options, "--", "/bin/sh", "-c", "echo on; sleep 1000; :", stdout=subprocess.PIPE, **streams)
    equal(run.stdout.readline(), b"on\n", "first line")
    end = time.monotonic() + 10
    while "sleep" not in processes_in_the_vnode(tess):
        check(time.monotonic() < end, "the program does not get to its sleep")
    return run


def until_it_is_gone(tess, seconds):
    end = time.monotonic() + seconds
    while "sleep" in processes_in_the_vnode(tess):
        check(time.monotonic() < end, f"the program of a dead client lives on after {seconds} s")
        time.sleep(0.5)


@test(limit=90)
def a_killed_client_takes_its_program_along(tess):
    run = begin_to_sleep(tess)
    run.kill()
    run.wait()
    until_it_is_gone(tess, 15)


@test(limit=120)
def a_client_killed_with_its_guardian_is_missed(tess):
    run = begin_to_sleep(tess, start_new_session=True)
    for pid, line in tess.processes():
        if " run " in line and "sleep 1000" in line:
            os.kill(pid, signal.SIGKILL)  # tess, and the child that would have seen to this
    run.wait()
    until_it_is_gone(tess, 70)


@test()
def a_killed_client_leaves_the_terminal_as_it_was(tess):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    run = subprocess.Popen(tess.command("run", "-t", "--", "sleep", "1000"), stdin=slave, stdout=slave, stderr=slave,
                           start_new_session=True)
    end = time.monotonic() + 20
    while termios.tcgetattr(slave)[3] & termios.ECHO:
        check(time.monotonic() < end, "the terminal does not become raw")
        time.sleep(0.05)
    while "sleep" not in processes_in_the_vnode(tess):
        check(time.monotonic() < end, "the program does not start")
    run.kill()
    run.wait()
    end = time.monotonic() + 5
    while termios.tcgetattr(slave) != before:
        check(time.monotonic() < end, "the terminal is still raw")
        time.sleep(0.05)
    until_it_is_gone(tess, 15)
    os.close(master)
    os.close(slave)


@test()
def stdin_is_left_alone_with_n(tess):
    r = subprocess.run(["sh", "-c", f"while read x; do {' '.join(tess.command('run', '-n', '--', 'echo'))} got $x; done"],
                       input="1\n2\n3\n", capture_output=True, text=True, timeout=60)
    equal(r.stdout, "got 1\ngot 2\ngot 3\n", f"output of a loop that reads lines ({r.stderr!r})")
    equal(tess.sh("cat", input="text").stdout, "text", "stdin without -n")
    r = tess("run", "-n", "--", "cat", input="text")
    equal((r.returncode, r.stdout), (0, ""), "cat with -n")


@test()
def a_background_job_of_a_shell_goes_on(tess):
    """It would stop with SIGTTIN if it read the terminal; it reads when it is in the foreground again."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    t = Terminal.__new__(Terminal)
    t.pid, t.fd, t.text = pid, fd, ""
    run = " ".join(tess.command("run", "--"))
    t.send("PS1='@ '\r")
    t.expect(r"(?<!')@ ")
    t.send(f"{run} sh -c 'sleep 1; echo was''_here; exit 3' & wait $!; echo status $?\r")
    t.expect(r"was_here[\s\S]*status 3")
    t.send(f"{run} sh -c 'echo st''arted; read x; echo re''ad $x' &\r")
    t.expect(r"started")
    t.send("echo be''tween\r")
    t.expect(r"between")
    t.send("jobs; echo list''ed\r")
    check("Stopped" not in t.expect(r"Running[\s\S]*listed").group(0), "the job in the background has stopped")
    t.send("fg\r")
    t.expect(r"read x")
    t.send("a line\r")
    t.expect(r"read a line[\s\S]*@ ")  # what is typed before would go to tess
    t.send("exit\r")
    t.finish()


@test()
def status_counts_processes(tess):
    def counted():
        status = tess.status()
        vnode, = (v["processes"] for v in status["vnodes"] if v["name"] == "main")
        component, = (c["processes"] for c in status["components"] if c["name"] == "p1")
        return vnode, component

    def until(wanted):
        end = time.monotonic() + 10
        while counted() != wanted:
            check(time.monotonic() < end, f"{counted()} processes in the vNode and on p1, not {wanted}")
            time.sleep(0.2)
    time.sleep(1)
    before = counted()
    equal(before[0], before[1], "processes of the only vNode and of the only pComponent")
    run = begin_to_sleep(tess, "-n")
    until((before[0] + 2, before[1] + 2))
    run.send_signal(signal.SIGTERM)
    run.wait(20)
    until(before)


@test(limit=200)
def large_files_are_copied_at_some_speed(tess):
    """24 MiB each way. The bound is far below what a quiet machine does (make bench says); it catches waits."""
    here = tess.parent + "/large"
    data = os.urandom(24 << 20)
    with open(here, "wb") as f:
        f.write(data)
    start = time.monotonic()
    tess.ok("cp", here, "main:/tmp/large", limit=90)
    there = time.monotonic()
    tess.ok("cp", "main:/tmp/large", here + ".back", limit=90)
    back = time.monotonic()
    with open(here + ".back", "rb") as f:
        check(f.read() == data, "the file came back changed")
    print(f"      24 MiB in {there - start:.1f} s, back in {back - there:.1f} s", flush=True)
    tess.sh_ok("rm /tmp/large")


@test(limit=200)
def loss_changes_nothing_but_time(tess):
    script = "seq 1 300 >/tmp/loss; md5sum /tmp/loss; for i in 1 2 3; do ls /bin | wc -l; done"
    before = tess.sh_ok(script)
    tess.ok("fabric", "set", "all", "loss=5%", "dup=1%", "reorder=1%", "corrupt=0.5%")
    try:
        equal(tess.sh_ok(script, limit=180), before, "output with 5 % loss")
    finally:
        tess.ok("fabric", "clear", "all")


def make_run(**options):
    return subprocess.Popen(["make", "-s", "run"], cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, start_new_session=True, **options)


def make_run_that_sleeps():
    p = make_run()
    p.stdin.write(b"echo on; sleep 1000\n")
    p.stdin.flush()
    equal(p.stdout.readline(), b"on\n", "first line")
    return p


def of_make_run():
    """What runs for `make run`'s cluster."""
    t = Tess.__new__(Tess)
    t.dir = os.path.join(TOP, "build/cluster")
    return t


def nothing_of_make_run_is_left(seconds=20):
    t = of_make_run()
    end = time.monotonic() + seconds
    while t.processes():
        check(time.monotonic() < end, f"left: {t.processes()}")
        time.sleep(0.2)
    check(t.sockets() is None, f"the socket folder {t.sockets()} is left")


@test(limit=200)
def make_run_interrupted_stops_everything(tess):
    p = make_run_that_sleeps()
    os.killpg(p.pid, signal.SIGINT)  # as a terminal does for Ctrl-C
    p.stdin.close()
    check(p.wait(60) != 0, "make ended well though it was interrupted")
    nothing_of_make_run_is_left()


@test(limit=250)
def make_run_whose_tess_is_killed_stops_everything(tess):
    p = make_run_that_sleeps()
    for pid, line in of_make_run().processes():
        if "tess run" in line:
            os.kill(pid, signal.SIGKILL)
    check(p.wait(90) != 0, "make ended well though tess was killed")
    nothing_of_make_run_is_left()


@test(limit=250)
def make_run_killed_as_a_whole_is_cleaned_up_by_the_next(tess):
    p = make_run_that_sleeps()
    os.killpg(p.pid, signal.SIGKILL)
    p.wait(10)
    check(len(of_make_run().processes()) >= 7, "nothing was left: the test tests nothing")
    p = make_run()
    out, error = p.communicate(b"echo again; exit 0\n", timeout=150)
    equal((p.returncode, out), (0, b"again\n"), f"the next make run ({error!r})")
    nothing_of_make_run_is_left()


@test(limit=120)
def make_run_with_a_script_prints_only_its_output(tess):
    r = subprocess.run(["make", "-s", "run"], cwd=TOP, input=b"uname -s; ls -d /bin; exit 3\n", capture_output=True,
                       timeout=110)
    equal(r.stdout, b"Linux\n/bin\n", f"stdout (stderr: {r.stderr.decode(errors='replace')})")
    check(r.returncode != 0, "make did not pass the failure on")
