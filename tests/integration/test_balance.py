"""The balance before and after a run, from the vendor's answer to the proof, the warnings and the exit code."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import charges

from etl.db.balance import load_periods, load_summary, read_snapshots, read_top_ups, write_top_up
from etl.db.tables import balance_snapshots, sync_runs
from etl.ops.status_query import StatusOptions, read_account_statuses
from etl.reconcile import TopUp, reconcile
from etl.services.balance import SHORT_TIMEOUT_SECONDS
from etl.services.run import RunRequest
from etl.services.sync import run_sync

FIRST, EIGHTH, NINTH, TENTH, TODAY = (date(2026, 3, day) for day in (1, 8, 9, 10, 11))
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


class BalanceAccount:
    """An account with its balance; each run is a minute later than the previous one."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, FIRST)
        self.engine = open_engine(url)
        self.now = MORNING

    def run(self, command="sync", since=None, until=None, dry_run=False, even_if_not_suspect=False, **changes):
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until, dry_run, even_if_not_suspect=even_if_not_suspect),
            NO_PROGRESS,
            redact=str,
            clock=self.clock,
        )
        assert report.error is None
        return report

    def clock(self):
        self.now += timedelta(seconds=10)
        return self.now

    def pay_in(self, amount):
        """Add an amount to the balance without a record; a negative one is a withdrawal."""
        self.vendor.dataset.credit += Decimal(amount)

    def charge(self, day, count, price="0.2"):
        self.vendor.dataset.add(charges(day, count, price))

    def snapshots(self):
        with self.engine.connect() as connection:
            return read_snapshots(connection, 1)

    def moments(self):
        return [snapshot.moment for snapshot in self.snapshots()]

    def findings(self):
        """The findings of the view, for all pairs of snapshots."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT unexplained, finding FROM balance_proof ORDER BY closed_at"))
            return [(None if amount is None else Decimal(str(amount)), finding) for amount, finding in rows]


@pytest.fixture
def account(sqlite_url, sandbox):
    """An account with two charges on the ninth and a deposit that covers them."""
    sandbox.dataset.replace(charges(NINTH, 2))
    return BalanceAccount(sqlite_url, sandbox)


@pytest.fixture
def any_account(database_url, sandbox):
    """The same account on each of the three databases in turn."""
    sandbox.dataset.replace(charges(NINTH, 2))
    return BalanceAccount(database_url, sandbox)


def unexplained(report):
    return [str(pair.unexplained.normalize()) for pair in report.balance.unexplained]


def test_a_charge_without_a_record_is_found_and_a_top_up_is_explained(any_account):
    account = any_account
    account.run()
    account.charge(TODAY, 3)
    account.charge(NINTH, 1, price="0.000001")
    account.pay_in("-5")
    report = account.run()
    assert (unexplained(report), report.exit_code) == (["-5"], 0)
    account.charge(TENTH, 1)
    account.pay_in("500")
    report = account.run()
    assert (unexplained(report), report.balance.needs_attention) == (["5E+2"], False)
    with account.engine.begin() as connection:
        at = report.balance.unexplained[0].closed_at
        write_top_up(connection, 1, TopUp(at, Decimal(500)), now=account.now)
    pairs = ["explained", "unexplained charge", "explained", "explained", "explained"]
    assert [finding for _, finding in account.findings()] == pairs
    findings = account.findings()
    with account.engine.connect() as connection:
        snapshots = read_snapshots(connection, 1)
        proof = reconcile(snapshots, read_top_ups(connection, 1, snapshots))
        assert findings == [(pair.unexplained, pair.finding) for pair in proof], "the finding of the view"
        assert proof == load_periods(connection, 1, account.now)
        (status,) = read_account_statuses(
            connection, ["default"], account.now, {"default": StatusOptions(account.settings.timezone, 7)}
        )
    assert [str(pair.unexplained) for pair in status.balance.unexplained] == ["-5.000000"]
    assert status.balance.balance == account.vendor.dataset.balance


def drop(account, day, *, paid_back):
    """Remove a day from the vendor's records; in the sandbox this raises the balance unless `paid_back` is false."""
    kept = [record for record in account.vendor.dataset.records if not record["created_at"].startswith(str(day))]
    gone = [record for record in account.vendor.dataset.records if record["created_at"].startswith(str(day))]
    account.vendor.dataset.replace(kept)
    if not paid_back:
        account.pay_in(-sum(record["price"] for record in gone))
    return gone


