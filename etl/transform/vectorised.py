"""Normalise a slice of records a column at a time: what holds for a whole column is asked once.

The rules are those of `fields`, applied once to each different value; times, phones and codes, most of which are
different, are looked at together. Which record is bad a column does not tell: then the slice is read row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import tzinfo
from decimal import Decimal
from operator import itemgetter
from typing import Final, TypeVar

from etl.model import MISSING, Raw, RawRecord, Record, new_record
from etl.transform.fields import (
    CODE_DIGITS,
    PHONE_DIGITS,
    is_date,
    normalise_code,
    normalise_info,
    normalise_phone,
    normalise_price,
    normalise_status,
    normalise_time,
)

T = TypeVar("T")
Kinds = frozenset[type]

_day_of = itemgetter(slice(10))
_TIMES = re.compile(r"(?:\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\n)*", re.ASCII)

# For each field the types among whose equal values its rule makes no difference: True is 1, and no price.
_TEXTS: Final[Kinds] = frozenset({str, type(None), type(MISSING)})
_STATES: Final[Kinds] = _TEXTS | {int, bool}
_PRICES: Final[Kinds] = _TEXTS | {int, Decimal}


def normalise_times(column: list[Raw], zone: tzinfo) -> list[str]:
    """What `normalise_time` makes of each.

    Raises:
        FieldError: There is one of which it makes nothing.
    """
    text = "\n".join([*column, ""]) if {str}.issuperset(map(type, column)) else ""
    if len(text) == 20 * len(column) and _TIMES.fullmatch(text):
        times = text.replace("T", " ").split("\n")
        times.pop()
        if all(map(is_date, set(map(_day_of, times)))):
            return times
    return [normalise_time(raw, zone) for raw in column]


def normalise_records(rows: Sequence[RawRecord], times: Sequence[str]) -> list[Record]:
    """What `normalise` makes of each.

    Args:
        rows: As the source spelled them.
        times: Their `created_at`, normalised.

    Raises:
        FieldError: There is one of which it makes nothing.
        TypeError: A field of one is a list or an object.
    """
    columns = zip(
        times,
        _phones([row.phone for row in rows]),
        _codes([row.code_auth for row in rows]),
        _each_value_once(normalise_status, [row.status for row in rows], _STATES),
        _each_value_once(normalise_info, [row.status_info for row in rows], _TEXTS),
        _each_value_once(normalise_price, [row.price for row in rows], _PRICES),
        strict=True,
    )
    return list(map(new_record, columns))


def _phones(column: list[Raw]) -> list[str]:
    if _are_digits(column, PHONE_DIGITS) and {"7", "8"}.issuperset(map(itemgetter(0), column)):
        return ["+7" + phone[1:] for phone in column]
    return list(map(normalise_phone, column))


def _codes(column: list[Raw]) -> list[str]:
    return column if _are_digits(column, CODE_DIGITS) else list(map(normalise_code, column))


def _are_digits(column: list[Raw], length: int) -> bool:
    """Whether each is a text of so many ASCII digits."""
    if not {str}.issuperset(map(type, column)) or set(map(len, column)) != {length}:
        return False
    text = "".join(column)
    return text.isascii() and text.isdecimal()


def _each_value_once(rule: Callable[[Raw], T], column: list[Raw], kinds: Kinds) -> list[T]:
    if not kinds.issuperset(map(type, column)):
        return list(map(rule, column))
    table = {raw: rule(raw) for raw in set(column)}
    return list(map(table.__getitem__, column))
