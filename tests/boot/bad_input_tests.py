"""Bad input: programs that are none, cluster files, folders, keys, disks and frames that are wrong. Each gets a
clear error within its deadline, and the cluster goes on."""
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
from subprocess import DEVNULL, PIPE

import frames
from harness import TESS, TOP, check, equal, test

BUSYBOX = "/bin/busybox"
DEFAULT = os.path.join(TOP, "tools/tess/default.toml")


def put(tess, name, data, mode=0o755):
    """A file in the vNode's /tmp/bad."""
    here = f"{tess.parent}/{name}"
    with open(here, "wb") as f:
        f.write(data)
    os.chmod(here, mode)
    tess.sh_ok("mkdir -p /tmp/bad")
    tess.ok("cp", here, f"main:/tmp/bad/{name}")
    return f"/tmp/bad/{name}"


def well(tess):
    equal(tess.sh_ok("seq 3 | wc -l", limit=30), "3\n", "the cluster afterwards")


def refused(r, status, *words):
    equal(r.returncode, status, f"exit status ({r.stderr!r})")
    for word in words:
        check(word in r.stderr, f"{word!r} is not in {r.stderr!r}")


def written(tess, name, text):
    path = f"{tess.parent}/{name}"
    with open(path, "w") as f:
        f.write(text)
    return path


def default_config():
    with open(DEFAULT) as f:
        return f.read()


# ---- programs

@test()
def what_is_no_program_says_so(tess):
    refused(tess("run", "--", "no-such-program"), 127, "no-such-program", "not found")
    refused(tess("run", "--", "/no/such/folder/program"), 127, "/no/such/folder/program", "not found")
    refused(tess("run", "--", put(tess, "text", b"no program\n", 0o644)), 126, "permission denied")
    refused(tess("run", "--", put(tess, "letters", b"no program at all\n")), 126, "ELF")
    refused(tess("run", "--", "/tmp"), 126)
    refused(tess("run", "--cwd", "/no/such/folder", "--", "true"), 127, "/no/such/folder")
    equal(tess.sh("env /tmp/bad/text").returncode, 126, "env's status of what is not executable")
    well(tess)


@test()
def truncated_programs_end_in_an_error(tess):
    with open(BUSYBOX, "rb") as f:
        whole = f.read()
    for length in (0, 3, 64, 100):
        path = put(tess, f"cut{length}", whole[:length])
        refused(tess("run", "--", path), 126, path)
    tess.sh_ok(f"head -c {len(whole) // 2} /bin/busybox >/tmp/bad/true; chmod +x /tmp/bad/true")
    r = tess("run", "--", "/tmp/bad/true", limit=30)  # as on Linux: refused, or SIGSEGV, SIGBUS where the file ends
    check(r.returncode in (126, 139, 135), f"half of busybox: status {r.returncode} {r.stderr!r}")
    well(tess)


@test()
def programs_for_other_machines_are_refused(tess):
    with open(BUSYBOX, "rb") as f:
        head = bytearray(f.read(4096))
    arm = bytearray(head)
    struct.pack_into("<H", arm, 18, 183)  # e_machine: AArch64
    narrow = bytearray(head)
    narrow[4] = 1  # EI_CLASS: 32 bits
    i386 = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    i386 += struct.pack("<IIIIIIII", 1, 0, 0x8048000, 0x8048000, 86, 86, 5, 4096) + b"\xb8\x01\x00\x00\x00\xcd\x80"
    big = bytearray(head)
    big[5] = 2  # EI_DATA: big-endian
    for name, data in (("arm", arm), ("narrow", narrow), ("i386", i386), ("big", big)):
        path = put(tess, name, bytes(data))
        refused(tess("run", "--", path), 126, path, "Exec format error")
    well(tess)


