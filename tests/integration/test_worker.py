"""Long loads are fetched in another process: the same days and errors, and no process or file left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="there is no second processor to fork for"
)

PROLOGUE = """
import os, random, sys, threading, time
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from support.builders import counted_records
from etl.errors import DiskFullError, DateRangeMismatch, RetryableError, SourceUnavailable
from etl.extract import spool
from etl.extract.worker import fetch_in_worker
from etl.date_ranges import DateRange
from etl.model import WindowData, Record, RejectedRecord
from etl.transform.snapshots import snapshot_day, snapshot_days

FIRST = date(2026, 3, 1)
WINDOWS = [DateRange(day, day + timedelta(days=1)) for day in (FIRST + timedelta(days=2 * n) for n in range(5))]

def records(day):
    chance = random.Random(str(day))
    return [
        Record(
            f"{day} {chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}",
            f"+7{chance.randrange(10**10):010}", f"{chance.randrange(10):04}", chance.choice([0, 1, None]),
            chance.choice(["", "доставлено 🙂"]), Decimal(chance.choice(["0.200000", "12.345678", "-1.000000"])),
        )
        for _ in range(40)
    ] * 2

LIMITS = {}

def fetch(window):
    kept = spool.RecordSpool(**LIMITS)
    for day in window.days():
        kept.add(records(day))
    bad = (RejectedRecord(window.first, "price is missing", f"{os.getpid()}"),)
    batch = WindowData(window, window, kept.days(window), bad, unresolved_days={window.last: "why"})
    return batch, snapshot_days(batch.days)
