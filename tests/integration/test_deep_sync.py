"""`sync --deep`, and the lateness computed from its journal, with a vendor that stops serving old days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event, text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import charges

from etl.ops.status_query import StatusOptions, read_account_statuses
from etl.services.run import RunRequest
from etl.services.sync import run_sync

DAY = timedelta(days=1)
TODAY = date(2026, 3, 11)
FIRST = TODAY - 40 * DAY
DAYS = [FIRST + n * DAY for n in range(40)]
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


class DeepSyncAccount:
    """An account of forty days with 27 records each, enough for the plausibility check."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        vendor.dataset.replace(record for day in DAYS for record in charges(day, 27))
        self.settings = settings_of(url, vendor, FIRST)
        self.engine = open_engine(url)
        self.now = MORNING
        self.messages: list[str] = []

    def sync(self, *, deep=True, dry_run=False, **changes):
        self.now += timedelta(minutes=1)
        self.messages.clear()
        self.vendor.requests.clear()
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest("sync", dry_run=dry_run, deep=deep),
            replace(NO_PROGRESS, message=self.messages.append),
            redact=str,
            clock=lambda: self.now,
        )
        return report.exit_code, report.counts

    def forget_before(self, moment):
        """Make the vendor serve nothing before this time."""
        gone = [record for record in self.vendor.dataset.records if record["created_at"] < moment]
        self.vendor.dataset.remove(gone)

    def lateness(self, lookback=7):
        terms = {"default": StatusOptions(self.settings.timezone, lookback)}
        with self.engine.connect() as connection:
            return read_account_statuses(connection, ["default"], self.now, terms)[0].lateness

    def requests(self):
        return [request.params for request in self.vendor.requests if request.action == "post_billing_data"]


@pytest.fixture
def account(sqlite_url, sandbox):
    account = DeepSyncAccount(sqlite_url, sandbox)
    assert account.sync(deep=False)[0] == 0
    return account


def test_a_deep_sync_loads_late_records_of_days_before_the_lookback(database_url, sandbox):
    account = DeepSyncAccount(database_url, sandbox)
    account.sync(deep=False)
    account.vendor.dataset.add(charges(DAYS[5], 28)[27:])
    assert account.sync(deep=False)[1].new == 0
    code, tally = account.sync()
    assert (code, tally.days, tally.new, tally.unchanged) == (0, 41, 1, 1080)
    assert account.sync()[1].new == 0
    seen = account.lateness()
    assert (seen.arrived.records, seen.changed, seen.missed, seen.needed) == (1, None, 1, 35)
    assert seen.arrived.longest == account.now - timedelta(minutes=1) - datetime(2026, 2, 4, 7, 0, 27, tzinfo=UTC)
    assert account.lateness(lookback=36).missed == 0


def test_a_deep_sync_costs_one_request_more_than_its_windows(account):
    assert (account.sync()[0], account.messages) == (0, [])
    assert len(account.requests()) <= 1 + 6 + 2, "two more verify that the first answers are complete"
    assert "get_billing_csv" not in {request.action for request in account.vendor.requests}


@pytest.mark.parametrize("hour", ["00:00:00", "10:00:05", "23:59:59"])
def test_days_that_the_vendor_no_longer_serves_stay_unchanged_and_not_suspect(account, hour):
    account.forget_before(f"{DAYS[20]}T{hour}")
    account.vendor.dataset.add(charges(DAYS[25], 28)[27:])
    code, tally = account.sync()
    assert (code, tally.suspect_days, tally.withdrawn, tally.new) == (0, [], 0, 1)
    (sentence,) = account.messages
    assert "stored days up to 2026-02-" in sentence
    assert tally.days in {19, 20}
    with account.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM billing")) == 1081
        assert connection.scalar(text("SELECT count(*) FROM sync_runs WHERE first_day < '2026-02-20'")) == 1
    assert (account.sync(deep=False)[0], len(account.requests())) == (0, 2), "an ordinary sync does not request them"