@test(limit=240)
def hostile_headers_crash_nothing(tess):
    """Twenty mutants of busybox: bytes of the ELF header and the program headers are changed."""
    with open(BUSYBOX, "rb") as f:
        head = f.read(4096)
    offset, = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    interesting = list(range(16, 64)) + list(range(offset, offset + size * count))
    dice = random.Random(2026)
    all_heads = b""
    for number in range(20):
        mutant = bytearray(head)
        for _ in range(dice.choice((1, 2, 4, 8))):
            mutant[dice.choice(interesting)] = dice.choice((0, 1, 0x7f, 0x80, 0xff, dice.randrange(256)))
        all_heads += bytes(mutant)
    put(tess, "heads", all_heads)
    before = tess.status()
    uptime = {c["name"]: c["uptime_ms"] for c in before["components"]}
    statuses = []
    for number in range(20):
        tess.sh_ok("cd /tmp/bad; rm -rf mutant; mkdir mutant; cp /bin/busybox mutant/true;"
                   f" dd if=heads of=mutant/true bs=4096 skip={number} count=1 conv=notrunc 2>/dev/null")
        p = tess.popen("run", "-n", "--", "/tmp/bad/mutant/true", stdout=DEVNULL, stderr=DEVNULL)
        try:
            statuses.append(p.wait(15))
        except subprocess.TimeoutExpired:  # it runs, and does what nobody knows: it can be killed
            p.send_signal(signal.SIGTERM)
            statuses.append(p.wait(15))
    for number, status in enumerate(statuses):  # the applet's, refused, not found (its interpreter), or a signal's
        check(status in (0, 1, 126, 127) or 128 < status < 160, f"mutant {number} ended with {status}")
    check(126 in statuses and any(s > 128 for s in statuses), f"not both refused and killed ones: {statuses}")
    for c in tess.status()["components"]:
        check(c["uptime_ms"] >= uptime[c["name"]], f"{c['name']} has started again")
    well(tess)


@test()
def scripts_that_lead_nowhere_end(tess):
    lost = put(tess, "lost", b"#!/no/such/interpreter -x\necho no\n")
    refused(tess("run", "--", lost), 127, lost, "not found")
    equal(tess.sh(f"env {lost}").returncode, 127, "env's status of a script without its interpreter")
    one, two = put(tess, "one", b"#!/tmp/bad/two\n"), put(tess, "two", b"#!/tmp/bad/one\n")
    r = tess("run", "--", one, limit=20)
    refused(r, 126, one)
    refused(tess.sh(f"env {two}", limit=20), 126, "Too many levels")
    refused(tess("run", "--", put(tess, "self", b"#!/tmp/bad/self")), 126)
    refused(tess("run", "--", put(tess, "nothing", b"#!\n")), 126)
    refused(tess("run", "--", put(tess, "long", b"#!" + b"/x" * 3000 + b"\n")), 126)
    equal(tess.ok("run", "--", put(tess, "fine", b"#!/bin/sh\necho $1\n"), "good"), "good\n", "a good script")
    well(tess)


@test()
def too_long_arguments_and_paths_are_refused(tess):
    refused(tess("run", "--", "/bin/echo", "x" * 40_000), 125, "too long")
    refused(tess.sh("x=$(head -c 3000000 /dev/zero | tr '\\0' x); env /bin/echo \"$x\"; exit $?"), 126, "too long")
    equal(tess.sh_ok("x=$(head -c 100000 /dev/zero | tr '\\0' x); env /bin/echo \"$x\" | wc -c"), "100001\n",
          "an argument of 100,000 bytes")
    long = "/" + "/".join(["a" * 200] * 25)
    r = tess("run", "--", long)
    refused(r, 126, "too long")
    refused(tess("run", "--", "/" + "b" * 300), 126, "too long")
    refused(tess("run", "--cwd", long, "--", "true"), 126, "too long")
    refused(tess.sh(f"cat {long}"), 1, "File name too long")
    refused(tess.sh(f"touch /tmp/{'c' * 256}"), 1, "File name too long")
    well(tess)


# ---- the command line

@test()
def wrong_commands_say_what_would_be_right(tess):
    refused(tess("frobnicate"), 2, "frobnicate", "--help")
    refused(tess("run"), 125, "program")
    refused(tess("run", "--env", "novalue", "--", "true"), 125, "NAME=VALUE")
    refused(tess("run", "-t", "-n", "--", "true"), 125, "-n")
    refused(tess("vnode", "create", "main"), 1, "already exists")
    refused(tess("vnode", "rm", "nobody"), 1, "nobody", "tess vnode list")
    refused(tess("set", "p1", "excache=much"), 1, "much", "16M")
    refused(tess("set", "p1", "colour=red"), 1, "colour")
    refused(tess("set", "nobody", "excache=16M"), 1, "nobody", "p1")
    refused(tess("cp", "/nonexistent", "main:/tmp"), 1, "/nonexistent")
    refused(tess("cp", "one", "two"), 1, "main:")
    refused(tess("logs", "nobody"), 1, "nobody", "p1")
    refused(tess("kill", "nobody"), 1, "nobody")
    refused(tess("run", "--vnode", "nobody", "--", "true"), 125, "nobody", "tess vnode list")
    r = subprocess.run([TESS, "up", "--dir", "/dev/null/x"], capture_output=True, text=True, timeout=30)
    refused(r, 1, "/dev/null/x")
    r = subprocess.run([TESS, "run", "--dir", tess.parent + "/elsewhere", "--", "true"], capture_output=True,
                       text=True, timeout=30)
    refused(r, 125, "tess up")
    well(tess)


