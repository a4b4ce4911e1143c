"""`verify` fetches again and compares with the stored rows, from both of the vendor's sources."""

from __future__ import annotations

import weakref
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import vendor_record as charge

from etl.date_ranges import DateRange
from etl.db.engine import new_engine
from etl.db.migrate import ensure_current
from etl.errors import CheckFailedError, SourceUnavailable
from etl.load.policy import LoadPolicy
from etl.model import Record, WindowData, single_slice_day
from etl.run_counts import RecordChange
from etl.services.context import build_load_policy, open_client, open_source
from etl.services.numbering import import_plan
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from etl.services.verify import DayDifference, complete_range, plan_verify, verify_windows

TODAY = date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
EIGHTH, NINTH, TENTH = (date(2026, 3, day) for day in (8, 9, 10))
PLAN = Path(__file__).parents[1] / "data" / "numbering" / "DEF-9xx.csv"


class Records(list):
    """A list that can be weakly referenced."""


class Audit:
    """A synced account and the differences that `verify` finds."""

    def __init__(self, url, vendor):
        self.settings = settings_of(url, vendor, EIGHTH, window_days=2)
        self.engine = open_engine(url)

    def run(self, command="sync", since=None, until=None, **changes):
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until),
            NO_PROGRESS,
            redact=str,
            clock=lambda: MORNING,
        )
        assert report.error is None

    def execute(self, statement):
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    def verify(self, source="json", account_id=1):
        """The differences without their records; checks that finding them wrote nothing."""
        before = self.dump()
        windows = [DateRange(EIGHTH, NINTH), DateRange(TENTH, TENTH)]
        with open_client(self.settings, str) as client:
            vendor = open_source(self.settings, client, today=TODAY, last=TENTH)
            fetch = vendor.fetch_json if source == "json" else vendor.fetch_csv
            rules = build_load_policy(self.settings, TODAY, full_compare=True)
            found = list(verify_windows(self.engine, account_id, windows, fetch, rules))
        assert self.dump() == before
        differences = [difference for of_window in found for difference in of_window]
        self.records = [str(record) for difference in differences for record in difference.records]
        return [replace(difference, records=()) for difference in differences]

    def dump(self):
        tables = ("billing_records", "synced_days", "sync_state", "sync_runs", "restatements", "rejected_records")
        with self.engine.connect() as connection:
            return [connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2")).all() for table in tables]


@pytest.fixture
def audit(database_url, sandbox):
    sandbox.dataset.replace(
        [
            *[charge(f"2026-03-08T10:00:0{n}") for n in range(3)],
            *[charge("2026-03-09T10:00:00", "0.1")] * 2,
            charge("2026-03-09T11:00:00", "3.25", info="SMS; доставлено"),
            charge("2026-03-10T23:59:59", "-1"),
            charge("2026-03-11T08:00:00"),
        ]
    )
    audit = Audit(database_url, sandbox)
    audit.run()
    return audit


def found(day, source, **counts):
    return DayDifference(day, source, **{"missing": 0, "different": 0, "surplus": 0} | counts)


def test_verify_finds_no_difference_from_either_source_after_a_sync(audit):
    assert (audit.verify("json"), audit.verify("csv")) == ([], [])


def test_verify_covers_the_first_to_the_last_closed_day_by_default(audit):
    with audit.engine.connect() as connection:
        assert complete_range(connection, 1) == DateRange(EIGHTH, TENTH)
        assert complete_range(connection, None) is None


def plan(audit, since=None, until=None, account_id=1):
    with audit.engine.connect() as connection:
        return plan_verify(connection, account_id, since, until, TODAY, size=2)


def test_verify_without_days_is_refused_with_the_reason(audit):
    audit.run()
    for options, reason in (
        ({"account_id": None}, "the account was never synced"),
        ({"since": date(2026, 2, 1), "until": date(2026, 2, 28)}, "no day from 2026-02-01 to 2026-02-28 is stored"),
        ({"since": date(2026, 4, 1)}, "2026-04-01 comes after 2026-03-10"),
        ({"until": date(2026, 2, 28)}, "2026-03-08 comes after 2026-02-28"),
    ):
        with pytest.raises(CheckFailedError, match=reason):
            plan(audit, **options)
    assert plan(audit) == [DateRange(EIGHTH, NINTH), DateRange(TENTH, TENTH)]
    assert plan(audit, TENTH, TODAY) == [DateRange(TENTH, TODAY)]
    audit.execute("UPDATE synced_days SET purged_at = '2026-03-11 00:00:00' WHERE day = '2026-03-08'")
    assert plan(audit) == [DateRange(NINTH, NINTH), DateRange(TENTH, TENTH)]
    with pytest.raises(CheckFailedError, match=r"is stored; the records of these days were purged"):
        plan(audit, EIGHTH, EIGHTH)
    audit.execute("DELETE FROM synced_days")
    with pytest.raises(CheckFailedError, match="no day is complete yet"):
        plan(audit)


@pytest.mark.parametrize("source", ["json", "csv"])
def test_rows_changed_by_another_program_are_found_on_their_day(audit, source):
    audit.execute("DELETE FROM billing_records WHERE created_at = '2026-03-08 10:00:00'")
    audit.execute("UPDATE billing_records SET withdrawn_at = first_seen_at WHERE created_at = '2026-03-08 10:00:01'")
    audit.execute("UPDATE billing_records SET price = '9.000000' WHERE created_at = '2026-03-09 11:00:00'")
    audit.execute("UPDATE billing_records SET repeats = 1 WHERE created_at = '2026-03-09 10:00:00'")
    audit.execute("UPDATE billing_records SET phone = 'x' WHERE created_at = '2026-03-10 23:59:59'")
    expected = [
        found(EIGHTH, source, missing=2, vendor_records=3),
        found(NINTH, source, different=2, vendor_records=3),
        found(TENTH, source, missing=1, surplus=1, vendor_records=1),
    ]
    assert audit.verify(source) == expected
    audit.run("backfill", EIGHTH, TENTH)
    assert audit.verify(source) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE synced_days SET delivered = 7 WHERE day = '2026-03-09'",
        "UPDATE synced_days SET repeated_spend = '7.000000' WHERE day = '2026-03-09'",
        "UPDATE hourly_totals SET spend = '7.000000' WHERE day = '2026-03-09' AND hour = 11",
        "DELETE FROM hourly_totals WHERE day = '2026-03-09' AND hour = 11",
        "UPDATE operator_totals SET records = 7 WHERE day = '2026-03-09'",
        "DELETE FROM operator_totals WHERE day = '2026-03-09'",
    ],
)
def test_totals_that_differ_from_the_rows_are_found_and_repaired(audit, damage):
    audit.execute(damage)
    assert audit.verify() == [found(NINTH, "json", vendor_records=3, wrong_totals=True)]
    audit.run("backfill", EIGHTH, TENTH)
    assert audit.verify() == []
    with audit.engine.connect() as connection:
        query = text("SELECT hour, records, delivered FROM hourly_totals WHERE day = '2026-03-09' ORDER BY hour")
        assert connection.execute(query).all() == [(10, 2, 2), (11, 1, 1)]
        query = text("SELECT records, delivered FROM operator_totals WHERE day = '2026-03-09'")
        assert connection.execute(query).all() == [(3, 3)]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE hourly_totals SET spend = '7.000000' WHERE day = '2026-03-09' AND hour = 11",
        "DELETE FROM operator_totals WHERE day = '2026-03-09'",
        "DELETE FROM channel_totals WHERE day = '2026-03-09'",
    ],
)
@pytest.mark.parametrize(
    "rows", ["DELETE FROM billing_records", "UPDATE billing_records SET price = '9.000000', withdrawn_at = NULL"]
)
def test_rows_and_totals_of_a_day_are_repaired_together(audit, rows, damage):
    audit.execute(f"{rows} WHERE created_at = '2026-03-09 11:00:00'")
    audit.execute(damage)
    audit.run("backfill", EIGHTH, TENTH)
    assert audit.verify() == []


