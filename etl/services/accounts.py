"""Changes to an account: rename, retire, resume, delete, and set its time zone. Each takes the account's lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine

from etl.date_ranges import ONE_DAY
from etl.db.accounts import (
    Account,
    Extent,
    list_accounts,
    mark_timezone,
    read_extent,
    rename,
    require_account,
    set_retired,
    set_timezone,
)
from etl.db.days import raise_revision
from etl.db.delete_account import BATCH_SIZE, BATCHED_TABLES, delete_batch, delete_rest, mark_deletion
from etl.db.store import read_database
from etl.db.utc import correct, next_day
from etl.services.account_writer import fenced_writer, locked_transaction

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAYS_PER_TRANSACTION: Final = 31
ROWS_PER_TRANSACTION: Final = 5_000
"""Changed rows after which a transaction of `set_account_timezone` ends with the current day."""


def read_accounts(engine: Engine) -> list[Account]:
    """All accounts of the database, ordered by label."""
    with read_database(engine) as connection:
        return list_accounts(connection)


def rename_account(engine: Engine, old: str, new: str, *, wait: float) -> None:
    """Change an account's label; its rows stay unchanged.

    Args:
        engine: Engine of the database.
        old: Present label.
        new: New label.
        wait: Seconds to wait for a run of either label.

    Raises:
        ConfigError: There is no account `old`, or there is already an account `new`.
        ConcurrentRunError: A run of either label is in progress; a first run would create the account `new`.
        DatabaseError: The account is not renamed.
    """
    with locked_transaction(engine, {old, new}, wait=wait) as connection:
        rename(connection, old, new)


def retire_account(engine: Engine, label: str, retired_at: datetime | None, *, wait: float) -> bool:
    """Retire an account, or resume it with None; returns whether its state changed.

    Raises:
        ConfigError: The account is unknown.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: The state is unchanged.
    """
    with locked_transaction(engine, {label}, wait=wait) as connection:
        return set_retired(connection, label, retired_at)


def read_account_extent(engine: Engine, label: str) -> Extent:
    """The stored range of an account.

    Raises:
        ConfigError: The account is unknown.
    """
    with read_database(engine) as connection:
        return read_extent(connection, require_account(connection, label, interrupted=True))


def delete_account(
    engine: Engine, label: str, *, wait: float, clock: Callable[[], datetime], batch_size: int = BATCH_SIZE
) -> dict[str, int]:
    """Delete an account with all its rows, in batches. Call it again to complete an interrupted deletion.

    Args:
        engine: Engine of the database.
        label: Label of the account.
        wait: Seconds to wait for a run of the account.
        clock: Returns the present time, aware.
        batch_size: Maximum number of rows deleted in one transaction.

    Returns:
        Number of deleted rows by table.

    Raises:
        ConfigError: The account is unknown.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: The deletion is incomplete; completed batches stay deleted.
    """
    removed: Counter[str] = Counter()
    begin = partial(mark_deletion, now=clock())
    with fenced_writer(engine, label, wait=wait, begin=begin, interrupted=True) as write:
        for table in BATCHED_TABLES:
            last = None
            while True:
                count, last = write(partial(delete_batch, table=table, after=last, size=batch_size))
                removed[table.name] += count
                if last is None:
                    break
        removed.update(write(delete_rest))
    return {table: removed[table] for table in sorted(removed)}


def set_account_timezone(
    engine: Engine,
    label: str,
    zone: ZoneInfo,
    *,
    wait: float,
    clock: Callable[[], datetime],
    rows_per_transaction: int = ROWS_PER_TRANSACTION,
) -> int:
    """Change an account's time zone: recompute `created_at_utc` of its rows; `created_at` stays unchanged.

    Call it again to complete an interrupted change; until then no run uses the account.

    Args:
        engine: Engine of the database.
        label: Label of the account.
        zone: The new time zone.
        wait: Seconds to wait for a run of the account.
        clock: Returns the present time, aware.
        rows_per_transaction: Changed rows after which a transaction ends with the current day.

    Returns:
        Number of changed rows of records.

    Raises:
        ConfigError: The account is unknown.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: The change is incomplete; committed days stay changed.
    """
    now, changed = clock(), 0

    def correct_days(connection: Connection, account_id: int, *, since: date) -> tuple[date | None, int]:
        """Correct the days of one transaction; returns the first day of the next and the number of changed rows."""
        day, rows = next_day(connection, account_id, since), 0
        corrected: list[date] = []
        while day is not None and len(corrected) < DAYS_PER_TRANSACTION and rows < rows_per_transaction:
            if count := correct(connection, account_id, day, zone, {}, every_row=True, now=now):
                corrected.append(day)
                rows += count
            day = next_day(connection, account_id, day + ONE_DAY)
        raise_revision(connection, account_id, corrected)
        return day, rows

    begin = partial(mark_timezone, zone=zone)
    with fenced_writer(engine, label, wait=wait, begin=begin, interrupted=True) as write:
        day: date | None = date.min
        while day is not None:
            day, rows = write(partial(correct_days, since=day))
            changed += rows
        write(partial(set_timezone, zone=zone))
    return changed