@pytest.mark.parametrize("paid_back", [True, False])
def test_the_proof_waits_for_a_suspect_day_and_has_no_finding_once_accepted(any_account, paid_back):
    account = any_account
    account.charge(EIGHTH, 3, price="11.75")
    account.run()
    drop(account, EIGHTH, paid_back=paid_back)
    account.charge(TODAY, 1)
    report = account.run()
    assert (report.balance.waits_for, unexplained(report), report.balance.restated) == ((EIGHTH,), [], ())
    with account.engine.connect() as connection:
        summary = load_summary(connection, 1, account.now, None, account.settings.timezone)
    assert (summary.waits_for, summary.unexplained) == ((EIGHTH,), ())
    assert [finding for _, finding in account.findings()] == ["explained", "waits for days", "waits for days"]

    account.run("accept", EIGHTH, EIGHTH)
    account.charge(TODAY, 2)
    account.charge(NINTH, 1, price="1.000001")  # late, and taken from the balance as it comes
    report = account.run()
    assert (report.balance.waits_for, unexplained(report)) == ((), [])
    assert [str(pair.restated) for pair in report.balance.restated] == ([] if paid_back else ["-35.250000"])
    assert account.findings()[-2:] == [(0, "explained" if paid_back else "restated"), (0, "explained")]
    with account.engine.connect() as connection:
        proof = load_periods(connection, 1, account.now)
        rows = connection.execute(
            text("SELECT carried, restated, unexplained, finding FROM balance_proof ORDER BY closed_at")
        ).all()
    assert [(pair.carried, pair.restated, pair.unexplained, pair.finding) for pair in proof if not pair.waits] == [
        (*(Decimal(str(amount)) for amount in row[:3]), row[3]) for row in rows if row.unexplained is not None
    ]
    assert [pair.waits for pair in proof] == [row.unexplained is None for row in rows]


def test_a_suspect_day_that_returns_leaves_nothing_unexplained(account):
    account.charge(EIGHTH, 3, price="11.75")
    account.run()
    gone = drop(account, EIGHTH, paid_back=True)
    account.run()
    account.vendor.dataset.add(gone)
    report = account.run()
    assert (unexplained(report), report.balance.restated, report.balance.waits_for) == ([], (), ())
    assert {finding for _, finding in account.findings()} == {"explained", "waits for days"}


def test_a_day_suspect_for_over_a_month_is_proven_against_the_time_before(account):
    account.charge(EIGHTH, 3, price="11.75")
    account.run()
    drop(account, EIGHTH, paid_back=True)
    for _ in range(3):
        account.now += timedelta(days=15)
        account.vendor.set_now(account.vendor.now + timedelta(days=15))
        assert account.run().balance.waits_for == (EIGHTH,)
    account.run("accept", EIGHTH, EIGHTH)
    report = account.run()
    assert (unexplained(report), report.balance.waits_for, account.findings()[-2:]) == ([], (), [(0, "explained")] * 2)


def test_the_proof_waits_for_a_past_day_that_is_incomplete(account):
    account.run()
    account.pay_in("500")
    assert unexplained(account.run()) == ["5E+2"]
    with account.engine.begin() as connection:
        connection.execute(text("UPDATE synced_days SET first_closed_at = NULL WHERE day = '2026-03-02'"))
        summary = load_summary(connection, 1, account.now, None, account.settings.timezone)
    assert (summary.waits_for, summary.unexplained) == ((date(2026, 3, 2),), ())
    account.run("backfill", NINTH, NINTH)
    assert account.findings()[-1] == (None, "waits for days")
    account.run("backfill", FIRST, NINTH)
    assert account.findings()[-1] == (0, "explained")


def test_a_run_whose_days_stay_open_reports_that_the_proof_waits(account):
    account.vendor.policies = replace(account.vendor.policies, json_limit=10)
    account.vendor.faults.add("status", action="get_billing_csv", times=None)
    account.vendor.dataset.replace(charges(TENTH, 25))
    report = run_sync(account.settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=account.clock)
    assert report.exit_code == 69
    assert (report.balance.waits_for, report.balance.unexplained) == (tuple(report.counts.missing_days), ())
    assert report.balance.waits_for


def test_both_snapshots_of_a_run_have_its_id(account):
    account.run()
    with account.engine.connect() as connection:
        run = connection.scalar(select(sync_runs.c.id))
    assert [(snapshot.run_id, snapshot.moment) for snapshot in account.snapshots()] == [(run, "before"), (run, "after")]


def test_dry_runs_accepts_and_runs_without_days_do_not_request_the_balance(account):
    account.run()
    account.vendor.requests.clear()
    account.run(dry_run=True)
    account.run("accept", NINTH, NINTH, even_if_not_suspect=True)
    account.run("backfill", TODAY + timedelta(days=1), TODAY + timedelta(days=2))
    assert "get_balance" not in {request.action for request in account.vendor.requests}
    assert account.moments() == ["before", "after"]


