"""From the vendor's answers to the stored rows: whole runs against the sandbox, on each database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, Table, event, select, text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of, token_of

from etl.date_ranges import DateRange
from etl.db.migrate import ensure_current
from etl.db.run_store import advance_watermark, begin_run, find_account, read_sync_state
from etl.db.tables import (
    accounts,
    balance_snapshots,
    billing_records,
    metadata,
    rejected_records,
    restatements,
    sync_runs,
    sync_state,
    synced_days,
)
from etl.errors import AuthenticationError, ConcurrentRunError, SourceUnavailable
from etl.load.compare import compare_window
from etl.load.outcome import WindowOutcome, summarise_window
from etl.model import WindowData
from etl.ops.status_query import StatusOptions, read_account_statuses
from etl.services.context import build_load_policy
from etl.services.run import RunRequest
from etl.services.sync import run_sync

TODAY = date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
DAY = timedelta(days=1)
NINTH, TENTH = date(2026, 3, 9), date(2026, 3, 10)
SUSPECT = list(synced_days.columns.keys()).index("suspect_since")
"""Index of the first column of a ledger row that describes a suspect state."""


def charge(moment, phone="89243555100", code="0371", status=1, info="ok", price="0.2"):
    """A record as the vendor's documentation shows it."""
    return {
        "created_at": moment,
        "code_auth": code,
        "status": status,
        "status_info": info,
        "phone": phone,
        "price": Decimal(price) if isinstance(price, str) else price,
    }


def unpriced(moment):
    """A record that fails validation."""
    return charge(moment) | {"price": "x"}


def charges(day, count, **values):
    """Different records of one day."""
    return [charge(f"{day}T10:{n // 60:02}:{n % 60:02}", **values) for n in range(count)]


