"""Every BusyBox applet, as tests/user/applets.toml lists them: each row's script runs in a vNode and under chroot
on the host, in the same tree (scripts/make_root) with the same binary; what it prints and its exit status must be
the same. One test per row; all rows that are to run go through one `tess run -- sh`, which prints a line before
and after each, and likewise on the host.
"""
import functools
import os
import re
import signal
import shutil
import subprocess
import tempfile
import tomllib

import harness
from harness import TOP, Failure, check, equal, test

ENVIRONMENT = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
ROW_SECONDS = 30  # for one row, on either side
TABLE_SECONDS = 400  # for all of them, on either side

with open(os.path.join(TOP, "tests/user/applets.toml"), "rb") as f:
    ROWS = tomllib.load(f)

NORMALISERS = {
    "time": [(r"\b[0-2]?\d:[0-5]\d(:[0-6]\d)?\b", "TIME"), (r"\b(Sun|Mon|Tue|Wed|Thu|Fri|Sat)\b", "DAY"),
             (r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d+\b", "DATE"), (r"\b20[2-9]\d\b", "YEAR"),
             (r"\b\d+m? \d+\.\d+s?\b|\b\d+\.\d\d\b", "SECONDS")],
    "uptime": [(r"up .*?, *load", "up N, load"), (r"\d+ users?, +", ""), (r"average: .*", "average")],
    "ids": [(r"\b\d{2,6}\b", "ID")],
    "sizes": [(r"\b\d+(\.\d)?[KMG]?\b", "SIZE")],
    "kernel": [(r"\b\d+\.\d+\.\d+\S*( #\d.*(UTC|[A-Z]{3,4}) \d{4})?", "KERNEL"), (r"#\d+.*(?= x86_64)", "BUILD")],
}


def normalised(text, names):
    for name in names:
        for pattern, to in NORMALISERS[name]:
            text = re.sub(pattern, to, text)
    return text


def batch(names):
    """A script that runs the rows one after another, each in a folder and a shell of its own."""
    script = "umask 022\nrm -rf /tmp/rows\nmkdir -p /tmp/rows\n"
    for number, name in enumerate(names):
        script += (f"mkdir -p /tmp/rows/{number}/w && cd /tmp/rows/{number}/w || exit 99\n"
                   f"cat >../script <<'END OF ROW'\n{ROWS[name]['run']}\nEND OF ROW\n"
                   f"printf '\\036begin {number}\\n'\n"
                   # Through a file: cat hands pages to a pipe, which a later write to them would still change.
                   f"timeout -k 2 {ROW_SECONDS} sh ../script </dev/null >../out 2>&1\n"
                   f"s=$?; cat ../out; printf '\\036end {number} %d\\n' $s\n"
                   f"cd /tmp; rm -rf /tmp/rows/{number}\n")
    return script


def results(output):
    """{row number: (text, exit status)} of the rows that ran to their end."""
    found = {}
    for m in re.finditer(r"\x1ebegin (\d+)\n(.*?)\x1eend \1 (\d+)\n", output, re.S):
        found[int(m[1])] = (m[2], int(m[3]))
    return found


def default_signals():
    """As in a vNode, whatever started us ignores (nohup, a shell's background)."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def on_the_host(names):
    """Runs the rows under chroot; in process, mount and host name namespaces of their own, so that /proc shows
    only them and nothing is left behind. Says what right is missing where that is not allowed."""
    check(os.geteuid() == 0, "the comparison with chroot on the host needs root")
    root = tempfile.mkdtemp(prefix="tessera-root-")
    try:
        tar = root + ".tar"
        subprocess.run([TOP + "/scripts/make_root", tar], check=True)
        subprocess.run(["tar", "-C", root, "-xpf", tar], check=True)
        os.unlink(tar)
        # As a vNode's: the devices, and / on a file system of its own.
        setup = f"""set -e
            hostname main
            mkdir {root}.m; mount -t tmpfs -o mode=755 tmpfs {root}.m; cp -a {root}/. {root}.m
            cd {root}.m; umask 0
            for d in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 dev/${{d%:*}} c 1 ${{d#*:}}; done
            mknod -m 666 dev/tty c 5 0; mknod -m 600 dev/console c 5 1; mkdir -m 755 dev/pts
            ln -s /proc/self/fd dev/fd; for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${{n%:*}} dev/${{n#*:}}; done
            mount -t proc proc proc
            cd root; umask 022
            exec chroot {root}.m /bin/sh"""
        try:
            r = subprocess.run(["unshare", "--pid", "--mount", "--uts", "--fork", "--kill-child", "/bin/sh", "-c",
                                setup + " -c 'cd /root; exec sh -s'"], input=batch(names).encode(), env=ENVIRONMENT,
                               capture_output=True, timeout=TABLE_SECONDS, start_new_session=True,
                               preexec_fn=default_signals)
        except subprocess.TimeoutExpired as e:
            raise Failure(f"the rows did not end within {TABLE_SECONDS} s on the host: {e.stdout[-300:]!r}")
        found = results(r.stdout.decode(errors="replace"))
        check(found, "chroot with namespaces, mounts and device files is not permitted here: "
              + r.stderr.decode(errors="replace"))
        return found
    finally:
        shutil.rmtree(root, ignore_errors=True)
        if os.path.isdir(root + ".m"):
            os.rmdir(root + ".m")


@functools.cache
def outcomes(tess):
    """{applet: (vNode's result, host's result)}, a result being None for a row that did not end."""
    names = [n for n in ROWS if "run" in ROWS[n] and harness.chosen(test_name(n))]
    try:
        stdout = tess("run", "--", "/bin/sh", input=batch(names), limit=TABLE_SECONDS).stdout
    except Failure as e:  # the rows before the one that hung did run
        stdout = e.stdout.decode(errors="replace") if getattr(e, "stdout", None) else ""
        print(f"      the rows did not end in the vNode: {str(e)[:200]}")
    in_vnode, on_host = results(stdout), on_the_host(names)
    return {name: (in_vnode.get(i), on_host.get(i)) for i, name in enumerate(names)}


def test_name(applet):
    return "applet_" + {"[": "bracket", "[[": "double_bracket"}.get(applet, applet)


def compare(applet, tess):
    row = ROWS[applet]
    got, host = outcomes(tess)[applet]
    check(got is not None, "the row did not end in the vNode")
    normalise = row.get("normalise", [])
    text = normalised(got[0], normalise)
    if "expect" in row:
        equal(text, row["expect"], "output")
    elif "match" in row:
        check(re.fullmatch(row["match"], text), f"output {text!r} does not match {row['match']!r}")
    else:
        check(host is not None, "the row did not end on the host")
        want = normalised(host[0], normalise)
        if text != want:
            raise Failure("output differs from the host's:\n" + difference(want, text), logs=False)
        equal(got[1], host[1], "exit status")


def difference(want, got):
    import difflib
    lines = list(difflib.unified_diff(want.splitlines(), got.splitlines(), "host", "vNode", lineterm="", n=1))
    return "\n".join("  " + line[:200] for line in lines[:40]) or f"  {want[-80:]!r}\n  {got[-80:]!r}"


@test()
def every_applet_has_a_row(tess):
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    missing = sorted(set(applets) - set(ROWS))
    check(not missing, f"without a row in tests/user/applets.toml: {' '.join(missing)}")
    tests = {function.__name__ for function, *_ in harness.TESTS}
    for name, row in ROWS.items():
        check(("skip" in row) != ("run" in row or "test" in row), f"{name}: either `skip`, or `run` or `test`")
        check(row.get("skip", "x") and set(row) <= {"run", "normalise", "expect", "match", "test", "skip"}, f"row {name}")
        check(row.get("test", "every_applet_has_a_row") in tests, f"{name}: no test is called {row.get('test')}")


def register(applet):
    def function(tess):
        compare(applet, tess)
    function.__name__ = test_name(applet)
    test(limit=2 * TABLE_SECONDS + 30)(function)


for applet in ROWS:
    if "run" in ROWS[applet]:
        register(applet)
