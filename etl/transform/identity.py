"""The identity of records that carry no id: equal ones are counted, a whole day has a digest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import islice
from operator import eq
from typing import Any

import msgspec

from etl.model import DayRecords, DaySnapshot, Listing, Record, Slice

_encode = msgspec.json.Encoder().encode


def identify_days(days: Mapping[date, DayRecords]) -> Iterable[DaySnapshot]:
    """The snapshots of some days, in their order; one at a time, and anew each time, where the records lie on disk."""
    if any(records.on_disk for records in days.values()):
        return _OneAtATime(days)
    return list(_OneAtATime(days))


class _OneAtATime:
    def __init__(self, days: Mapping[date, DayRecords]) -> None:
        self._days = days

    def __iter__(self) -> Iterator[DaySnapshot]:
        return (identify_day(day, records.slices) for day, records in sorted(self._days.items()))


def identify_day(day: date, slices: tuple[Slice[list[Record]], ...]) -> DaySnapshot:
    """Count equal records and put them in canonical order.

    The same multiset of records gives the same snapshot, whatever order, source and slices it came in.
    """
    counted = tuple(Slice(part.since, part.until, partial(_count, part)) for part in slices)
    if len(slices) == 1:
        counted = (_hold(counted[0]),)
    times: list[bytes] = []
    digest = hashlib.blake2b(b"[[", digest_size=16)
    by_price: Counter[Decimal] = Counter()
    records = distinct = 0
    for part in counted:
        listed = part.read()
        if not listed:
            continue
        digest.update(b"," * bool(distinct) + _encode(tuple(zip(*listed.columns, strict=True)))[1:-1])
        times.append(_encode(listed.repeats)[1:-1])
        distinct += len(listed)
        records += sum(listed.repeats)
        # Few prices are different: they are counted first, and multiplied then.
        prices = listed.columns[-1]
        by_price.update(prices)
        for price, count in zip(prices, listed.repeats, strict=True) if sum(listed.repeats) > len(listed) else ():
            by_price[price] += count - 1
    digest.update(b"],[" + b",".join(times) + b"]]")
    spend = sum((price * count for price, count in by_price.items()), Decimal(0))
    return DaySnapshot(day, counted, digest.hexdigest(), records, distinct, spend)


def _count(part: Slice[list[Record]]) -> Listing:
    ordered = _in_order(part.read())
    if not any(map(eq, ordered, islice(ordered, 1, None))):
        return Listing.of(ordered, [1] * len(ordered))
    counted = Counter(ordered)
    return Listing.of(counted, list(counted.values()))


def _hold(part: Slice[Listing]) -> Slice[Listing]:
    """The same slice, read once."""
    listed = part.read()
    return Slice(part.since, part.until, lambda: listed)


def _in_order(records: list[Record]) -> list[Record]:
    try:
        return sorted(records)
    except TypeError:  # two of them differ in nothing before their status, and one has none
        return sorted(records, key=_with_null_first)


def _with_null_first(record: Record) -> tuple[Any, ...]:
    """Sorts as the tuple itself does, with None before every number."""
    return (*record[:3], record.status is not None, record.status or 0, *record[4:])
