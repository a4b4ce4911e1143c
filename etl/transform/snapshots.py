"""Days as snapshots: equal records are counted, and a digest identifies the content of a day."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import islice
from operator import eq
from typing import Any

import msgspec

from etl.amounts import exact_arithmetic, exact_sum
from etl.day_totals import DayTotals, HourTotals
from etl.model import DELIVERED, CountedRecords, DayRecords, DaySnapshot, Record, TimeSlice

_encode = msgspec.json.Encoder().encode


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
    hours: dict[int, DayTotals] = {}
    distinct = 0
    for part in slices:
        records, repeats = _count_repeats(part.read())
        columns = CountedRecords.from_records(records, repeats)
        # A single slice is kept in memory; several are read again when they are needed.
        read = _constant(columns) if len(slices) == 1 else partial(_load_counted, part)
        counted.append(TimeSlice(part.since, part.until, read))
        if not records:
            continue
        digest.update(b"," * bool(distinct) + _encode(records)[1:-1])
        encoded_repeats.append(_encode(repeats)[1:-1])
        distinct += len(records)
        for hour, totals in hour_totals(columns):
            hours[hour] = add_totals((hours.get(hour, DayTotals()), totals))
    digest.update(b"],[" + b",".join(encoded_repeats) + b"]]")
    by_hour = tuple(HourTotals(hour, *totals[:3]) for hour, totals in sorted(hours.items()))
    return DaySnapshot(day, tuple(counted), digest.hexdigest(), distinct, add_totals(hours.values()), by_hour)


def hour_totals(counted: CountedRecords) -> Iterator[tuple[int, DayTotals]]:
    """Yield each hour that has records, with its totals. The records are those of one day, in canonical order."""
    times, _, _, statuses, _, prices = counted.columns
    start = 0
    while start < len(times):
        time = times[start]
        end = bisect_left(times, f"{time[:13]}~", lo=start)  # after every minute of the hour
        part = slice(start, end)
        yield int(time[11:13]), _sum_totals(statuses[part], prices[part], counted.repeats[part])
        start = end


def _sum_totals(statuses: Sequence[int | None], prices: Sequence[Decimal], repeats: Sequence[int]) -> DayTotals:
    # There are few distinct prices: count them first, then multiply.
    once = _multiply(Counter(prices))
    records = sum(repeats)
    if records == len(repeats):
        return DayTotals(records, statuses.count(DELIVERED), once)
    again: Counter[Decimal] = Counter()
    for price, count in zip(prices, repeats, strict=True):
        again[price] += count - 1
    delivered = sum(count for status, count in zip(statuses, repeats, strict=True) if status == DELIVERED)
    return DayTotals(records, delivered, once + _multiply(again), _multiply(again))


def _multiply(by_price: Counter[Decimal]) -> Decimal:
    with exact_arithmetic():
        return exact_sum(price * count for price, count in by_price.items())


def add_totals(totals: Iterable[DayTotals]) -> DayTotals:
    """The sum of totals."""
    records, delivered, spend, repeated_spend = tuple(zip(*totals, strict=True)) or ((),) * 4
    return DayTotals(sum(records), sum(delivered), exact_sum(spend), exact_sum(repeated_spend))


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
