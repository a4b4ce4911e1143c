"""Days as snapshots: equal records are counted, and a digest identifies the content of a day."""

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
    """Return the snapshots of days in ascending order.

    If records are on disk, the snapshots are created one at a time, again on every iteration.
    """
    if any(records.on_disk for records in days.values()):
        return _LazySnapshots(days)
    return list(_LazySnapshots(days))


class _LazySnapshots:
    def __init__(self, days: Mapping[date, DayRecords]) -> None:
        self._days = days

    def __iter__(self) -> Iterator[DaySnapshot]:
        return (snapshot_day(day, records.slices) for day, records in sorted(self._days.items()))


def snapshot_day(day: date, slices: tuple[TimeSlice[list[Record]], ...]) -> DaySnapshot:
    """Create the snapshot of a day: count equal records and sort them in canonical order.

    Equal multisets of records give equal snapshots, whatever their order, source and slices.
    """
    counted: list[TimeSlice[CountedRecords]] = []
    encoded_repeats: list[bytes] = []
    digest = hashlib.blake2b(b"[[", digest_size=16)
    by_price: Counter[Decimal] = Counter()
    listed = distinct = 0
    for part in slices:
        records, repeats = _count_repeats(part.read())
        # A single slice is kept in memory; several are read again when they are needed.
        is_single = len(slices) == 1
        read = _constant(CountedRecords.from_records(records, repeats)) if is_single else partial(_load_counted, part)
        counted.append(TimeSlice(part.since, part.until, read))
        if not records:
            continue
        digest.update(b"," * bool(distinct) + _encode(records)[1:-1])
        encoded_repeats.append(_encode(repeats)[1:-1])
        distinct += len(records)
        listed += sum(repeats)
        # There are few distinct prices: count them first, then multiply.
        by_price.update(map(_price, records))
        for record, count in zip(records, repeats, strict=True) if sum(repeats) > len(records) else ():
            by_price[record.price] += count - 1
    digest.update(b"],[" + b",".join(encoded_repeats) + b"]]")
    spend = sum((price * count for price, count in by_price.items()), Decimal(0))
    return DaySnapshot(day, tuple(counted), digest.hexdigest(), listed, distinct, spend)


def _count_repeats(records: list[Record]) -> tuple[list[Record], list[int]]:
    """Distinct records in canonical order, and the repeats of each."""
    ordered = sort_records(records)
    if not any(map(eq, ordered, islice(ordered, 1, None))):
        return ordered, [1] * len(ordered)
    counted = Counter(ordered)
    return list(counted), list(counted.values())


def _load_counted(part: TimeSlice[list[Record]]) -> CountedRecords:
    return CountedRecords.from_records(*_count_repeats(part.read()))


def _constant(records: CountedRecords) -> Callable[[], CountedRecords]:
    return lambda: records


def sort_records(records: list[Record]) -> list[Record]:
    """Sort records in canonical order."""
    try:
        return sorted(records)
    except TypeError:  # two records are equal up to their status, and one status is None
        return sorted(records, key=_none_first)


def _none_first(record: Record) -> tuple[Any, ...]:
    """Sort key: the record itself, with None before every status."""
    return (*record[:3], record.status is not None, record.status or 0, *record[4:])
