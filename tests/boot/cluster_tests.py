"""A cluster comes up, is seen, is stopped; what goes wrong on the way is said and cleaned up."""
import os
import signal
import stat
import time
from subprocess import DEVNULL, PIPE

from harness import Failure, Tess, check, equal, test


def nothing_left(tess, sockets):
    alive = tess.processes()
    check(not alive, f"still alive: {alive}")
    check(sockets is None or not os.path.exists(sockets), f"{sockets} is still there")


@test()
def status_names_all_components_and_the_boot_loader(tess):
    by_name = {c["name"]: c for c in tess.status()["components"]}
    for name, kind in (("p1", "process"), ("m1", "memory"), ("s1", "storage")):
        check(name in by_name, f"{name} is not in the status: {sorted(by_name)}")
        equal(by_name[name]["kind"], kind, f"kind of {name}")
        equal(by_name[name]["state"], "up", f"state of {name}")
        check("GRUB" in by_name[name]["boot_loader"], f"loader of {name}: {by_name[name]['boot_loader']!r}")
        equal(by_name[name]["cpus"], 1, f"cpus of {name}")
    table = tess.ok("status")
    check("main" in table and "GRUB" in table, table)
    check("main" in tess.ok("vnode", "list"), "vNode main is not listed")


@test()
def a_second_up_is_refused_and_says_what_to_do(tess):
    r = tess("up")
    equal(r.returncode, 1, "exit status")
    check("already up" in r.stderr and "tess down" in r.stderr, r.stderr)


@test()
def the_key_is_private_and_on_no_command_line(tess):
    with open(tess.dir + "/key") as f:
        key = f.read().strip()
    for name in ("key", "p1.config"):
        equal(stat.S_IMODE(os.stat(f"{tess.dir}/{name}").st_mode), 0o600, f"mode of {name}")
    for pid, line in tess.processes():
        check(key not in line, f"the key is on the command line of {pid}")


@test()
def logs_show_what_a_guest_printed(tess):
    check("GRUB" in tess.ok("logs", "p1"), "p1's log does not name its loader")
    r = tess("logs", "nobody")
    check(r.returncode == 1 and "p1 m1 s1" in r.stderr, r.stderr)


@test()
def the_fabric_obeys_and_explains(tess):
    tess.ok("fabric", "set", "p1", "loss=1%")
    check("p1 in: loss=1%" in tess.ok("fabric", "show"), "the loss is not shown")
    r = tess("fabric", "set", "p1", "loss=x")
    check(r.returncode == 1 and "loss=" in r.stderr, r.stderr)
    path = tess.parent + "/x.pcap"
    tess.ok("fabric", "pcap", "all", path)
    tess.status()
    tess.ok("fabric", "pcap", "all", "off")
    check(os.path.getsize(path) > 100, "nothing was captured")
    tess.ok("fabric", "clear", "all")


@test(own_cluster=True, limit=120)
def down_leaves_no_process_and_no_socket(tess):
    tess.up()
    sockets = tess.sockets()
    check(sockets and os.path.exists(sockets), "no socket folder while it is up")
    tess.ok("down")
    nothing_left(tess, sockets)
    r = tess("status")
    check(r.returncode == 1 and "tess up" in r.stderr, r.stderr)
    tess.ok("down")  # again: nothing to do


@test(own_cluster=True, limit=180)
def an_up_that_was_killed_is_cleaned_up_by_the_next(tess):
    p = tess.popen("up", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
    for line in p.stderr:
        if b"started" in line:
            break
    p.kill()
    p.wait()
    check(len(tess.processes()) >= 4, "the killed up had started nothing yet")
    tess.up()
    equal(sum("qemu" in line for _, line in tess.processes()), 3, "guests after the second up")
    sockets = tess.sockets()
    tess.ok("down")
    nothing_left(tess, sockets)


@test(own_cluster=True, limit=120)
def an_interrupted_up_stops_what_it_started(tess):
    p = tess.popen("up", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
    for line in p.stderr:
        if b"started" in line:
            break
    p.send_signal(signal.SIGINT)
    rest = p.stderr.read().decode()
    equal(p.wait(), 130, f"exit status ({rest})")
    nothing_left(tess, None)


@test(own_cluster=True, limit=120)
def a_component_that_never_joins_is_named_with_its_log(tess):
    config = tess.parent + "/c.toml"
    with open(os.path.join(os.path.dirname(__file__), "../../tools/tess/default.toml")) as f:
        text = f.read().replace("join_timeout = 60", "join_timeout = 8")
    with open(config, "w") as f:  # m1's link loses everything
        f.write(text + '\n[[fabric.link]]\nport = "m1"\nimpairment = "loss=100%"\n')
    r = tess("up", "--config", config, limit=90)
    equal(r.returncode, 1, "exit status")
    check("m1 has not joined within 8 s" in r.stderr and "last log lines of m1" in r.stderr, r.stderr)
    check("GRUB" in r.stderr, "the log lines of m1 are not shown: " + r.stderr)
    nothing_left(tess, None)


@test(own_cluster=True)
def a_wrong_cluster_file_is_named_with_line_and_expectation(tess):
    config = tess.parent + "/c.toml"
    with open(config, "w") as f:
        f.write('[[component]]\nname = "p1"\nkind = "process"\ncpus = "two"\n')
    r = tess("up", "--config", config)
    equal(r.returncode, 1, "exit status")
    check(f"{config}:4:" in r.stderr and "whole number" in r.stderr, r.stderr)
    r = tess("up", "--config", "/nonexistent.toml")
    check(r.returncode == 1 and "/nonexistent.toml" in r.stderr, r.stderr)


@test(own_cluster=True, limit=180)
def two_clusters_run_side_by_side(tess):
    other = Tess()
    try:
        tess.up()
        other.up()
        for one in (tess, other):
            equal(one.sh_ok("echo $((6 * 7))"), "42\n", "output")
        other.ok("down")
        equal(tess.sh_ok("echo still here"), "still here\n", "output")
    finally:
        other.close()


@test(own_cluster=True, limit=240)
def files_are_there_after_down_and_up(tess):
    tess.up()
    tess.sh_ok("mkdir -p /root/d && echo kept >/root/d/f && ln -s f /root/d/l")
    tess.ok("down")
    tess.up()
    equal(tess.sh_ok("cat /root/d/l"), "kept\n", "file after the second up")


@test(own_cluster=True, limit=240)
def managers_may_be_killed_and_started_while_a_script_runs(tess):
    tess.up()
    p = tess.popen("run", "--", "/bin/sh", "-c",
                   "echo started; i=0; while [ $i -lt 200 ]; do /bin/true || exit 9; i=$((i+1)); echo $i >/tmp/f$i; done; echo done $i",
                   stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    equal(p.stdout.readline(), b"started\n", "first line")
    for name in ("gmm", "gsm", "gpm"):
        tess.ok("kill", name)
    out, error = p.communicate(timeout=200)
    equal(out, b"done 200\n", f"output (stderr {error!r})")
    for name in ("gpm", "gmm", "gsm"):
        tess.ok("start", name)
    end = time.monotonic() + 30
    while True:
        try:
            if all(c["state"] == "up" for c in tess.status()["components"] if c["name"] in ("p1", "m1", "s1")):
                break
        except Failure:
            pass
        check(time.monotonic() < end, "the managers did not find their components again")
        time.sleep(0.2)
    equal(tess.sh_ok("cat /tmp/f200"), "200\n", "file")
