"""The accounts themselves: listed, renamed, retired, and what was seen of their vendor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from etl.errors import ConfigError
from etl.load.bindings import unknown_account
from etl.load.ledger import find_account
from etl.load.tables import accounts, sync_state


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the database knows it."""

    label: str
    created_at: datetime
    retired_at: datetime | None
    last_synced_date: date | None


class Finding(NamedTuple):
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


def read_finding(connection: Connection, label: str) -> Finding | None:
    """What was last seen of the vendor's dates; None where nothing was, or where the account never synced."""
    account = accounts.c
    row = connection.execute(
        select(account.dates_mean, account.dates_seen_at).where(account.label == label, account.dates_mean.is_not(None))
    ).one_or_none()
    return None if row is None else Finding(*row)


def write_finding(connection: Connection, label: str, finding: Finding) -> None:
    """Remember what was seen of the vendor's dates."""
    connection.execute(
        update(accounts)
        .where(accounts.c.label == label)
        .values(dates_mean=finding.meaning, dates_seen_at=finding.seen_at)
    )
