"""Days as the pipeline hands them on, made of records at hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from etl.model import CountedRecord, CountedRecords, DaySnapshot, Record, single_slice_day
from etl.transform.snapshots import snapshot_day

DAY = date(2026, 3, 9)


def day_of(records: Iterable[Record], day: date = DAY) -> DaySnapshot:
    """The snapshot of a day that is a single slice."""
    return snapshot_day(day, single_slice_day(day, list(records)).slices)


def listed_in(snapshot: DaySnapshot) -> list[CountedRecord]:
    """What a day lists, all slices one after another."""
    return [item for part in snapshot.slices for item in part.read()]


def listed(records: Iterable[Record]) -> list[CountedRecord]:
    """What a day of these records lists."""
    return listed_in(day_of(records))


def listing(records: Iterable[Record]) -> CountedRecords:
    """The same in columns."""
    return day_of(records).slices[0].read()
