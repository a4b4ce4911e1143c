"""Reads and writes accounts: label, retirement, time zone, date semantics of the vendor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select, update

from etl.db.balance import move_first_day
from etl.db.bindings import end_of_day, interrupted_change, unknown_account
from etl.db.run_store import find_account
from etl.db.tables import accounts, billing_records, sync_state, synced_days
from etl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Account:
    """An account and its watermark; the problem is an interrupted change, with its remedy."""

    label: str
    created_at: datetime
    retired_at: datetime | None
    last_synced_date: date | None
    problem: str | None = None


class Extent(NamedTuple):
    """Stored range of an account: first and last day, number of days and of rows in billing_records."""

    first_day: date | None
    last_day: date | None
    days: int
    records: int


class DateSemantics(NamedTuple):
    """Observed meaning of the vendor's request dates: `included`, `excluded` (the end date) or `other_zone`."""

    meaning: str
    seen_at: datetime


def account_ids(connection: Connection) -> list[int]:
    """The ids of all accounts."""
    return list(connection.scalars(select(accounts.c.id).order_by(accounts.c.id)))


def list_accounts(connection: Connection) -> list[Account]:
    """Return all accounts, ordered by label."""
    column, state = accounts.c, sync_state.c
    rows = connection.execute(
        select(accounts, state.last_synced_date)
        .join_from(accounts, sync_state, state.account_id == column.id, isouter=True)
        .order_by(column.id)
    )
    found = (
        Account(row.label, row.created_at, row.retired_at, row.last_synced_date, interrupted_change(row))
        for row in rows
    )
    return sorted(found, key=lambda account: account.label)


def require_account(connection: Connection, label: str, *, interrupted: bool = False) -> int:
    """Return the id of an account.

    Args:
        connection: Connection to read with.
        label: Label of the account.
        interrupted: Accept an account whose deletion or zone change was interrupted.

    Raises:
        ConfigError: The database has no such account, or one with an interrupted change.
    """
    account = accounts.c
    row = connection.execute(
        select(account.id, account.label, account.deletion_started_at, account.timezone_to).where(
            account.label == label
        )
    ).one_or_none()
    if row is None:
        raise unknown_account(connection, label)
    if not interrupted and (problem := interrupted_change(row)):
        raise ConfigError(problem)
    account_id: int = row.id
    return account_id


def rename(connection: Connection, old: str, new: str) -> None:
    """Change the label of an account.

    Raises:
        ConfigError: There is no such account, or the new label is already in use.
    """
    account_id = require_account(connection, old)
    if find_account(connection, new) is not None:
        raise ConfigError(f"the database has an account {new} already; accounts cannot be merged")
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(label=new))


def set_retired(connection: Connection, label: str, retired_at: datetime | None) -> bool:
    """Retire an account at the given time, or resume it with None, and return whether its state changed.

    Raises:
        ConfigError: There is no such account.
    """
    account_id = require_account(connection, label)
    differs = accounts.c.retired_at.is_(None) if retired_at else accounts.c.retired_at.is_not(None)
    changed = connection.execute(
        update(accounts).where(accounts.c.id == account_id, differs).values(retired_at=retired_at)
    )
    return bool(changed.rowcount)


def set_timezone(connection: Connection, account_id: int, zone: ZoneInfo) -> None:
    """Bind an account to the zone that all its rows now use, and recompute what depends on the zone of its days.

    That is the end of the watermark's day, and the recorded spend of the balance snapshots.
    """
    account, state = accounts.c, sync_state.c
    old_zone = connection.scalar(select(account.timezone).where(account.id == account_id))
    move_first_day(connection, account_id, ZoneInfo(old_zone or zone.key), zone)
    connection.execute(update(accounts).where(account.id == account_id).values(timezone=zone.key, timezone_to=None))
    watermark = connection.scalar(select(state.last_synced_date).where(state.account_id == account_id))
    if watermark is not None:
        connection.execute(
            update(sync_state)
            .where(state.account_id == account_id)
            .values(synced_until_utc=end_of_day(watermark, zone))
        )


def mark_timezone(connection: Connection, account_id: int, zone: ZoneInfo) -> None:
    """Mark an account whose UTC times are being converted to a zone: runs refuse it until `set_timezone`."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(timezone_to=zone.key))


def read_extent(connection: Connection, account_id: int) -> Extent:
    """Read the stored range of an account."""
    day = synced_days.c
    first_day, last_day, days = connection.execute(
        select(func.min(day.day), func.max(day.day), func.count()).where(day.account_id == account_id)
    ).one()
    records = connection.scalars(
        select(func.count()).select_from(billing_records).where(billing_records.c.account_id == account_id)
    ).one()
    return Extent(first_day, last_day, days, records)


def load_date_semantics(connection: Connection, label: str) -> DateSemantics | None:
    """Return the last observed date semantics; None if there are none or the account never synced."""
    account = accounts.c
    row = connection.execute(
        select(account.dates_mean, account.dates_seen_at).where(account.label == label, account.dates_mean.is_not(None))
    ).one_or_none()
    return None if row is None else DateSemantics(*row)


def save_date_semantics(connection: Connection, label: str, semantics: DateSemantics) -> None:
    """Store the observed date semantics."""
    connection.execute(
        update(accounts)
        .where(accounts.c.label == label)
        .values(dates_mean=semantics.meaning, dates_seen_at=semantics.seen_at)
    )
