"""Fetch again and compare with the database, record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, Engine, func, select

from etl.date_ranges import exclude_days, split_into_windows
from etl.db.days import purged_days, stored_counts
from etl.db.engine import read_connection
from etl.db.tables import synced_days
from etl.errors import CheckFailedError, SourceUnavailable
from etl.load.loader import LoadPolicy, compare_window
from etl.model import DateRange, WindowData
from etl.transform.snapshots import snapshot_day, snapshot_days


@dataclass(frozen=True, slots=True)
class DayDifference:
    """How a stored day differs from the vendor's.

    Attributes:
        missing: Records that the vendor lists and the database lacks.
        different: Records that stand there with other attributes or another number of repeats.
        extra: Records that stand there and the vendor does not list.
        vendor_records: How many it lists now, repeats included.
    """

    day: date
    source: str
    missing: int
    different: int
    extra: int
    vendor_records: int


def closed_range(connection: Connection, account_id: int | None) -> DateRange | None:
    """From the first closed day to the last: what there is to verify."""
    column = synced_days.c
    query = select(func.min(column.day), func.max(column.day)).where(
        column.account_id == account_id, column.first_closed_at.is_not(None)
    )
    first, last = connection.execute(query).one()
    return DateRange(first, last) if first else None


def plan_verify(
    connection: Connection, account_id: int | None, since: date | None, until: date | None, today: date, *, size: int
) -> list[DateRange]:
    """The windows to compare: of the days from the first complete one to the last, unless others are named.

    Args:
        connection: To the account's database.
        account_id: None where it never synced.
        since: The first day named.
        until: The last day named.
        today: In the vendor's wall clock: later days are left out, as are days whose records were purged.
        size: Days of a window.

    Raises:
        CheckFailedError: No day of them is stored: to compare nothing would prove nothing.
    """
    if account_id is None:
        raise CheckFailedError("nothing to verify: the account was never synced; run: billing-etl sync")
    closed = closed_range(connection, account_id)
    first = since or (closed.first if closed else None)
    last = min(until or (closed.last if closed else today), today)
    if first is None:
        raise CheckFailedError("nothing to verify: no day is complete yet")
    if first > last:
        raise CheckFailedError(f"nothing to verify: {first} comes after {last}, the last day that can be compared")
    wanted = DateRange(first, last)
    stored = stored_counts(connection, account_id)
    if not any(day in wanted for day in stored):
        purged = "; the records of these days were purged" if purged_days(connection, account_id, wanted) else ""
        raise CheckFailedError(f"nothing to verify: no day from {first} to {last} is stored{purged}")
    return exclude_days(split_into_windows(wanted, (), size=size), purged_days(connection, account_id, wanted))


def verify_windows(
    engine: Engine,
    account_id: int | None,
    windows: Iterable[DateRange],
    fetch: Callable[[DateRange], WindowData],
    rules: LoadPolicy,
) -> Iterator[list[DayDifference]]:
    """Window by window, the days that differ.

    Args:
        engine: Of the database.
        account_id: None compares with nothing stored.
        windows: What to compare, in ascending order.
        fetch: The source to compare with.
        rules: With `thorough`: the digests alone would not show what was changed behind the program's back.

    Raises:
        SourceUnavailable: At the end, where the source did not show some day whole.
    """
    unverified: dict[date, str] = {}
    for window in windows:
        batch = fetch(window)
        snapshots = snapshot_days(batch.days)
        with read_connection(engine) as connection, connection.begin():
            days = compare_window(connection, account_id, batch, snapshots, rules, snapshot_day)
            outcomes = [day.outcome() for day in days]
        source = "".join(batch.sources)
        unverified |= batch.unconfirmed_days
        del batch, snapshots, days  # what was compared does not wait in memory for the next window
        yield [
            DayDifference(
                outcome.day,
                source,
                missing=outcome.rows.new,
                different=outcome.rows.changed,
                extra=outcome.rows.withdrawn,
                vendor_records=outcome.records,
            )
            for outcome in outcomes
            if outcome.rows
        ]
    if unverified:
        day, reason = min(unverified.items())
        raise SourceUnavailable(f"{len(unverified)} days cannot be verified, beginning with {day} ({reason})")
