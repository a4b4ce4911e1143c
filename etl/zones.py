"""The vendor's wall clock and UTC: which offset holds when, and which hours a clock repeats. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from etl.model import day_bounds

_STEP: Final = timedelta(minutes=15)
"""Nearly every change of an offset falls on a multiple of it, in wall clock time."""
_SECOND: Final = timedelta(seconds=1)
CACHED_DAYS: Final = 4096
CACHED_HOURS: Final = 4096


class Stretch(NamedTuple):
    """A range of wall clock time in which one offset holds.

    Attributes:
        since: Its first second.
        until: The second after its last.
        offset: Seconds ahead of UTC.
        second_offset: Seconds ahead of UTC when the clock shows these times again; None where it does not.
    """

    since: datetime
    until: datetime
    offset: int
    second_offset: int | None


def stretches(zone: tzinfo, day: date) -> list[Stretch]:
    """A day cut into stretches, nearly always a single one. A time that the clock leaves out has the offset before."""
    begins, ends = day_bounds(day)
    offsets = _offsets(begins, zone)
    if offsets == _offsets(ends - _SECOND, zone):
        return [Stretch(begins, ends, *offsets)]
    pieces = ((since, until, _offsets(since, zone)) for since, until in _pieces(begins, ends, zone))
    found = [[*group] for _, group in groupby(pieces, key=itemgetter(2))]
    return [Stretch(group[0][0], group[-1][1], *group[0][2]) for group in found]


def is_repeated(created_at: str, zone: tzinfo) -> bool:
    """Whether the clock shows a time twice."""
    return any(since <= created_at < until for since, until in _repeated_times(created_at[:10], zone))


@lru_cache(maxsize=CACHED_DAYS)
def _repeated_times(day: str, zone: tzinfo) -> list[tuple[str, str]]:
    """The ranges of a day's times that the clock shows twice, as text like the times themselves."""
    try:
        found = stretches(zone, date.fromisoformat(day))
    except OverflowError:  # the calendar's last day
        return []
    return [(str(one.since), str(one.until)) for one in found if one.second_offset is not None]


def all_to_utc(times: Sequence[str], zone: tzinfo) -> list[str]:
    """`to_utc` of each time, converted once an hour where the hour is a whole hour in UTC too."""
    in_utc: list[str] = []
    for hour, some in groupby(times, itemgetter(slice(13))):
        if other := _whole_hour_to_utc(hour, zone):
            in_utc += "\n".join(some).replace(hour, other).split("\n")
        else:
            in_utc += [to_utc(time, zone) for time in some]
    return in_utc


def to_utc(created_at: str, zone: tzinfo) -> str:
    """A time of the vendor's wall clock in UTC. Of a time that the clock shows twice, the first reading."""
    try:
        moment = datetime.fromisoformat(created_at).replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:  # within hours of the calendar's first or last day
        return created_at
    return moment.replace(tzinfo=None).isoformat(" ", "seconds")


@lru_cache(maxsize=CACHED_HOURS)
def _whole_hour_to_utc(hour: str, zone: tzinfo) -> str | None:
    """The hour that this one is in UTC; None where it is not one whole hour there. Many records share an hour."""
    first, last = (to_utc(f"{hour}:{rest}", zone) for rest in ("00:00", "59:59"))
    return first[:13] if first[:13] == last[:13] and first.endswith(":00:00") else None


def _pieces(begins: datetime, ends: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """Quarters of an hour, and seconds where an offset changes within one."""
    since = begins
    while since < ends:
        until = since + _STEP
        if _offsets(since, zone) == _offsets(until - _SECOND, zone):
            yield since, until
        else:
            yield from ((moment, moment + _SECOND) for moment in (since + n * _SECOND for n in range(_STEP.seconds)))
        since = until


def _offsets(moment: datetime, zone: tzinfo) -> tuple[int, int | None]:
    """The offset at a wall clock time, and the one at its second reading where there is one."""
    first, second = (_offset(moment.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    return first, second if second < first else None


def _offset(moment: datetime) -> int:
    try:
        moment.astimezone(UTC)
    except OverflowError:  # as `to_utc`
        return 0
    offset = moment.utcoffset()
    return round(offset.total_seconds()) if offset else 0
