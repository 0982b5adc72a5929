"""Memory pressure, leaks, a bad network, memory exhausted, processors exhausted, a process table exhausted."""
import base64
import hashlib
import os
import re
import signal
import subprocess
import time

from harness import check, equal, test

MIB = 1 << 20


def settled(tess, component, name, wanted, limit=10):
    """The counter, once it is at least `wanted` or after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        value = tess.counters(component)[name]
        if value >= wanted or time.monotonic() > end:
            return value
        time.sleep(0.25)


def configured(tess, text, disk="1G"):
    """Brings a cluster of its own up: the default, with `text` in the place of excache = "64M"."""
    path = tess.parent + "/cluster.toml"
    with open(path, "w") as f:
        f.write('[[component]]\nname = "p1"\nkind = "process"\n' + text +
                '\n[[component]]\nname = "m1"\nkind = "memory"\n'
                f'[[component]]\nname = "s1"\nkind = "storage"\ndisk = "{disk}"\n[[vnode]]\nname = "main"\n')
    tess.up("--config", path)


@test(own_cluster=True, limit=720)
def a_sort_larger_than_the_excache_is_right(tess):
    configured(tess, 'excache = "16M"')
    lines = [base64.b64encode(os.urandom(48))[:63] + b"\n" for _ in range(24 * MIB // 64)]
    here = tess.parent + "/lines"
    with open(here, "wb") as f:
        f.write(b"".join(lines))
    tess.ok("cp", here, "main:/tmp/lines", limit=90)
    lines.sort()
    wanted = hashlib.md5(b"".join(lines)).hexdigest()
    before = tess.counters("p1")
    start = time.monotonic()
    out = tess.sh_ok("sort /tmp/lines | md5sum; rm /tmp/lines", limit=600)
    print(f"      sorted in {time.monotonic() - start:.0f} s (aim 300 on a quiet machine)", flush=True)
    equal(out.split()[0], wanted, "checksum of the sorted lines")
    after = tess.counters("p1")
    faults, write_backs = (
        sum(after[n] - before[n] for n in names)
        for names in (("excache_remote_reads", "excache_fetches"), ("excache_write_backs",)))
    check(faults >= 10_000, f"only {faults} remote faults")
    check(write_backs >= 1_000, f"only {write_backs} write-backs")


@test(limit=200)
def a_checksum_over_four_times_the_excache_is_right(tess):
    tess.ok("set", "p1", "excache=16M")
    try:
        before = tess.counters("p1")
        # 64 MiB in one process's memory, written and read again in order.
        out = tess.sh_ok("dd if=/dev/zero bs=64M count=1 iflag=fullblock 2>/dev/null | tr '\\0' x | md5sum", limit=180)
        equal(out.split()[0], hashlib.md5(b"x" * (64 * MIB)).hexdigest(), "checksum")
        after = tess.counters("p1")
        for name, least in (("excache_remote_reads", 10_000), ("excache_write_backs", 1_000)):
            check(after[name] - before[name] >= least, f"only {after[name] - before[name]} of {name}")
    finally:
        tess.ok("set", "p1", "excache=64M")


@test(limit=200)
def a_thousand_forks_leave_nothing_behind(tess):
    script = ("i=0; while [ $i -lt {0} ]; do /bin/true; i=$((i+1)); done; i=0;"
              "while [ $i -lt {1} ]; do /bin/echo x | /bin/cat | /bin/cat >/dev/null; i=$((i+1)); done")
    tess.sh_ok(script.format(100, 30), limit=60)  # program text, free stacks, page tables' frames
    time.sleep(1)
    before = {c: tess.counters(c)["frames_free"] for c in ("p1", "m1")}
    start = time.monotonic()
    tess.sh_ok(script.format(200, 34), limit=120)
    first = time.monotonic() - start
    for _ in range(2):
        start = time.monotonic()
        tess.sh_ok(script.format(250, 34), limit=120)
    last = time.monotonic() - start
    for c, free in before.items():
        now = settled(tess, c, "frames_free", free)
        check(now >= free - 16, f"{c} had {free} free frames before 1,006 forks and {now} after")
    check(last < 4 * first + 5, f"it became slower: {first:.1f} s, then {last:.1f} s")


@test(limit=240)
def a_bad_network_costs_nothing_but_time(tess):
    script = ("i=0; while [ $i -lt 5 ]; do /bin/true; i=$((i+1)); done; seq 3000 | sort -rn | md5sum;"
              "dd if=/dev/zero bs=512k count=1 2>/dev/null | tr '\\0' x >/tmp/x; cp /tmp/x /tmp/y;"
              "cmp /tmp/x /tmp/y && md5sum </tmp/y; rm /tmp/x /tmp/y;"
              "awk 'BEGIN { for (i = 0; i < 30000; i++) a[i] = i; for (i in a) s += a[i]; print s }'")
    wanted = tess.sh_ok(script)
    tess.ok("set", "p1", "excache=1M")
    try:
        for how in ("loss=5%", "dup=5%", "reorder=5%", "corrupt=1%"):
            tess.ok("fabric", "set", "all", how)
            equal(tess.sh_ok(script, limit=100), wanted, f"output with {how}")
            tess.ok("fabric", "clear", "all")
    finally:
        tess.ok("fabric", "clear", "all")
        tess.ok("set", "p1", "excache=64M")


@test(own_cluster=True, limit=150)
def who_uses_memory_up_is_killed_and_others_go_on(tess):
    configured(tess, "")
    tess.ok("vnode", "create", "second")
    tess.sh_ok("true")
    time.sleep(1)
    before = tess.counters("m1")["frames_free"]
    other = tess.popen("run", "--vnode", "second", "--", "/bin/sh", "-c",
                       "while [ ! -e /tmp/stop ]; do seq 200 | md5sum; done; echo over",
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for program in (("dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"),  # in a system call
                        ("awk", 'BEGIN { s = "0123456789abcdef"; while (1) s = s s }')):  # in page faults
            r = tess("run", "--", *program, limit=90)
            equal(r.returncode, 137, f"status of {program[0]} ({r.stderr})")
            check("out of memory" in r.stderr, f"{program[0]}: {r.stderr!r}")
        check("out of memory" in tess.ok("logs", "p1"), "the log does not say it")
        tess.sh_ok("touch /tmp/stop", vnode="second")
        out, error = other.communicate(timeout=40)
        equal(other.returncode, 0, f"status in the other vNode ({error!r})")
        check(set(out.split(b"\n")[:-2]) == {hashlib.md5("".join(f"{i}\n" for i in range(1, 201)).encode())
                                             .hexdigest().encode() + b"  -"}, f"output in the other vNode: {out[-200:]!r}")
    finally:
        other.kill()
    now = settled(tess, "m1", "frames_free", before - 512)
    check(now >= before - 512, f"m1 had {before} free frames before, and {now} after")


@test(limit=60)
def a_busy_program_stops_neither_heartbeats_nor_others(tess):
    busy = tess.popen("run", "--", "awk", "BEGIN { while (1) i++ }", stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            equal(tess.sh_ok("seq 100 | wc -l", limit=20), "100\n", "beside a busy program")
            time.sleep(2)
        state = [c["state"] for c in tess.status()["components"] if c["name"] == "p1"]
        equal(state, ["up"], "p1 after 20 s of a busy program")
        busy.send_signal(signal.SIGINT)
        equal(busy.wait(10), 130, "status of the interrupted program")
    finally:
        busy.kill()


@test(limit=90)
def a_fork_bomb_ends_in_an_error_and_the_rest_goes_on(tess):
    # Root is not limited by RLIMIT_NPROC. BusyBox's shell ends when it cannot fork.
    r = tess.sh("su -s /bin/sh nobody -c 'ulimit -u 40; i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done;"
                " echo no limit'; echo $?; killall sleep", limit=80)
    check("no limit" not in r.stdout and r.stdout.strip() not in ("", "0"), f"{r.stdout!r} {r.stderr!r}")
    check(re.search(r"fork|unavailable", r.stderr), f"stderr {r.stderr!r}")
    equal(tess.sh_ok("seq 10 | wc -l"), "10\n", "afterwards")


def used_kib(tess):
    return int(tess.sh_ok("df / | tail -1 | awk '{print $3}'"))


@test(own_cluster=True, limit=240)
def a_full_disk_is_an_error_and_heals(tess):
    configured(tess, "", disk="48M")
    before = used_kib(tess)
    tess.sh_ok("head -c 3000000 /dev/urandom >/root/kept && md5sum /root/kept >/root/sum && sync")
    for way in ("dd if=/dev/zero of=/root/big bs=64k", "cat /dev/zero >/root/big"):
        r = tess.sh(f"{way}; s=$?; dd if=/dev/null of=/root/big conv=notrunc,fsync 2>/dev/null && echo durable; exit $s", limit=90)
        check(r.returncode == 1 and "No space left on device" in r.stderr, f"{way}: {r.returncode} {r.stderr!r}")
        # What was accepted is there: as much as the disk holds, and fsync says so.
        equal(r.stdout, "durable\n", f"fsync after {way}")
        size = int(tess.sh_ok("stat -c %s /root/big"))
        check(size > 35 * MIB, f"the disk was full after {size} bytes")
        r = tess.sh("echo more >/root/more; cat /root/more", limit=30)
        check("No space left on device" in r.stderr or r.stdout == "more\n", f"one more file: {r.stderr!r}")
        tess.sh_ok("md5sum -c /root/sum && rm -f /root/more /root/big")
        # The space is there at once: as much again goes into another file.
        tess.sh_ok("dd if=/dev/urandom of=/root/next bs=64k count=300 conv=fsync && sync && rm /root/next", limit=90)
    end = time.monotonic() + 20
    while used_kib(tess) > before + 3000 + 256 and time.monotonic() < end:
        time.sleep(0.5)
    check(used_kib(tess) <= before + 3000 + 256, f"{used_kib(tess)} KiB used, {before} before")
    logs = tess.ok("logs", "m1")
    check("write-out" not in logs and "Stale" not in logs, f"m1 could not write out what it had accepted:\n{logs[-800:]}")
    tess.sh_ok("md5sum -c /root/sum")
