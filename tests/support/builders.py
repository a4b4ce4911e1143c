"""Builders of day snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from etl.model import CountedRecord, CountedRecords, DaySnapshot, Record, single_slice_day
from etl.transform.snapshots import snapshot_day

DAY = date(2026, 3, 9)


def day_of(records: Iterable[Record], day: date = DAY) -> DaySnapshot:
    """The snapshot of a day, in one slice."""
    return snapshot_day(day, single_slice_day(day, list(records)).slices)


def counted_records(snapshot: DaySnapshot) -> list[CountedRecord]:
    """The records of a day with their counts, slice after slice."""
    return [item for part in snapshot.slices for item in part.read()]


def listed(records: Iterable[Record]) -> list[CountedRecord]:
    """The records with their counts, as a day of them has them."""
    return counted_records(day_of(records))


def listing(records: Iterable[Record]) -> CountedRecords:
    """The records with their counts, in columns."""
    return day_of(records).slices[0].read()