# ---- cluster.toml

WRONG_FILES = (  # text, line, words of the message
    ("[cluster\n", 1, ()),
    ("[cluster]\nnetwork = \"10.77.0.0/24\"\n", 2, ("network", "/16")),
    ("[cluster]\naccelerator = \"hvf\"\n", 2, ("accelerator", "tcg")),
    ("[cluster]\njoin_timeout = 0\n", 2, ("join_timeout", "from 1 to 3600")),
    ("[cluster]\n\ncolour = 1\n", 3, ("colour", "expected one of")),
    ("[[component]]\nkind = \"process\"\n", 1, ("name",)),
    ("[[component]]\nname = \"p1\"\n", 1, ("kind",)),
    ("[[component]]\nname = \"P 1\"\nkind = \"process\"\n", 2, ("P 1", "expected")),
    ("[[component]]\nname = \"gpm\"\nkind = \"process\"\n", 1, ("gpm", "taken")),
    ("[[component]]\nname = \"p1\"\nkind = \"graphics\"\n", 3, ("kind", "storage")),
    ("[[component]]\nname = \"p1\"\nkind = \"process\"\nmemory = \"lots\"\n", 4, ("memory", "64M")),
    ("[[component]]\nname = \"p1\"\nkind = \"process\"\nmemory = \"1M\"\n", 4, ("memory", "from 64M")),
    ("[[component]]\nname = \"p1\"\nkind = \"process\"\nexcache = \"4G\"\n", 1, ("excache", "quarter")),
    ("[[component]]\nname = \"m1\"\nkind = \"memory\"\ndisk = \"1G\"\n", 4, ("disk", "memory component")),
    ("[[component]]\nname = \"x\"\nkind = \"process\"\n\n[[component]]\nname = \"x\"\nkind = \"memory\"\n", 5,
     ("second component", "x")),
    ("[[vnode]]\nname = \"a\"\n[[vnode]]\nname = \"a\"\n", 3, ("second vNode", "a")),
    ("[[fabric.link]]\nport = \"nobody\"\n", 1, ("nobody",)),
    ("[[fabric.link]]\nport = \"all\"\nimpairment = \"loss=x\"\n", 1, ("loss=x", "expected")),
    ("component = 3\n", 1, ("[[component]]",)),
)


@test(own_cluster=True)
def wrong_cluster_files_are_named_with_line_and_expectation(tess):
    for text, line, words in WRONG_FILES:
        path = written(tess, "c.toml", text)
        refused(tess("up", "--config", path), 1, f"{path}:{line}: ", *words)
    for missing in ("process", "memory", "storage"):
        kinds = [k for k in ("process", "memory", "storage") if k != missing]
        path = written(tess, "c.toml", "".join(f'[[component]]\nname = "{k}"\nkind = "{k}"\n' for k in kinds))
        refused(tess("up", "--config", path), 1, path, f'kind = "{missing}"')
    refused(tess("up", "--config", "/nonexistent.toml"), 1, "/nonexistent.toml")
    with open(f"{tess.parent}/c.toml", "wb") as f:
        f.write(random.Random(1).randbytes(3000))
    refused(tess("up", "--config", path), 1, f"{path}:1: ")
    equal(tess.processes(), [], "processes that were started for a wrong file")


# ---- what tess needs on the host

def up_with(tess, environment, *arguments, program=TESS, limit=90):
    return subprocess.run([program, "up", "--dir", tess.dir, *arguments], capture_output=True, text=True,
                          timeout=limit, stdin=DEVNULL, env={**os.environ, **environment})


def script(folder, name, text):
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{name}", "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(f"{folder}/{name}", 0o755)


