"""The run history when the database refuses its last update."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

NO_END = """CREATE TRIGGER no_end BEFORE UPDATE OF outcome ON sync_runs WHEN NEW.outcome <> 'abandoned'
BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END"""
NO_TRIMMING = "CREATE TRIGGER no_trimming BEFORE DELETE ON sync_runs BEGIN SELECT RAISE(ABORT, 'no'); END"
SPAN = ("--until", "2025-03-10")
WORDS = "the records are stored, but the end of the run could not be recorded"


def execute(folder, *statements):
    with closing(sqlite3.connect(folder / "billing.db")) as database:
        rows = [database.execute(statement).fetchall() for statement in statements]
        database.commit()
        return rows[-1]


def outcomes(billing):
    return [outcome for (outcome,) in execute(billing.folder, "SELECT outcome FROM sync_runs ORDER BY id")]


@pytest.fixture
def endless(billing):
    """A synced account whose next runs cannot record their end."""
    assert billing("sync", "--until", "2025-03-08").code == 0
    execute(billing.folder, NO_END)
    return billing


@pytest.mark.fault(94)
@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_run_that_cannot_record_its_end_fails_and_keeps_its_rows(endless, format_):
    done = endless("--log-format", format_, "sync", *SPAN)
    assert (done.code, done.errors.count(WORDS)) == (74, 1), done
    assert execute(endless.folder, "SELECT count(*) FROM billing_records") == [(30,)]
    assert outcomes(endless) == ["done", "running"]
    execute(endless.folder, "DROP TRIGGER no_end")
    assert endless("sync", *SPAN).code == 0
    assert execute(endless.folder, "SELECT outcome FROM sync_runs ORDER BY id") == [
        ("done",),
        ("abandoned",),
        ("done",),
    ]


def test_the_json_of_a_run_that_cannot_record_its_end_has_the_error(endless):
    document = json.loads(endless("sync", *SPAN, "--json").out)
    assert document["exit_code"] == 74
    assert WORDS in document["accounts"][0]["error"]


def test_an_unrecorded_end_does_not_hide_another_error(endless, vendor):
    vendor.faults.add("status", status=500, times=None)
    done = endless("sync", *SPAN)
    assert (done.code, WORDS in done.errors) == (69, True), done


def test_history_that_cannot_be_pruned_is_a_warning(synced):
    execute(synced.folder, "UPDATE sync_runs SET started_at = '2025-01-01 00:00:00.000000'")
    assert synced("sync", *SPAN, BILLING_KEEP_RUNS="1").code == 0
    execute(synced.folder, "UPDATE sync_runs SET started_at = '2025-01-01 00:00:00.000000'", NO_TRIMMING)
    done = synced("sync", *SPAN, BILLING_KEEP_RUNS="1")
    assert (done.code, "the oldest lines of the history stay" in done.errors) == (0, True), done
