"""Offsets of the vendor's wall clock from UTC, repeated hours included. Pure.

An offset is a whole number of minutes. Zones had other offsets before 1972; those are rounded to the minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import groupby, repeat
from operator import itemgetter
from typing import Final, NamedTuple

from etl.model import Record, day_bounds

_STEP: Final = timedelta(minutes=15)
"""Nearly every change of an offset falls on a multiple of this, in wall clock time."""
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
CACHED_DAYS: Final = 4096


class Stretch(NamedTuple):
    """A range of wall clock time with a constant offset.

    Attributes:
        since: The start.
        until: The end, exclusive.
        offset: Minutes ahead of UTC.
        second_offset: Minutes ahead of UTC for fold 1; None if the clock shows these times once.
    """

    since: datetime
    until: datetime
    offset: int
    second_offset: int | None


def stretches(zone: tzinfo, day: date) -> list[Stretch]:
    """Split a day into ranges of a constant offset, nearly always one. Skipped times have the previous offset."""
    start, end = day_bounds(day)
    offsets = _offsets(start, zone)
    if offsets == _offsets(end - _SECOND, zone):
        return [Stretch(start, end, *offsets)]
    steps = ((since, until, _offsets(since, zone)) for since, until in _steps(start, end, zone))
    groups = [[*group] for _, group in groupby(steps, key=itemgetter(2))]
    return [Stretch(group[0][0], group[-1][1], *group[0][2]) for group in groups]


def is_repeated(created_at: str, zone: tzinfo) -> bool:
    """Whether the clock shows a time twice."""
    return _stretch_of(created_at, zone).second_offset is not None


def utc_offset(created_at: str, zone: tzinfo) -> int:
    """Minutes that a time of the wall clock is ahead of UTC, with fold 0 if the clock shows it twice."""
    return _stretch_of(created_at, zone).offset


def utc_offsets(times: Sequence[str], zone: tzinfo) -> list[int]:
    """`utc_offset` of each time, faster."""
    offsets: list[int] = []
    for day, day_times in groupby(times, itemgetter(slice(10))):
        parts = _stretches_of_day(day, zone)
        if len(parts) == 1:
            offsets += repeat(parts[0].offset, sum(1 for _ in day_times))
        else:
            offsets += [utc_offset(time, zone) for time in day_times]
    return offsets


def _stretch_of(created_at: str, zone: tzinfo) -> Stretch:
    moment = datetime.fromisoformat(created_at)
    parts = _stretches_of_day(created_at[:10], zone)
    return next(part for part in parts if moment < part.until or part is parts[-1])


@lru_cache(maxsize=CACHED_DAYS)
def _stretches_of_day(day: str, zone: tzinfo) -> list[Stretch]:
    start = datetime.fromisoformat(day)
    try:
        return stretches(zone, start.date())
    except OverflowError:  # the calendar's last day
        end = start + (timedelta(days=1) - _SECOND)
        return [Stretch(start, end, _offset(start.replace(tzinfo=zone)), None)]


def _steps(start: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """Split a range into quarters of an hour, and into seconds where an offset changes within a quarter."""
    since = start
    while since < end:
        until = since + _STEP
        if _offsets(since, zone) == _offsets(until - _SECOND, zone):
            yield since, until
        else:
            yield from ((second, second + _SECOND) for second in (since + n * _SECOND for n in range(_STEP.seconds)))
        since = until


def _offsets(time: datetime, zone: tzinfo) -> tuple[int, int | None]:
    """The offset of a wall clock time for fold 0, and for fold 1 if the clock shows it twice."""
    first, second = (_offset(time.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    return first, second if second < first else None


def _offset(time: datetime) -> int:
    try:
        time.astimezone(UTC)
    except OverflowError:  # within hours of the calendar's first or last day
        return 0
    offset = time.utcoffset()
    return round(offset / _MINUTE) if offset else 0


def merge_folds(folds: Iterable[tuple[Record, int]]) -> dict[Record, int]:
    """Merge folds by record; equal records share a row, which gets the smaller fold."""
    merged: dict[Record, int] = {}
    for record, fold in folds:
        merged[record] = min(fold, merged.get(record, fold))
    return merged
