"""Ranges of days, and those that a run fetches. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

ONE_DAY = timedelta(days=1)
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DateRange:
    """A range of days in the vendor's wall clock, both ends included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            msg = f"a date range ends before it starts: {self}"
            raise ValueError(msg)

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def days(self) -> list[date]:
        """The days of the range, in order."""
        return [self.first + timedelta(n) for n in range(len(self))]


ALL_DATES = DateRange(date.min, date.max)


def next_month(day: date) -> date:
    """The first day of the month after that of a day."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


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
    """Return the range that a nightly run fetches: the lookback, then every day up to today.

    Args:
        start: The first day of a first sync.
        watermark: The last contiguous complete day; None before there is one.
        first_synced: The first contiguous complete day: the lookback starts no earlier.
        today: In the vendor's wall clock; no later day is requested.
        lookback: Number of complete days, up to and including the watermark, to fetch again.
        since: Overrides the start.
        until: Overrides the end.

    Returns:
        None if there is nothing to fetch.
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
    """Return the incomplete days between the configured start of the history and the first stored day.

    Args:
        start: The configured start; None if it is not configured.
        first_synced: The first contiguous complete day.
        complete: The complete days, earlier ones included.
    """
    if start is None or first_synced is None or start >= first_synced:
        return []
    return [day for day in DateRange(start, first_synced - ONE_DAY).days() if day not in complete]


def plan_lookback_apart(
    first_synced: date | None, watermark: date | None, lookback: int, complete: Collection[date]
) -> list[date]:
    """Return the complete days of the lookback before the contiguous ones: a gap parts them.

    Args:
        first_synced: The first contiguous complete day.
        watermark: The last contiguous complete day.
        lookback: Number of days up to and including the watermark.
        complete: The complete days, earlier ones included.
    """
    if first_synced is None or watermark is None:
        return []
    days = (watermark - timedelta(days=number) for number in range(lookback))
    return sorted(day for day in days if day < first_synced and day in complete)


def split_into_windows(date_range: DateRange | None, extra: Iterable[date], *, size: int) -> list[DateRange]:
    """Split a range and extra days into windows of at most `size` days, in ascending order."""
    days = set(extra) | set(date_range.days() if date_range else ())
    return [window for contiguous in _contiguous_ranges(sorted(days)) for window in _chunk(contiguous, size)]


def first_outside(first: date, days: Collection[date]) -> date:
    """The first day from `first` on that is none of `days`."""
    while first in days:
        first += ONE_DAY
    return first


def exclude_days(windows: Iterable[DateRange], days: Collection[date]) -> list[DateRange]:
    """Remove days from windows: a window becomes shorter, is split, or disappears."""
    remaining = ([day for day in window.days() if day not in days] for window in windows)
    return [window for remaining_days in remaining for window in _contiguous_ranges(remaining_days)]


def last_contiguous(first: date, complete: Iterable[date]) -> date | None:
    """The last contiguous complete day from `first` on; None if `first` is not complete."""
    complete_days = set(complete)
    day = first
    while day in complete_days:
        day += ONE_DAY
    return day - ONE_DAY if day > first else None


def first_contiguous(last: date, complete: Collection[date]) -> date:
    """The first of the contiguous complete days before `last`; `last` if the day before it is not complete."""
    day = last
    while day - ONE_DAY in complete:
        day -= ONE_DAY
    return day


def find_gaps(complete: Iterable[date], start: date | None = None) -> list[DateRange]:
    """The incomplete days between complete ones, and between `start` and the first complete one."""
    ranges = list(_contiguous_ranges(sorted(complete)))
    if start is not None and ranges and start < ranges[0].first:
        ranges.insert(0, DateRange(start - ONE_DAY, start - ONE_DAY))
    return [DateRange(before.last + ONE_DAY, after.first - ONE_DAY) for before, after in pairwise(ranges)]


def bisect(window: DateRange) -> tuple[DateRange, DateRange]:
    """Split a window of two days or more into halves."""
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
