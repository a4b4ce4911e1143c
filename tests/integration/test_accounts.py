"""Accounts are renamed, retired and resumed; their rows stay unchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, insert, text, update
from support.run_helpers import NO_PROGRESS
from support.sync_account import Account

from etl.db.lock import advisory_lock
from etl.db.tables import accounts, rejected_records, sync_state, synced_days
from etl.errors import ConcurrentRunError, ConfigError
from etl.ops.status_query import StatusOptions, SuspectDay, read_account_statuses
from etl.services.accounts import read_accounts, rename_account, retire_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


def sync(account, *, named=False, command="sync"):
    day = date(2026, 3, 9)
    return run_sync(
        account.settings,
        RunRequest(command, *((day, day) if command != "sync" else ()), explicit_account=named),
        NO_PROGRESS,
        redact=str,
        clock=lambda: MORNING,
    )


@pytest.fixture
def account(sqlite_url, sandbox):
    made = Account(sqlite_url, sandbox)
    assert made.run() == (0, "")
    return made


def test_a_renamed_account_continues_from_its_watermark(account):
    before = account.dump()
    rename_account(account.engine, "default", "shop «1»", wait=0)
    after = account.dump()
    assert [row[1] for row in after.pop("accounts")] == ["shop «1»"]
    del before["accounts"]
    assert after == before
    account.settings = replace(account.settings, account="shop «1»")
    report = sync(account)
    assert (report.error, report.counts.new, report.counts.unchanged > 0) == (None, 0, True)
    assert account.read("SELECT DISTINCT account FROM billing") == [("shop «1»",)]


def test_rename_refuses_a_label_that_is_taken_or_unknown(account):
    with account.engine.begin() as connection:
        connection.execute(text("INSERT INTO accounts (label, created_at) VALUES ('bank', '2026-01-01 00:00:00')"))
    with pytest.raises(ConfigError, match="an account bank already"):
        rename_account(account.engine, "default", "bank", wait=0)
    with pytest.raises(ConfigError, match="no account shop; it has bank, default"):
        rename_account(account.engine, "shop", "other", wait=0)
    assert [each.label for each in read_accounts(account.engine)] == ["bank", "default"]


@pytest.mark.parametrize("busy", ["default", "shop"])
def test_rename_is_refused_while_a_run_of_either_label_is_in_progress(account, busy):
    with advisory_lock(account.engine, f"account-{busy}", wait=0), pytest.raises(ConcurrentRunError):
        rename_account(account.engine, "default", "shop", wait=0)
    assert [each.label for each in read_accounts(account.engine)] == ["default"]


def test_a_retired_account_is_skipped_unless_it_is_named(account):
    assert retire_account(account.engine, "default", MORNING, wait=0)
    assert not retire_account(account.engine, "default", MORNING, wait=0)
    account.vendor.requests.clear()
    report = sync(account)
    assert (report.error, report.retired_at, report.exit_code) == (None, MORNING, 0)
    for named in ({"named": True}, {"command": "backfill"}, {"command": "accept"}):
        refused = sync(account, **named)
        assert refused.exit_code == 78
        assert "retired since 2026-03-11; billing-etl account resume default" in str(refused.error)
    assert account.vendor.requests == []
    assert account.read("SELECT count(*) FROM sync_runs") == [(1,)]
    assert account.read("SELECT count(*) > 0 FROM billing") == [(1,)]
    assert retire_account(account.engine, "default", None, wait=0)
    assert sync(account).counts.days > 0


def test_freshness_marks_a_retired_account_and_shows_no_delay(database_url, sandbox):
    account = Account(database_url, sandbox)
    assert account.run() == (0, "")
    query = "SELECT account, last_synced_date, hours_behind, retired_at FROM freshness"
    (before,) = account.read(query)
    assert Decimal(before[2]) > 0
    assert before[3] is None
    retire_account(account.engine, "default", MORNING, wait=0)
    (after,) = account.read(query)
    assert (after[:3], str(after[3])[:19]) == ((*before[:2], None), "2026-03-11 06:30:00")
    with account.engine.connect() as connection:
        [status] = read_account_statuses(connection, ["default"], MORNING)
    assert (status.retired_at, status.hours_behind, status.is_older_than(0)) == (MORNING, None, False)


def test_the_status_of_one_account_reads_no_rows_of_the_others(account):
    def statements(**options):
        sent = []
        event.listen(account.engine, "before_cursor_execute", lambda *arguments: sent.append(arguments[2]))
        with account.engine.connect() as connection:
            statuses = read_account_statuses(connection, ["default"], MORNING, **options)
        return [status.account for status in statuses], len(sent)

    labels, alone = statements()
    assert labels == ["default"]
    with account.engine.begin() as connection:
        for number in range(2, 22):
            row = {"id": number, "label": f"shop-{number}", "created_at": MORNING}
            connection.execute(insert(accounts), row)
            connection.execute(insert(sync_state), {"account_id": number, "fence": 0})
    assert statements() == (["default"], alone)
    labels, of_all = statements(with_others=True)
    assert (len(labels), of_all > alone) == (21, True)


def test_the_ledgers_of_several_accounts_are_counted_by_the_database(database_url, sandbox):
    account = Account(database_url, sandbox)
    assert account.run() == (0, "")
    last = date(2026, 3, 10)
    ledger = {"digest": "0" * 32, "records": 3, "spend": Decimal(1), "source": "json", "stored_at": MORNING}
    days = [(2, 0, True), (2, 1, True), (2, 2, False), (2, 5, True), (3, 0, False), (4, 1, True)]
    with account.engine.begin() as connection:
        for number in (2, 3, 4, 5):
            connection.execute(insert(accounts), {"id": number, "label": f"shop-{number}", "created_at": MORNING})
            connection.execute(insert(sync_state), {"account_id": number, "fence": 0})
        for number, ago, closed in days:
            row = {
                "account_id": number,
                "day": last - timedelta(days=ago),
                "first_closed_at": MORNING if closed else None,
            }
            connection.execute(insert(synced_days), ledger | row)
        suspect = {"suspect_since": MORNING, "suspect_reason": "empty"}
        connection.execute(update(synced_days).where(synced_days.c.account_id == 4).values(suspect))
        rejected = {
            "asked_first": last,
            "asked_last": last,
            "reason": "no time",
            "payload": "{}",
            "first_seen_at": MORNING,
        }
        for account_id, digest in ((4, "a"), (4, "b"), (5, "a")):
            row = {"account_id": account_id, "payload_digest": digest}
            connection.execute(insert(rejected_records), rejected | row)
    options = StatusOptions(ZoneInfo("Europe/Moscow"), 7, start_date=date(2026, 3, 4))
    with account.engine.connect() as connection:
        labels = [f"shop-{number}" for number in (2, 3, 4, 5, 6)]
        terms = dict.fromkeys(labels, options)
        statuses = read_account_statuses(connection, labels, MORNING, terms)
    gap = [(date(2026, 3, 4), date(2026, 3, 4)), (date(2026, 3, 6), date(2026, 3, 8))]
    assert [
        (
            status.account, status.records, status.open_days, [(days.first, days.last) for days in status.gaps],
            status.suspect_days, status.rejected,
        )
        for status in statuses
    ] == [
        ("shop-2", 12, 1, gap, (), 0),
        ("shop-3", 3, 1, [], (), 0),
        ("shop-4", 3, 0, [(date(2026, 3, 4), date(2026, 3, 8))], (SuspectDay(date(2026, 3, 9), "empty"),), 2),
        ("shop-5", 0, 0, [], (), 1),
        ("shop-6", 0, 0, [], (), 0),
    ]  # fmt: skip
