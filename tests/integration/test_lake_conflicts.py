"""Exports that conflict with other writers of the lake, or are killed, neither double nor lose a day."""

from __future__ import annotations

import sys
from datetime import date, timedelta

import pytest

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")

from support import rival_files
from support.lake_copy import NINTH, charges, exported_copy, synced_copy
from support.lake_export import command_of, start

from etl.errors import ConcurrentRunError
from etl.lake.catalogue import open_lake
from etl.lake.conflicts import MAX_ATTEMPTS, retry_conflicts

KINDS = pytest.mark.parametrize("kind", [rival_files.DATA, rival_files.SNAPSHOT, rival_files.METADATA])
SEVENTH = date(2026, 3, 7)
COMPACT = """
import sys
from pathlib import Path
from etl.lake.catalogue import open_lake

table = open_lake(Path(sys.argv[1]), None).billing
table.overwrite(table.scan().to_arrow())
"""
"""Simulates another engine that merges the files of a table."""


@pytest.fixture
def synced(sqlite_url, sandbox, tmp_path):
    made = synced_copy(sqlite_url, sandbox, tmp_path)
    made.folder.mkdir()
    return made


@pytest.fixture
def copied(sqlite_url, sandbox, tmp_path):
    return exported_copy(sqlite_url, sandbox, tmp_path)


def database_of(copied):
    return copied.settings[0].database_url


def finish(process):
    out, errors = process.communicate(timeout=120)
    return process.returncode, out.split(), errors


@KINDS
def test_two_first_exports_write_each_row_once(synced, kind):
    url = database_of(synced)
    code, (rival, *_, rows), errors = finish(start(url, synced.folder, rival=(kind, command_of(url, synced.folder))))
    assert (code, rival, rows, errors) == (0, "14", "0", "")
    assert synced.lake() == synced.view()


@KINDS
def test_an_export_plans_again_after_a_concurrent_export_of_newer_changes(copied, kind):
    copied.vendor.dataset.add(charges(SEVENTH, 2))
    copied.sync()
    copied.vendor.dataset.replace([*charges(NINTH, 2, "0.3"), *charges(SEVENTH, 1)])
    rival = command_of(database_of(copied), copied.folder, copied.vendor.url)
    code, (first, *_, rows), errors = finish(start(database_of(copied), copied.folder, rival=(kind, rival)))
    assert (code, int(first) > 0, rows, errors) == (0, True, "0", "")
    assert copied.lake() == copied.view()


def test_an_export_writes_its_days_after_an_engine_merged_the_files(copied, tmp_path):
    copied.vendor.dataset.add(charges(SEVENTH, 2))
    copied.sync()
    once = f"test -e '{tmp_path}/done' || {{ touch '{tmp_path}/done'; exec \"$0\" \"$@\"; }}"
    rival = ["sh", "-c", once, sys.executable, "-c", COMPACT, str(copied.folder)]
    done = finish(start(database_of(copied), copied.folder, rival=(rival_files.METADATA, rival)))
    assert done == (0, ["4"], "")
    assert copied.lake() == copied.view()


def test_an_export_exits_75_when_other_writers_keep_changing_the_lake(copied):
    copied.vendor.dataset.add(charges(SEVENTH, 2))
    copied.sync()
    before = copied.lake()
    rival = [sys.executable, "-c", COMPACT, str(copied.folder)]
    process = start(database_of(copied), copied.folder, rival=(rival_files.METADATA, rival))
    code, words, errors = finish(process)
    assert (code, " ".join(words), errors) == (75, "other processes keep changing the lake; run it again later", "")
    assert copied.lake() == before
    copied.export()
    assert copied.lake() == copied.view()


def test_attempts_are_limited_with_waits_in_between():
    attempts, waits = [], []

    def write():
        attempts.append(1)
        raise ConcurrentRunError("changed")

    with pytest.raises(ConcurrentRunError):
        retry_conflicts(write, sleep=waits.append)
    assert (len(attempts), len(waits)) == (MAX_ATTEMPTS, MAX_ATTEMPTS - 1)
    assert 0 < sum(waits) < 10


def test_concurrent_exports_neither_double_nor_lose_rows(synced):
    for round_ in range(3):
        processes = [start(database_of(synced), synced.folder) for _ in range(4)]
        ended = [finish(process) for process in processes]
        assert [(code, errors) for code, _, errors in ended] == [(0, "")] * 4
        assert sum(int(rows) for _, (rows,), _ in ended) == (4 if round_ else 14), "each row is committed once"
        assert synced.lake() == synced.view()
        synced.vendor.dataset.add(charges(SEVENTH - timedelta(days=round_), 2))
        synced.sync()


@KINDS
def test_a_kill_before_the_commit_neither_doubles_nor_loses_rows(copied, kind):
    copied.vendor.dataset.add(charges(SEVENTH, 2))
    copied.sync()
    before, files = copied.lake(), copied.files_left()
    killed = start(database_of(copied), copied.folder, rival=(kind, ["sh", "-c", "kill -9 $PPID"]))
    assert finish(killed) == (-9, [], "")
    assert (copied.lake(), copied.files_left() >= files) == (before, True)
    assert copied.export().rows == 4
    assert copied.lake() == copied.view()


def test_pyiceberg_retries_no_commit_in_a_lake_of_an_earlier_version(copied):
    name = "commit.retry.num-retries"
    for table in (copied.table(), open_lake(copied.folder, None).numbering):
        with table.transaction() as transaction:
            transaction.remove_properties(name)
    lake = open_lake(copied.folder, None)
    assert [table.properties[name] for table in (lake.billing, lake.numbering)] == ["0", "0"]
