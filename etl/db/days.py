"""Reads and writes synced_days, the ledger of stored days."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from etl.amounts import exact_sum
from etl.date_ranges import DateRange
from etl.day_totals import DayChange, DayTotals, LedgerTotals
from etl.db.day_conditions import IS_COMPLETE, IS_PURGED, IS_SUSPECT
from etl.db.run_store import RunHandle
from etl.db.tables import sync_state, synced_days
from etl.model import DaySnapshot

BATCH_SIZE: Final = 1_000
"""Days updated in one statement."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The stored state of one day.

    Attributes:
        digest: Digest of the day's records in canonical form.
        complete: The day was stored completely at least once.
        suspect: The vendor's latest answer was implausible and not stored.
        purged: The day's records were purged; only the ledger entry is left.
    """

    digest: str
    totals: DayTotals
    complete: bool
    suspect: bool
    purged: bool = False

    def matches(self, snapshot: DaySnapshot) -> bool:
        """Whether the stored state equals the snapshot."""
        return (self.digest, self.totals) == (snapshot.digest, snapshot.totals)


def purged_days(connection: Connection, account_id: int | None, window: DateRange) -> frozenset[date]:
    """Days of a window whose records were purged."""
    day = synced_days.c
    query = select(day.day).where(day.account_id == account_id, day.day.between(window.first, window.last), IS_PURGED)
    return frozenset(connection.scalars(query))


def read_days(connection: Connection, account_id: int | None, window: DateRange) -> dict[date, LedgerEntry]:
    """Ledger entries of a window, by day."""
    column = synced_days.c
    rows = connection.execute(
        select(
            column.day, column.digest, *(column[name] for name in DayTotals._fields),
            column.first_closed_at, column.suspect_since, column.purged_at,
        ).where(column.account_id == account_id, column.day.between(window.first, window.last))
    )  # fmt: skip
    return {
        day: LedgerEntry(digest, DayTotals(*values[:4]), *(timestamp is not None for timestamp in values[4:]))
        for day, digest, *values in rows
    }


def read_complete(connection: Connection, account_id: int | None) -> dict[date, int]:
    """Record count of each complete day, as the vendor last listed it."""
    column = synced_days.c
    rows = connection.execute(
        select(column.day, column.records).where(column.account_id == account_id, IS_COMPLETE, ~IS_SUSPECT)
    )
    return {row.day: row.records for row in rows}


def stored_counts(connection: Connection, account_id: int | None) -> dict[date, int]:
    """Record count of each stored day that is not purged, as the vendor last listed it."""
    column = synced_days.c
    rows = connection.execute(select(column.day, column.records).where(column.account_id == account_id, ~IS_PURGED))
    return {row.day: row.records for row in rows}


def upsert_day(
    connection: Connection,
    run: RunHandle,
    snapshot: DaySnapshot,
    before: LedgerEntry | None,
    *,
    source: str,
    closes: bool,
    channel_rules: str,
    now: datetime,
) -> None:
    """Insert or update a day's ledger entry from its snapshot.

    A closed day stays closed; a later change of its records sets `restated_at`.

    Args:
        connection: Connection in the transaction that stores the day's records.
        run: The run that fetched the day.
        snapshot: The day as the vendor lists it now.
        before: The current ledger entry; None for a new day.
        source: `json` or `csv`.
        closes: The answer covers the day completely, and the day is over.
        channel_rules: Digest of the rules by which the rows of a new day are classified.
        now: Time of the change.
    """
    values: dict[str, Any] = {"suspect_since": None, "suspect_reason": None}
    if before is None or not before.matches(snapshot):
        values |= {
            "digest": snapshot.digest, **snapshot.totals._asdict(), "source": source, "stored_at": now,
        }  # fmt: skip
        if before is not None and before.complete and before.digest != snapshot.digest:
            values["restated_at"] = now
    if closes and not (before and before.complete):
        values |= {"first_closed_at": now, "first_closed_spend": snapshot.totals.spend}
    key = {"account_id": run.account_id, "day": snapshot.day}
    if before is None:
        connection.execute(insert(synced_days).values(**key, **values, channel_rules=channel_rules))
    else:
        connection.execute(update(synced_days).where(*_is_day(run, snapshot.day)).values(**values))


def mark_suspect(connection: Connection, run: RunHandle, day: date, reason: str, now: datetime) -> None:
    """Mark a stored day as suspect: the vendor's latest answer is implausible, and the stored records stay."""
    connection.execute(
        update(synced_days)
        .where(*_is_day(run, day))
        .values(suspect_since=func.coalesce(synced_days.c.suspect_since, now), suspect_reason=reason)
    )


def raise_revision(connection: Connection, account_id: int, days: Collection[date]) -> None:
    """Assign the account's next revision to days that this transaction changed, or whose records it changed.

    The transaction holds a lock on the account's `sync_state` row, so revisions ascend in commit order: a reader that
    copies all days above the last revision it has seen misses none.
    """
    if not days:
        return
    state, day = sync_state.c, synced_days.c
    connection.execute(update(sync_state).where(state.account_id == account_id).values(revision=state.revision + 1))
    revision = connection.scalars(select(state.revision).where(state.account_id == account_id)).one()
    ordered = sorted(days)
    for start in range(0, len(ordered), BATCH_SIZE):
        batch = ordered[start : start + BATCH_SIZE]
        connection.execute(
            update(synced_days).where(day.account_id == account_id, day.day.in_(batch)).values(revision=revision)
        )


def read_changes(connection: Connection, account_id: int, after: int | None) -> list[DayChange]:
    """Read the days above a revision, ordered by revision and day; with None all days.

    A purged day keeps its ledger entry.
    """
    day = synced_days.c
    query = select(day.day, day.revision, day.records, day.spend, IS_PURGED.label("purged"))
    if after is not None:
        query = query.where(day.revision > after)
    rows = connection.execute(query.where(day.account_id == account_id).order_by(day.revision, day.day))
    return [DayChange(row.day, row.revision, row.records, row.spend, bool(row.purged)) for row in rows]


def sum_days(connection: Connection, account_id: int, ranges: Sequence[DateRange]) -> LedgerTotals:
    """Sum the stored days of some ranges, which are in order; purged days count with what they were."""
    if not ranges:
        return LedgerTotals()
    day = synced_days.c
    span = day.day.between(ranges[0].first, ranges[-1].last)
    rows = connection.execute(select(day.day, day.records, day.spend).where(day.account_id == account_id, span))
    wanted = {one for window in ranges for one in window.days()}
    kept = [row for row in rows if row.day in wanted]
    return LedgerTotals(sum(row.records for row in kept), exact_sum(row.spend for row in kept))


def count_unfinished_days(connection: Connection, account_id: int) -> None:
    """Write the number of open and of suspect days to `sync_state`, after a transaction changed days."""
    day = synced_days.c
    own = select(func.count()).where(day.account_id == account_id)
    connection.execute(
        update(sync_state)
        .where(sync_state.c.account_id == account_id)
        .values(
            open_days=own.where(~IS_COMPLETE).scalar_subquery(),
            suspect_days=own.where(IS_SUSPECT).scalar_subquery(),
        )
    )


def _is_day(run: RunHandle, day: date) -> tuple[Any, ...]:
    return (synced_days.c.account_id == run.account_id, synced_days.c.day == day)
