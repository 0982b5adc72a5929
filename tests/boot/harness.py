"""Boot tests drive the same `tess` a user drives, wait on events rather than sleep, and print the guests' logs
when they fail. Standard library only.

A test is a function decorated with @test; it gets a Tess on a cluster that is up (one cluster serves all tests
that do not ask for their own), and fails by raising. `check(condition, message)` is the usual way.
"""
import glob
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TESS = os.path.join(TOP, "build/tess")
TESTS = []
WORDS = []  # of main's arguments


def test(own_cluster=False, limit=60, long=False):
    def register(function):
        TESTS.append((function, own_cluster, limit, long))
        return function
    return register


class Failure(Exception):
    """A test's expectation is not met. The guests' logs are shown with it unless they could not help."""

    def __init__(self, message, logs=True):
        super().__init__(message)
        self.logs = logs


def chosen(name):
    """Whether the test of that name is to run."""
    return not WORDS or any(w in name for w in WORDS)


def check(condition, message):
    if not condition:
        raise Failure(message)


def equal(got, expected, what):
    if got != expected:
        raise Failure(f"{what}:\n  expected {expected!r}\n  got      {got!r}")


class Tess:
    """One cluster folder, and commands on it."""

    def __init__(self):
        self.parent = tempfile.mkdtemp(prefix="tessera-boot-")
        self.dir = self.parent + "/state"

    def command(self, *arguments):
        verb = list(arguments)
        at = 2 if verb[0] == "vnode" else 1
        return [TESS, *verb[:at], "--dir", self.dir, *verb[at:]]

    def __call__(self, *arguments, input=None, limit=60, binary=False):
        """Runs `tess ARGUMENTS`; returns the CompletedProcess. Never raises for an exit status."""
        if input is not None and not binary:
            input = input.encode()
        try:
            r = subprocess.run(self.command(*arguments), input=input, timeout=limit, capture_output=True,
                               stdin=subprocess.DEVNULL if input is None else None)
        except subprocess.TimeoutExpired as e:
            failure = Failure(f"tess {' '.join(arguments)}: no end after {limit} s; stdout {e.stdout!r}, stderr {e.stderr!r}")
            failure.stdout = e.stdout or b""
            raise failure from None
        if not binary:
            r.stdout, r.stderr = r.stdout.decode(errors="replace"), r.stderr.decode(errors="replace")
        return r

    def ok(self, *arguments, **options):
        r = self(*arguments, **options)
        check(r.returncode == 0, f"tess {' '.join(arguments)}: status {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r.stdout

    def sh(self, script, limit=60, vnode="main", input=None):
        """Runs a script in BusyBox's shell in a vNode; the CompletedProcess."""
        return self("run", "--vnode", vnode, "--", "/bin/sh", "-c", script, limit=limit, input=input)

    def sh_ok(self, script, **options):
        r = self.sh(script, **options)
        check(r.returncode == 0, f"in the vNode: {script}: status {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r.stdout

    def status(self):
        return json.loads(self.ok("status", "--json"))

    def counters(self, component):
        """The component's counters as a dict of numbers."""
        return {k: int(v) for k, v in re.findall(r"^(\S+) (\d+)$", self.ok("stats", component), re.M)}

    def popen(self, *arguments, **options):
        return subprocess.Popen(self.command(*arguments), **options)

    def up(self, *arguments, limit=120):
        return self.ok("up", *arguments, limit=limit)

    def processes(self):
        """Pids of everything alive that was started for this folder: its name is on their command lines."""
        alive = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    line = f.read()
            except OSError:
                continue
            pid = int(path.split("/")[2])
            if self.dir.encode() in line and pid != os.getpid():
                alive.append((pid, line.replace(b"\0", b" ").decode(errors="replace")))
        return alive

    def sockets(self):
        try:
            with open(self.dir + "/sockets") as f:
                return f.read().strip()
        except OSError:
            return None

    def logs(self, lines=25):
        text = ""
        for path in sorted(glob.glob(self.dir + "/log/*.log")):
            with open(path, errors="replace") as f:
                text += f"--- {os.path.basename(path)}\n" + "".join(f.readlines()[-lines:])
        return text

    def close(self):
        try:
            self("down", limit=60)
        finally:
            shutil.rmtree(self.parent, ignore_errors=True)


class Terminal:
    """`tess run -t` on a pseudo-terminal."""

    def __init__(self, tess, *program, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            command = tess.command("run", "-t", "--", *program)
            os.environ["TERM"] = "vt100"
            os.execv(command[0], command)
        self.resize(rows, columns)
        self.text = ""

    def resize(self, rows, columns):
        import fcntl
        import struct
        import termios
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, limit=20):
        """Waits until the output since the last expect matches; returns the match."""
        end = time.monotonic() + limit
        while True:
            m = re.search(pattern, self.text)
            if m:
                self.text = self.text[m.end():]
                return m
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise Failure(f"the terminal did not show {pattern!r} within {limit} s, but {self.text!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise Failure(f"the terminal ended before it showed {pattern!r}: {self.text!r}")
            self.text += data.decode(errors="replace")

    def finish(self, limit=20):
        """Waits for the end; returns the exit status."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise Failure(f"tess run -t did not end within {limit} s: {self.text!r}")


def main(names):
    """Runs the registered tests (those whose name contains one of `names`, or all); returns the exit status."""
    if not os.access(TESS, os.X_OK):
        print(f"{TESS} is missing: run `make image` first", file=sys.stderr)
        print("0 passed, 1 failed")
        return 1
    WORDS.extend(names)
    passed = failed = 0
    shared = None
    shared_problem = None
    for function, own_cluster, limit, long in TESTS:
        if not chosen(function.__name__):
            continue
        if long and not names and os.environ.get("TESSERA_LONG") != "1":
            print(f"later {function.__name__}: with TESSERA_LONG=1, or by name", flush=True)
            continue
        start = time.monotonic()
        tess = None

        def too_long(number, frame):
            raise Failure(f"took longer than {limit} s")
        signal.signal(signal.SIGALRM, too_long)
        try:
            if own_cluster:
                tess = Tess()
            else:
                if shared is None and shared_problem is None:
                    shared = Tess()
                    try:
                        shared.up()
                    except Failure as e:
                        shared_problem = f"the cluster that most tests share did not come up: {e}"
                check(shared_problem is None, shared_problem)
                tess = shared
            signal.alarm(limit)
            function(tess)
            signal.alarm(0)
            passed += 1
            print(f"ok    {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception as e:  # a test may fail in any way; the next one still runs
            signal.alarm(0)
            failed += 1
            print(f"FAIL  {function.__name__} ({time.monotonic() - start:.1f} s): {e}", flush=True)
            if not isinstance(e, Failure):
                traceback.print_exc(file=sys.stdout)
            if tess is not None:
                print(tess.logs() if not isinstance(e, Failure) or e.logs else "", end="", flush=True)
        finally:
            signal.alarm(0)
            if own_cluster and tess is not None:
                tess.close()
    if shared is not None:
        shared.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
