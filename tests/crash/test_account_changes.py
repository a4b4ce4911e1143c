"""`account delete` and `account set-timezone`, killed at every step, complete when they are run again."""

from __future__ import annotations

import signal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text
from support.crash_injection import run_and_kill

from etl.db.tables import metadata
from etl.zones import utc_offset

ZONE = ZoneInfo("Asia/Vladivostok")
LEAST_STEPS = 8


def steps(points):
    """Kill points that may leave a partial state: the first of each kind."""
    return [point for point in points if point.endswith(" #1") and point.startswith(("before commit", "after"))]


def rows_of_others(account):
    with account.engine.connect() as connection:
        number = connection.scalar(text("SELECT id FROM accounts WHERE label = :label"), {"label": account.label})
        tables = [table for table in metadata.sorted_tables if "account_id" in table.c]
        return number, {
            table.name: sorted(map(repr, connection.execute(select(table).where(table.c.account_id != number))))
            for table in tables
        }


def count_rows(account, number):
    with account.engine.connect() as connection:
        return sum(
            len(connection.execute(select(table).where(table.c.account_id == number)).all())
            for table in metadata.sorted_tables
            if "account_id" in table.c
        )


@pytest.mark.fault(94, 96)
def test_a_deletion_killed_at_any_step_is_completed_by_the_next(account, records):
    account.prepare(*records)  # not deleted
    account.prepare(*records)
    delete = ("account", "delete", account.label, "--yes")
    points = run_and_kill(delete, account.variables()).points
    assert len(steps(points)) >= LEAST_STEPS
    for point in steps(points):
        account.prepare(*records)
        number, others = rows_of_others(account)
        delete = ("account", "delete", account.label, "--yes")
        assert run_and_kill(delete, account.variables(), signum=signal.SIGKILL, point=point).code == -signal.SIGKILL
        left = count_rows(account, number)
        done = run_and_kill(delete, account.variables())
        assert done.code == (0 if left else 78), (point, done)
        assert count_rows(account, number) == 0
        with account.engine.connect() as connection:
            label = {"label": account.label}
            assert connection.scalar(text("SELECT COUNT(*) FROM accounts WHERE label = :label"), label) == 0
        account.rename()
        assert {table: rows for table, rows in others.items() if rows} == {
            table: sorted(map(repr, rows)) for table, rows in all_rows(account).items() if rows
        }


def all_rows(account):
    with account.engine.connect() as connection:
        tables = [table for table in metadata.sorted_tables if "account_id" in table.c]
        return {table.name: connection.execute(select(table)).all() for table in tables}


@pytest.mark.fault(94, 96)
def test_a_zone_change_killed_at_any_step_is_completed_by_the_next(account, records):
    def turn(**options):
        return run_and_kill(("account", "set-timezone", account.label, ZONE.key), account.variables(), **options)

    account.prepare(*records)
    points = turn().points
    assert len(steps(points)) >= LEAST_STEPS
    for point in steps(points):
        account.prepare(*records)
        assert turn(signum=signal.SIGKILL, point=point).code == -signal.SIGKILL
        assert turn().code == 0
        with account.engine.connect() as connection:
            label = {"label": account.label}
            number = connection.scalar(text("SELECT id FROM accounts WHERE label = :label"), label)
            query = text(f"SELECT created_at, utc_offset FROM billing_records WHERE account_id = {number}")
            rows = [(str(wall), offset) for wall, offset in connection.execute(query)]
            zones = connection.execute(text("SELECT timezone, timezone_to FROM accounts WHERE label = :label"), label)
            assert zones.all() == [(ZONE.key, None)]
        assert rows
        assert rows == [(wall, utc_offset(wall, ZONE)) for wall, _ in rows]
        assert account.sync().code == 78
        done = run_and_kill(("sync", "--until", "2025-03-10"), account.variables(BILLING_TIMEZONE=ZONE.key))
        assert done.code == 0, done
