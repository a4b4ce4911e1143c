"""Run history and rejected records are kept as long as configured, and no longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text, update
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import charges

from etl.db.prune import BATCH_SIZE
from etl.db.tables import sync_runs
from etl.services.run import RunRequest
from etl.services.sync import run_sync

FIRST = date(2026, 2, 1)
MORNING = datetime(2026, 2, 3, 6, 30, tzinfo=UTC)


class Nights:
    """An account that is synced night by night, with an invalid record on the first day."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, FIRST, lookback_days=2)
        self.engine = open_engine(url)
        self.now = MORNING
        vendor.dataset.replace([*charges(FIRST, 3), *charges(date(2026, 2, 9), 3)])
        vendor.dataset.add([dict(charges(day, 9)[8], price="none") for day in (FIRST, date(2026, 2, 9))])

    def sync(self, *, days=1, **changes):
        self.now += timedelta(days=days)
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest("sync"),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )
        assert report.error is None

    def read(self, query):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def runs(self):
        return [number for (number,) in self.read("SELECT id FROM sync_runs ORDER BY id")]


@pytest.fixture
def nights(sqlite_url, sandbox):
    return Nights(sqlite_url, sandbox)


def test_runs_older_than_the_setting_are_deleted_after_a_sync(nights):
    for _ in range(5):
        nights.sync()
    assert nights.runs() == [1, 2, 3, 4, 5]
    nights.sync(keep_runs=2)
    assert nights.runs() == [4, 5, 6]
    nights.sync(days=500)
    assert nights.runs() == [7]


def test_the_newest_successful_run_is_always_kept(nights):
    nights.sync()
    nights.sync()
    with nights.engine.begin() as connection:
        connection.execute(update(sync_runs).where(sync_runs.c.id == 2).values(outcome="failed"))
    nights.vendor.faults.add("status", status=500, times=None)
    report = run_sync(
        nights.settings, RunRequest("sync"), NO_PROGRESS, redact=str,
        clock=lambda: nights.now + timedelta(days=500),
    )  # fmt: skip
    assert report.error
    assert nights.runs() == [1, 3]


def test_many_old_runs_are_deleted_in_one_night(nights):
    nights.sync()
    copied = "INSERT INTO sync_runs SELECT id + {}, " + ", ".join(sync_runs.columns.keys()[1:]) + " FROM sync_runs"
    with nights.engine.begin() as connection:
        for power in range(11):
            connection.execute(text(copied.format(2**power)))
    assert len(nights.runs()) == 2048 > 2 * BATCH_SIZE
    nights.sync(days=500)
    assert nights.runs() == [2049]


def test_rejected_records_are_kept_unless_a_setting_limits_their_age(nights):
    days = "SELECT day FROM rejected_records ORDER BY day"
    nights.sync(days=7)
    nights.sync(days=500)
    assert nights.read(days) == [("2026-02-01",), ("2026-02-09",)]
    nights.settings = replace(nights.settings, lookback_days=3000)
    nights.sync(keep_rejected=30)
    assert nights.read(days) == [("2026-02-01",), ("2026-02-09",)], "their days are fetched again every night"
    nights.settings = replace(nights.settings, lookback_days=2)
    nights.sync(keep_rejected=600)
    assert len(nights.read(days)) == 2
    nights.sync(keep_rejected=30)
    assert nights.read(days) == []
