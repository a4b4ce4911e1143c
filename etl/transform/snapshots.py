"""The identity of records that carry no id: equal ones are counted, a whole day has a digest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import islice
from operator import attrgetter, eq
from typing import Any

import msgspec

from etl.model import CountedRecords, DayRecords, DaySnapshot, Record, TimeSlice

_encode = msgspec.json.Encoder().encode
_price = attrgetter("price")


def snapshot_days(days: Mapping[date, DayRecords]) -> Iterable[DaySnapshot]:
    """The snapshots of some days, in their order; one at a time, and anew each time, where the records lie on disk."""
    if any(records.on_disk for records in days.values()):
        return _LazySnapshots(days)
    return list(_LazySnapshots(days))


class _LazySnapshots:
    def __init__(self, days: Mapping[date, DayRecords]) -> None:
        self._days = days

    def __iter__(self) -> Iterator[DaySnapshot]:
        return (snapshot_day(day, records.slices) for day, records in sorted(self._days.items()))


def snapshot_day(day: date, slices: tuple[TimeSlice[list[Record]], ...]) -> DaySnapshot:
    """Count equal records and put them in canonical order.

    The same multiset of records gives the same snapshot, whatever order, source and slices it came in.
    """
    counted: list[TimeSlice[CountedRecords]] = []
    times: list[bytes] = []
    digest = hashlib.blake2b(b"[[", digest_size=16)
    by_price: Counter[Decimal] = Counter()
    listed = distinct = 0
    for part in slices:
        records, repeats = _count_repeats(part.read())
        # A day of a single slice is held, of one that is cut each slice is read again.
        read = _held(CountedRecords.of(records, repeats)) if len(slices) == 1 else partial(_counted_records, part)
        counted.append(TimeSlice(part.since, part.until, read))
        if not records:
            continue
        digest.update(b"," * bool(distinct) + _encode(records)[1:-1])
        times.append(_encode(repeats)[1:-1])
        distinct += len(records)
        listed += sum(repeats)
        # Few prices are different: they are counted first, and multiplied then.
        by_price.update(map(_price, records))
        for record, count in zip(records, repeats, strict=True) if sum(repeats) > len(records) else ():
            by_price[record.price] += count - 1
    digest.update(b"],[" + b",".join(times) + b"]]")
    spend = sum((price * count for price, count in by_price.items()), Decimal(0))
    return DaySnapshot(day, tuple(counted), digest.hexdigest(), listed, distinct, spend)


def _count_repeats(records: list[Record]) -> tuple[list[Record], list[int]]:
    """Different records in canonical order, and how often each is there."""
    ordered = sort_records(records)
    if not any(map(eq, ordered, islice(ordered, 1, None))):
        return ordered, [1] * len(ordered)
    counted = Counter(ordered)
    return list(counted), list(counted.values())


def _counted_records(part: TimeSlice[list[Record]]) -> CountedRecords:
    return CountedRecords.of(*_count_repeats(part.read()))


def _held(listing: CountedRecords) -> Callable[[], CountedRecords]:
    return lambda: listing


def sort_records(records: list[Record]) -> list[Record]:
    """Put records in canonical order."""
    try:
        return sorted(records)
    except TypeError:  # two of them differ in nothing before their status, and one has none
        return sorted(records, key=_none_first)


def _none_first(record: Record) -> tuple[Any, ...]:
    """Sorts as the tuple itself does, with None before every number."""
    return (*record[:3], record.status is not None, record.status or 0, *record[4:])