class Job:
    """One account and its runs, each a minute later than the previous one."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, date(2026, 3, 8))
        self.engine = open_engine(url)
        self.now = MORNING
        self.steps: list[DateRange] = []

    def run(
        self, command="sync", since=None, until=None, *,
        dry_run=False, after_step=lambda: None, order=None, watcher=NO_PROGRESS, **changes,
    ):  # fmt: skip
        self.now += timedelta(minutes=1)
        self.steps = []
        if "account" in changes:
            changes["api_token"] = token_of(self.vendor, changes["account"])

        def step(window, _tally):
            self.steps.append(window)
            after_step()

        return run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until, dry_run, **(order or {})),
            replace(watcher, advance=step),
            redact=str,
            clock=lambda: self.now,
        )

    def sync(self, **changes):
        return self.run("sync", **changes)

    def backfill(self, since, until=None, **changes):
        return self.run("backfill", since, until or since, **changes)

    def accept(self, day, **order):
        return self.run("accept", day, day, order=order)

    def rows(self, table: Table, *columns):
        """Whole rows, or some columns, in the order of the primary key."""
        chosen = [table.c[name] for name in columns] or [table]
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(*chosen).order_by(*table.primary_key.columns))]

    def execute(self, statement, **values):
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def dump(self):
        """All rows that a run without changes may not touch."""
        excluded = (sync_runs, balance_snapshots)
        tables = {table.name: self.rows(table) for table in metadata.sorted_tables if table not in excluded}
        tables["sync_state"] = self.rows(sync_state, "account_id", "first_day", "last_synced_date", "settled_through")
        return tables

    def current(self):
        """The current rows."""
        columns = ("created_at", "phone", "code_auth", "ordinal", "status", "status_info", "price", "repeats")
        known = self.rows(billing_records, *columns, "withdrawn_at")
        return sorted((row[:-1] for row in known if row[-1] is None), key=lambda row: row[:4])

    def status(self):
        with self.engine.connect() as connection:
            return read_account_statuses(connection, [self.settings.account], self.now)[0]


def counts(report):
    tally = report.counts
    return (tally.new, tally.changed, tally.withdrawn, tally.unchanged)


@contextmanager
def tables_written_to() -> Iterator[set[str]]:
    """The tables that are named in statements other than queries."""
    written: set[str] = set()

    def note(_connection, _cursor, statement, _parameters, _context, _executemany):
        words = statement.replace('"', "").replace("`", "").split()
        if words and words[0].upper() in {"INSERT", "UPDATE", "DELETE", "COPY"}:
            written.update(words[1:3])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield written
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    written.intersection_update(metadata.tables)


@pytest.fixture
def vendor(sandbox):
    """The vendor without records; tests add theirs."""
    sandbox.dataset.replace([])
    return sandbox


@pytest.fixture
def job(database_url, vendor):
    return Job(database_url, vendor)


@pytest.fixture
def sqlite_job(sqlite_url, vendor):
    """On SQLite, for tests that do not depend on the database."""
    return Job(sqlite_url, vendor)


def at(moment):
    return datetime.fromisoformat(moment)


def json_is_down(vendor):
    vendor.faults.add("status", action="post_billing_data", status=503, times=None)


# --- a first load -----------------------------------------------------------------------------------------------------


@pytest.mark.fault(74)
def test_a_first_load_stores_every_field_of_every_record(job, vendor):
    vendor.dataset.replace(
        [
            charge("2026-03-09T00:00:00", "8 (924) 355-51-00", None, True, None, "-1.5"),
            charge("2026-03-09T10:00:00", status=0, info="Error: SIP 486 Busy Here", price="0"),
            charge("2026-03-09T10:00:00", info="SMS delivered", price="3.25"),
            charge("2026-03-09T23:59:59", "375291234567", 71, "7", "ok"),
            charge("2026-03-09T23:59:59", "375291234567", 71, "7", "ok"),
            charge("2026-03-10T02:30:00", "0890", "", None, "pending", "0.000001"),
        ]
    )
    report = job.sync()

    now = job.now
    assert (report.error, counts(report)) == (None, (5, 0, 0, 0))
    assert sorted(job.rows(billing_records)) == [
        (1, at("2026-03-09 00:00:00"), "+79243555100", "", 1, 1, "", Decimal("-1.5"), 1,
         180, now, None, None, 3),
        (1, at("2026-03-09 10:00:00"), "+79243555100", "0371", 1, 0, "Error: SIP 486 Busy Here", Decimal(0), 1,
         180, now, None, None, 4),
        (1, at("2026-03-09 10:00:00"), "+79243555100", "0371", 2, 1, "SMS delivered", Decimal("3.25"), 1,
         180, now, None, None, 2),
        (1, at("2026-03-09 23:59:59"), "375291234567", "0071", 1, 7, "ok", Decimal("0.2"), 2,
         180, now, None, None, 4),
        (1, at("2026-03-10 02:30:00"), "0890", "", 1, None, "pending", Decimal("0.000001"), 1,
         180, now, None, None, 3),
    ]  # fmt: skip


def test_a_first_load_writes_ledger_watermark_and_run(job, vendor):
    vendor.dataset.replace([*charges(NINTH, 3, price="0.1"), *charges(NINTH, 3, price="0.1"), *charges(TODAY, 1)])
    job.sync()

    now = job.now
    columns = [
        column.name for column in synced_days.columns if column.name not in {"digest", "channel_rules", "purged_at"}
    ]
    zero, spent, repeated, today = Decimal(0), Decimal("0.6"), Decimal("0.3"), Decimal("0.2")
    assert job.rows(synced_days, *columns) == [
        (1, date(2026, 3, 8), 0, zero, "json", now, now, zero, None, None, None, 1, 0, zero),
        (1, NINTH, 6, spent, "json", now, now, spent, None, None, None, 1, 6, repeated),
        (1, TENTH, 0, zero, "json", now, now, zero, None, None, None, 1, 0, zero),
        (1, TODAY, 1, today, "json", now, None, None, None, None, None, 1, 1, zero),
    ]
    until = datetime(2026, 3, 10, 21, tzinfo=UTC)
    assert job.rows(sync_state) == [(1, date(2026, 3, 8), TENTH, until, date(2026, 3, 3), now, 1, 1, 1, 0)]
    columns = [column.name for column in sync_runs.columns if not column.name.startswith("largest_")]
    assert [row[1:3] + row[4:] for row in job.rows(sync_runs, *columns)] == [
        (1, "sync", now, now, "done", 0, None, date(2026, 3, 8), TODAY, "json", 4, 4, 0, 0, 0, 0, 0)
    ]


@pytest.mark.fault(73, 74)
def test_timestamps_of_the_program_are_stored_in_utc_with_microseconds(job, vendor):
    job.now = (MORNING + timedelta(microseconds=123456)).astimezone(ZoneInfo("Europe/Moscow"))
    job.sync()
    assert job.rows(sync_runs, "started_at") == [(job.now,)]


def test_accounts_of_one_database_are_independent(job, vendor):
    vendor.dataset.replace(charges(NINTH, 2))
    job.sync()
    one = job.current()
    vendor.dataset.replace(charges(NINTH, 1, price="5"))
    report = job.sync(account="other")
    assert counts(report) == (1, 0, 0, 0)
    assert len(job.current()) == 3
    assert set(one) < set(job.current())
    assert [row[1] for row in job.rows(accounts)] == ["default", "other"]
    assert [(row[0], row[2]) for row in job.rows(sync_state)] == [(1, TENTH), (2, TENTH)]


# --- nights -----------------------------------------------------------------------------------------------------------


def test_a_sync_without_changes_writes_no_record_and_no_day(job, vendor):
    vendor.dataset.replace(
        [*charges(NINTH, 30), unpriced("2026-03-10T10:00:00"), *charges(TENTH, 1), *charges(TODAY, 3)]
    )
    job.sync()
    before = job.dump()
    with tables_written_to() as written:
        report = job.sync()
    assert counts(report) == (0, 0, 0, 34)
    assert job.dump() == before
    assert written == {"sync_runs", "sync_state", "balance_snapshots"}


def test_the_order_of_an_answer_is_irrelevant(sqlite_job, vendor):
    vendor.dataset.replace([*charges(NINTH, 9), *charges(NINTH, 9, price="1"), *charges(NINTH, 4)])
    sqlite_job.sync()
    before = sqlite_job.dump()
    for order in ("descending", "shuffled"):
        vendor.policies.order = order
        assert sqlite_job.sync().error is None
        assert sqlite_job.dump() == before


@pytest.mark.fault(64, 67, 77)
def test_each_change_of_a_closed_day_is_journalled(job, vendor):
    pending = charge("2026-03-09T10:00:00", status=0, info="pending", price="0")
    mistaken = charge("2026-03-09T11:00:00", price="2.5")
    kept = charge("2026-03-09T12:00:00", price="0.3")
    vendor.dataset.replace([pending, mistaken, kept])
    job.sync()
    closed = job.now

    finished = pending | {"status": 1, "status_info": "ok", "price": Decimal("0.2")}
    late = charge("2026-03-09T09:00:00", "89990001122", "0001", price="0.000001")
    vendor.dataset.replace([finished, kept, late])
    report, changed = job.sync(), job.now
    assert counts(report) == (1, 1, 1, 1)
    columns = ("created_at", "status", "status_info", "price", "first_seen_at", "updated_at", "withdrawn_at")
    assert job.rows(billing_records, *columns) == [
        (at("2026-03-09 09:00"), 1, "ok", Decimal("0.000001"), changed, None, None),
        (at("2026-03-09 10:00"), 1, "ok", Decimal("0.2"), closed, changed, None),
        (at("2026-03-09 11:00"), 1, "ok", Decimal("2.5"), closed, changed, changed),
        (at("2026-03-09 12:00"), 1, "ok", Decimal("0.3"), closed, None, None),
    ]
    no_more, not_yet = (None, None, None, 0), (None, None, None, 0)
    key = ("+79243555100", "0371", 1)
    assert [row[1:] for row in job.rows(restatements)] == [
        (1, 2, NINTH, changed, "late", at("2026-03-09 09:00"), "+79990001122", "0001", 1,
         *not_yet, 1, "ok", Decimal("0.000001"), 1, Decimal("0.000001")),
        (1, 2, NINTH, changed, "corrected", at("2026-03-09 10:00"), *key,
         0, "pending", Decimal(0), 1, 1, "ok", Decimal("0.2"), 1, Decimal("0.2")),
        (1, 2, NINTH, changed, "withdrawn", at("2026-03-09 11:00"), *key,
         1, "ok", Decimal("2.5"), 1, *no_more, Decimal("-2.5")),
    ]  # fmt: skip

    vendor.dataset.add([mistaken])
    report, returned = job.sync(), job.now
    assert counts(report) == (1, 0, 0, 3)
    assert job.rows(billing_records, *columns)[2] == (
        at("2026-03-09 11:00"), 1, "ok", Decimal("2.5"), closed, returned, None,
    )  # fmt: skip
    assert [row[1:] for row in job.rows(restatements)[3:]] == [
        (1, 3, NINTH, returned, "returned", at("2026-03-09 11:00"), *key,
         *not_yet, 1, "ok", Decimal("2.5"), 1, Decimal("2.5")),
    ]  # fmt: skip

    columns = ("records", "spend", "stored_at", "first_closed_at", "first_closed_spend", "restated_at")
    assert job.rows(synced_days, "day", *columns)[1] == (
        NINTH, 4, Decimal("3.000001"), returned, closed, Decimal("2.8"), returned,
    )  # fmt: skip


def test_a_record_that_returns_with_other_attributes_keeps_its_identity(sqlite_job, vendor):
    vendor.dataset.replace([charge("2026-03-09T10:00:00"), charge("2026-03-09T11:00:00")])
    sqlite_job.sync()
    key = ("created_at", "phone", "code_auth", "ordinal")
    returning = sqlite_job.rows(billing_records, *key)[1]
    vendor.dataset.replace([charge("2026-03-09T10:00:00")])
    sqlite_job.sync()
    vendor.dataset.add([charge("2026-03-09T11:00:00", price="7")])
    sqlite_job.sync()
    assert sqlite_job.rows(billing_records, *key, "price", "withdrawn_at")[1] == (*returning, Decimal(7), None)
    assert len(sqlite_job.rows(billing_records)) == 2
    lines = sqlite_job.rows(
        restatements, "kind", "price_before", "repeats_before", "price_after", "repeats_after", "delta"
    )
    assert lines == [
        ("withdrawn", Decimal("0.2"), 1, None, 0, Decimal("-0.2")),
        ("returned", None, 0, Decimal(7), 1, Decimal(7)),
    ]


@pytest.mark.fault(63, 65, 66, 67)
def test_repeats_of_a_record_are_an_attribute_of_one_row(job, vendor):
    one = charge("2026-03-09T10:00:00", price="0.1")
    vendor.dataset.replace([one])
    job.sync()
    for listed, delta in ((3, Decimal("0.2")), (2, Decimal("-0.1"))):
        vendor.dataset.replace([one] * listed)
        assert counts(job.sync()) == (0, 1, 0, 0)
        assert job.rows(billing_records, "ordinal", "repeats", "withdrawn_at") == [(1, listed, None)]
        assert job.rows(restatements, "kind", "repeats_after", "delta")[-1] == ("corrected", listed, delta)


@pytest.mark.fault(66)
def test_records_with_equal_time_phone_and_code_are_distinguished(job, vendor):
    call = charge("2026-03-09T10:00:00", status=0, info="no answer", price="0")
    sms = charge("2026-03-09T10:00:00", info="SMS delivered", price="3.25")
    vendor.dataset.replace([call, sms])
    job.sync()
    ordinals = job.rows(billing_records, "ordinal", "status_info")
    vendor.dataset.replace([sms | {"price": Decimal(3)}, call])
    assert counts(job.sync()) == (0, 1, 0, 1)
    assert job.rows(billing_records, "ordinal", "status_info") == ordinals
    vendor.dataset.replace([sms | {"price": Decimal(3)}])
    assert counts(job.sync()) == (0, 0, 1, 1)
    assert [row[3:7] for row in job.current()] == [(2, 1, "SMS delivered", Decimal(3))]


@pytest.mark.fault(108)
def test_an_open_day_changes_without_journal_and_closes_the_next_night(job, vendor):
    vendor.dataset.replace(charges(TODAY, 2))
    job.sync()
    assert job.status().last_synced_date == TENTH
    vendor.dataset.replace([*charges(TODAY, 1), charge("2026-03-11T20:00:00", price="5")])
    job.now += DAY
    vendor.set_now(at("2026-03-12 09:30"))
    assert counts(job.sync()) == (1, 0, 1, 1)
    columns = ("day", "records", "spend", "first_closed_at", "first_closed_spend", "restated_at")
    assert job.rows(synced_days, *columns)[3:] == [
        (TODAY, 2, Decimal("5.2"), job.now, Decimal("5.2"), None),
        (TODAY + DAY, 0, Decimal(0), None, None, None),
    ]
    assert job.rows(restatements) == []
    assert job.status().last_synced_date == TODAY


def test_a_sync_fetches_the_lookback_and_every_day_up_to_today(sqlite_job, vendor):
    sqlite_job.sync(start_date=date(2026, 2, 1))
    sqlite_job.sync()
    assert sqlite_job.steps == [DateRange(date(2026, 3, 4), TENTH), DateRange(TODAY, TODAY)]
    sqlite_job.sync(lookback_days=2, window_days=31)
    assert sqlite_job.steps == [DateRange(NINTH, TODAY)]
    sqlite_job.sync(lookback_days=0)
    assert sqlite_job.steps == [DateRange(TODAY, TODAY)]


@pytest.mark.fault(110)
def test_a_sync_fetches_the_days_of_missed_nights(sqlite_job, vendor):
    sqlite_job.sync(start_date=TENTH)
    sqlite_job.now += 10 * DAY
    vendor.set_now(at("2026-03-21 09:30"))
    vendor.dataset.replace(charges("2026-03-15", 3))
    assert counts(sqlite_job.sync()) == (3, 0, 0, 0)
    assert sqlite_job.status().last_synced_date == date(2026, 3, 20)


@pytest.mark.fault(52)
def test_today_is_a_date_of_the_vendors_wall_clock(sqlite_job, vendor):
    sqlite_job.now = datetime(2026, 3, 10, 21, 30, tzinfo=UTC)  # half past midnight in Moscow
    assert sqlite_job.sync().watermark == TENTH
    assert sqlite_job.sync(account="london", timezone=ZoneInfo("Europe/London")).watermark == NINTH


def test_a_first_sync_starts_thirty_days_back_by_default(sqlite_job):
    sqlite_job.sync(start_date=None)
    assert sqlite_job.steps[0].first == date(2026, 2, 9)
    assert sqlite_job.steps[-1].last == TODAY


# --- the watermark ----------------------------------------------------------------------------------------------------


def test_the_watermark_stops_before_a_gap_and_the_next_sync_fills_it(job, vendor):
    job.sync(start_date=date(2026, 3, 1), until=date(2026, 3, 3))
    job.backfill(date(2026, 3, 6), date(2026, 3, 7))
    status = job.status()
    assert status.last_synced_date == date(2026, 3, 3)
    assert status.gaps == (DateRange(date(2026, 3, 4), date(2026, 3, 5)),)
    job.backfill(date(2026, 3, 5))
    assert job.status().last_synced_date == date(2026, 3, 3)
    job.backfill(date(2026, 3, 4))
    assert (job.status().last_synced_date, job.status().gaps) == (date(2026, 3, 7), ())
    job.sync()
    assert (job.status().last_synced_date, job.status().gaps) == (TENTH, ())


def test_a_sync_that_starts_late_leaves_a_reported_gap(sqlite_job, vendor):
    sqlite_job.sync(start_date=date(2026, 3, 1), until=date(2026, 3, 3))
    sqlite_job.sync(since=date(2026, 3, 8))
    assert sqlite_job.status().last_synced_date == date(2026, 3, 3)
    assert sqlite_job.status().gaps == (DateRange(date(2026, 3, 4), date(2026, 3, 7)),)
    sqlite_job.sync()
    assert (sqlite_job.status().last_synced_date, sqlite_job.status().gaps) == (TENTH, ())


def test_an_open_day_never_moves_the_watermark(sqlite_job, vendor):
    vendor.dataset.replace(charges(TODAY, 2))
    for _ in range(2):
        assert sqlite_job.backfill(TODAY).watermark is None
        assert sqlite_job.rows(sync_state, "first_day", "last_synced_date") == [(TODAY, None)]
    assert sqlite_job.status().records == 2


def test_a_backfill_of_earlier_days_does_not_move_the_watermark(job, vendor):
    vendor.dataset.replace(charges("2026-02-02", 2))
    job.sync()
    assert counts(job.backfill(date(2026, 2, 1), date(2026, 2, 3))) == (2, 0, 0, 0)
    status = job.status()
    assert (status.last_synced_date, status.records) == (TENTH, 2)
    assert status.gaps == (DateRange(date(2026, 2, 4), date(2026, 3, 7)),)
    job.backfill(date(2026, 2, 4), date(2026, 3, 7))
    assert (job.status().last_synced_date, job.status().gaps) == (TENTH, ())


@pytest.mark.fault(62)
def test_records_outside_the_window_do_not_move_the_watermark(sqlite_job, vendor):
    strays = [charge("1970-01-01T00:00:00"), charge("2030-01-01T00:00:00")]
    records = [*charges(NINTH, 3), charge(f"{TODAY}T23:59:59"), *strays]
    texts = [{key: str(value) for key, value in record.items()} for record in records]
    answer = json.dumps({"success": True, "error": "", "data": texts})
    vendor.faults.add("status", status=200, action="post_billing_data", times=None, body=answer)
    report = sqlite_job.sync()
    assert (report.error, report.watermark, len(sqlite_job.current())) == (None, TENTH, 4)


def test_future_days_are_not_fetched(sqlite_job, vendor):
    assert sqlite_job.backfill(TENTH, TODAY + 5 * DAY).watermark == TENTH
    assert sqlite_job.steps == [DateRange(TENTH, TODAY)]
    requests = len(vendor.requests)
    assert sqlite_job.backfill(TODAY + DAY, TODAY + 5 * DAY).error is None
    assert (sqlite_job.steps, len(vendor.requests)) == ([], requests)


def test_an_outage_keeps_completed_windows_and_the_next_run_continues(job, vendor):
    # So few that no further request is needed to verify that an answer is complete.
    vendor.dataset.replace([record for n in range(1, 11) for record in charges(date(2026, 3, n), 1)])
    vendor.faults.add("status", status=503, skip=5, times=None)  # the balance, three windows and the newest records
    report = job.sync(start_date=date(2026, 3, 1), window_days=2)
    assert isinstance(report.error, SourceUnavailable)
    assert (job.steps[-1].last, counts(report)) == (date(2026, 3, 6), (6, 0, 0, 0))
    assert (report.watermark, len(job.current())) == (date(2026, 3, 6), 6)
    columns = ("outcome", "exit_code", "days", "new", "first_day", "last_day")
    assert job.rows(sync_runs, *columns) == [("failed", 69, 6, 6, date(2026, 3, 1), TODAY)]
    (error,) = job.rows(sync_runs, "error")[0]
    assert "503" in error
    assert vendor.token not in error

    vendor.faults.clear()
    report = job.sync(lookback_days=0)
    assert (report.error, counts(report), report.watermark) == (None, (4, 0, 0, 0), TENTH)
    assert job.steps[0].first == date(2026, 3, 7)


def test_a_refused_token_ends_the_run_without_retries(sqlite_job, vendor):
    report = sqlite_job.sync(api_token="11111111-0000-4000-8000-000000000000")
    assert isinstance(report.error, AuthenticationError)
    assert [request.action for request in vendor.requests] == ["get_balance", "post_billing_data"]
    assert (sqlite_job.rows(synced_days), sqlite_job.status().last_synced_date) == ([], None)


@pytest.mark.fault(78, 95)
def test_a_run_may_not_write_after_a_newer_one_has_started(job, vendor):
    vendor.dataset.replace([*charges(date(2026, 3, 8), 2), *charges(NINTH, 2)])

    def begin_a_newer_run():
        if len(job.steps) == 1:
            with job.engine.begin() as connection:
                begin_run(connection, label="default", command="sync", version="0", windows=[], now=job.now)

    report = job.sync(window_days=1, after_step=begin_a_newer_run)
    assert isinstance(report.error, ConcurrentRunError)
    assert job.steps == [DateRange(date(2026, 3, 8), date(2026, 3, 8))]
    assert (len(job.current()), job.status().last_synced_date) == (2, date(2026, 3, 8))
    assert job.rows(sync_runs, "outcome", "exit_code") == [("abandoned", None), ("running", None)]


@pytest.mark.fault(94)
def test_a_killed_run_is_marked_abandoned_by_the_next(sqlite_job, vendor):
    sqlite_job.sync()
    with sqlite_job.engine.begin() as connection:
        begin_run(connection, label="default", command="sync", version="0", windows=[], now=sqlite_job.now)
    sqlite_job.sync()
    assert sqlite_job.rows(sync_runs, "outcome", "exit_code") == [("done", 0), ("abandoned", None), ("done", 0)]


# --- repair by backfill -----------------------------------------------------------------------------------------------


def test_a_backfill_repairs_rows_changed_by_another_program(job, vendor):
    vendor.dataset.replace([*charges(NINTH, 4), *charges(TENTH, 2)])
    job.sync()
    right = job.current()
    (first, second, third, *_others, last) = (row[0] for row in job.rows(billing_records, "created_at"))
    at_time = "WHERE created_at = :time"
    job.execute(f"DELETE FROM billing_records {at_time}", time=str(last))
    job.execute(f"UPDATE billing_records SET price = '9.000000', phone = 'x' {at_time}", time=str(first))
    job.execute(f"UPDATE billing_records SET status_info = 'x', repeats = 2 {at_time}", time=str(second))
    job.execute(f"UPDATE billing_records SET withdrawn_at = first_seen_at {at_time}", time=str(third))
    assert counts(job.sync()) == (0, 0, 0, 6)
    assert job.current() != right, "a sync trusts its ledger; otherwise this test would show nothing"

    report = job.backfill(NINTH, TENTH)
    assert (report.error, report.needs_review) == (None, False)
    assert job.current() == right
    assert job.rows(restatements) == [], "none of this is a change of the vendor's"
    assert counts(job.backfill(NINTH, TENTH)) == (0, 0, 0, 6)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE synced_days SET digest = 'x'",
        "UPDATE synced_days SET spend = '9.000000', records = 9",
        "DELETE FROM synced_days WHERE day = '2026-03-09'",
        "DELETE FROM synced_days",
    ],
)
def test_a_backfill_repairs_the_ledger(job, vendor, damage):
    vendor.dataset.replace([*charges(NINTH, 4), *charges(TENTH, 2)])
    job.sync()
    rows, ledger = job.current(), job.rows(synced_days, "day", "digest", "records", "spend")
    job.execute(damage)
    report = job.backfill(date(2026, 3, 8), TODAY)
    assert (report.error, report.needs_review) == (None, False)
    assert job.current() == rows
    assert job.rows(synced_days, "day", "digest", "records", "spend") == ledger


def test_a_sync_succeeds_when_the_ledger_lacks_a_day(job, vendor):
    vendor.dataset.replace(charges(NINTH, 4))
    job.sync()
    before = job.current()
    job.execute("DELETE FROM synced_days WHERE day = '2026-03-09'")
    assert job.sync().error is None
    assert job.current() == before


@pytest.mark.parametrize("real", [0, 30])
def test_a_backfill_withdraws_rows_that_the_vendor_never_listed(job, vendor, real):
    vendor.dataset.replace(charges(NINTH, real))
    job.sync()
    right = job.current()
    moment = "'2026-03-09 23:00:00'"
    for n in range(15):
        job.execute(
            "INSERT INTO billing_records (account_id, created_at, phone, code_auth, ordinal, status_info, price,"
            f" repeats, utc_offset, first_seen_at) VALUES (1, {moment}, 'made up', '{n}', 1, '',"
            f" '1.000000', 1, 180, {moment})"
        )
    report = job.backfill(NINTH)
    assert (report.error, report.counts.suspect_days) == (None, []), "the vendor's records are unchanged"
    assert job.current() == right


# --- suspect days -----------------------------------------------------------------------------------------------------


@pytest.mark.fault(22)
@pytest.mark.parametrize(
    ("known", "gone", "suspect"),
    [(20, 4, False), (20, 5, True), (21, 5, True), (19, 18, False), (19, 19, True), (1, 1, True), (2, 1, False)],
)
def test_a_day_is_suspect_when_too_many_of_its_records_vanish(sqlite_job, vendor, known, gone, suspect):
    vendor.dataset.replace([*charges(NINTH, known), *charges(TENTH, 1)])
    sqlite_job.sync()
    before = sqlite_job.current()
    vendor.dataset.remove(charges(NINTH, gone))
    report = sqlite_job.sync()
    assert report.counts.suspect_days == ([NINTH] if suspect else [])
    assert report.exit_code == (65 if suspect else 0)
    assert len(sqlite_job.current()) == len(before) - (0 if suspect else gone)


@pytest.mark.parametrize(("known", "twice", "suspect"), [(20, 10, False), (20, 11, True), (19, 19, False)])
def test_a_day_is_suspect_when_most_of_its_records_gain_repeats(sqlite_job, vendor, known, twice, suspect):
    vendor.dataset.replace(charges(NINTH, known))
    sqlite_job.sync()
    vendor.dataset.add(charges(NINTH, twice))
    report = sqlite_job.sync()
    assert report.counts.suspect_days == ([NINTH] if suspect else [])
    assert sum(row[7] for row in sqlite_job.current()) == known + (0 if suspect else twice)


def test_corrections_additions_and_returns_never_make_a_day_suspect(sqlite_job, vendor):
    vendor.dataset.replace(charges(NINTH, 30))
    sqlite_job.sync()
    vendor.dataset.replace([*charges(NINTH, 25, price="1"), *charges(NINTH, 99, code="1111")])
    assert sqlite_job.sync().counts.suspect_days == []
    vendor.dataset.replace([*charges(NINTH, 30, price="2"), *charges(NINTH, 99, code="1111")])
    assert sqlite_job.sync().counts.suspect_days == []
    assert len(sqlite_job.current()) == 129


def test_repeats_do_not_count_as_vanished_records(sqlite_job, vendor):
    one = charge("2026-03-09T23:00:00")
    vendor.dataset.replace([*charges(NINTH, 20), *[one] * 50])
    sqlite_job.sync()
    vendor.dataset.replace([*charges(NINTH, 20), one])
    assert sqlite_job.sync().counts.suspect_days == []
    vendor.dataset.replace([*charges(NINTH, 15), *[one] * 200])
    assert sqlite_job.sync().counts.suspect_days == [NINTH], "5 of 21 rows"


def test_a_suspect_day_is_kept_unchanged_and_the_rest_of_the_window_stored(job, vendor):
    vendor.dataset.replace([*charges(NINTH, 20), *charges(TENTH, 1)])
    job.sync()
    before, ledger = job.current(), job.rows(synced_days)[1]
    vendor.dataset.replace([*charges(NINTH, 10), *charges(TENTH, 2)])
    report = job.sync()
    assert counts(report) == (1, 0, 0, 1)
    assert (report.counts.suspect_days, report.watermark) == ([NINTH], TENTH)
    assert [row for row in job.current() if row[0].date() == NINTH] == [row for row in before if row[0].date() == NINTH]
    assert job.rows(synced_days)[1] == (
        *ledger[:SUSPECT], job.now, "10 of 20 records are gone", None, 2, *ledger[SUSPECT + 4 :],
    )  # fmt: skip
    assert [(day.day, day.reason) for day in job.status().suspect_days] == [(NINTH, "10 of 20 records are gone")]
    assert job.rows(sync_runs, "outcome", "exit_code", "suspect_days")[-1] == ("look", 65, 1)


def test_a_suspect_day_is_fetched_by_every_run_until_the_vendor_recovers(sqlite_job, vendor):
    vendor.dataset.replace(charges(NINTH, 20))
    sqlite_job.sync()
    first_ledger = sqlite_job.rows(synced_days)[1]
    vendor.dataset.replace(charges(NINTH, 10))
    sqlite_job.sync()
    since = sqlite_job.now
    sqlite_job.now += 60 * DAY
    vendor.set_now(at("2026-05-10 09:30"))
    assert sqlite_job.sync(window_days=60).counts.suspect_days == [NINTH]
    assert DateRange(NINTH, NINTH) not in sqlite_job.steps, "the day is in the range fetched again"
    report = sqlite_job.sync()
    assert (report.counts.suspect_days, report.exit_code, sqlite_job.steps[0]) == (
        [NINTH],
        65,
        DateRange(NINTH, NINTH),
    )
    assert sqlite_job.backfill(date(2026, 5, 1)).counts.suspect_days == [NINTH]
    assert sqlite_job.rows(synced_days)[1][SUSPECT : SUSPECT + 4] == (since, "10 of 20 records are gone", None, 2)

    vendor.dataset.replace(charges(NINTH, 20))
    report = sqlite_job.sync()
    assert (report.counts.suspect_days, report.exit_code) == ([], 0)
    assert sqlite_job.rows(synced_days)[1][: SUSPECT + 3] == first_ledger[: SUSPECT + 3]
    assert sqlite_job.sync().error is None
    assert DateRange(NINTH, NINTH) not in sqlite_job.steps


def test_a_suspect_day_can_be_accepted_once(job, vendor):
    vendor.dataset.replace(charges(NINTH, 40))
    job.sync()
    vendor.dataset.replace(charges(NINTH, 20))
    job.sync()
    report = job.accept(NINTH)
    assert (counts(report), report.exit_code, job.steps) == ((0, 0, 20, 20), 0, [DateRange(NINTH, NINTH)])
    assert len(job.current()) == 20
    assert job.status().suspect_days == ()
    assert (job.sync().counts.suspect_days, len(job.current())) == ([], 20)
    assert len(job.rows(restatements)) == 20

    vendor.dataset.replace(charges(NINTH, 10))
    assert (job.sync().counts.suspect_days, len(job.current())) == ([NINTH], 20)


def test_a_day_that_turned_empty_can_be_accepted(sqlite_job, vendor):
    vendor.dataset.replace([*charges(NINTH, 2), *charges(TENTH, 1)])
    sqlite_job.sync()
    vendor.dataset.replace(charges(TENTH, 1))
    assert sqlite_job.sync().counts.suspect_days == [NINTH]
    assert sqlite_job.accept(NINTH).exit_code == 0
    assert len(sqlite_job.current()) == 1


def test_a_suspect_day_that_was_not_closed_holds_the_watermark_back(sqlite_job, vendor):
    vendor.dataset.replace(charges(TODAY, 20))
    sqlite_job.sync()
    vendor.dataset.replace(charges(TODAY, 10))
    sqlite_job.now += 2 * DAY
    vendor.set_now(at("2026-03-13 09:30"))
    report = sqlite_job.sync()
    assert (report.counts.suspect_days, report.watermark) == ([TODAY], TENTH)
    assert sqlite_job.status().gaps == (DateRange(TODAY, TODAY),)
    assert sqlite_job.accept(TODAY).watermark == date(2026, 3, 12)
    assert sqlite_job.status().gaps == ()


def tells_of_other_days(vendor, *, csv="other_days"):
    vendor.dataset.add(charges("2026-02-07", 2))
    vendor.faults.add("other_days", action="post_billing_data", times=None)
    vendor.faults.add(csv, action="get_billing_csv", times=None)


@pytest.mark.fault(61)
@pytest.mark.parametrize("csv", ["other_days", "status", "html"])
def test_stored_days_are_suspect_when_the_vendor_answers_with_other_days(job, vendor, csv):
    vendor.dataset.replace([*charges(NINTH, 3), *charges(TENTH, 1), *charges(TODAY, 1)])
    job.sync()
    before, ledger = job.current(), job.rows(synced_days)
    tells_of_other_days(vendor, csv=csv)
    report = job.sync()
    assert (report.error, report.exit_code, report.counts.suspect_days) == (
        None, 65, [date(2026, 3, 8), NINTH, TENTH, TODAY],
    )  # fmt: skip
    assert job.current() == before
    assert [row[:SUSPECT] for row in job.rows(synced_days)] == [row[:SUSPECT] for row in ledger]
    evidence = "an answer about other days, 2026-02-07, in place of 2026-03-07..2026-03-13"
    assert [(item.day, evidence in item.reason) for item in job.status().suspect_days] == [
        (day, True) for day in report.counts.suspect_days
    ]
    assert job.rows(sync_runs, "outcome", "exit_code", "sources", "suspect_days")[-1] == ("look", 65, "", 4)

    assert job.accept(NINTH).counts.suspect_days == [NINTH], "such an answer contains nothing to accept"
    assert job.current() == before
    vendor.faults.clear()
    vendor.dataset.replace([*charges(NINTH, 2), *charges(TENTH, 1), *charges(TODAY, 1)])
    report = job.accept(NINTH)
    assert (report.exit_code, counts(report)) == (0, (0, 0, 1, 2))
    report = job.sync()
    assert (report.exit_code, job.status().suspect_days) == (0, ())


@pytest.mark.fault(61)
def test_days_never_stored_stay_open_when_the_vendor_answers_with_other_days(sqlite_job, vendor):
    vendor.dataset.replace([*charges(NINTH, 3), *charges(TENTH, 1)])
    tells_of_other_days(vendor)
    report = sqlite_job.sync(window_days=2)
    assert isinstance(report.error, SourceUnavailable)
    assert "an answer about other days" in str(report.error)
    assert (sqlite_job.rows(synced_days), sqlite_job.status().last_synced_date) == ([], None)
    assert sqlite_job.steps == [DateRange(date(2026, 3, 8), NINTH), DateRange(TENTH, TODAY)], (
        "of others it may know more"
    )
    vendor.faults.clear()
    sqlite_job.sync(until=NINTH)
    tells_of_other_days(vendor)
    report = sqlite_job.sync()
    assert (report.exit_code, report.counts.suspect_days) == (69, [date(2026, 3, 8), NINTH])
    assert (len(sqlite_job.current()), report.watermark) == (3, NINTH)
    vendor.faults.clear()
    assert (sqlite_job.sync().exit_code, len(sqlite_job.current())) == (0, 4)


def test_an_answer_about_other_days_removes_no_rejected_record(sqlite_job, vendor):
    vendor.dataset.replace([charge("soon"), *charges(NINTH, 3)])
    sqlite_job.sync(window_days=2)
    kept = sqlite_job.rows(rejected_records)
    assert kept[0][3:5] == (NINTH, TODAY), "it is in two answers, which overlap on its day"
    vendor.dataset.replace(charges(NINTH, 3))
    tells_of_other_days(vendor)
    sqlite_job.sync()
    assert sqlite_job.rows(rejected_records) == kept
    vendor.faults.clear()
    sqlite_job.sync()
    assert sqlite_job.rows(rejected_records) == []


def test_low_traffic_and_ordinary_changes_make_no_day_suspect(job, vendor):
    nights = [
        [],
        [],
        charges(TENTH, 1),
        charges(TENTH, 5),
        charges(TENTH, 5) * 2,
        charges(TENTH, 5, price="0.3", status=0),
        [*charges(NINTH, 1), *charges(TENTH, 1, price="0.3")],
        [*charges(NINTH, 30), *charges(TENTH, 2)],
        [*charges(NINTH, 30, price="0.1", info="corrected"), *charges(TENTH, 2)],
        [*charges(NINTH, 24, info="six are gone"), *charges(TENTH, 1)],
    ]
    for night, listed in enumerate(nights):
        vendor.dataset.replace(listed)
        report = job.sync()
        assert (night, report.exit_code, report.counts.suspect_days) == (night, 0, [])
        assert sum(row[7] for row in job.current()) == len(listed)


@pytest.mark.fault(60)
@pytest.mark.parametrize("name", ["phone", "code_auth", "price", "created_at"])
def test_the_csv_is_used_when_json_records_lack_a_key_field(sqlite_job, vendor, name):
    vendor.dataset.replace(charges(NINTH, 5))
    sqlite_job.sync()
    before = sqlite_job.dump()
    vendor.faults.add("status", status=200, action="post_billing_data", times=None, body=lacking_answer(name))
    report = sqlite_job.sync()
    assert (report.exit_code, report.sources, sqlite_job.dump()) == (0, {"csv"}, before)
    json_and_csv_are_down = {"action": "get_billing_csv", "times": None}
    vendor.faults.add("status", **json_and_csv_are_down)
    assert (sqlite_job.sync().exit_code, sqlite_job.dump()) == (69, before)


@pytest.mark.fault(60)
@pytest.mark.parametrize("name", ["status", "status_info"])
def test_an_attribute_missing_from_json_leaves_stored_values_unchanged(sqlite_job, vendor, name):
    vendor.dataset.replace(charges(NINTH, 5))
    sqlite_job.sync()
    before = sqlite_job.dump()
    vendor.dataset.replace([{key: record[key] for key in record if key != name} for record in charges(NINTH, 5)])
    assert (counts(sqlite_job.sync()), sqlite_job.dump()) == ((0, 0, 0, 5), before)


def lacking_answer(name):
    records = [{key: str(value) for key, value in record.items() if key != name} for record in charges(NINTH, 5)]
    return json.dumps({"success": True, "error": "", "data": records})


def test_the_csv_is_used_when_it_contradicts_an_empty_json_answer(sqlite_job, vendor):
    vendor.dataset.replace([*charges(NINTH, 3), *charges(TENTH, 2)])
    vendor.faults.add("empty_list", action="post_billing_data", times=None)
    report = sqlite_job.sync()
    assert (counts(report), report.watermark) == ((5, 0, 0, 0), TENTH)
    days = sqlite_job.rows(synced_days, "day", "source")
    assert [source for day, source in days if day in {NINTH, TENTH}] == ["csv", "csv"]


@pytest.mark.parametrize("limit", [100, 1000])
def test_an_answer_cut_at_a_round_number_loses_no_record(sqlite_job, vendor, limit):
    days = [date(2026, 3, 8), NINTH, TENTH]
    vendor.dataset.replace([record for day in days for record in charges(day, limit * 2 // 5)])
    vendor.policies.json_limit = limit
    report = sqlite_job.sync()
    assert (report.error, len(sqlite_job.current())) == (None, limit * 6 // 5)


# --- rejected records -------------------------------------------------------------------------------------------------


def test_an_invalid_record_is_quarantined_once_and_released_when_corrected(job, vendor):
    broken = unpriced("2026-03-09T10:00:00")
    other = charge("2026-03-09T11:00:00")
    vendor.dataset.replace([broken, other, *charges(TENTH, 3)])
    report = job.sync()
    seen = job.now
    assert (counts(report), report.exit_code, report.watermark) == ((4, 0, 0, 0), 65, TENTH)
    columns = ("account_id", "day", "reason", "payload", "first_seen_at")
    expected = (
        1, NINTH, "price is not a number",
        json.dumps(broken, sort_keys=True), seen,
    )  # fmt: skip
    assert job.rows(rejected_records, *columns) == [expected]

    report = job.sync()
    assert (len(report.counts.rejected), report.exit_code) == (1, 65)
    assert job.rows(rejected_records, *columns) == [expected]

    vendor.dataset.replace([charge("2026-03-09T10:00:00"), other, *charges(TENTH, 3)])
    report = job.sync()
    assert (counts(report), report.exit_code) == ((1, 0, 0, 4), 0)
    assert job.rows(rejected_records) == []
    assert job.rows(restatements, "kind") == [("late",)]


@pytest.mark.fault(76)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_more_corrected_records_than_statement_parameters_are_released(job, vendor):
    job.sync()
    job.execute(
        "INSERT INTO rejected_records (account_id, day, asked_first, asked_last, reason, payload, payload_digest,"
        " first_seen_at) SELECT 1, '2026-03-09', '2026-03-08', '2026-03-11', '', '', n, now()"
        " FROM generate_series(1, 66000) AS n"
    )
    report = job.sync()
    assert (report.error, job.rows(rejected_records)) == (None, [])


def test_a_record_without_a_readable_day_is_quarantined_once_and_released(job, vendor):
    no_times = [None, "soon", "", "2026-03-09T25:00:00Z", 1773100000]
    vendor.dataset.replace([*map(charge, no_times), *charges(NINTH, 3), *charges(TENTH, 3)])
    for _ in range(2):
        report = job.sync(start_date=NINTH, window_days=3)
        assert (report.error, report.exit_code, len(report.counts.rejected)) == (None, 65, 5)
        assert [row[1:3] for row in job.rows(rejected_records)] == [(1, None)] * 5
        assert len(job.current()) == 6
    vendor.dataset.replace([charge("2026-03-09T23:00:00", price="0.7"), *charges(NINTH, 3), *charges(TENTH, 3)])
    report = job.sync(window_days=3)
    assert (report.exit_code, len(job.current()), job.rows(rejected_records)) == (0, 7, [])


def test_a_rejected_record_of_another_day_does_not_affect_the_window(sqlite_job, vendor):
    vendor.dataset.replace([unpriced("2026-03-08T10:00:00"), *charges(NINTH, 1)])
    report = sqlite_job.sync(start_date=NINTH)
    assert (report.exit_code, sqlite_job.rows(rejected_records)) == (0, [])


# --- JSON and CSV -----------------------------------------------------------------------------------------------------

FORMS = [
    {},
    {"delimiter": ",", "decimal": ",", "header": "russian", "encoding": "utf-8-sig"},
    {"delimiter": "\t", "encoding": "cp1251", "header": "russian", "time": "dotted", "status": "bool"},
    {"header": "none", "time": "space", "price": "padded", "phone": "+7"},
    {"columns": ["price", "status_info", "phone", "status", "code_auth", "created_at"], "time": "fraction"},
    {"code": "number", "phone": "7", "status": "string", "price": "noise"},
]


def test_switching_between_json_and_csv_changes_no_row(job, vendor):
    vendor.dataset.replace(
        [
            *charges(NINTH, 5, info="нет ответа; «занято»", code="0007"),
            *charges(NINTH, 2, price="3.25", code="0007"),
            *charges(TENTH, 3, status=0, info="Error: SIP 486", price="-0.1"),
            charge("2026-03-10T23:59:59", code="", info=""),
        ]
    )
    job.sync()
    before = job.dump()
    # The parser does not depend on the database: two formats are enough for each server.
    for form in FORMS if job.engine.dialect.name == "sqlite" else FORMS[1:3]:
        vendor.policies = vendor.policies.changed({"csv": form})
        json_is_down(vendor)
        report = job.sync()
        assert (report.error, report.sources, counts(report)) == (None, {"csv"}, (0, 0, 0, 11)), form
        assert job.dump() == before, form
        vendor.faults.clear()
        vendor.policies = vendor.policies.changed({"csv": type(vendor.policies.csv)().__dict__})
        assert job.sync().sources == {"json"}
        assert job.dump() == before, form
    json_is_down(vendor)
    report = job.backfill(date(2026, 3, 8), TODAY)
    assert (report.sources, counts(report)) == ({"csv"}, (0, 0, 0, 11))
    assert job.dump() == before


def test_a_load_from_csv_equals_a_load_from_json(job, vendor):
    vendor.dataset.replace([*charges(NINTH, 5, info="да"), *charges(NINTH, 2, info="да"), *charges(TENTH, 2, code="")])
    job.sync(account="from json")
    json_is_down(vendor)
    report = job.sync(account="from csv")
    assert report.sources == {"csv"}
    rows = job.rows(billing_records)
    assert [row[2:10] for row in rows if row[1] == 1] == [row[2:10] for row in rows if row[1] == 2]
    digests = job.rows(synced_days, "account_id", "day", "digest")
    assert [row[1:] for row in digests if row[0] == 1] == [row[1:] for row in digests if row[0] == 2]


@pytest.mark.parametrize("lacking", [{"status_info"}, {"status"}, {"status", "status_info"}])
def test_a_column_missing_from_the_csv_leaves_stored_values_unchanged(sqlite_job, vendor, lacking):
    call = charge("2026-03-09T10:00:00", status=0, info="no answer", price="0")
    sms = charge("2026-03-09T10:00:00", status=1, info="SMS delivered", price="3.25")
    plain = charge("2026-03-10T10:00:00", info="ok", price="0.2")
    vendor.dataset.replace([call, sms, plain, plain])
    sqlite_job.sync()
    before = sqlite_job.dump()
    vendor.policies.csv.columns = tuple(name for name in plain if name not in lacking)
    json_is_down(vendor)
    for run in (sqlite_job.sync, lambda: sqlite_job.backfill(NINTH, TENTH)):
        assert run().sources == {"csv"}
        assert sqlite_job.dump() == before

    vendor.dataset.replace([call, sms, plain | {"price": Decimal("0.3")}, charge("2026-03-10T12:00:00")])
    assert counts(sqlite_job.sync()) == (1, 1, 0, 2)
    rows = {row[0]: row[4:] for row in sqlite_job.current() if row[0].date() == TENTH}
    none = (None if "status" in lacking else 1, "" if "status_info" in lacking else "ok")
    assert rows == {
        at("2026-03-10 10:00"): (1, "ok", Decimal("0.3"), 1),
        at("2026-03-10 12:00"): (*none, Decimal("0.2"), 1),
    }


# --- odd values -------------------------------------------------------------------------------------------------------


@pytest.mark.fault(35, 36, 59, 71)
def test_unusual_text_is_stored_equally_on_every_database(job, vendor):
    odd = [
        "\x00 and \ud800", "a\\N", "\\", "\\.", "tab\tand\nline\r\nends\r", "'; DROP TABLE accounts; --",
        "%s %(a)s {} ? :name", "🙂 emoji", "ёлка", "елка", "e\u0301 é", "\u200b\u202e", "a" * 100_000, " padded ",
        "\x7f\x01", '"quoted"', "مرحبا \u200fright to left\u200e", "\u00a0no\u00a0break\u202f", "\ufffd\ufeff\uffff",
        "\U0010ffff\U00020000", "\\.\n\\.\n", "\\\\N\\t\\x41", "\r\n", "\n", " ", "''", "\x1a\x08\x0b",
        "\u2028line\u2029\x85", "1" * 1_000_000,
    ]  # fmt: skip
    kept = {info: info.replace("\x00", "\ufffd").replace("\ud800", "\ufffd") for info in odd}
    vendor.dataset.replace([charge(f"2026-03-09T10:00:{n:02}", info=info) for n, info in enumerate(odd)])
    report = job.sync()
    assert (report.error, counts(report)) == (None, (len(odd), 0, 0, 0))
    assert [row[5] for row in job.current()] == [kept[info] for info in odd]
    assert counts(job.sync()) == (0, 0, 0, len(odd))
    assert counts(job.backfill(NINTH)) == (0, 0, 0, len(odd))
    spaced = [charge(f"2026-03-09T10:00:{n:02}", info=f"{info} ") for n, info in enumerate(odd)]
    vendor.dataset.replace(spaced)
    assert counts(job.sync()) == (0, len(odd), 0, 0), "a trailing space is a difference too"
    assert [row[5] for row in job.current()] == [f"{kept[info]} " for info in odd]
    assert counts(job.backfill(NINTH)) == (0, 0, 0, len(odd))
    assert {row[0] for row in job.rows(restatements, "status_info_before")} == set(kept.values())


def test_unusual_text_is_equal_from_csv_and_json(job, vendor):
    odd = [
        "a\\N", "\\.", "line\r\nends\nand\rmore", "'; --", "🙂", "ёлка", " padded ", '"quoted"', "a;b,c\td",
        "x" * 900_000,
    ]  # fmt: skip
    vendor.dataset.replace([charge(f"2026-03-09T10:00:{n:02}", info=info) for n, info in enumerate(odd)])
    json_is_down(vendor)
    report = job.sync()
    assert (report.error, report.sources, counts(report)) == (None, {"csv"}, (len(odd), 0, 0, 0))
    assert [row[5] for row in job.current()] == odd
    vendor.faults.clear()
    assert counts(job.backfill(NINTH)) == (0, 0, 0, len(odd))


@pytest.mark.fault(59, 65, 70)
def test_keys_that_differ_only_by_collation_are_distinct(job, vendor):
    phones = ["abc", "ABC", "ель", "ёль", "äbc", "a\u0308bc", "abc\x01", "ß", "ss", "1 2", "12", "я" * 255, "", "a\\N"]
    phones += ["🙂" * 255, "\\.", "a'", 'a"', "1\u00a02", "1\r\n2", "%s", "\ufffd", "é", "e\u0301"]
    phones += ["İ", "i"]
    vendor.dataset.replace([charge("2026-03-09T10:00:00", phone, code) for phone in phones for code in ("a", "A")])
    report = job.sync()
    assert (report.error, counts(report)) == (None, (2 * len(phones), 0, 0, 0))
    assert sorted((row[1], row[2], row[3]) for row in job.current()) == sorted(
        (phone, code, 1) for phone in phones for code in ("a", "A")
    )
    assert counts(job.backfill(NINTH)) == (0, 0, 0, 2 * len(phones))


def test_spaces_around_a_key_are_trimmed(job, vendor):
    vendor.dataset.replace([charge("2026-03-09T10:00:00", *key) for key in (("abc ", " a"), ("\u00a0abc", "a "))])
    assert counts(job.sync()) == (1, 0, 0, 0)
    assert [row[1:4] + row[7:] for row in job.current()] == [("abc", "a", 1, 2)]


def test_a_rejected_record_with_unusual_text_is_released_when_corrected(job, vendor):
    odd = ["\x00\ud800", "🙂", "\\N\\.\n", "x" * 1_000_000]
    bad = [unpriced(f"2026-03-09T10:00:0{n}") | {"status_info": text} for n, text in enumerate(odd)]
    vendor.dataset.replace([*bad, *charges(NINTH, 1), *charges(TENTH, 2)])
    for _ in range(2):
        report = job.sync()
        assert (report.error, report.exit_code, len(job.current())) == (None, 65, 3)
        payloads = [json.loads(payload)["status_info"] for (payload,) in job.rows(rejected_records, "payload")]
        assert sorted(payloads) == sorted(["\x00\ufffd", *odd[1:]]), (
            "in JSON U+0000 is an escape that any database holds"
        )
    vendor.dataset.replace([record | {"price": 1} for record in bad] + charges(TENTH, 2))
    report = job.sync()
    assert (report.exit_code, len(job.current()), job.rows(rejected_records)) == (0, 6, [])


@pytest.mark.fault(35, 36, 75)
def test_a_key_too_long_for_an_index_is_quarantined(job, vendor):
    vendor.dataset.replace([charge("2026-03-09T10:00:00", "1" * 256), charge("2026-03-09T10:00:00", "1" * 255)])
    report = job.sync()
    assert (counts(report), report.exit_code) == ((1, 0, 0, 0), 65)
    assert job.rows(rejected_records, "reason") == [("phone is longer than 255 characters",)]


@pytest.mark.fault(40)
def test_large_amounts_are_exact_to_the_last_digit(job, vendor):
    huge, tiny = Decimal("999999999999.999999"), Decimal("0.000001")
    prices = [huge, -huge, huge - tiny, tiny, -tiny, Decimal("123456789012.345678")]
    vendor.dataset.replace(
        [charge(f"2026-03-09T10:00:0{n}", price=price) for n, price in enumerate(prices) for _ in range(3)]
    )
    job.sync()
    assert [(row[6], row[7]) for row in job.current()] == [(price, 3) for price in prices]
    assert job.rows(synced_days, "spend")[1] == (3 * sum(prices),)
    vendor.dataset.replace([charge("2026-03-09T10:00:00", price=huge) for _ in range(7)])
    assert job.accept(NINTH, even_if_not_suspect=True).error is None
    assert job.rows(synced_days, "spend", "first_closed_spend")[1] == (7 * huge, 3 * sum(prices))
    deltas = job.rows(restatements, "delta")
    assert sum(delta for (delta,) in deltas) == 7 * huge - 3 * sum(prices)


def test_a_price_with_too_many_digits_is_quarantined_and_float_noise_rounded(job, vendor):
    texts = ["0.30000000000000004", "0.1234567", "1000000000000", "NaN", "1e-7", "1e3"]
    vendor.dataset.replace([charge(f"2026-03-09T10:00:0{n}") | {"price": price} for n, price in enumerate(texts)])
    vendor.dataset.add([charge("2026-03-09T11:00:00", price=Decimal("0.30000000000000004"))])
    report = job.sync()
    assert (counts(report), len(report.counts.rejected)) == ((3, 0, 0, 0), 4)
    assert [row[6] for row in job.current()] == [Decimal("0.3"), Decimal(1000), Decimal("0.3")]


@pytest.mark.fault(75)
def test_any_integer_that_fits_is_a_valid_status(job, vendor):
    fitting, others = [2**63 - 1, -(2**63), -7, 0], [2**63, 1.5, "", "ok", [], 10**30]
    vendor.dataset.replace(
        [charge(f"2026-03-09T10:00:{n:02}", status=status) for n, status in enumerate([*fitting, *others])]
    )
    report = job.sync()
    assert (report.error, len(report.counts.rejected)) == (None, len(others) - 1)
    assert [row[4] for row in job.current()] == [*fitting, None]


# --- dry runs ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_reports_changes_and_writes_nothing(job, vendor):
    vendor.dataset.replace([*charges(NINTH, 4), *charges(TENTH, 1)])
    job.sync()
    vendor.dataset.replace([*charges(NINTH, 3), charge("2026-03-09T20:00:00"), *charges(TENTH, 1, price="9")])
    before = (job.dump(), job.rows(sync_runs), job.rows(sync_state))
    with tables_written_to() as written:
        report = job.sync(dry_run=True)
    assert (report.error, counts(report), written) == (None, (1, 1, 1, 3), set())
    assert (job.dump(), job.rows(sync_runs), job.rows(sync_state)) == before


@pytest.mark.fault(86)
def test_a_dry_run_without_a_database_creates_no_file(sqlite_job, vendor, tmp_path):
    vendor.dataset.replace(charges(NINTH, 4))
    report = sqlite_job.sync(dry_run=True)
    assert (report.error, counts(report)) == (None, (4, 0, 0, 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.empty_database
@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_dry_run_on_an_empty_server_creates_no_table(job, vendor):
    vendor.dataset.replace(charges(NINTH, 4))
    report = job.sync(dry_run=True)
    assert (report.error, counts(report)) == (None, (4, 0, 0, 0))
    with job.engine.connect() as connection:
        assert not job.engine.dialect.has_table(connection, "alembic_version")
        assert not job.engine.dialect.has_table(connection, "accounts")


# --- the database refuses ---------------------------------------------------------------------------------------------


@pytest.mark.fault(68)
def test_a_window_that_the_database_refuses_is_rolled_back(job, vendor):
    vendor.dataset.replace([*charges(date(2026, 3, 8), 2), *charges(NINTH, 2), *charges(TENTH, 2, price="666")])
    job.sync(until=date(2026, 3, 8))
    before = job.dump()
    if job.engine.dialect.name == "sqlite":
        job.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON billing_records WHEN NEW.price = '666.000000'"
            " BEGIN SELECT RAISE(ABORT, 'constraint refuse'); END"
        )
    else:
        job.execute("ALTER TABLE billing_records ADD CONSTRAINT refuse CHECK (price <> 666)")
    report = job.sync()
    assert type(report.error).__name__ == "DatabaseError"
    assert "9243555100" not in str(report.error)
    assert "666" not in str(report.error)
    assert job.dump() == before
    assert job.rows(sync_runs, "outcome")[-1] == ("failed",)


def test_runs_do_not_see_days_of_other_accounts(job, vendor):
    vendor.dataset.replace(charges(NINTH, 30) + charges(TENTH, 30))
    assert job.sync().exit_code == job.sync(account="other").exit_code == 0
    vendor.dataset.replace(charges(TENTH, 30))
    assert job.sync(account="other").exit_code == 65
    vendor.dataset.replace(charges(NINTH, 30) + charges(TENTH, 30))
    with job.engine.connect() as connection:
        states = [read_sync_state(connection, find_account(connection, label)) for label in ("default", "other")]
    assert [state.suspect_days for state in states] == [(), (NINTH,)]
    assert [row[0] for row in job.rows(synced_days, "suspect_since")].count(None) == 7
    report = job.sync()
    assert (report.exit_code, counts(report)) == (0, (0, 0, 0, 60))


def test_last_success_includes_runs_that_exit_65_and_no_failed_ones(sqlite_job, vendor):
    def last_success():
        return sqlite_job.rows(sync_state, "last_success_at")[0][0]

    vendor.dataset.replace(charges(NINTH, 2))
    sqlite_job.sync()
    assert last_success() == sqlite_job.now
    first = last_success()
    vendor.faults.add("status", status=500, times=None)
    assert sqlite_job.sync().exit_code == 69
    assert last_success() == first
    vendor.faults.clear()
    vendor.dataset.replace([*charges(NINTH, 2), unpriced("2026-03-09T11:00:00")])
    assert sqlite_job.sync().exit_code == 65
    assert last_success() == sqlite_job.now


def test_a_commit_whose_reply_is_lost_is_not_repeated(sqlite_job, vendor):
    vendor.dataset.replace(charges(NINTH, 2))
    lost = []

    def lose_the_reply(connection):
        driver = connection.connection.driver_connection
        if connection.get_execution_options().get("only_reads") or lost or not is_stored(driver):
            return
        driver.commit()
        lost.append(error := sqlite3.OperationalError("no word"))
        error.sqlite_errorname = "SQLITE_BUSY"
        raise error

    def is_stored(driver):
        return driver.execute("SELECT count(*) FROM billing_records").fetchone() == (2,)

    event.listen(Engine, "commit", lose_the_reply)
    try:
        report = sqlite_job.sync()
    finally:
        event.remove(Engine, "commit", lose_the_reply)
    assert lost
    assert (report.exit_code, counts(report)) == (0, (2, 0, 0, 0))
    assert sqlite_job.rows(sync_runs, "outcome", "new") == [("done", 2)]


# --- history before what is stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backfills", [[(5, 6)], [(5, 6), (2, 3)], [(2, 3), (5, 6)], [(8, 8), (6, 6), (4, 4)]], ids=str)
def test_days_before_the_first_stored_one_are_gaps_until_the_next_sync_fetches_them(sqlite_job, vendor, backfills):
    job = sqlite_job
    vendor.dataset.replace([record for n in range(1, 12) for record in charges(date(2026, 3, n), 1)])
    job.settings = replace(job.settings, start_date=date(2026, 3, 1))
    for first, last in backfills:
        job.backfill(date(2026, 3, first), date(2026, 3, last))
    with job.engine.connect() as connection:
        terms = StatusOptions(job.settings.timezone, job.settings.lookback_days, start_date=job.settings.start_date)
        (status,) = read_account_statuses(connection, ["default"], job.now, {"default": terms})
    complete = {n for first, last in backfills for n in range(first, last + 1)}
    named = {day.day for gap in status.gaps for day in gap.days()}
    assert named == set(range(1, max(complete))) - complete
    report = job.sync(lookback_days=1)
    assert (report.error, report.watermark, len(job.current())) == (None, TENTH, 11)
    assert job.rows(sync_state, "first_day") == [(date(2026, 3, 1),)]
    assert job.status().gaps == ()
    assert {day for window in job.sync(lookback_days=1).windows for day in window.days()} == {TENTH, TODAY}


def test_the_unbroken_range_grows_backwards_only_over_complete_days(sqlite_job, vendor):
    vendor.dataset.replace([record for n in range(1, 12) for record in charges(date(2026, 3, n), 1)])
    sqlite_job.backfill(NINTH, TENTH)
    sqlite_job.backfill(date(2026, 3, 5), date(2026, 3, 6))
    assert sqlite_job.rows(sync_state, "first_day", "last_synced_date") == [(NINTH, TENTH)]
    sqlite_job.backfill(date(2026, 3, 7), date(2026, 3, 8))
    assert sqlite_job.rows(sync_state, "first_day", "last_synced_date") == [(date(2026, 3, 5), TENTH)]


def test_accepting_a_day_does_not_start_the_history(sqlite_job):
    ensure_current(sqlite_job.engine)
    with sqlite_job.engine.begin() as connection:
        run = begin_run(connection, label="new", command="accept", version="0", windows=[], now=sqlite_job.now)
        assert advance_watermark(connection, run, None, lookback=7, zone=UTC) is None
        assert read_sync_state(connection, run.account_id).first_day is None


# --- days before the contract -----------------------------------------------------------------------------------------


def since(job, vendor, first, **changes):
    """Run a sync with a vendor that serves no day before `first`; returns its report and messages."""
    vendor.policies.first_day = first.isoformat()
    messages: list[str] = []
    report = job.run(watcher=replace(NO_PROGRESS, message=messages.append), **changes)
    return report, messages


@pytest.mark.parametrize("days_served", [0, 1, 6, 7, 8, 13, 14, 29])
def test_history_starts_with_the_first_served_day_without_a_start_date(job, vendor, days_served):
    first = TODAY - days_served * DAY
    vendor.dataset.replace([record for n in range(1, days_served + 1) for record in charges(TODAY - n * DAY, 2)])
    report, messages = since(job, vendor, first, start_date=None)
    assert (report.error, report.exit_code, len(job.current())) == (None, 0, 2 * days_served)
    assert report.watermark == (TENTH if days_served else None)
    assert messages[-1] == f"default: the vendor serves no day before {first}: the history begins there"
    assert job.rows(sync_state, "first_day") == [(first,)]
    job.now += DAY
    report, messages = since(job, vendor, first, start_date=None)
    assert (report.error, report.watermark, messages) == (None, TODAY, [])
    assert job.status().gaps == ()


def test_days_before_the_first_served_day_stay_open_with_a_start_date(sqlite_job, vendor):
    vendor.dataset.replace(charges(NINTH, 2) + charges(TENTH, 2))
    report, _ = since(sqlite_job, vendor, NINTH)
    assert list(report.counts.missing_days) == [date(2026, 3, 8)]
    assert isinstance(report.error, SourceUnavailable)
    assert (report.watermark, len(sqlite_job.current())) == (None, 4)
    report, messages = since(sqlite_job, vendor, NINTH, start_date=None)  # it is set no more
    assert (report.error, report.watermark) == (None, TENTH)
    assert messages == ["default: the vendor serves no day before 2026-03-09: the history begins there"]


def test_a_start_date_that_is_corrected_applies_until_a_day_is_complete(job, vendor):
    vendor.dataset.replace(charges(NINTH, 2) + charges(TENTH, 2))
    for _ in range(2):
        report, _ = since(job, vendor, NINTH, start_date=date(2026, 3, 6))
        assert isinstance(report.error, SourceUnavailable)
    report, _ = since(job, vendor, NINTH, start_date=NINTH)
    assert (report.error, report.watermark, job.rows(sync_state, "first_day")) == (None, TENTH, [(NINTH,)])
    report, _ = since(job, vendor, NINTH, start_date=TENTH)
    assert (report.error, job.rows(sync_state, "first_day")) == (None, [(NINTH,)]), "a day is complete now"


def test_a_requested_range_must_be_served(sqlite_job, vendor):
    report, _ = since(sqlite_job, vendor, NINTH, start_date=None, since=date(2026, 3, 7))
    assert list(report.counts.missing_days) == [date(2026, 3, 7), date(2026, 3, 8)]
    assert isinstance(report.error, SourceUnavailable)


@pytest.mark.parametrize("times", [2, 3, 4, 8, 12, 40])
def test_a_temporary_refusal_does_not_start_the_history(sqlite_job, vendor, times):
    """The stored history starts 30 days back, or the run fails."""
    vendor.dataset.replace([record for n in range(1, 31) for record in charges(TODAY - n * DAY, 2)])
    for action in ("post_billing_data", "get_billing_csv"):
        vendor.faults.add("status", action=action, status=400, times=times)
    report = sqlite_job.sync(start_date=None)
    assert report.error is not None or len(sqlite_job.current()) == 60
    assert all(first == date(2026, 2, 9) for (first,) in sqlite_job.rows(sync_state, "first_day") if first)


def test_a_day_in_doubt_is_not_skipped(sqlite_job, vendor):
    vendor.dataset.replace(charges(NINTH, 2) + charges(TENTH, 2))
    vendor.policies.first_day = "2026-03-09"
    vendor.faults.add("status", action="get_billing_csv", status=503, times=None)
    report = sqlite_job.sync(start_date=None)
    assert isinstance(report.error, SourceUnavailable)
    assert TENTH not in report.counts.missing_days
    vendor.faults.clear()
    assert (sqlite_job.sync(start_date=None).error, sqlite_job.status().gaps) == (None, ())


def test_a_suspect_day_that_the_vendor_refuses_stays_suspect(sqlite_job, vendor):
    job = sqlite_job
    vendor.dataset.replace([record for n in (8, 9, 10) for record in charges(date(2026, 3, n), 2)])
    job.sync()
    vendor.dataset.replace(charges(NINTH, 2) + charges(TENTH, 2))
    reports = [job.sync()]
    vendor.policies.first_day = "2026-03-09"
    reports += [job.sync(), job.sync()]
    assert [(report.exit_code, report.counts.suspect_days) for report in reports] == [(65, [date(2026, 3, 8)])] * 3
    assert len(job.current()) == 6


def test_records_quarantined_on_a_day_that_the_vendor_refuses_stay_quarantined(sqlite_job, vendor):
    job = sqlite_job
    vendor.dataset.replace(
        [*charges(date(2026, 3, 8), 3, status="sent"), *charges(date(2026, 3, 8), 6)[3:], *charges(TENTH, 2)]
    )
    report = job.sync(start_date=date(2026, 3, 8))
    assert (report.exit_code, len(report.counts.rejected)) == (65, 3)
    vendor.policies.first_day = "2026-03-09"
    job.sync(start_date=date(2026, 3, 8))
    assert [day for (day,) in job.rows(rejected_records, "day")] == [date(2026, 3, 8)] * 3


@pytest.mark.parametrize("source", ["both", "csv"])
def test_records_that_the_vendor_serves_no_longer_are_kept(sqlite_job, vendor, source):
    """The vendor serves the last hours only, so that its answers begin in the middle of a day."""
    job = sqlite_job
    stored = [record for number in range(3, 11) for record in charges(date(2026, 3, number), 30)]
    vendor.dataset.replace(stored)
    assert job.sync(start_date=date(2026, 3, 3)).error is None
    vendor.dataset.replace([record for record in stored if str(record["created_at"]) >= "2026-03-05T10:00:05"])
    if source == "csv":
        vendor.faults.add("status", action="post_billing_data", status=503, times=None)
    report = job.sync(start_date=date(2026, 3, 3), lookback_days=6)
    assert report.exit_code == (0 if source == "both" else 65)
    assert set(report.counts.suspect_days) <= {date(2026, 3, 5)}
    assert len(job.current()) == len(stored)
    assert job.rows(restatements) == []


def test_a_stored_day_whose_requests_fail_is_kept_and_not_suspect(job, vendor):
    vendor.dataset.replace([*charges(NINTH, 3), *charges(TENTH, 2)])
    job.sync()
    window = DateRange(NINTH, NINTH)
    data = WindowData(window, window, {}, unresolved_days={NINTH: "HTTP 500"}, failed=frozenset({NINTH}))
    policy = build_load_policy(job.settings, date(2026, 3, 11), full_compare=False)
    with job.engine.connect() as connection:
        comparisons = list(compare_window(connection, 1, data, (), policy))
    summary = summarise_window(WindowOutcome([one.outcome() for one in comparisons], frozenset()), data, policy)
    assert [(one.keep_stored, one.suspect_reason) for one in comparisons] == [(True, None)]
    assert (summary.suspect_days, summary.missing_days) == ([], {NINTH: "HTTP 500"})
