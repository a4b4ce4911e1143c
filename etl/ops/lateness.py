"""How late records arrive and change, as far as that can be seen.

Which records tell? Not all by their first-seen time: a first sync or a backfill sees old records for the first time,
and they were there long before. Those that tell came into a day that had been stored whole already, or changed in one:
an earlier run had looked at that very day, and they were not there, or not so. Exactly these have a line in the
journal, so that is what is read, and no other record.

Between the two looks nobody knows. Each change is put down to the later one, when it was first seen, and counts where
the looks lie no more than REGULAR apart: else a sweep after a year would make last spring's correction a year late.
Whether the lookback is too short is asked of all of them, and more strictly: a change was missed by it if the day was
so old at the earlier look that the lookback had let go of it, and the change still was to come.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from math import ceil
from typing import Final

from sqlalchemy import Connection, select

from etl.db.tables import restatements, sync_runs
from etl.model import SUCCESSFUL

REPORTED_HISTORY: Final = timedelta(days=366)
MAX_LINES: Final = 10_000
"""Of the journal, those of the newest days: read through its index by day, however long it is in all."""
MAX_RUNS: Final = 2_000
"""Of the history: a run an hour for as long as the looks matter that lie close together."""
REGULAR: Final = timedelta(days=8)
"""A weekly sweep, and a day for one that was late itself."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal: when the record was made, and when the change of its day was seen."""

    run_id: int
    day: date
    seen_at: datetime
    kind: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class FetchRun:
    """A run that fetched all days of a range, and stored what it was told."""

    run_id: int
    at: datetime
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class DelayStats:
    """How long it took, from a record's own time until it was seen, of so many records."""

    records: int
    p50: timedelta
    p99: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class LatenessStats:
    """What the journal shows.

    Attributes:
        arrived: Of records that came after their day was stored whole; None where there are none.
        changed: Of records that were corrected, withdrawn or listed again after that.
        missed: How many changes came when the lookback no longer covered their day.
        lookback: In days, as it is set.
        needed: Days that it would have to be to see all of them; no less than it is.
    """

    arrived: DelayStats | None
    changed: DelayStats | None
    missed: int
    lookback: int
    needed: int


def read_lateness(connection: Connection, account_id: int, now: datetime, zone: tzinfo, lookback: int) -> LatenessStats:
    """What the newest part of the account's journal shows."""
    line = restatements.c
    lines = connection.execute(
        select(line.run_id, line.day, line.restated_at, line.kind, line.created_at)
        .where(line.account_id == account_id, line.day >= (now - REPORTED_HISTORY).date())
        .order_by(line.day.desc(), line.id.desc())
        .limit(MAX_LINES)
    )
    changes = [
        JournalEntry(row.run_id, row.day, row.restated_at, row.kind, row.created_at.replace(tzinfo=zone))
        for row in lines
    ]
    if not changes:
        return compute_lateness((), (), zone, lookback)
    run = sync_runs.c
    runs = connection.execute(
        select(run.id, run.started_at, run.first_day, run.last_day, run.days)
        .where(run.account_id == account_id, run.outcome.in_(SUCCESSFUL), run.first_day.is_not(None))
        .order_by(run.id.desc())
        .limit(MAX_RUNS)
    )
    # One with fewer days than its range has holes, and nobody knows where.
    looks = [
        FetchRun(row.id, row.started_at, row.first_day, row.last_day)
        for row in runs
        if row.days == (row.last_day - row.first_day).days + 1
    ]
    return compute_lateness(changes, looks[::-1], zone, lookback)


def compute_lateness(
    changes: Iterable[JournalEntry], looks: Sequence[FetchRun], zone: tzinfo, lookback: int
) -> LatenessStats:
    """Hold changes against when their days were looked at before.

    Args:
        changes: In any order.
        looks: In ascending order.
        zone: Of the vendor's wall clock: tells how many days old a day was at a look.
        lookback: In days, as it is set.
    """
    arrived: list[timedelta] = []
    changed: list[timedelta] = []
    missed, needed = 0, lookback
    before: dict[tuple[int, date], FetchRun | None] = {}
    for change in changes:
        key = change.run_id, change.day
        if key not in before:
            before[key] = _previous_fetch(looks, *key)
        look = before[key]
        if look is None:
            continue
        if change.seen_at - look.at <= REGULAR:
            (arrived if change.kind == "late" else changed).append(change.seen_at - change.made_at)
        if _age(change.day, look.at, zone) >= lookback:
            missed += 1
            needed = max(needed, _age(change.day, change.seen_at, zone))
    return LatenessStats(_spread(arrived), _spread(changed), missed, lookback, needed)


def _previous_fetch(looks: Sequence[FetchRun], run_id: int, day: date) -> FetchRun | None:
    end = bisect_left(looks, run_id, key=lambda look: look.run_id)
    return next((look for look in reversed(looks[:end]) if look.first <= day <= look.last), None)


def _age(day: date, at: datetime, zone: tzinfo) -> int:
    """How long a lookback must be to cover the day at that moment: 1 for yesterday."""
    return (at.astimezone(zone).date() - day).days


def _spread(delays: list[timedelta]) -> DelayStats | None:
    if not delays:
        return None
    delays.sort()
    p50, p99 = (delays[ceil(len(delays) * percent / 100) - 1] for percent in (50, 99))
    return DelayStats(len(delays), p50, p99, delays[-1])