def test_totals_by_operator_of_changed_rows_are_repaired_with_the_rows(audit):
    audit.execute("UPDATE billing_records SET phone = '+79000000001' WHERE created_at = '2026-03-09 11:00:00'")
    import_plan(audit.settings, [PLAN], clock=lambda: MORNING)
    audit.run("backfill", EIGHTH, TENTH)
    assert audit.verify() == []


@pytest.mark.parametrize("source", ["json", "csv"])
def test_changes_of_the_vendor_are_found_and_not_stored(audit, sandbox, source):
    sandbox.dataset.add([charge("2026-03-08T23:00:00", "0.000001")])
    sandbox.dataset.remove([charge("2026-03-10T23:59:59", "-1")])
    expected = [
        found(EIGHTH, source, missing=1, vendor_records=4),
        found(TENTH, source, surplus=1, vendor_records=0),
    ]
    assert audit.verify(source) == expected
    assert audit.verify(source) == expected


def test_one_changed_digit_of_an_amount_is_found(audit, sandbox):
    sandbox.dataset.remove([charge("2026-03-10T23:59:59", "-1")])
    sandbox.dataset.add([charge("2026-03-10T23:59:59", "-1.000001")])
    assert audit.verify() == [found(TENTH, "json", different=1, vendor_records=1)]
    change = RecordChange("2026-03-10 23:59:59", "corrected", ("price -1 to -1.000001",))
    assert audit.records == [str(change)], "without the phone and the code"


def test_every_record_of_an_account_without_a_sync_is_missing(audit):
    assert audit.verify(account_id=None) == [
        found(EIGHTH, "json", missing=3, vendor_records=3),
        found(NINTH, "json", missing=2, vendor_records=3),
        found(TENTH, "json", missing=1, vendor_records=1),
    ]


def test_no_window_is_kept_in_memory_while_the_next_is_fetched(sqlite_url):
    engine = new_engine(sqlite_url)
    ensure_current(engine)
    watched = []

    def fetch(window):
        assert [one() for one in watched] == [None] * len(watched)
        records = Records([Record(f"{window.first} 10:00:00", "+79243555100", "0371", 1, "ok", Decimal("0.200000"))])
        watched.append(weakref.ref(records))
        return WindowData(window, window, {window.first: single_slice_day(window.first, records)})

    windows = [DateRange(day, day) for day in (EIGHTH, NINTH, TENTH)]
    rules = LoadPolicy(TODAY, ZoneInfo("Europe/Moscow"), 3, Decimal("0.5"), full_compare=True)
    found = [differences[0].missing for differences in verify_windows(engine, 1, windows, fetch, rules)]
    assert found == [1, 1, 1]


def test_a_day_whose_answer_may_be_incomplete_is_not_verified(audit):
    windows = [DateRange(EIGHTH, NINTH), DateRange(TENTH, TENTH)]
    rules = build_load_policy(audit.settings, TODAY, full_compare=True)
    with open_client(audit.settings, str) as client:
        vendor = open_source(audit.settings, client, today=TODAY, last=TENTH)

        def fetch(window):
            return replace(vendor.fetch_json(window), incomplete_days=frozenset({TENTH}))

        with pytest.raises(SourceUnavailable, match="1 days cannot be verified, beginning with 2026-03-10"):
            list(verify_windows(audit.engine, 1, windows, fetch, rules))
