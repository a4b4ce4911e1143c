"""Only transactions that change stored days raise the account's revision, and give it to these days."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

from etl.services.erase import erase_number
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

TODAY = date(2026, 3, 11)
FIRST, JANUARY, NINTH = date(2026, 1, 29), date(2026, 1, 31), date(2026, 3, 9)


def charges(day, count, phone="89243555100", price="0.2", info="ok"):
    return [
        {
            "created_at": f"{day}T10:00:{second:02}",
            "code_auth": "0371",
            "status": 1,
            "status_info": info,
            "phone": phone,
            "price": Decimal(price),
        }
        for second in range(count)
    ]


class Copied:
    """An account and a copy of its days that follows the revisions."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, FIRST)
        self.engine = open_engine(url)
        self.now = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
        self.seen = 0
        self.copy = {}

    def run(self, command="sync", since=None, until=None, code=0):
        self.now += timedelta(minutes=1)
        report = run_sync(
            self.settings,
            RunRequest(command, since, until or since),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )
        assert report.exit_code == code, report.error
        return report

    def read(self, statement, **values):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def execute(self, statement):
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    def revision(self):
        ((revision,),) = self.read("SELECT revision FROM sync_state")
        return revision

    def days(self):
        """The rows of all tables, by day."""
        found = defaultdict(list)
        for table, moment in (("synced_days", "day"), ("billing_records", "created_at"), ("restatements", "day")):
            for row in self.read(f"SELECT {moment}, {table}.* FROM {table} ORDER BY {moment}, 3"):
                found[date.fromisoformat(str(row[0])[:10])].append((table, row))
        return found

    def follow(self):
        """Copy the days with a revision above the last one seen; returns these days."""
        rows = self.read("SELECT day, revision FROM synced_days WHERE revision > :seen ORDER BY day", seen=self.seen)
        self.seen = max([revision for _, revision in rows], default=self.seen)
        changed = [date.fromisoformat(str(day)) for day, _ in rows]
        stored = self.days()
        self.copy.update({day: stored[day] for day in changed})
        assert self.copy == stored, "the copy equals the stored rows"
        return changed


@pytest.fixture
def copied(database_url, sandbox):
    made = Copied(database_url, sandbox)
    sandbox.dataset.replace([*charges(JANUARY, 3), *charges(NINTH, 3), *charges(TODAY, 1)])
    made.run()
    assert len(made.follow()) == 42
    return made


def test_a_sync_without_changes_raises_no_revision(copied):
    before = copied.revision()
    assert before > 0
    copied.run()
    copied.run("backfill", FIRST, NINTH)
    assert (copied.follow(), copied.revision()) == ([], before)


@pytest.mark.parametrize(
    "after",
    [[*charges(NINTH, 4)], [*charges(NINTH, 3, price="0.3")], [*charges(NINTH, 2)]],
    ids=["late", "corrected", "withdrawn"],
)
def test_a_restated_day_gets_the_next_revision(copied, after):
    before = copied.revision()
    copied.vendor.dataset.replace([*charges(JANUARY, 3), *after, *charges(TODAY, 1)])
    copied.run()
    assert (copied.follow(), copied.revision()) == ([NINTH], before + 1)


def test_a_day_gets_a_revision_when_it_becomes_suspect_and_when_it_recovers(copied):
    records = copied.vendor.dataset.records[:]
    copied.vendor.dataset.replace([*charges(JANUARY, 3), *charges(TODAY, 1)])
    copied.run(code=65)
    assert copied.follow() == [NINTH]
    copied.run(code=65)
    assert copied.follow() == []
    copied.vendor.dataset.replace(records)
    copied.run()
    assert copied.follow() == [NINTH]


def test_a_day_repaired_by_a_backfill_gets_a_revision(copied):
    for tampering in (
        "UPDATE billing_records SET price = '7' WHERE created_at = '2026-03-09 10:00:01'",
        "UPDATE billing_records SET utc_offset = -77 WHERE created_at = '2026-03-09 10:00:01'",
        "DELETE FROM billing_records WHERE created_at = '2026-03-09 10:00:02'",
    ):
        copied.execute(tampering)
        copied.run("backfill", FIRST, TODAY)
        assert copied.follow() == [NINTH], tampering


def test_an_erasure_gives_each_affected_day_a_revision(copied):
    other = "89990001122"
    mentioned = charges(date(2026, 3, 7), 1, other, info="see 89243555100")
    copied.vendor.dataset.add([*charges(date(2026, 3, 8), 1, other), *mentioned])
    copied.run()
    copied.follow()
    before = copied.revision()
    erase_number(copied.settings, "+79243555100", wait=0)
    assert (copied.follow(), copied.revision()) == ([JANUARY, date(2026, 3, 7), NINTH, TODAY], before + 1)
    erase_number(copied.settings, "+79243555100", wait=0)
    assert (copied.follow(), copied.revision()) == ([], before + 1)


def test_purged_days_get_a_revision(copied):
    before = copied.revision()
    done = purge_account(
        copied.settings, RetentionAge(1, "m"), explicit_account=True, dry_run=False, wait=0, clock=lambda: copied.now
    )
    assert done.months
    assert copied.follow() == [FIRST, date(2026, 1, 30), JANUARY]
    assert copied.revision() > before
    before = copied.revision()
    purge_account(
        copied.settings, RetentionAge(1, "m"), explicit_account=True, dry_run=False, wait=0, clock=lambda: copied.now
    )
    assert (copied.follow(), copied.revision()) == ([], before)
