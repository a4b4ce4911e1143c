"""Retention: purge the records of old months under the account's lock, in batches of one transaction each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection

from etl.config.schema import Settings
from etl.db.accounts import require_account
from etl.db.purge import PurgePlan, RowCountsByTable, count_month, plan_purge, purge_batch, read_ledger
from etl.db.run_store import find_account, read_sync_state
from etl.db.store import read_database
from etl.services.account_writer import AccountWriter, fenced_writer
from etl.services.context import utc_now
from etl.services.database import pooled_engine

_AGE: Final = re.compile(r"([1-9]\d{0,3})([dmy])", re.ASCII)


@dataclass(frozen=True, slots=True)
class RetentionAge:
    """A number of days, months or years; the unit is `d`, `m` or `y`."""

    count: int
    unit: str

    def cutoff(self, today: date) -> date:
        """The first day of the first month with a day that is not older than this age."""
        if self.unit == "d":
            return (today - timedelta(days=self.count)).replace(day=1)
        months = today.year * 12 + today.month - 1 - self.count * (12 if self.unit == "y" else 1)
        return date(months // 12, months % 12 + 1, 1) if months >= 12 else date.min


def parse_retention_age(text: str) -> RetentionAge:
    """Parse an age like `90d`, `36m` or `3y`.

    Raises:
        ValueError: The text has another format; the message describes the expected one.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError("a number of days, months or years, like 90d, 36m or 3y")
    return RetentionAge(int(match[1]), match[2])


@dataclass(slots=True)
class PurgeResult:
    """The result of a purge of one account.

    Attributes:
        account: Label of the account.
        before: Months before this day are old enough.
        dry_run: Whether the rows were only counted.
        months: Number of purged rows by the first day of the month.
        still_in_lookback: First days of months that are old enough and that the lookback still reaches.
        blocked: Months that need repair before they can be purged, by first day, with the reason.
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
    explicit_account: bool,
    dry_run: bool,
    wait: float,
    clock: Callable[[], datetime] = utc_now,
) -> PurgeResult:
    """Purge the records of an account's old months. Call it again to complete an interrupted purge.

    Args:
        settings: Settings of the account.
        age: Minimum age of a purged month.
        explicit_account: Whether the command line names the account, which must then exist.
        dry_run: Count the rows without a change.
        wait: Seconds to wait for a run of the account.
        clock: The present time, aware.

    Raises:
        ConfigError: The account does not exist.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: The purge is incomplete; completed batches stay purged.
    """
    result = PurgeResult(settings.account, age.cutoff(settings.today(clock())), dry_run)
    plan_account = partial(_plan_account, before=result.before, lookback=settings.lookback_days)
    with pooled_engine(settings.database_url) as engine:
        with read_database(engine) as connection:
            if find_account(connection, settings.account) is None and not explicit_account:
                return result
            account_id = require_account(connection, settings.account)
            if dry_run:
                plan, result.months = plan_account(connection, account_id)
        if not dry_run:
            with fenced_writer(engine, settings.account, wait=wait) as write:
                plan, months = write(plan_account)
                result.months = {month: _purge_month(write, month, clock()) for month in months}
    result.blocked, result.still_in_lookback = plan.blocked, plan.still_in_lookback
    return result


def _plan_account(
    connection: Connection, account_id: int, *, before: date, lookback: int
) -> tuple[PurgePlan, dict[date, RowCountsByTable]]:
    """Classify the months of an account before a day; count the rows of those to purge, or purged in part."""
    state = read_sync_state(connection, account_id)
    settled_through = None
    if state.watermark and state.settled_through:
        # The present lookback may be longer than that of the last run.
        settled_through = min(state.settled_through, state.watermark - timedelta(days=lookback))
    days = read_ledger(connection, account_id)
    plan = plan_purge(days, before, settled_through=settled_through, retired=state.retired_at is not None)
    counts = {month: count_month(connection, account_id, month) for month in sorted(plan.months + plan.purged)}
    return plan, {month: rows for month, rows in counts.items() if month in plan.months or any(rows)}


def _purge_month(write: AccountWriter, month: date, now: datetime) -> RowCountsByTable:
    """Purge a month in batches; return the number of purged rows."""
    total = RowCountsByTable()
    while any(rows := write(partial(purge_batch, month=month, now=now))):
        total = RowCountsByTable(*map(sum, zip(total, rows, strict=True)))
    return total
