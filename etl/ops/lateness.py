"""How late records arrive and change.

Only records that arrived in a day that was already complete, or changed in it, are evidence: an earlier run had fetched
the day, and the records were missing or different. Each of them has an entry in the journal (`restatements`), so only
the journal is read. The first-seen time of other records shows nothing: a first sync or a backfill reads old records.

The exact time of a change is unknown: it lies between two fetches of its day. The delay is measured to the later fetch,
and counts only if the fetches are at most MAX_FETCH_INTERVAL apart: otherwise a full resync after a year would make a
correction appear a year late. For the lookback all changes count: it missed a change if the day was too old for it at
the earlier fetch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from math import ceil
from typing import Final

from sqlalchemy import Connection, exists, select

from etl.db.tables import accounts, restatements, sync_runs
from etl.run_counts import SUCCESSFUL

LATENESS_HISTORY: Final = timedelta(days=366)
"""Age of the oldest day whose journal entries are read."""
MAX_JOURNAL_ENTRIES: Final = 10_000
"""Journal entries to read, those of the newest days: the index by day bounds the cost."""
MAX_RUNS: Final = 2_000
"""Runs to read: one per hour for longer than MAX_FETCH_INTERVAL."""
MAX_FETCH_INTERVAL: Final = timedelta(days=8)
"""A weekly full resync, and one day of tolerance."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry of the journal.

    Attributes:
        run_id: The run that stored the change.
        day: The day of the record.
        seen_at: When the change was stored, aware.
        kind: `restatements.kind`.
        made_at: The record's created_at, aware.
    """

    run_id: int
    day: date
    seen_at: datetime
    kind: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class FetchRun:
    """A successful run that fetched every day of a range."""

    run_id: int
    at: datetime
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class DelayStats:
    """Percentiles of the delay from created_at until the record was stored."""

    records: int
    p50: timedelta
    p99: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class LatenessStats:
    """Lateness of an account's records.

    Attributes:
        arrived: Delays of records that arrived after their day was complete; None if there are none.
        changed: Delays of records that were corrected, withdrawn or restored after that; None if there are none.
        missed: Number of changes of days that the lookback no longer covered.
        lookback: The configured lookback, in days.
        needed: The lookback that would have covered all changes, in days; at least `lookback`.
    """

    arrived: DelayStats | None
    changed: DelayStats | None
    missed: int
    lookback: int
    needed: int


def read_latenesses(
    connection: Connection, options: Mapping[int, tuple[tzinfo, int]], now: datetime
) -> dict[int, LatenessStats]:
    """Compute the lateness of accounts from the newest part of their journals.

    Args:
        connection: Connection for reading.
        options: Zone of the vendor's wall clock and lookback in days, by account id.
        now: The present time, aware.
    """
    line = restatements.c
    journal = exists().where(line.account_id == accounts.c.id, line.day >= (now - LATENESS_HISTORY).date())
    # Most accounts have no journal, which one query finds for all of them.
    with_journal = set(connection.scalars(select(accounts.c.id).where(accounts.c.id.in_(options), journal)))
    return {
        account_id: _read_lateness(connection, account_id, now, zone, lookback)
        if account_id in with_journal
        else compute_lateness((), (), zone, lookback)
        for account_id, (zone, lookback) in options.items()
    }


def _read_lateness(
    connection: Connection, account_id: int, now: datetime, zone: tzinfo, lookback: int
) -> LatenessStats:
    line = restatements.c
    rows = connection.execute(
        select(line.run_id, line.day, line.restated_at, line.kind, line.created_at)
        .where(line.account_id == account_id, line.day >= (now - LATENESS_HISTORY).date())
        .order_by(line.day.desc(), line.id.desc())
        .limit(MAX_JOURNAL_ENTRIES)
    )
    changes = [
        JournalEntry(row.run_id, row.day, row.restated_at, row.kind, row.created_at.replace(tzinfo=zone))
        for row in rows
    ]
    run = sync_runs.c
    runs = connection.execute(
        select(run.id, run.started_at, run.first_day, run.last_day, run.days)
        .where(run.account_id == account_id, run.outcome.in_(SUCCESSFUL), run.first_day.is_not(None))
        .order_by(run.id.desc())
        .limit(MAX_RUNS)
    )
    # A run with fewer days than its range has unknown gaps.
    fetches = [
        FetchRun(row.id, row.started_at, row.first_day, row.last_day)
        for row in runs
        if row.days == (row.last_day - row.first_day).days + 1
    ]
    return compute_lateness(changes, fetches[::-1], zone, lookback)


def compute_lateness(
    changes: Iterable[JournalEntry], fetches: Sequence[FetchRun], zone: tzinfo, lookback: int
) -> LatenessStats:
    """Compare changes with the previous fetch of their days.

    Args:
        changes: In any order.
        fetches: In ascending order.
        zone: The zone of the vendor's wall clock, to compute the age of a day.
        lookback: The configured lookback, in days.
    """
    arrived: list[timedelta] = []
    changed: list[timedelta] = []
    missed, needed = 0, lookback
    previous: dict[tuple[int, date], FetchRun | None] = {}
    for change in changes:
        key = change.run_id, change.day
        if key not in previous:
            previous[key] = _previous_fetch(fetches, *key)
        fetch = previous[key]
        if fetch is None:
            continue
        if change.seen_at - fetch.at <= MAX_FETCH_INTERVAL:
            (arrived if change.kind == "late" else changed).append(change.seen_at - change.made_at)
        if _age(change.day, fetch.at, zone) >= lookback:
            missed += 1
            needed = max(needed, _age(change.day, change.seen_at, zone))
    return LatenessStats(_delay_stats(arrived), _delay_stats(changed), missed, lookback, needed)


def _previous_fetch(fetches: Sequence[FetchRun], run_id: int, day: date) -> FetchRun | None:
    end = bisect_left(fetches, run_id, key=lambda fetch: fetch.run_id)
    return next((fetch for fetch in reversed(fetches[:end]) if fetch.first <= day <= fetch.last), None)


def _age(day: date, at: datetime, zone: tzinfo) -> int:
    """The age of a day in days, at a point in time: 1 for yesterday. A lookback of this length covers the day."""
    return (at.astimezone(zone).date() - day).days


def _delay_stats(delays: list[timedelta]) -> DelayStats | None:
    if not delays:
        return None
    delays.sort()
    p50, p99 = (delays[ceil(len(delays) * percent / 100) - 1] for percent in (50, 99))
    return DelayStats(len(delays), p50, p99, delays[-1])