@test(own_cluster=True, limit=120)
def a_missing_or_wrong_qemu_is_said(tess):
    path = tess.parent + "/bin"
    os.mkdir(path)
    refused(up_with(tess, {"PATH": path}), 1, "qemu-system-x86_64", "apt-get install")
    script(path, "qemu-system-x86_64", "echo QEMU emulator version 6.0.0\n")
    refused(up_with(tess, {"PATH": path}), 1, "6.0", "7.2")
    script(path, "qemu-system-x86_64", "echo something else\n")
    refused(up_with(tess, {"PATH": path}), 1, "version")
    script(path, "qemu-system-x86_64", "[ \"$1\" = --version ] && echo QEMU emulator version 7.2.0 && exit\n"
           "echo no such machine >&2; exit 1\n")
    refused(up_with(tess, {"PATH": path}, "--accelerator", "tcg"), 1, "ended before it joined", "no such machine")
    equal(tess.processes(), [], "processes left")


@test(own_cluster=True, limit=120)
def a_missing_or_broken_image_is_said(tess):
    bin, share = tess.parent + "/inst/bin", tess.parent + "/inst/share/tessera"
    real = os.path.dirname(os.path.realpath(TESS))
    os.makedirs(bin)
    os.makedirs(share)
    shutil.copy(os.path.realpath(TESS), bin + "/tess")
    refused(up_with(tess, {}, program=bin + "/tess"), 1, "tessera.img", "missing", "make image")
    os.symlink(os.path.join(real, "../share/tessera/root.tar"), share + "/root.tar")
    with open(share + "/tessera.img", "wb") as f:
        f.write(b"\0" * 1_000_000)
    refused(up_with(tess, {}, program=bin + "/tess"), 1, "fabric", "missing")
    for program in ("fabric", "gpm", "gmm", "gsm", "tessera-store"):
        os.symlink(f"{real}/{program}", f"{bin}/{program}")
    config = written(tess, "c.toml", default_config().replace("join_timeout = 60", "join_timeout = 4"))
    r = up_with(tess, {}, "--config", config, "--accelerator", "tcg", program=bin + "/tess")
    refused(r, 1, "p1", "not joined within 4 s")
    equal(tess.processes(), [], "processes left")


@test(own_cluster=True, limit=180)
def folders_and_sockets_in_the_way_are_said_or_cleaned_up(tess):
    runtime = tess.parent + "/runtime"
    os.mkdir(runtime, 0o700)
    environment = {"XDG_RUNTIME_DIR": runtime}
    equal(up_with(tess, environment).returncode, 0, "status of the first up")
    sockets = tess.sockets()
    check(sockets.startswith(runtime + "/"), f"sockets are in {sockets}")
    tess.ok("down")
    check(os.path.exists(runtime), "down has removed $XDG_RUNTIME_DIR")
    check(not os.path.exists(sockets), f"{sockets} is still there")
    os.mkdir(sockets, 0o700)  # of a run that was killed with everything it had started
    left = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(4)]
    for s, name in zip(left, ("p1.g", "p1.s", "gpm.g", "c0.g")):
        s.bind(f"{sockets}/{name}")
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind(sockets + "/control")
    control.listen(1)  # somebody else answers there, even
    equal(up_with(tess, environment).returncode, 0, "status of an up that found old sockets")
    equal(tess.sh_ok("echo fine"), "fine\n", "output")
    tess.ok("down")
    os.mkdir(sockets, 0o777)
    os.chmod(sockets, 0o777)  # others could put sockets there: not to be used; swept away, as it is in a place of ours
    r = up_with(tess, environment)
    check(r.returncode == 0 or "only you can use" in r.stderr, r.stderr)
    tess("down")
    state = tess.dir
    tess.dir = tess.parent + "/file"
    written(tess, "file", "not a folder")
    refused(tess("up"), 1, tess.dir)
    tess.dir = state


