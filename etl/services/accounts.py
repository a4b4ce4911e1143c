"""Rename, retire, resume and delete an account, and turn its times to another zone: no run of it may be under way."""

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
from etl.db.delete_account import BATCHED_TABLES, delete_batch, delete_rest, mark_deletion
from etl.db.engine import read_connection, require_database
from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.migrate import require_schema
from etl.db.retry import retry_transaction
from etl.db.run_store import Fence, next_fence, verify_fence
from etl.db.utc import correct, next_day

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAYS_PER_TRANSACTION: Final = 31
ROWS_PER_TRANSACTION: Final = 5_000
"""Rows after which a transaction that turns times ends with the day it is in."""
T = TypeVar("T")


def read_accounts(engine: Engine) -> list[Account]:
    """All accounts of the database, by label."""
    require_database(engine)
    with translate_errors(), read_connection(engine) as connection:
        require_schema(connection)
        return list_accounts(connection)


def rename_account(engine: Engine, old: str, new: str, *, wait: float) -> None:
    """Give an account another label; its rows stay as they are.

    Args:
        engine: Of the database.
        old: The label it has.
        new: The one it gets.
        wait: Seconds to wait for a run of either.

    Raises:
        ConfigError: There is no such account, or one of the new label already.
        ConcurrentRunError: A run of either is under way: a first run would make the new one.
        DatabaseError: Nothing is renamed.
    """
    with _locked_transaction(engine, {old, new}, wait) as connection:
        rename(connection, old, new)


def retire_account(engine: Engine, label: str, moment: datetime | None, *, wait: float) -> bool:
    """Retire an account as of a moment, or resume it with None; whether that changed anything.

    Raises:
        ConfigError: There is no such account.
        ConcurrentRunError: A run of it is under way.
        DatabaseError: Nothing is changed.
    """
    with _locked_transaction(engine, {label}, wait) as connection:
        return set_retired(connection, label, moment)


def read_account_extent(engine: Engine, label: str) -> Extent:
    """What is stored of an account.

    Raises:
        ConfigError: There is no such account.
    """
    require_database(engine)
    with translate_errors(), read_connection(engine) as connection:
        require_schema(connection)
        return read_extent(connection, require_account(connection, label))


def delete_account(engine: Engine, label: str, *, wait: float, clock: Callable[[], datetime]) -> dict[str, int]:
    """Remove an account with all its rows. One that was stopped is finished by the next.

    Returns:
        How many rows of each table were removed.

    Raises:
        ConfigError: There is no such account.
        ConcurrentRunError: A run of it is under way.
        DatabaseError: What was removed so far stays removed.
    """
    removed: Counter[str] = Counter()
    with _fenced_transaction(engine, label, wait, partial(mark_deletion, now=clock())) as write:
        for table in BATCHED_TABLES:
            last: int | None = 0
            while last is not None:
                count, last = write(partial(delete_batch, table=table, after=last))
                removed[table.name] += count
        removed.update(write(delete_rest))
    return {table: removed[table] for table in sorted(removed)}


def set_account_timezone(
    engine: Engine, label: str, zone: ZoneInfo, *, wait: float, clock: Callable[[], datetime]
) -> int:
    """Turn what is stored of an account to another time zone: `created_at_utc` follows, `created_at` stays.

    One that was stopped is finished by the next; until then no run uses the account.

    Returns:
        How many rows of records changed.

    Raises:
        ConfigError: There is no such account.
        ConcurrentRunError: A run of it is under way.
        DatabaseError: What was turned so far stays turned.
    """
    now, changed = clock(), 0

    def turn_days(connection: Connection, account_id: int, *, since: date) -> tuple[date | None, int]:
        """Turn one transaction's worth of days; where the next one begins, and how many rows changed."""
        day, rows = next_day(connection, account_id, since), 0
        turned: list[date] = []
        while day is not None and len(turned) < DAYS_PER_TRANSACTION and rows < ROWS_PER_TRANSACTION:
            if count := correct(connection, account_id, day, zone, {}, every_row=True, now=now):
                turned.append(day)
                rows += count
            day = next_day(connection, account_id, day + ONE_DAY)
        raise_revision(connection, account_id, turned)
        return day, rows

    with _fenced_transaction(engine, label, wait, partial(mark_timezone, zone=zone)) as write:
        day: date | None = date.min
        while day is not None:
            day, rows = write(partial(turn_days, since=day))
            changed += rows
        write(partial(set_timezone, zone=zone))
    return changed


@contextmanager
def _fenced_transaction(
    engine: Engine, label: str, wait: float, begin: Callable[[Connection, int], None]
) -> Iterator[Callable[[Callable[[Connection, int], T]], T]]:
    """Many transactions of one account, under its lock, the first of which takes its fence.

    Yields what does one of them, and retries it where another one was in its way.
    """
    require_database(engine)
    with translate_errors(), advisory_lock(engine, f"account-{label}", wait=wait):

        def take() -> Fence:
            with signals.deferred(), engine.begin() as connection:
                require_schema(connection)
                account_id = require_account(connection, label)
                # A run that was paused past its lock knows nothing of this: from here on it may not write.
                fence = next_fence(connection, account_id)
                begin(connection, account_id)
                return fence

        fence = retry_transaction(take)

        def write(transaction: Callable[[Connection, int], T]) -> T:
            def do() -> T:
                with signals.deferred(), engine.begin() as connection:
                    verify_fence(connection, fence)
                    return transaction(connection, fence.account_id)

            return retry_transaction(do)

        yield write


@contextmanager
def _locked_transaction(engine: Engine, labels: set[str], wait: float) -> Iterator[Connection]:
    """One transaction under the locks of these accounts."""
    require_database(engine)
    with ExitStack() as held:
        held.enter_context(translate_errors())
        for label in sorted(labels):  # always in this order: two of us never wait for each other
            held.enter_context(advisory_lock(engine, f"account-{label}", wait=wait))
        held.enter_context(signals.deferred())
        connection = held.enter_context(engine.begin())
        require_schema(connection)
        yield connection
