"""Keep what must be kept and no more: old months are purged under the account's lock, a few rows a transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine

from etl import signals
from etl.config.schema import Settings
from etl.db.accounts import require_account
from etl.db.engine import database_exists, pooled_engine, read_connection
from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.migrate import require_schema
from etl.db.purge import PurgePlan, RowCountsByTable, count_month, plan_purge, purge_batch, read_ledger
from etl.db.retry import retry_transaction
from etl.db.run_store import Fence, find_account, next_fence, read_position, verify_fence
from etl.errors import DatabaseError
from etl.services.context import utc_now

_AGE: Final = re.compile(r"([1-9]\d{0,3})([dmy])", re.ASCII)


@dataclass(frozen=True, slots=True)
class RetentionAge:
    """So many days, months or years: `d`, `m` or `y`."""

    count: int
    unit: str

    def cutoff(self, today: date) -> date:
        """The first day of the first month that is not wholly older than this."""
        if self.unit == "d":
            return (today - timedelta(days=self.count)).replace(day=1)
        months = today.year * 12 + today.month - 1 - self.count * (12 if self.unit == "y" else 1)
        return date(months // 12, months % 12 + 1, 1) if months >= 12 else date.min


def parse_retention_age(text: str) -> RetentionAge:
    """An age as the command line writes it.

    Raises:
        ValueError: What it must be.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError("a number of days, months or years, like 90d, 36m or 3y")
    return RetentionAge(int(match[1]), match[2])


@dataclass(slots=True)
class PurgeResult:
    """What was purged of one account, or would be.

    Attributes:
        before: Months before this day are old enough.
        months: By first day, how many rows were removed.
        still_in_lookback: First days of months that are old enough and that the lookback still reaches.
        blocked: By first day, the months that stay until somebody mends them, and why.
    """

    account: str
    before: date
    dry_run: bool
    months: dict[date, RowCountsByTable] = field(default_factory=dict)
    still_in_lookback: list[date] = field(default_factory=list)
    blocked: dict[date, str] = field(default_factory=dict)


def purge_account(
    settings: Settings,
    age: RetentionAge,
    *,
    named: bool,
    dry_run: bool,
    wait: float,
    clock: Callable[[], datetime] = utc_now,
) -> PurgeResult:
    """Remove the records of an account's old months. What is done stays done, whatever happens to the rest.

    Args:
        settings: Of the account.
        age: How old a month must be.
        named: Somebody asked for this very account: it must be there.
        dry_run: Count, and change nothing.
        wait: Seconds to wait for a run of the account.
        clock: The present moment, aware.

    Raises:
        ConfigError: The database has no such account.
        ConcurrentRunError: A run of the account is under way.
        DatabaseError: The database failed.
    """
    result = PurgeResult(settings.account, age.cutoff(clock().astimezone(settings.timezone).date()), dry_run)
    with pooled_engine(settings.database_url) as engine:
        if not database_exists(engine):
            raise DatabaseError("there is no database yet: nothing to purge")
        lock = nullcontext() if dry_run else advisory_lock(engine, f"account-{settings.account}", wait=wait)
        with translate_errors(), lock:
            with read_connection(engine) as connection:
                require_schema(connection)
                account_id = find_account(connection, settings.account)
                if account_id is None:
                    if named:
                        require_account(connection, settings.account)
                    return result
                plan = _plan(connection, account_id, result.before, settings.lookback_days)
                left = [month for month in plan.purged if any(count_month(connection, account_id, month))]
                months = sorted(plan.months + left)
                if dry_run:
                    result.months = {month: count_month(connection, account_id, month) for month in months}
            result.blocked, result.still_in_lookback = plan.blocked, plan.still_in_lookback
            if months and not dry_run:
                result.months = dict(_purge(engine, account_id, months, clock()))
    return result


def _plan(connection: Connection, account_id: int, before: date, lookback: int) -> PurgePlan:
    position = read_position(connection, account_id)
    settled_through = None
    if position.watermark and position.settled_through:
        # The settings of today may look back further than those of the last run.
        settled_through = min(position.settled_through, position.watermark - timedelta(days=lookback))
    days = read_ledger(connection, account_id, before)
    return plan_purge(days, settled_through=settled_through, retired=position.retired_at is not None)


def _purge(
    engine: Engine, account_id: int, months: list[date], now: datetime
) -> Iterator[tuple[date, RowCountsByTable]]:
    def begin() -> Fence:
        with engine.begin() as connection:
            # A run that was paused past its lock knows nothing of this: from here on it may not write.
            return next_fence(connection, account_id)

    def some(month: date) -> RowCountsByTable:
        with signals.deferred(), engine.begin() as connection:
            verify_fence(connection, fence)
            return purge_batch(connection, account_id, month, now)

    fence = retry_transaction(begin)
    for month in months:
        total = RowCountsByTable()
        while any(rows := retry_transaction(partial(some, month))):
            total = RowCountsByTable(*map(sum, zip(total, rows, strict=True)))
        yield month, total
