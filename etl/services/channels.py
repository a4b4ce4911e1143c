"""Classification of stored records, after an upgrade or a change of the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial

from sqlalchemy import Connection

from etl import signals
from etl.db.channels import Channels, classify_day
from etl.db.days import raise_revision
from etl.db.run_store import RunHandle, verify_fence
from etl.db.store import Store
from etl.db.totals import refresh_channels


def classify_stored_days(
    store: Store,
    run: RunHandle,
    channels: Channels,
    days: Mapping[date, int],
    report: Callable[[str], None],
    now: datetime,
) -> None:
    """Classify the days that were stored under other rules, or before there were any: one transaction a day.

    A run that is stopped leaves the remaining days to the next one.

    Args:
        store: The database.
        run: The run, whose fence is verified.
        channels: The rules of the account.
        days: The days, with their number of records.
        report: Receives a message before and after, if there are such days.
        now: The present time, aware.

    Raises:
        ConcurrentRunError: A newer run has begun.
    """
    if not days:
        return
    count = "1 stored day is" if len(days) == 1 else f"{len(days):,} stored days are"
    report(f"the rules for channels are new: {count} classified again, up to {max(days)}")
    changed = 0

    def classify(connection: Connection, day: date, records: int) -> int:
        verify_fence(connection, run)
        rows = classify_day(connection, run.account_id, day, records, channels, now)
        refresh_channels(connection, run.account_id, day)
        if rows:
            raise_revision(connection, run.account_id, [day])
        return rows

    for day, records in days.items():
        signals.raise_if_interrupted()
        changed += store.write(partial(classify, day=day, records=records))
    report(f"{changed:,} records have another channel")
