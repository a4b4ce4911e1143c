"""A full disk: the database keeps its rows, the error is reported, and the next run with free space completes the days.

SQLite and temporary files only. A full disk of PostgreSQL or MariaDB would need a server on a small file system; their
errors are identified by number.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from support.sync_account import LAST_CLOSED, START, Account, charges

from etl.config.database_url import parse_url


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small file system can be mounted by root alone, and not everywhere")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def sync(sandbox, tmp_path):
    """A sync in its own process, optionally with a limit on the size of its files."""

    def sync(url, largest_file=resource.RLIM_INFINITY, **variables):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
        done = subprocess.run(
            [sys.executable, "-m", "etl", "-q", "sync", "--until", LAST_CLOSED.isoformat()],
            cwd=tmp_path,
            env=inherited
            | {
                "BILLING_API_TOKEN": sandbox.token,
                "BILLING_API_URL": sandbox.url,
                "BILLING_DATABASE_URL": url.render_as_string(hide_password=False),
                "BILLING_START_DATE": START.isoformat(),
                "BILLING_RETRY_ATTEMPTS": "2",
                "BILLING_RETRY_MAX_WAIT": "0",
            }
            | variables,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stderr

    return sync


def is_one_line(errors):
    return errors.startswith("billing-etl: ") and errors.count("\n") == 1


def is_sound(url):
    with closing(sqlite3.connect(url.database)) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


FEW = charges(START, 3)
MANY = charges(LAST_CLOSED, 3001, info="long " * 400)
"""About six megabytes."""


@pytest.mark.fault(68, 105)
def test_a_full_disk_rolls_the_window_back_and_keeps_the_rest(small_disk, sandbox, sync):
    url = parse_url(f"sqlite:///{small_disk / 'billing.db'}")
    account = Account(url, sandbox)
    sandbox.dataset.replace(FEW)
    assert account.run() == (0, "")
    before = account.dump()
    sandbox.dataset.add(MANY)
    code, errors = sync(url)
    assert (code, is_one_line(errors), "full" in errors) == (74, True, True), errors
    assert (account.dump(), is_sound(url)) == (before, True)

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert sync(url) == (0, "")
    account.assert_matches_vendor()


@pytest.mark.fault(68, 106)
def test_a_file_size_limit_rolls_the_window_back_and_keeps_the_rest(sqlite_url, sandbox, sync):
    account = Account(sqlite_url, sandbox)
    sandbox.dataset.replace(FEW)
    assert account.run() == (0, "")
    before = account.dump()
    # Short records take twice as much space in the database as in an answer, which is a file too.
    sandbox.dataset.add(charges(LAST_CLOSED, 8_001))
    code, errors = sync(sqlite_url, largest_file=3 << 19)
    assert (code, is_one_line(errors), "full" in errors) == (74, True, True), errors
    assert (account.dump(), is_sound(sqlite_url)) == (before, True)
    assert sync(sqlite_url) == (0, "")
    account.assert_matches_vendor()


@pytest.mark.fault(105)
def test_an_export_that_fills_the_disk_is_requested_once_and_its_folder_named(small_disk, sqlite_url, sandbox, sync):
    account = Account(sqlite_url, sandbox)
    sandbox.dataset.replace([*FEW, *MANY])
    sandbox.faults.add("status", action="post_billing_data", status=503, times=None)
    code, errors = sync(sqlite_url, TMPDIR=str(small_disk))
    assert (code, is_one_line(errors), "TMPDIR" in errors) == (74, True, True), errors
    assert [request.action for request in sandbox.requests].count("get_billing_csv") == 1
    assert account.read("SELECT COUNT(*) FROM billing_records") == [(0,)]
    assert account.run() == (0, "")
    account.assert_matches_vendor()


@pytest.mark.fault(105)
def test_parsed_records_that_fill_the_disk_are_reported_with_the_folder(small_disk, sqlite_url, sandbox, sync):
    """The export fits on the disk; the parsed records, which are stored beside it, do not."""
    sandbox.dataset.replace(charges(LAST_CLOSED, 301_000))
    subprocess.run(["mount", "-o", "remount,size=18m", str(small_disk)], check=True)
    sandbox.faults.add("status", action="post_billing_data", status=503, times=None)
    code, errors = sync(sqlite_url, TMPDIR=str(small_disk))
    assert (code, is_one_line(errors), "TMPDIR" in errors) == (74, True, True), errors
    assert [request.action for request in sandbox.requests].count("get_billing_csv") == 1