"""


def start(script: str, **environment: str) -> subprocess.Popen[str]:
    """Start another Python process, because that of the tests has threads and cannot fork."""
    return subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def printed(script: str, **environment: str) -> list[str]:
    """The lines that a script prints."""
    with start(script, **environment) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


@pytest.mark.parametrize("held", [300_000, 50], ids=["in memory", "on disk"])
@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_transferred_days_equal_fetched_days_at_every_read(held, ahead):
    script = f"""
    LIMITS.update(max_in_memory={held}, max_slice=30)
    for window, (batch, snapshots) in zip(WINDOWS, fetch_in_worker(fetch, WINDOWS, depth={ahead}), strict=True):
        assert (batch.window, batch.requested, batch.sources) == (window, window, {{"json"}})
        assert dict(batch.unresolved_days) == {{window.last: "why"}}
        assert {{day: len(found) for day, found in batch.days.items()}} == dict.fromkeys(window.days(), 80)
        assert int(batch.rejected[0].payload) != os.getpid()
        assert [day.day for day in snapshots] == window.days()
        for snapshot in snapshots:
            assert len(snapshot.slices) > 1 or {held} > 50
            for _ in range(2):
                listed = {{item.record: item.repeats for item in counted_records(snapshot)}}
                assert listed == Counter(records(snapshot.day))
            own = snapshot_day(snapshot.day, spool.single_slice_day(snapshot.day, records(snapshot.day)).slices)
            assert (snapshot.digest, snapshot.totals, snapshot.distinct, snapshot.hours) == (
                own.digest, own.totals, own.distinct, own.hours
            )
            assert list(own.slices[0].read()) == counted_records(snapshot)
        print(batch.window)
    """
    assert len(printed(script)) == 5


def test_a_day_without_records_is_transferred_as_empty():
    script = """
    records = lambda day: []
    for batch, snapshots in fetch_in_worker(fetch, WINDOWS, depth=1):
        pairs = zip(batch.days.values(), snapshots)
        print([(len(found), counted_records(day), day.totals.records) for found, day in pairs])
    """
    assert printed(script) == ["[(0, [], 0), (0, [], 0)]"] * 5


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        ("DateRangeMismatch('those of May', retry_after=7.0)", "DateRangeMismatch ('those of May',) 7.0"),
        ("SourceUnavailable('JSON: HTTP 503')", "SourceUnavailable ('JSON: HTTP 503',) None"),
        ("ZeroDivisionError('division')", "ZeroDivisionError ('division',) None"),
        ("ConnectionResetError(104, 'reset')", "ConnectionResetError (104, 'reset') None"),
        ("EOFError()", "EOFError () None"),
        ("Unsendable(threading.Lock())", "RuntimeError ('Unsendable',) None"),
    ],
)
def test_an_error_is_raised_in_order_with_its_traceback(raised, caught):
    script = f"""
    class Unsendable(Exception): pass
    def fetch_or_fail(window):
        if window == WINDOWS[2]:
            raise {raised}
        return fetch(window)
    fetched = fetch_in_worker(fetch_or_fail, WINDOWS, depth=1)
    print(next(fetched)[0].window, next(fetched)[0].window)
    try:
        next(fetched)
    except BaseException as error:
        print(type(error).__name__, error.args, getattr(error, "retry_after", None))
        print("fetch_or_fail" in "".join(getattr(error, "__notes__", ["fetch_or_fail"])))
    """
    assert printed(script) == ["2026-03-01..2026-03-02 2026-03-03..2026-03-04", caught, "True"]


def test_no_more_windows_are_fetched_ahead_than_allowed():
    script = """
    requests = os.memfd_create("requests")
    def noted(window):
        os.write(requests, b"x")
        return fetch(window)
    def is_busy(process):
        try:
            with open(f"/proc/{process}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "R"
        except FileNotFoundError:
            return False
    fetched = fetch_in_worker(noted, WINDOWS, depth=1)
    for number in range(1, 5):
        batch, _ = next(fetched)
        # A worker that may fetch more keeps computing; otherwise it waits for its parent.
        while os.fstat(requests).st_size < number + 1 or is_busy(batch.rejected[0].payload):
            time.sleep(0.01)
        print(os.fstat(requests).st_size)
    """
    assert printed(script) == ["2", "3", "4", "5"]


def test_a_full_disk_is_reported_with_the_folder(tmp_path):
    script = f"""
    import tempfile
    LIMITS.update(max_in_memory=50)
    tempfile.tempdir = {str(tmp_path / "gone")!r}
    try:
        next(fetch_in_worker(fetch, WINDOWS, depth=1))
    except DiskFullError as error:
        print(error)
    """
    assert printed(script) == [
        "a temporary file could not be written (No such file or directory); set TMPDIR to a folder with more free space"
    ]


def test_days_that_fit_in_memory_use_no_disk(tmp_path):
    script = f"""
    import tempfile
    tempfile.tempdir = {str(tmp_path / "gone")!r}
    print(len(list(fetch_in_worker(fetch, WINDOWS, depth=1))))
    """
    assert printed(script) == ["5"]


KILLED = {
    "while it fetches": "fetch = die_in_the_second",
    "before its message": "connection.Connection.send_bytes = die_before_the_second",
    "within its message": "connection.Connection._send = die_within_the_second",
    "between its message and the file": "reduction.send_handle = die_before_the_second",
}


@pytest.mark.parametrize("kill", KILLED.values(), ids=KILLED)
def test_a_killed_worker_ends_the_load_with_an_error(kill):
    script = f"""
    from multiprocessing import connection, reduction
    own, times = os.getpid(), Counter()
    send_bytes, send_handle, send = connection.Connection.send_bytes, reduction.send_handle, connection.Connection._send
    fetch_well = fetch

    def is_second(name):
        times[name] += os.getpid() != own
        return times[name] == 2

    def die_in_the_second(window):
        if window == WINDOWS[1]:
            os.kill(os.getpid(), 9)
        return fetch_well(window)

    def die_before_the_second(*arguments):
        if is_second("any"):
            os.kill(os.getpid(), 9)
        return (send_bytes if isinstance(arguments[1], bytes) else send_handle)(*arguments)

    def die_within_the_second(pipe, buffer, *arguments):
        if len(buffer) > 100 and is_second("message"):
            send(pipe, buffer[: len(buffer) // 2], *arguments)
            os.kill(os.getpid(), 9)
        return send(pipe, buffer, *arguments)

    {kill}
    fetched = fetch_in_worker(fetch, WINDOWS, depth=1)
    next(fetched)
    try:
        next(fetched)
    except Exception as error:
        print(type(error).__name__, error)
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        print("nobody is left")
    """
    assert printed(script) == [
        "BillingError the worker process was killed (out of memory?)",
        "nobody is left",
    ]


@pytest.mark.parametrize("until_taken", [0, 1, 5])
def test_no_process_is_left_when_the_load_ends(until_taken):
    script = f"""
    fetched = fetch_in_worker(fetch, WINDOWS, depth=1)
    for _ in range({until_taken}):
        next(fetched)
    fetched.close()
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        print("nobody is left")
    """
    assert printed(script) == ["nobody is left"]


@pytest.mark.fault(104)
@pytest.mark.parametrize("busy", [False, True], ids=["waiting", "fetching"])
def test_no_process_is_left_when_the_loading_process_is_killed(busy):
    script = f"""
    def report_and_fetch(window):
        if window == WINDOWS[1]:
            print(os.getpid(), flush=True)
            while {busy}:
                time.sleep(0.05)
        return fetch(window)
    fetched = fetch_in_worker(report_and_fetch, WINDOWS, depth=1)
    next(fetched)
    time.sleep(60)
    """
    with start(script) as process:
        assert process.stdout
        fork = int(process.stdout.readline())
        process.kill()
    ends = time.monotonic() + 20
    while is_alive(fork):
        assert time.monotonic() < ends, "the fork continues without its parent"
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text("utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_signal_to_both_processes_is_handled_by_the_loading_one():
    script = """
    import signal
    from etl import signals
    from etl.errors import Interrupted
    signals.install_handlers()
    def slow(window):
        if window == WINDOWS[1]:
            os.killpg(0, signal.SIGTERM)
            time.sleep(60)
        return fetch(window)
    os.setpgrp()
    try:
        for batch, _ in fetch_in_worker(slow, WINDOWS, depth=1):
            print(batch.window)
    except Interrupted as stopped:
        print("\\nstopped by", stopped.signal_number)
    """
    assert printed(script)[-1] == f"stopped by {signal.SIGTERM.value}"


@pytest.mark.parametrize(
    ("windows", "ahead", "before"),
    [
        ("WINDOWS[:1]", 1, "pass"),
        ("WINDOWS", 0, "pass"),
        ("WINDOWS", 1, "threading.Thread(target=time.sleep, args=[60], daemon=True).start()"),
        ("WINDOWS", 1, "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"),
        ("WINDOWS", 1, "os.fork = no_more"),
    ],
    ids=["one window", "none ahead", "another thread", "one processor", "no more processes"],
)
def test_no_worker_is_forked_when_it_would_not_help_or_be_unsafe(windows, ahead, before):
    script = f"""
    def no_more():
        raise BlockingIOError
    os.fork = os.abort
    {before}
    fetched = fetch_in_worker(fetch, {windows}, depth={ahead})
    print([int(batch.rejected[0].payload) == os.getpid() for batch, _ in fetched])
    """
    assert set(printed(script)[0].strip("[]").split(", ")) == {"True"}
