"""What fails and what goes on: managers, the fabric and components are killed and started again."""
import glob
import os
import subprocess
import time
from subprocess import DEVNULL, PIPE

from harness import Failure, check, equal, test

AWAY = 60 if os.environ.get("TESSERA_LONG") == "1" else 20  # seconds without managers
MANAGERS = ("gpm", "gmm", "gsm")

# Reads a line, works, says so, reads another line: the test decides what is dead meanwhile. The working part forks
# and executes 200 times, has 100 MiB mapped by dd and 24 MiB used by awk, and makes files.
SCRIPT = r"""
echo ready; read line
i=0; while [ $i -lt 200 ]; do /bin/true || exit 9; i=$((i+1)); done; echo forks $i
dd if=/dev/zero of=/dev/null bs=25M count=4 2>&1 | grep -q '^4+0' || exit 8
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
