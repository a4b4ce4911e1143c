"""The formats of a time that the program reads: ISO 8601, and the Russian order of day, month, year. Pure.

Source: the vendor's reference shows `2021-12-29T14:06:51`. Assumed: a space or a comma and a space in place of the `T`,
fractions of a second, offsets, `2021/12/29`, the compact format `20211229T140651`, and what a Russian spreadsheet makes
of a time, `29.12.2021 9:06:51`. A time without seconds is not read: they are part of a record's key.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

_ISO_DATE: Final = r"(?P<year>\d{4})(?P<sign>[-/])(?P<month>\d\d?)(?P=sign)(?P<day>\d\d?)"
_RUSSIAN_DATE: Final = r"(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d{4})"
_COMPACT_DATE: Final = r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
_BETWEEN: Final = r"(?:[Tt]|,?[ \u00a0\u202f]{1,2})"
_CLOCK: Final = r"(?P<clock>(?:[01]?\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,]\d+)?"
_COMPACT_CLOCK: Final = r"(?P<clock>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d)"
_OFFSET: Final = r" ?(?P<offset>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)"
_TIMES: Final = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"{_ISO_DATE}{_BETWEEN}{_CLOCK}(?:{_OFFSET})?",
        rf"{_RUSSIAN_DATE}{_BETWEEN}{_CLOCK}(?P<offset>)",
        rf"{_COMPACT_DATE}T{_COMPACT_CLOCK}(?:{_OFFSET})?",
    )
)
_DATES: Final = tuple(re.compile(rf"{pattern}(?!\d)", re.ASCII) for pattern in (_ISO_DATE, _RUSSIAN_DATE))
_TRAILING_OFFSET: Final = re.compile(rf"{_OFFSET}\Z", re.ASCII)


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
    match = next(filter(None, (pattern.fullmatch(text) for pattern in _TIMES)), None)
    if match is None:
        return None
    digits = match["clock"].replace(":", "").zfill(len("HHMMSS"))
    offset = "Z" if match["offset"] in {"z", "UTC", "GMT"} else match["offset"]
    return TimeParts(_iso_date(match), f"{digits[:2]}:{digits[2:4]}:{digits[4:]}", offset or None)


def leading_date(text: str) -> date | None:
    """Return the date at the start of a text whose rest may be no time of day.

    None without a valid date, and with an offset at the end: the date in the vendor's wall clock may be another.
    """
    match = next(filter(None, (pattern.match(text) for pattern in _DATES)), None)
    if match is None or _TRAILING_OFFSET.search(text, match.end()):
        return None
    return _valid_date(_iso_date(match))


def swapped_date(text: str) -> date | None:
    """Return the date of a time in the Russian order if its first number were the month; None in another order."""
    match = _DATES[1].match(text)
    return _valid_date(f"{match['year']}-{match['day']:0>2}-{match['month']:0>2}") if match else None


def is_valid_date(text: str) -> bool:
    """Whether `YYYY-MM-DD` is a valid date."""
    return _valid_date(text) is not None


@lru_cache(maxsize=4096)
def _valid_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _iso_date(match: re.Match[str]) -> str:
    return f"{match['year']}-{match['month']:0>2}-{match['day']:0>2}"
