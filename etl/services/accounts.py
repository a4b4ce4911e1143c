"""Changes to an account: rename, retire, resume, delete, and set its time zone. Each takes the account's lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, Engine

from etl import signals
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
from etl.db.engine import require_database
from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.migrate import require_schema
from etl.db.run_store import Fence, next_fence, verify_fence
from etl.db.store import Store, read_database
from etl.db.utc import correct, next_day

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAYS_PER_TRANSACTION: Final = 31
ROWS_PER_TRANSACTION: Final = 5_000
"""Changed rows after which a transaction of `set_account_timezone` ends with the current day."""
T = TypeVar("T")


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
    with _locked_transaction(engine, {old, new}, wait) as connection:
        rename(connection, old, new)


def retire_account(engine: Engine, label: str, retired_at: datetime | None, *, wait: float) -> bool:
    """Retire an account, or resume it with None; returns whether its state changed.

    Raises:
        ConfigError: The account is unknown.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: The state is unchanged.
    """
    with _locked_transaction(engine, {label}, wait) as connection:
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
    with _fenced_writer(engine, label, wait, partial(mark_deletion, now=clock())) as write:
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

    with _fenced_writer(engine, label, wait, partial(mark_timezone, zone=zone)) as write:
        day: date | None = date.min
        while day is not None:
            day, rows = write(partial(correct_days, since=day))
            changed += rows
        write(partial(set_timezone, zone=zone))
    return changed


@contextmanager
def _fenced_writer(
    engine: Engine, label: str, wait: float, begin: Callable[[Connection, int], None]
) -> Iterator[Callable[[Callable[[Connection, int], T]], T]]:
    """Take an account's lock and fence, and yield a function that runs one transaction of the account.

    Args:
        engine: Engine of the database.
        label: Label of the account.
        wait: Seconds to wait for a run of the account.
        begin: Runs in the transaction that takes the fence.
    """
    require_database(engine)
    store = Store(engine)

    def take_fence(connection: Connection) -> Fence:
        require_schema(connection)
        account_id = require_account(connection, label, interrupted=True)
        # A run that was suspended and has lost its lock may not write from here on.
        fence = next_fence(connection, account_id)
        begin(connection, account_id)
        return fence

    with translate_errors(), advisory_lock(engine, f"account-{label}", wait=wait):
        fence = store.write(take_fence)

        def write(change: Callable[[Connection, int], T]) -> T:
            def transaction(connection: Connection) -> T:
                verify_fence(connection, fence)
                return change(connection, fence.account_id)

            return store.write(transaction)

        yield write


@contextmanager
def _locked_transaction(engine: Engine, labels: set[str], wait: float) -> Iterator[Connection]:
    """One transaction under the locks of several labels.

    It is not retried: after a connection lost during the commit, a second attempt would not find the old label.
    """
    require_database(engine)
    with ExitStack() as stack:
        stack.enter_context(translate_errors())
        for label in sorted(labels):  # in a fixed order, against deadlocks between two processes
            stack.enter_context(advisory_lock(engine, f"account-{label}", wait=wait))
        stack.enter_context(signals.deferred())
        connection = stack.enter_context(engine.begin())
        require_schema(connection)
        yield connection
