"""Which days a run fetches: pure date arithmetic."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date, timedelta
from itertools import pairwise

from etl.model import DateRange

ONE_DAY = timedelta(days=1)


def sync_range(
    *,
    start: date,
    watermark: date | None,
    first_synced: date | None,
    today: date,
    lookback: int,
    since: date | None = None,
    until: date | None = None,
) -> DateRange | None:
    """The range a nightly run fetches: the lookback, then every day up to today.

    Args:
        start: Where a first sync begins.
        watermark: The last day of the unbroken run of complete days, or None before there is one.
        first_synced: The day that run began with: the lookback does not reach behind it.
        today: In the vendor's wall clock; no later day is asked for.
        lookback: How many complete days, up to and including the watermark, are fetched again.
        since: Overrides where the range begins.
        until: Overrides where it ends.

    Returns:
        None when there is nothing to fetch.
    """
    if since is not None:
        first = since
    elif watermark is not None:
        lookback_start = watermark - timedelta(days=lookback) + ONE_DAY
        first = max(lookback_start, first_synced) if first_synced else lookback_start
    else:
        first = first_synced or start
    last = min(until or today, today)
    return DateRange(first, last) if first <= last else None


def plan_history(start: date | None, first_synced: date | None, complete: Collection[date]) -> list[date]:
    """The days before what is stored that a sync has yet to fetch.

    Args:
        start: Where the account's history is to begin; None where nobody said.
        first_synced: The first day of the unbroken run of complete days.
        complete: The complete days, of which some may lie before that run.
    """
    if start is None or first_synced is None or start >= first_synced:
        return []
    return [day for day in DateRange(start, first_synced - ONE_DAY).days() if day not in complete]


def split_into_windows(wanted: DateRange | None, extra: Iterable[date], *, size: int) -> list[DateRange]:
    """Cut the wanted days, and single days outside of them, into windows of at most `size` days, in order."""
    days = set(extra) | set(wanted.days() if wanted else ())
    return [window for run in _contiguous_ranges(sorted(days)) for window in _chunk(run, size)]


def first_outside(first: date, days: Collection[date]) -> date:
    """The first day from `first` on that is none of `days`."""
    while first in days:
        first += ONE_DAY
    return first


def exclude_days(windows: Iterable[DateRange], days: Collection[date]) -> list[DateRange]:
    """The windows without some days: shorter, in pieces, or gone."""
    kept = ([day for day in window.days() if day not in days] for window in windows)
    return [run for each in kept for run in _contiguous_ranges(each)]


def last_contiguous(first: date, complete: Iterable[date]) -> date | None:
    """The last day of the unbroken run of complete days that begins at `first`; None where `first` is not complete."""
    known = set(complete)
    day = first
    while day in known:
        day += ONE_DAY
    return day - ONE_DAY if day > first else None


def first_contiguous(last: date, complete: Collection[date]) -> date:
    """The first day of the unbroken run of complete days that ends with the day before `last`; else `last`."""
    day = last
    while day - ONE_DAY in complete:
        day -= ONE_DAY
    return day


def find_gaps(complete: Iterable[date], start: date | None = None) -> list[DateRange]:
    """The incomplete days that lie between complete ones, and from `start` on before the first of them."""
    runs = list(_contiguous_ranges(sorted(complete)))
    if start is not None and runs and start < runs[0].first:
        runs.insert(0, DateRange(start - ONE_DAY, start - ONE_DAY))
    return [DateRange(before.last + ONE_DAY, after.first - ONE_DAY) for before, after in pairwise(runs)]


def bisect(window: DateRange) -> tuple[DateRange, DateRange]:
    """Two windows that make up one of two days or more."""
    middle = window.first + timedelta(days=len(window) // 2)
    return DateRange(window.first, middle - ONE_DAY), DateRange(middle, window.last)


def _contiguous_ranges(days: list[date]) -> Iterator[DateRange]:
    if not days:
        return
    first = previous = days[0]
    for day in days[1:]:
        if day != previous + ONE_DAY:
            yield DateRange(first, previous)
            first = day
        previous = day
    yield DateRange(first, previous)


def _chunk(window: DateRange, size: int) -> Iterator[DateRange]:
    first = window.first
    while first <= window.last:
        last = min(first + timedelta(days=size - 1), window.last)
        yield DateRange(first, last)
        first = last + ONE_DAY