@test(own_cluster=True, limit=150)
def damaged_keys_disks_and_databases_are_said_or_survived(tess):
    os.makedirs(tess.dir)
    with open(tess.dir + "/key", "w") as f:
        f.write("not a key\n")
    refused(tess("up"), 1, tess.dir + "/key", "64 hex digits")
    os.unlink(tess.dir + "/key")
    with open(tess.dir + "/s1.disk", "wb") as f:
        f.write(random.Random(2).randbytes(1 << 20))
    config = written(tess, "c.toml", default_config().replace("join_timeout = 60", "join_timeout = 10"))
    r = tess("up", "--config", config, limit=60)
    refused(r, 1, "s1")
    with open(tess.dir + "/s1.disk", "rb") as f:
        equal(f.read(), random.Random(2).randbytes(1 << 20), "a disk that is not a store")
    os.unlink(tess.dir + "/s1.disk")
    for name in ("gpm", "gmm", "gsm"):
        with open(f"{tess.dir}/{name}.db", "wb") as f:
            f.write(random.Random(3).randbytes(20_000))
    tess.up()
    well(tess)


# ---- the cluster key

@test(limit=90)
def a_wrong_key_gets_nowhere_and_disturbs_nobody(tess):
    p = tess.popen("run", "-n", "--", "/bin/sh", "-c", "echo on; read x </dev/null; i=0; while [ $i -lt 60 ];"
                   " do i=$((i+1)); echo $i; sleep 0.1; done; exit 4", stdout=PIPE, stderr=PIPE)
    equal(p.stdout.readline(), b"on\n", "first line")
    with open(tess.dir + "/key") as f:
        key = f.read()
    try:
        with open(tess.dir + "/key", "w") as f:
            f.write("".join("0123456789abcdef"[15 - int(c, 16)] for c in key.strip()) + "\n")
        start = time.monotonic()
        refused(tess("run", "-n", "--", "true", limit=30), 125, "cluster key")
        refused(tess("status", limit=30), 1, "cluster key")
        refused(tess("vnode", "create", "evil", limit=30), 1, "cluster key")
        check(time.monotonic() - start < 20, f"three refusals took {time.monotonic() - start:.1f} s")
        with open(tess.dir + "/key", "w") as f:
            f.write("00\n")
        refused(tess("status"), 1, "64 hex digits")
    finally:
        with open(tess.dir + "/key", "w") as f:
            f.write(key)
    out, error = p.communicate(timeout=40)
    equal((p.returncode, out), (4, b"".join(b"%d\n" % i for i in range(1, 61))), f"the program beside ({error!r})")
    equal(tess.ok("vnode", "list").count("evil"), 0, "vNodes made with a wrong key")


@test(own_cluster=True, limit=240)
def a_component_with_a_wrong_key_never_joins_and_is_named(tess):
    path = tess.parent + "/bin"
    qemu = shutil.which("qemu-system-x86_64")
    script(path, "qemu-system-x86_64", f"""
name=$2; n=$#; i=0
while [ $i -lt $n ]; do
    a=$1; shift; i=$((i+1))
    case $name.$a in m1.name=opt/tessera/config,file=*)
        file=${{a#*file=}}; sed 's/^key=.*/key={'ab' * 32}/' "$file" >"$file.wrong"; a="${{a%%,file=*}},file=$file.wrong" ;;
    esac
    set -- "$@" "$a"
done
exec {qemu} "$@"
""")
    config = written(tess, "c.toml", default_config().replace("join_timeout = 60", "join_timeout = 25"))
    start = time.monotonic()
    r = up_with(tess, {"PATH": path + ":" + os.environ["PATH"]}, "--config", config, "--accelerator", "tcg", limit=120)
    refused(r, 1, "m1 has not joined within 25 s", "last log lines of m1", "cluster key")
    check("p1, " not in r.stderr.split("not joined")[0].splitlines()[-1], r.stderr)
    check(time.monotonic() - start < 60, f"it took {time.monotonic() - start:.1f} s")
    equal(tess.processes(), [], "processes left")
    tess.up()  # with its own key again
    well(tess)


@test(own_cluster=True, limit=180)
def a_kind_of_component_that_is_away_is_named(tess):
    tess.up()
    for name, words in (("p1", "no pComponent is up"), ("m1", "no mComponent is up"), ("s1", "no sComponent is up")):
        tess.ok("kill", name)
        end = time.monotonic() + 40
        while True:  # until it is known to be dead
            state = {c["name"]: c["state"] for c in tess.status()["components"]}
            if state[name] != "up":
                break
            check(time.monotonic() < end, f"{name} is still taken for up")
            time.sleep(0.3)
        start = time.monotonic()
        r = tess("vnode", "create", "x" + name, limit=60)
        check(r.returncode == 1 and words in r.stderr or r.returncode == 0 and name == "p1", f"{name}: {r.stderr!r}")
        r = tess.sh("true", limit=60)
        check(r.returncode != 0, f"a program ran without {name}")
        check(r.returncode == 125 and words in r.stderr or name != "p1", f"{name}: {r.returncode} {r.stderr!r}")
        check(time.monotonic() - start < 60, f"without {name} an error took {time.monotonic() - start:.1f} s")
        tess.ok("start", name, limit=90)
    well(tess)


