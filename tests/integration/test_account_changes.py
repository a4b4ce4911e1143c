"""Deletion of an account with all its rows, and changes of its zone; other accounts stay unchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text
from support.run_helpers import NO_PROGRESS
from support.sync_account import START, Account, charges, just_before

from etl.db import delete_account as deletion
from etl.db.accounts import mark_timezone
from etl.db.lock import advisory_lock
from etl.db.run_store import Fence, find_account, verify_fence
from etl.db.tables import metadata
from etl.db.views import VIEWS
from etl.errors import ConcurrentRunError, ConfigError
from etl.ops.status_query import read_account_statuses
from etl.reports.query import resolve_accounts
from etl.services.accounts import delete_account, read_accounts, rename_account, retire_account, set_account_timezone
from etl.services.close import CloseRequest, close_month
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from etl.zones import utc_offset

MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
MOSCOW, VLADIVOSTOK, LONDON, NEW_YORK = map(
    ZoneInfo, ("Europe/Moscow", "Asia/Vladivostok", "Europe/London", "America/New_York")
)
OWN = [table for table in metadata.sorted_tables if "account_id" in table.c]


def clock():
    return MORNING


@pytest.fixture
def account(database_url, sandbox):
    """Two accounts, of which `default` has a row in every table."""
    day = charges("2026-03-09", 8)
    sandbox.dataset.replace([*day, *charges("2026-03-10", 2), charges("2026-03-10", 1)[0] | {"price": "x"}])
    other = Account(database_url, sandbox, account="bank")
    assert other.run()[0] == 65
    account = Account(database_url, sandbox)
    assert account.run()[0] == 65
    sandbox.dataset.remove(day[:1])
    assert account.run()[0] == 65
    with account.engine.begin() as connection:
        number = find_account(connection, "default")
        moment = "2026-03-10 06:00:00"
        connection.execute(
            text(
                "INSERT INTO balance_top_ups (account_id, at, amount, noted_at) VALUES "
                f"({number}, '{moment}', '5', '{moment}')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO purged_months (account_id, month, records, delivered, spend, restated, purged_at) VALUES "
                f"({number}, '2026-01-01', 1, 1, '1', '0', '{moment}')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO purged_corrections (account_id, day, closing, period, delta) VALUES "
                f"({number}, '2026-01-01', 1, '2026-02-01', '1')"
            )
        )
    request = CloseRequest(date(2026, 3, 1), provisional=True)
    assert close_month(account.settings, request, is_configured=True, wait=0, clock=clock).outcome == "booked"
    return account


def rows_of(account, label):
    """The rows of an account, by table."""
    with account.engine.connect() as connection:
        number = find_account(connection, label)
        return {
            table.name: sorted(map(repr, connection.execute(select(table).where(table.c.account_id == number))))
            for table in OWN
        }


# --- delete -----------------------------------------------------------------------------------------------------------


def test_an_account_whose_deletion_was_interrupted_is_in_no_view_and_is_not_changed(account):
    views = [f"SELECT * FROM {view}" for view in VIEWS if view != "focus_charges"]
    shown = {view for view in views if any(row[0] == "default" for row in account.read(view))}
    assert {
        f"SELECT * FROM {view}" for view in ("billing", "daily_spend", "calendar", "monthly_close", "freshness")
    } <= shown
    assert len(shown) >= len(views) - 1
    with account.engine.begin() as connection:
        number = find_account(connection, "default")
        deletion.mark_deletion(connection, number, MORNING)
        connection.execute(text(f"DELETE FROM billing_records WHERE account_id = {number}"))
    assert {row[0] for view in views for row in account.read(view)} == {"bank"}
    assert {row[1] for row in account.read("SELECT * FROM focus_charges")} == {"bank"}
    changes = (
        lambda: close_month(account.settings, CloseRequest(date(2026, 3, 1)), is_configured=True, wait=0, clock=clock),
        lambda: purge_account(
            account.settings, RetentionAge(1, "d"), explicit_account=False, dry_run=True, wait=0, clock=clock
        ),
        lambda: rename_account(account.engine, "default", "other", wait=0),
        lambda: retire_account(account.engine, "default", MORNING, wait=0),
    )
    for change in changes:
        with pytest.raises(ConfigError, match=r"partly deleted.* run: billing-etl account delete default"):
            change()
    with account.engine.connect() as connection:
        statuses = {
            status.account: status.problem
            for status in read_account_statuses(connection, [], MORNING, with_others=True)
        }
        assert resolve_accounts(connection, ()) == ["bank"]
        with pytest.raises(ConfigError, match="partly deleted"):
            resolve_accounts(connection, ("default",))
    assert statuses == {known.label: known.problem for known in read_accounts(account.engine)}
    assert statuses["bank"] is None
    assert "account delete default" in statuses["default"]
    delete_account(account.engine, "default", wait=0, clock=clock)
    assert [known.label for known in read_accounts(account.engine)] == ["bank"]


def test_an_account_whose_zone_change_was_interrupted_is_not_exported(account):
    with account.engine.begin() as connection:
        mark_timezone(connection, find_account(connection, "default"), VLADIVOSTOK)
    for labels in ((), ("default",)):
        with account.engine.connect() as connection, pytest.raises(ConfigError, match="partly converted"):
            resolve_accounts(connection, labels)
    assert "account set-timezone default" in read_accounts(account.engine)[1].problem


@pytest.mark.parametrize("batch_size", [3, 5_000])
def test_delete_removes_every_row_of_the_account_and_returns_the_counts(account, batch_size):
    own, others = rows_of(account, "default"), rows_of(account, "bank")
    assert all(own.values())
    removed = delete_account(account.engine, "default", wait=0, clock=clock, batch_size=batch_size)
    assert removed == {"accounts": 1} | {table: len(rows) for table, rows in own.items()}
    assert (rows_of(account, "bank"), account.read("SELECT label FROM accounts")) == (others, [("bank",)])
    assert not any(rows_of(account, "default").values())
    assert account.run()[0] == 65
    assert account.read("SELECT COUNT(*) FROM billing WHERE account = 'default'") == [(9,)]


def test_delete_is_refused_while_a_run_of_the_account_is_in_progress(account):
    before = account.dump()
    with advisory_lock(account.engine, "account-default", wait=0), pytest.raises(ConcurrentRunError):
        delete_account(account.engine, "default", wait=0, clock=clock)
    assert account.dump() == before


def test_an_unknown_account_is_refused_with_a_suggestion(account):
    for act in (
        lambda: delete_account(account.engine, "defualt", wait=0, clock=clock),
        lambda: set_account_timezone(account.engine, "defualt", LONDON, wait=0, clock=clock),
    ):
        with pytest.raises(ConfigError, match=r"no account defualt; it has bank, default; did you mean default\?"):
            act()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_suspended_run_writes_nothing_after_its_account_was_deleted(account):
    with account.engine.begin() as connection:
        run = Fence(find_account(connection, "default"), 2)
        verify_fence(connection, run)
    delete_account(account.engine, "default", wait=0, clock=clock)
    with account.engine.begin() as connection, pytest.raises(ConcurrentRunError):
        verify_fence(connection, run)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_run_refuses_a_partly_deleted_account(account):
    with account.engine.begin() as connection:
        deletion.mark_deletion(connection, find_account(connection, "default"), MORNING)
    code, message = account.run()
    assert (code, "billing-etl account delete default" in message) == (78, True)
    delete_account(account.engine, "default", wait=0, clock=clock)
    assert account.run()[0] == 65


# --- set-timezone -----------------------------------------------------------------------------------------------------


def run(account, zone, now=MORNING):
    report = run_sync(
        replace(account.settings, timezone=zone),
        RunRequest("sync"),
        NO_PROGRESS,
        redact=str,
        clock=lambda: now,
    )
    return report.exit_code, str(report.error or "")


def times(account, label="default"):
    """The wall clock of each record, as text, with its UTC offset in minutes."""
    found = account.read(
        "SELECT r.created_at, r.utc_offset FROM billing_records r JOIN accounts a ON a.id = r.account_id "
        "WHERE a.label = :label ORDER BY r.created_at",
        label=label,
    )
    return [(str(wall), offset) for wall, offset in found]


@pytest.mark.parametrize("zone", [VLADIVOSTOK, LONDON], ids=str)
@pytest.mark.parametrize("rows", [1, 5_000])
def test_a_change_of_zone_recomputes_the_utc_of_every_row_and_keeps_the_wall_clock(account, zone, rows):
    walls, other = [wall for wall, _ in times(account)], rows_of(account, "bank")
    digests = account.read("SELECT account_id, day, digest, spend, restated_at FROM synced_days ORDER BY 1, 2")
    journal = account.read("SELECT COUNT(*) FROM restatements")
    assert run(account, zone)[0] == 78
    options = {"wait": 0, "clock": clock, "rows_per_transaction": rows}
    assert set_account_timezone(account.engine, "default", zone, **options) == len(walls)
    assert times(account) == [(wall, utc_offset(wall, zone)) for wall in walls]
    assert run(account, MOSCOW)[0] == 78
    assert run(account, zone)[0] == 65
    assert account.read("SELECT account_id, day, digest, spend, restated_at FROM synced_days ORDER BY 1, 2") == digests
    assert account.read("SELECT COUNT(*) FROM restatements") == journal
    assert rows_of(account, "bank") == other
    assert set_account_timezone(account.engine, "default", zone, **options) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_day_of_the_watermark_ends_in_the_new_zone(account):
    set_account_timezone(account.engine, "default", VLADIVOSTOK, wait=0, clock=clock)
    state = account.read("SELECT last_synced_date, synced_until_utc FROM sync_state WHERE account_id = 2")
    assert [(str(day), str(until)[:16]) for day, until in state] == [("2026-03-10", "2026-03-10 14:00")]


@pytest.mark.parametrize(("hour", "zone"), [(20, VLADIVOSTOK), (3, NEW_YORK), (12, LONDON)], ids=str)
def test_a_change_of_zone_leaves_the_balance_proof_explained(database_url, sandbox, hour, zone):
    """The first snapshot is of another day in the new zone, so its recorded spend begins with another day."""
    account = Account(database_url, sandbox)
    sandbox.dataset.replace([*charges("2026-03-09", 2), *charges("2026-03-10", 3), *charges("2026-03-11", 4, "1.5")])
    proof = "SELECT charged, finding FROM balance_proof"
    first = datetime(2026, 3, 11, hour, 30, tzinfo=UTC)
    run(account, MOSCOW, first)
    set_account_timezone(account.engine, "default", zone, wait=0, clock=lambda: first)
    later = first + timedelta(hours=12)
    sandbox.dataset.add(charges(later.astimezone(zone).date(), 1, "3", "late"))
    assert run(account, zone, later) == (0, "")
    found = sorted((Decimal(charged), finding) for charged, finding in account.read(proof))
    assert found == [(0, "explained"), (0, "explained"), (3, "explained")]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_converted_days_get_a_revision_and_correct_days_get_none(account):
    revisions = "SELECT day, revision FROM synced_days WHERE account_id = 2 ORDER BY day"
    before = dict(account.read(revisions))
    set_account_timezone(account.engine, "default", VLADIVOSTOK, wait=0, clock=clock)
    changed = {str(day) for day, revision in account.read(revisions) if revision != before[day]}
    assert changed == {"2026-03-09", "2026-03-10"}
    before = dict(account.read(revisions))
    set_account_timezone(account.engine, "default", VLADIVOSTOK, wait=0, clock=clock)
    assert dict(account.read(revisions)) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_of_two_zones_are_converted_to_the_zone_of_the_account(account):
    with account.engine.begin() as connection:
        connection.execute(text("UPDATE billing_records SET utc_offset = 0 WHERE created_at < '2026-03-10'"))
    assert set_account_timezone(account.engine, "default", MOSCOW, wait=0, clock=clock) == 8
    assert times(account) == [(wall, utc_offset(wall, MOSCOW)) for wall, _ in times(account)]


def test_each_row_has_the_utc_offset_of_its_hour_across_a_clock_change(database_url, sandbox):
    zone = ZoneInfo("Europe/Berlin")
    moments = ["2025-10-26T01:59:59", "2025-10-26T02:00:00", "2025-10-26T02:59:59", "2025-10-26T03:00:00"]
    moments += ["2026-03-08T12:00:00", "2025-07-01T00:00:00"]
    record = charges(START, 1)[0] | {"price": Decimal("0.2")}
    sandbox.dataset.replace([record | {"created_at": moment} for moment in moments])
    account = Account(database_url, sandbox, start_date=date(2025, 7, 1), window_days=366)
    account.run()
    assert len(times(account)) == len(moments)
    set_account_timezone(account.engine, "default", zone, wait=0, clock=clock)
    assert times(account) == [(wall, utc_offset(wall, zone)) for wall, _ in times(account)]
    # A row that stands at the second reading of a repeated hour has its time from the vendor, and keeps it.
    second = "UPDATE billing_records SET utc_offset = 60"
    with account.engine.begin() as connection:
        connection.execute(text(f"{second} WHERE created_at = '2025-10-26 02:59:59'"))
    assert set_account_timezone(account.engine, "default", ZoneInfo("Europe/Paris"), wait=0, clock=clock) == 0


def test_a_run_refuses_an_account_whose_zone_change_was_interrupted(account):

    def stop():
        raise KeyboardInterrupt

    options = {"wait": 0, "clock": clock, "rows_per_transaction": 1}
    with just_before("UPDATE billing_records", stop, skip=1), pytest.raises(KeyboardInterrupt):
        set_account_timezone(account.engine, "default", VLADIVOSTOK, **options)
    turned = [offset == utc_offset(wall, VLADIVOSTOK) for wall, offset in times(account)]
    assert turned == [True] * 8 + [False] * 2
    for zone in (MOSCOW, VLADIVOSTOK):
        code, message = run(account, zone)
        assert (code, message.endswith("billing-etl account set-timezone default Asia/Vladivostok")) == (78, True)
    assert set_account_timezone(account.engine, "default", VLADIVOSTOK, **options) == 2
    assert times(account) == [(wall, utc_offset(wall, VLADIVOSTOK)) for wall, _ in times(account)]
    assert run(account, VLADIVOSTOK)[0] == 65
