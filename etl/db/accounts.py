"""The accounts themselves: listed, renamed, retired, and what was seen of their vendor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, func, select, update

from etl.db.bindings import end_of_day, unknown_account
from etl.db.run_store import find_account
from etl.db.tables import accounts, billing_records, sync_state, synced_days
from etl.errors import ConfigError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the database knows it."""

    label: str
    created_at: datetime
    retired_at: datetime | None
    last_synced_date: date | None


class Extent(NamedTuple):
    """What is stored of an account: its first and last day, how many days, and how many rows of records."""

    first_day: date | None
    last_day: date | None
    days: int
    records: int


class DateSemantics(NamedTuple):
    """What the vendor's dates were seen to mean, and when that was last seen."""

    meaning: str
    seen_at: datetime


def list_accounts(connection: Connection) -> list[Account]:
    """All accounts, by label."""
    account, state = accounts.c, sync_state.c
    rows = connection.execute(
        select(account.label, account.created_at, account.retired_at, state.last_synced_date)
        .join_from(accounts, sync_state, state.account_id == account.id, isouter=True)
        .order_by(account.id)
    )
    return sorted((Account(*row) for row in rows), key=lambda each: each.label)


def require_account(connection: Connection, label: str) -> int:
    """The account's id.

    Raises:
        ConfigError: The database has no such account.
    """
    account_id = find_account(connection, label)
    if account_id is None:
        raise unknown_account(connection, label)
    return account_id


def rename(connection: Connection, old: str, new: str) -> None:
    """Give an account another label. Nothing else of it changes.

    Raises:
        ConfigError: There is no such account, or one of the new label already.
    """
    account_id = require_account(connection, old)
    if find_account(connection, new) is not None:
        raise ConfigError(f"the database has an account {new} already; two accounts cannot become one")
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(label=new))


def set_retired(connection: Connection, label: str, moment: datetime | None) -> bool:
    """Retire an account as of a moment, or resume it with None; whether that changed anything.

    Raises:
        ConfigError: There is no such account.
    """
    account_id = require_account(connection, label)
    differs = accounts.c.retired_at.is_(None) if moment else accounts.c.retired_at.is_not(None)
    changed = connection.execute(update(accounts).where(accounts.c.id == account_id, differs).values(retired_at=moment))
    return bool(changed.rowcount)


def set_timezone(connection: Connection, account_id: int, zone: ZoneInfo) -> None:
    """Bind an account to a time zone in which all its rows stand, and end its watermark's day in it."""
    account, state = accounts.c, sync_state.c
    connection.execute(update(accounts).where(account.id == account_id).values(timezone=zone.key, timezone_to=None))
    watermark = connection.scalar(select(state.last_synced_date).where(state.account_id == account_id))
    if watermark is not None:
        connection.execute(
            update(sync_state)
            .where(state.account_id == account_id)
            .values(synced_until_utc=end_of_day(watermark, zone))
        )


def mark_timezone(connection: Connection, account_id: int, zone: ZoneInfo) -> None:
    """Say of an account that its times are being turned to a zone: until they all are, no run uses it."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(timezone_to=zone.key))


def read_extent(connection: Connection, account_id: int) -> Extent:
    """How many days and records an account has."""
    day = synced_days.c
    first_day, last_day, days = connection.execute(
        select(func.min(day.day), func.max(day.day), func.count()).where(day.account_id == account_id)
    ).one()
    records = connection.scalars(
        select(func.count()).select_from(billing_records).where(billing_records.c.account_id == account_id)
    ).one()
    return Extent(first_day, last_day, days, records)


def load_date_semantics(connection: Connection, label: str) -> DateSemantics | None:
    """What was last seen of the vendor's dates; None where nothing was, or where the account never synced."""
    account = accounts.c
    row = connection.execute(
        select(account.dates_mean, account.dates_seen_at).where(account.label == label, account.dates_mean.is_not(None))
    ).one_or_none()
    return None if row is None else DateSemantics(*row)


def save_date_semantics(connection: Connection, label: str, finding: DateSemantics) -> None:
    """Remember what was seen of the vendor's dates."""
    connection.execute(
        update(accounts)
        .where(accounts.c.label == label)
        .values(dates_mean=finding.meaning, dates_seen_at=finding.seen_at)
    )
