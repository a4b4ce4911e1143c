"""Conversion between the vendor's wall clock and UTC, repeated hours included. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from etl.model import day_bounds

_STEP: Final = timedelta(minutes=15)
"""Nearly every change of an offset falls on a multiple of this, in wall clock time."""
_SECOND: Final = timedelta(seconds=1)
CACHED_DAYS: Final = 4096
CACHED_HOURS: Final = 4096


class Stretch(NamedTuple):
    """A range of wall clock time with a constant offset.

    Attributes:
        since: The start.
        until: The end, exclusive.
        offset: Seconds ahead of UTC.
        second_offset: Seconds ahead of UTC for fold 1; None if the clock shows these times once.
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
    return any(since <= created_at < until for since, until in _repeated_times(created_at[:10], zone))


@lru_cache(maxsize=CACHED_DAYS)
def _repeated_times(day: str, zone: tzinfo) -> list[tuple[str, str]]:
    """The ranges of a day that the clock shows twice, in the format of created_at, end exclusive."""
    try:
        ranges = stretches(zone, date.fromisoformat(day))
    except OverflowError:  # the calendar's last day
        return []
    return [(str(stretch.since), str(stretch.until)) for stretch in ranges if stretch.second_offset is not None]


def all_to_utc(times: Sequence[str], zone: tzinfo) -> list[str]:
    """Convert times to UTC, once per hour where the hour is a whole hour in UTC too."""
    in_utc: list[str] = []
    for hour, hour_times in groupby(times, itemgetter(slice(13))):
        if utc_hour := _whole_hour_to_utc(hour, zone):
            in_utc += "\n".join(hour_times).replace(hour, utc_hour).split("\n")
        else:
            in_utc += [to_utc(time, zone) for time in hour_times]
    return in_utc


def to_utc(created_at: str, zone: tzinfo) -> str:
    """Convert a time of the vendor's wall clock to UTC, with fold 0 if the clock shows it twice."""
    try:
        timestamp = datetime.fromisoformat(created_at).replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:  # within hours of the calendar's first or last day
        return created_at
    return timestamp.replace(tzinfo=None).isoformat(" ", "seconds")


@lru_cache(maxsize=CACHED_HOURS)
def _whole_hour_to_utc(hour: str, zone: tzinfo) -> str | None:
    """The hour in UTC; None if it is not a whole hour there. Cached, because many records share an hour."""
    first, last = (to_utc(f"{hour}:{minute}", zone) for minute in ("00:00", "59:59"))
    return first[:13] if first[:13] == last[:13] and first.endswith(":00:00") else None


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
    except OverflowError:  # as `to_utc`
        return 0
    offset = time.utcoffset()
    return round(offset.total_seconds()) if offset else 0
