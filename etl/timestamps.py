"""The formats of a time that the program reads: ISO 8601, and the Russian order of day, month, year. Pure.

Source: the vendor's reference shows `2021-12-29T14:06:51`. Assumed: the space, fractions of a second, offsets, and what
a Russian spreadsheet makes of a time, `29.12.2021 9:06:51`. A time without seconds is not read: they are part of a
record's key.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

_CLOCK: Final = r"((?:[01]?\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,]\d+)?"
_ISO_TIME: Final = re.compile(rf"(\d{{4}}-\d\d-\d\d)[T ]{_CLOCK}[ ]?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII)
_RUSSIAN_TIME: Final = re.compile(rf"(\d\d?)\.(\d\d?)\.(\d{{4}})[T ]{_CLOCK}", re.ASCII)
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(?!\d)", re.ASCII)
_RUSSIAN_DATE: Final = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4})(?!\d)", re.ASCII)
_OFFSET: Final = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)\Z", re.ASCII)


class TimeParts(NamedTuple):
    """The parts of a time.

    Attributes:
        day: `YYYY-MM-DD`; it may be no valid date.
        clock: `HH:MM:SS`, without fractions.
        offset: `Z` or an offset from UTC such as `+03:00`; None without one.
    """

    day: str
    clock: str
    offset: str | None


def split_time(text: str) -> TimeParts | None:
    """Split a time, trimmed, into its parts; None if it has another format."""
    if match := _ISO_TIME.fullmatch(text):
        day, clock, offset = match.groups()
    elif match := _RUSSIAN_TIME.fullmatch(text):
        day, clock, offset = _iso_date(*match.group(3, 2, 1)), match[4], None
    else:
        return None
    return TimeParts(day, clock.zfill(len("HH:MM:SS")), offset)


def leading_date(text: str) -> str | None:
    """Return the date, `YYYY-MM-DD`, at the start of a text whose rest may be no time of day.

    None without a valid date, and with an offset at the end: the date in the vendor's wall clock may be another.
    """
    if match := _ISO_DATE.match(text):
        day = match[0]
    elif match := _RUSSIAN_DATE.match(text):
        day = _iso_date(*match.group(3, 2, 1))
    else:
        return None
    return day if is_valid_date(day) and not _OFFSET.search(text, match.end()) else None


@lru_cache(maxsize=4096)
def is_valid_date(text: str) -> bool:
    """Whether `YYYY-MM-DD` is a valid date."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _iso_date(year: str, month: str, day: str) -> str:
    return f"{year}-{month:0>2}-{day:0>2}"