@pytest.mark.parametrize(
    "fault",
    [{"fault": "status", "status": 400}, {"fault": "other_days", "days": -30}],
    ids=["a refusal", "an answer about newer days"],
)
def test_dates_before_the_served_ones_may_be_refused_or_answered_with_newer_days(account, fault):
    # The first request of a deep sync is about the oldest day; the vendor does not serve it.
    account.vendor.faults.add(**fault, action="post_billing_data")
    code, tally = account.sync(retry_attempts=1)
    # After a refusal the next request starts a day later; otherwise the second day is served and may be cut.
    days = 41 if fault["fault"] == "status" else 39
    assert (code, tally.suspect_days, tally.days) == (0, [], days)


def test_a_day_that_turns_empty_between_served_days_is_suspect(account):
    account.vendor.dataset.remove(charges(DAYS[20], 27))
    code, tally = account.sync()
    assert (code, tally.suspect_days, tally.days) == (65, [DAYS[20]], 41)
    assert account.sync(deep=False)[1].suspect_days == [DAYS[20]]


@pytest.mark.parametrize("json_is_available", [True, False])
def test_withdrawn_days_do_not_end_the_search_for_the_first_served_day(account, json_is_available):
    """The records of the oldest day and of one where a bisection begins are withdrawn; a later day is added to."""
    account.vendor.dataset.remove([*charges(DAYS[0], 27), *charges(DAYS[17], 27)])
    account.vendor.dataset.add(charges(DAYS[5], 28)[27:])
    if not json_is_available:
        account.vendor.faults.add("status", action="post_billing_data", times=None)
    code, tally = account.sync()
    assert (code, tally.new, tally.suspect_days, tally.days) == (65, 1, [DAYS[17]], 39)


def test_the_export_is_used_when_json_is_unavailable(account):
    account.forget_before(f"{DAYS[20]}T00:00:00")
    account.vendor.faults.add("status", action="post_billing_data", times=None)
    account.vendor.dataset.add(charges(DAYS[25], 28)[27:])
    code, tally = account.sync()
    assert (code, tally.new, tally.suspect_days) == (0, 1, [])
    assert [request.action for request in account.vendor.requests].count("get_billing_csv") <= 3


def test_the_export_is_used_when_json_rejects_today_as_well(account):
    account.vendor.faults.add("status", status=404, action="post_billing_data", times=None)
    account.vendor.dataset.add(charges(DAYS[5], 28)[27:])
    code, tally = account.sync()
    assert (code, tally.new, tally.suspect_days, tally.days) == (0, 1, [], 41)


def test_a_deep_sync_exits_69_when_the_vendor_is_unavailable(account):
    account.vendor.faults.add("status", status=503, times=None)
    assert account.sync()[0] == 69


def test_a_deep_dry_run_writes_nothing(account):
    account.vendor.dataset.add(charges(DAYS[5], 28)[27:])
    assert account.sync(dry_run=True)[1].new == 1
    assert account.sync()[1].new == 1


def test_the_journal_is_read_by_its_index(account):
    account.vendor.dataset.add(charges(DAYS[5], 28)[27:])
    account.sync()
    statements = []

    def note(_connection, _cursor, statement, parameters, _context, _executemany):
        if "restatements" in statement:
            statements.append((statement, parameters))

    event.listen(account.engine, "before_cursor_execute", note)
    assert account.lateness().arrived.records == 1
    event.remove(account.engine, "before_cursor_execute", note)
    with account.engine.connect() as connection:
        any_line, newest_lines = (
            str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())
            for statement, parameters in statements
        )
    for plan in (any_line, newest_lines):
        assert "sqlite_autoindex_restatements_1 (account_id=? AND day>?)" in plan
    assert "TEMP B-TREE" not in newest_lines, "the index has the required order, and the limit ends the scan"
