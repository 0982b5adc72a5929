"""Programs in a vNode: the shell session of the README, streams, statuses, signals, terminals, copying."""
import os
import signal
import subprocess
import time

from harness import TOP, Terminal, check, equal, test


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


@test(limit=90)
def a_killed_client_takes_its_program_along(tess):
    run = tess.popen("run", "--", "/bin/sh", "-c", "echo on; sleep 1000; :", stdout=subprocess.PIPE)
    equal(run.stdout.readline(), b"on\n", "first line")
    end = time.monotonic() + 10
    while "sleep" not in processes_in_the_vnode(tess):
        check(time.monotonic() < end, "the program does not get to its sleep")
    run.kill()
    run.wait()
    end = time.monotonic() + 60
    while "sleep" in processes_in_the_vnode(tess):
        check(time.monotonic() < end, "the program of a dead client lives on after 60 s")
        time.sleep(1)


@test(limit=200)
def loss_changes_nothing_but_time(tess):
    script = "seq 1 300 >/tmp/loss; md5sum /tmp/loss; for i in 1 2 3; do ls /bin | wc -l; done"
    before = tess.sh_ok(script)
    tess.ok("fabric", "set", "all", "loss=5%", "dup=1%", "reorder=1%", "corrupt=0.5%")
    try:
        equal(tess.sh_ok(script, limit=180), before, "output with 5 % loss")
    finally:
        tess.ok("fabric", "clear", "all")


@test(limit=120)
def make_run_with_a_script_prints_only_its_output(tess):
    r = subprocess.run(["make", "-s", "run"], cwd=TOP, input=b"uname -s; ls -d /bin; exit 3\n", capture_output=True,
                       timeout=110)
    equal(r.stdout, b"Linux\n/bin\n", f"stdout (stderr: {r.stderr.decode(errors='replace')})")
    check(r.returncode != 0, "make did not pass the failure on")
