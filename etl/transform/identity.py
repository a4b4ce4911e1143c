"""The identity of records that carry no id: equal ones are counted, a whole day has a digest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import islice
from operator import attrgetter, eq
from typing import Any

import msgspec

from etl.model import DaySnapshot, Listed, Record

_encode = msgspec.json.Encoder().encode
_price = attrgetter("price")
_listed = partial(tuple.__new__, Listed)
"""Makes a Listed of a pair, at the speed of a tuple: this runs once a record."""


def identify_day(day: date, records: Iterable[Record]) -> DaySnapshot:
    """Count equal records and put them in canonical order.

    The same multiset of records gives the same snapshot, whatever order and source it came in.
    """
    ordered = _in_order(records)
    if not any(map(eq, ordered, islice(ordered, 1, None))):
        return _snapshot(day, ordered, [1] * len(ordered))
    counted = Counter(ordered)
    return _snapshot(day, list(counted), list(counted.values()))


def snapshot(day: date, repeats: Mapping[Record, int]) -> DaySnapshot:
    """The snapshot of a day whose equal records are counted already."""
    ordered = _in_order(repeats)
    return _snapshot(day, ordered, [repeats[record] for record in ordered])


def _snapshot(day: date, ordered: list[Record], times: list[int]) -> DaySnapshot:
    # Few prices are different: they are counted first, and multiplied then.
    by_price = Counter(map(_price, ordered))
    records = sum(times)
    if records > len(ordered):
        for record, count in zip(ordered, times, strict=True):
            by_price[record.price] += count - 1
    return DaySnapshot(
        day=day,
        listed=list(map(_listed, zip(ordered, times, strict=True))),
        digest=hashlib.blake2b(_encode((ordered, times)), digest_size=16).hexdigest(),
        records=records,
        spend=sum((price * count for price, count in by_price.items()), Decimal(0)),
    )


def _in_order(records: Iterable[Record]) -> list[Record]:
    records = list(records)
    try:
        return sorted(records)
    except TypeError:  # two of them differ in nothing before their status, and one has none
        return sorted(records, key=_with_null_first)


def _with_null_first(record: Record) -> tuple[Any, ...]:
    """Sorts as the tuple itself does, with None before every number."""
    return (*record[:3], record.status is not None, record.status or 0, *record[4:])
