"""What fails and what goes on: managers, the fabric and components are killed and started again."""
import glob
import os
import re
import subprocess
import time
from subprocess import DEVNULL, PIPE

from harness import Failure, check, equal, test

AWAY = 60  # seconds without managers
MANAGERS = ("gpm", "gmm", "gsm")

# Reads a line, works, says so, reads another line: the test decides what is dead meanwhile. The working part forks
# and executes 200 times, has 100 MiB mapped and written by dd and 24 MiB used by awk, and makes files.
SCRIPT = r"""
echo ready; read line
i=0; while [ $i -lt 200 ]; do /bin/true || exit 9; i=$((i+1)); done; echo forks $i
dd if=/dev/zero of=/dev/null bs=100M count=1 iflag=fullblock 2>&1 | grep -q '^1+0' || exit 8
awk 'BEGIN { s = sprintf("%1048576s", "x"); for (i = 0; i < 24; i++) a[i] = s i; for (i in a) n += length(a[i]); print "awk", n }' || exit 7
i=0; while [ $i -lt 50 ]; do echo $i >/root/made$i || exit 6; i=$((i+1)); done; echo files $(ls /root/made* | wc -l)
read line; /bin/echo over; exit 3
"""
WORKED = ["forks 200", "awk 25165862", "files 50"]


def line_of(p):
    return p.stdout.readline().decode().rstrip("\n")


def say(p, text="\n"):
    p.stdin.write(text.encode())
    p.stdin.flush()


def all_up(tess, names=("p1", "m1", "s1"), limit=40):
    """Waits until GPM shows these components as up, and with fresh heartbeats."""
    end = time.monotonic() + limit
    state = None
    while time.monotonic() < end:
        r = tess("status", "--json", limit=20)
        if r.returncode == 0:
            import json
            state = {c["name"]: c["state"] for c in json.loads(r.stdout)["components"]}
            if all(state.get(n) == "up" for n in names):
                return
        time.sleep(0.2)
    raise Failure(f"not all of {names} are up after {limit} s: {state}; {r.stderr}")