def test_a_backfill_of_old_days_is_no_charge_and_a_later_change_is(account):
    account.vendor.dataset.add(charges(date(2026, 2, 20), 40))
    account.run()
    assert unexplained(account.run("backfill", date(2026, 2, 15), date(2026, 2, 25))) == []
    assert account.findings()[-2:] == [(0, "explained")] * 2
    account.vendor.dataset.add(charges(date(2026, 2, 21), 1, "7"))
    assert unexplained(account.run("backfill", date(2026, 2, 15), date(2026, 2, 25))) == []


def test_a_backfill_counts_charges_of_days_outside_its_range(account):
    account.run()
    account.charge(TODAY, 4)
    report = account.run("backfill", NINTH, NINTH)
    assert (unexplained(report), report.counts.days) == ([], 1)
    assert {finding for _, finding in account.findings()} == {"explained"}
    assert unexplained(account.run()) == [], "the ledger contains the backfilled charges"


def test_no_balance_is_stored_when_the_records_are_too_far_behind(account):
    account.run()
    account.now += timedelta(days=20)
    account.vendor.set_now(account.vendor.now + timedelta(days=20))
    report = account.run("backfill", NINTH, NINTH)
    assert (report.balance.balance, account.moments()) == (account.vendor.dataset.balance, ["before", "after"])
    account.run()
    assert account.moments() == ["before", "after"] * 2


def answer(balance):
    return {"fault": "status", "status": 200, "body": f'{{"success": true, "error": "", "data": {{{balance}}}}}'}


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "status", "status": 503},
        {"fault": "status", "status": 400},
        {"fault": "status", "status": 401},
        {"fault": "html"},
        {"fault": "empty_body"},
        {"fault": "cut_text"},
        {"fault": "reset"},
        {"fault": "refusal"},
        {"fault": "null_data"},
        answer('"price": 0.2'),
        answer('"balance": null'),
        answer('"balance": NaN'),
        answer('"balance": "NaN"'),
        answer('"balance": "much"'),
        answer('"balance": true'),
        answer('"balance": [5]'),
        answer('"balance": {"rub": 5}'),
        answer('"balance": 1e400'),
        answer('"balance": 1234567890123'),
        answer('"balance": 0.1234567'),
    ],
    ids=str,
)
def test_an_unreadable_balance_costs_one_attempt_and_changes_nothing_else(account, fault):
    account.vendor.faults.add(**fault, action="get_balance", times=None)
    report = account.run(retry_attempts=5, retry_max_wait=60.0)
    assert (report.exit_code, report.counts.new, report.watermark) == (0, 2, TENTH)
    assert (report.balance, account.moments()) == (None, [])
    assert [request.action for request in account.vendor.requests].count("get_balance") == 2


def test_a_run_waits_for_a_balance_no_longer_than_its_time_limit(account):
    account.vendor.faults.add("hang", action="get_balance", times=None)
    report = account.run(timeout=0.2)
    assert (report.exit_code, report.balance) == (0, None)
    assert report.seconds < SHORT_TIMEOUT_SECONDS, "the shorter limit applies"


def test_the_balance_before_a_run_is_kept_when_the_one_after_is_unreadable(account):
    account.vendor.faults.add("html", action="get_balance", skip=1)
    account.run()
    assert account.moments() == ["before"]


def test_a_failed_run_stores_no_balance_and_reports_the_one_it_read(account):
    account.run()
    account.vendor.faults.add("status", action="post_billing_data", times=None)
    account.vendor.faults.add("status", action="get_billing_csv", times=None)
    settings = replace(account.settings, low_balance=Decimal(10**6))
    report = run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=account.clock)
    assert (report.exit_code, report.balance.is_low) == (69, True)
    assert account.moments() == ["before", "after"]


def test_a_balance_may_be_text_or_have_binary_float_noise(account):
    for written in ("963.8", '"963.80"', '"963,8"', "963.8000000000001"):
        account.vendor.faults.add(**answer(f'"balance": {written}'), action="get_balance", times=2)
        assert account.run().balance.balance == Decimal("963.8")
    account.vendor.faults.add(**answer('"balance": -12.5'), action="get_balance", times=2)
    assert account.run().balance.balance == Decimal("-12.5")


def test_a_balance_that_cannot_be_stored_is_logged_and_the_run_succeeds(account, caplog):
    account.run()
    with account.engine.begin() as connection:
        connection.execute(
            text("CREATE TRIGGER no BEFORE INSERT ON balance_snapshots BEGIN SELECT RAISE(ABORT, 'no'); END")
        )
    account.charge(TENTH, 1)
    report = account.run()
    assert (report.exit_code, report.counts.new) == (0, 1)
    assert "the balance of this run is not stored" in caplog.text
    with account.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(balance_snapshots)) == 2