# ---- frames

def counters_of_refusals(tess, name):
    c = tess.counters(name)
    return sum(c["roce_" + n] for n in ("not_ours", "malformed", "bad_icrc", "unknown_qp", "wrong_peer"))


def send_all(fd, path, all_frames):
    for i, frame in enumerate(all_frames):
        while True:
            try:
                fd.sendto(frame, path)
                break
            except BlockingIOError:
                time.sleep(0.002)
        if i % 20 == 19:
            time.sleep(0.01)  # guests under TCG; what does not fit is dropped, and would test nothing


@test(limit=240)
def garbage_frames_change_nothing_but_counters(tess):
    """2,000 to each component and manager, from a port of the fabric with that port's addresses."""
    p = tess.popen("run", "-n", "--", "/bin/sh", "-c",
                   "echo on; i=0; while [ ! -e /tmp/enough ]; do i=$((i+1)); /bin/echo $i | cat; done; echo over; exit 6",
                   stdout=PIPE, stderr=PIPE)
    equal(p.stdout.readline(), b"on\n", "first line")
    sockets = tess.sockets()
    own = f"{sockets}/c30.g"
    fd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    fd.bind(own)
    fd.setblocking(False)
    source = bytes([10, 77, 0, 64 + 30])
    targets = {"p1": (1, 1), "m1": (1, 2), "s1": (1, 3), "gpm": (0, 1), "gmm": (0, 2), "gsm": (0, 3)}
    uptime = {c["name"]: c["uptime_ms"] for c in tess.status()["components"]}
    try:
        for number, (name, host) in enumerate(targets.items()):
            before = counters_of_refusals(tess, name)
            send_all(fd, f"{sockets}/c30.s", frames.hostile(77 + number, 2000, source, bytes([10, 77, *host])))
            end = time.monotonic() + 20
            while counters_of_refusals(tess, name) < before + 300 and time.monotonic() < end:
                time.sleep(0.2)
            grown = counters_of_refusals(tess, name) - before
            check(grown >= 300, f"{name} counts only {grown} refused frames of 2,000")
    finally:
        fd.close()
        os.unlink(own)
    shown = tess.ok("fabric", "stats")
    check("c30" in shown, shown)
    tess.sh_ok("touch /tmp/enough")
    out, error = p.communicate(timeout=40)
    lines = out.decode().split()
    equal(lines, [str(i) for i in range(1, len(lines))] + ["over"], f"the program beside ({error!r})")
    equal(p.returncode, 6, "its status")
    for c in tess.status()["components"]:
        check(c["state"] == "up" and c["uptime_ms"] >= uptime[c["name"]], f"{c['name']} is {c['state']} or new")
    well(tess)


# ---- space

# Not yet: blocks of the removed file come back only with a restart of the pComponent. The file monitor's part.
@test(own_cluster=True, limit=240)
def a_full_disk_is_an_error_and_loses_nothing(tess):
    config = written(tess, "c.toml", default_config().replace('disk = "1G" ', 'disk = "32M"'))
    tess.up("--config", config)
    kept = tess.sh_ok("seq 20000 >/root/kept; sync; md5sum /root/kept")
    r = tess.sh("dd if=/dev/zero of=/root/big bs=64k count=1000 conv=fsync", limit=150)
    check(r.returncode == 1 and "No space left on device" in r.stderr, f"{r.returncode} {r.stderr!r}")
    equal(tess.sh_ok("md5sum /root/kept"), kept, "what was synced before")
    tess.sh_ok("rm /root/big; sync")
    end = time.monotonic() + 30
    while tess.sh("dd if=/dev/zero of=/root/again bs=64k count=40 conv=fsync", limit=60).returncode != 0:
        check(time.monotonic() < end, "no room after the big file was removed")
        time.sleep(0.5)
    tess.ok("down")
    tess.up("--config", config)
    equal(tess.sh_ok("md5sum /root/kept"), kept, "after down and up")
