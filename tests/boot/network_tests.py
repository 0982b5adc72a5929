"""What components say about the link between them."""
import time

from harness import check, test


@test()
def a_component_times_raw_round_trips_to_another(tess):
    end = time.monotonic() + 15
    while True:  # the directory reaches a new component with its first heartbeats
        r = tess("set", "p1", "echo=m1:200")
        if r.returncode == 0 or time.monotonic() > end:
            break
    check(r.returncode == 0, f"status {r.returncode}: {r.stderr}")
    c = tess.counters("p1")
    check(100 < c["echo_4k_count"] <= 200, f"{c['echo_4k_count']} round trips of 200 were timed")
    check(0 < c["echo_4k_p50_ns"] <= c["echo_4k_p99_ns"], f"p50 {c['echo_4k_p50_ns']}, p99 {c['echo_4k_p99_ns']}")
    for wrong in ("echo=nobody:10", "echo=m1", "echo=m1:0", "echo=m1:x", "echo=p1:10"):
        r = tess("set", "p1", wrong)
        check(r.returncode != 0 and r.stderr, f"tess set p1 {wrong} was taken")


@test(limit=120)
def remote_page_faults_are_timed(tess):
    before = tess.counters("p1")
    tess.ok("set", "p1", "excache=1M")
    try:
        tess.ok("run", "--", "awk", "BEGIN{for(i=0;i<15000;i++)a[i]=i; for(k=0;k<200;k++) s+=a[(k*7919)%15000]}", limit=100)
    finally:
        tess.ok("set", "p1", "excache=64M")
    after = tess.counters("p1")
    timed, read = (after[n] - before[n] for n in ("fault_count", "excache_remote_reads"))
    check(timed > 500, f"only {timed} remote faults were timed")
    check(timed <= read + 100, f"{timed} faults timed, but only {read} pages read")
    check(0 < after["fault_p50_ns"] <= after["fault_p99_ns"], f"p50 {after['fault_p50_ns']}, p99 {after['fault_p99_ns']}")