def away(tess, seconds, forget):
    """The script works while all managers are dead; then they come back, `forget` without its database."""
    p = tess.popen("run", "--", "/bin/sh", "-c", SCRIPT, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    equal(line_of(p), "ready", "first line")
    for name in MANAGERS:
        tess.ok("kill", name)
    start = time.monotonic()
    say(p)
    equal([line_of(p) for _ in WORKED], WORKED, "what the script said while no manager was alive")
    time.sleep(max(0, start + seconds - time.monotonic()))
    for path in glob.glob(f"{tess.dir}/{forget}.db*"):
        os.unlink(path)
    for name in MANAGERS:
        tess.ok("start", name)
    all_up(tess)
    say(p)
    equal(line_of(p), "over", "last line")
    equal(p.wait(timeout=20), 3, f"status ({p.stderr.read()!r})")
    equal(tess.sh_ok("cat /root/made49; echo new >/root/new; cat /root/new"), "49\nnew\n", "a new program")
    equal([v["name"] for v in tess.status()["vnodes"]], ["main"], "vNodes")


@test(own_cluster=True, limit=120 + AWAY)
def work_goes_on_without_managers_and_gmm_forgets(tess):
    tess.up()
    away(tess, AWAY, "gmm")


@test(own_cluster=True, limit=200)
def managers_come_back_though_one_lost_its_database(tess):
    tess.up()
    for name in ("gpm", "gsm", "gmm"):
        away(tess, 0, name)


# What a program on the components does while one of them dies: forks, executes and looks at files.
BUSY = "echo hi; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); /bin/true; ls / >/dev/null 2>&1; done"


def busy(tess):
    p = tess.popen("run", "--", "/bin/sh", "-c", BUSY, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    equal(line_of(p), "hi", "first line")
    return p


@test(limit=120)
def a_loop_does_not_notice_that_gmm_and_the_fabric_die(tess):
    p = tess.popen("run", "--", "/bin/sh", "-c", "i=0; while [ $i -lt 40 ]; do echo $i; /bin/sleep 0.1; i=$((i+1)); done",
                   stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    equal(line_of(p), "0", "first line")
    for name in ("gmm", "fabric"):
        tess.ok("kill", name)
        tess.ok("start", name)
    out, error = p.communicate(timeout=60)
    equal(out.decode().split(), [str(i) for i in range(1, 40)], f"output ({error!r})")
    equal(p.returncode, 0, "status")


@test(own_cluster=True, limit=300)
def components_die_are_missed_and_come_back(tess):
    tess.up()
    tess.sh_ok("echo kept >/root/kept; sync")

    p = busy(tess)  # the component that computes
    tess.ok("kill", "p1")
    equal(p.wait(timeout=40), 125, "status of a program whose pComponent died")
    r = tess.sh("true")
    check(r.returncode == 125 and "no pComponent is up" in r.stderr, r.stderr)
    tess.ok("start", "p1")
    equal(tess.sh_ok("cat /root/kept"), "kept\n", "after p1 came back")

    p = busy(tess)  # the one that holds its memory
    tess.ok("kill", "m1")
    equal(p.wait(timeout=60), 128 + 7, "status of a program whose memory is lost")
    r = tess.sh("true")
    check(r.returncode == 125 and ("no mComponent is up" in r.stderr or "lost" in r.stderr), r.stderr)
    tess.ok("start", "m1")
    equal(tess.sh_ok("cat /root/kept"), "kept\n", "after m1 came back")

    p = tess.popen("run", "--", "/bin/sh", "-c",  # the one that keeps its files, under load
                   "i=0; while [ $i -lt 300 ]; do echo $i >/root/n$i && dd if=/root/n$i of=/root/m$i conv=fsync && echo $i; i=$((i+1)); done",
                   stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    said = [line_of(p) for _ in range(20)]
    tess.ok("kill", "s1")
    time.sleep(1)
    tess.ok("start", "s1")
    said += p.communicate(timeout=120)[0].decode().split()
    got = tess.sh("cd /root; for i in $(cat); do [ \"$(cat m$i)\" = $i ] || echo lost $i; done", input="\n".join(said)).stdout
    equal(got, "", f"of {len(said)} files whose fsync had returned")


@test(own_cluster=True, limit=200)
def down_writes_out_what_was_not_synced(tess):
    tess.up()
    digest = tess.sh_ok("dd if=/dev/urandom of=/root/big bs=64k count=128 2>/dev/null; md5sum /root/big")
    tess.ok("down")
    for name in ("p1", "m1", "s1"):
        with open(f"{tess.dir}/log/{name}.log", errors="replace") as f:
            check("everything is written out; powering off" in f.read(), f"{name} did not power off by itself")
    tess.up()
    equal(tess.sh_ok("md5sum /root/big; echo more >/root/more"), digest, "after down and up")
    for name in ("fabric", *MANAGERS):
        tess.ok("kill", name)
    tess.ok("down")
    tess.up()
    equal(tess.sh_ok("cat /root/more"), "more\n", "after down without managers, and up")


@test(limit=120)
def a_second_vnode_has_files_and_processes_of_its_own(tess):
    used = int(tess.sh_ok("df / | tail -1 | awk '{print $3}'"))
    equal(tess.ok("vnode", "create", "two"), "two\n", "vnode create")
    r = tess("vnode", "create", "two")
    check(r.returncode == 1 and "already exists" in r.stderr, r.stderr)
    equal(tess.sh_ok("busybox --list | wc -l"), tess.sh_ok("busybox --list | wc -l", vnode="two"), "applets")
    tess.sh_ok("echo mine >/root/mine")
    tess.sh_ok("[ ! -e /root/mine ] && echo other >/root/mine", vnode="two")
    equal(tess.sh_ok("cat /root/mine"), "mine\n", "main's file")
    p = tess.popen("run", "--vnode", "two", "--", "/bin/sh", "-c", "echo up; sleep 300", stdin=DEVNULL, stdout=PIPE,
                   stderr=DEVNULL)
    equal(line_of(p), "up", "first line")
    check("sleep 300" not in tess.sh_ok("ps"), "a process of the other vNode is visible")
    tess.ok("vnode", "rm", "two")
    check(p.wait(timeout=30) != 0, "its program ended well")
    r = tess("vnode", "rm", "two")
    check(r.returncode == 1 and "no vNode called 'two'" in r.stderr, r.stderr)
    end = time.monotonic() + 20  # freed in the background
    while int(tess.sh_ok("df / | tail -1 | awk '{print $3}'")) > used + 64 and time.monotonic() < end:
        time.sleep(0.2)
    now = int(tess.sh_ok("df / | tail -1 | awk '{print $3}'"))
    check(now <= used + 64, f"{now} KiB are used, {used} before")


LOST_HOME = r"""
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo kept $i >/root/kept$i; done; sync
exec 3>/root/u3 4>/root/u4 5>/root/u5 6>/root/u6 7>/root/u7 8>/root/u8
for i in 3 4 5 6 7 8; do echo first >&$i; done
echo ready; read line
lost=; for i in 3 4 5 6 7 8; do echo second >&$i || lost="$lost $i"; done
again=; for i in 3 4 5 6 7 8; do echo third >&$i || again="$again $i"; done
echo lost$lost; echo again$again
cat /root/kept*; sync; echo synced
for i in 3 4 5 6 7 8; do echo $i $(cat /root/u$i); done; echo over
"""


@test(own_cluster=True, limit=240)
def a_lost_home_of_files_is_one_error_and_the_program_goes_on(tess):
    path = tess.parent + "/cluster.toml"
    with open(path, "w") as f:
        for name, kind in (("p1", "process"), ("m1", "memory"), ("m2", "memory"), ("s1", "storage")):
            f.write(f'[[component]]\nname = "{name}"\nkind = "{kind}"\n')
        f.write('[[vnode]]\nname = "main"\n')
    tess.up("--config", path)
    tess.sh_ok("true")
    # The one that has the programs' memory lives on.
    at = re.search(r"vNode main mounted, its memory is at (\S+)", tess.ok("logs", "p1")).group(1)
    other, = (c["name"] for c in tess.status()["components"] if c["name"] in ("m1", "m2") and c["address"] != at)
    p = tess.popen("run", "--", "/bin/sh", "-c", LOST_HOME, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    equal(line_of(p), "ready", "first line")
    tess.ok("kill", other)
    say(p)
    out, error = p.communicate(timeout=120)
    lines = out.decode().split("\n")
    equal(p.returncode, 0, f"status; it said {lines} {error!r}")
    lost = lines[0].split()[1:]
    check(lines[0].startswith("lost") and 0 < len(lost), f"no descriptor reported a loss: {lines}")
    equal(lines[1], "again", "descriptors with a second error")
    equal(sorted(lines[2:14]), sorted(f"kept {i}" for i in range(1, 13)), "synced files")
    equal(lines[14], "synced", "sync")
    for line in lines[15:21]:
        fd, *words = line.split()
        check(words[-1:] == ["third"] and (fd in lost or words == ["first", "second", "third"]), f"u{fd} has {words}, lost: {lost}")
    equal(tess.sh_ok("cat /root/kept7; ls /root | wc -l"), "kept 7\n18\n", "a new program")
    tess.ok("start", other)
    all_up(tess, ("p1", "m1", "m2", "s1"))
    equal(tess.sh_ok("cat /root/kept7"), "kept 7\n", "after it came back")
