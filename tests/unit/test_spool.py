"""Records by day are the same in memory and on disk."""

from __future__ import annotations

import errno
import gc
import tempfile
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.date_ranges import DateRange
from etl.errors import DiskFullError
from etl.extract.spool import RecordSpool
from etl.model import Record, day_bounds

calm = settings(deadline=None, max_examples=50)
EIGHTH, NINTH, TENTH = (date(2026, 3, day) for day in (8, 9, 10))
WINDOW = DateRange(EIGHTH, TENTH)
MIDNIGHT = day_bounds(EIGHTH)[0]

RECORDS = st.builds(
    Record,
    st.integers(-2 * 3600, 74 * 3600).map(lambda second: (MIDNIGHT + timedelta(seconds=second)).isoformat(" ")),
    st.sampled_from(["", "+79243555100"]),
    st.sampled_from(["", "0371"]),
    st.sampled_from([None, -(2**63), 0, 1, 2**63 - 1]),
    st.sampled_from(["", "ok", "\U0001f4de \n \x00\ufffd"]),
    st.sampled_from([Decimal("0.000000"), Decimal("-999999999999.999999"), Decimal("0.200000")]),
)


def record(time: str) -> Record:
    return Record(time, "+79243555100", "0371", 1, "ok", Decimal("0.200000"))


def filled(*portions: list[Record], **options: object) -> RecordSpool:
    """A spool that writes after a few records to disk, and makes slices of two."""
    spool = RecordSpool(max_in_memory=3, max_slice=2, **options)
    for some in portions:
        spool.add(some)
    return spool


@calm
@given(st.lists(st.lists(RECORDS, max_size=8), max_size=5))
def test_each_day_has_its_records_in_gapless_slices_on_disk_and_in_memory(portions):
    everything = [one for some in portions for one in some]
    days = filled(*portions).days(WINDOW)
    assert list(days) == WINDOW.days()
    for day, records in days.items():
        assert records.on_disk == (len(everything) > 3 and max(map(len, _sums(portions))) > 3)
        times = [moment for part in records.slices for moment in (part.since, part.until)]
        assert (times[0], times[-1]) == day_bounds(day)
        assert times[1:-1:2] == times[2::2]
        assert times == sorted(times)
        read = [part.read() for part in records.slices]
        for part, found in zip(records.slices, read, strict=True):
            assert all(part.since <= datetime.fromisoformat(record.created_at) < part.until for record in found)
        of_day = [record for record in everything if record.created_at.startswith(day.isoformat())]
        assert Counter(record for found in read for record in found) == Counter(of_day)
        assert len(records) == len(of_day)


def _sums(portions):
    """The number of records in memory after each portion, if none were written to disk."""
    return [[one for some in portions[: number + 1] for one in some] for number in range(len(portions))] or [[]]


def test_a_large_day_is_cut_at_multiples_of_ten_minutes():
    times = ("00:01:00", "09:59:59", "10:00:00", "10:09:59", "10:10:00", "23:59:59")
    (day,) = filled([record(f"2026-03-09 {time}") for time in times]).days(DateRange(NINTH, NINTH)).values()
    assert [part.since.time().isoformat() for part in day.slices] == ["00:00:00", "10:00:00", "10:10:00"]
    assert [[one.created_at[11:] for one in part.read()] for part in day.slices] == [
        ["00:01:00", "09:59:59"], ["10:00:00", "10:09:59"], ["10:10:00", "23:59:59"],
    ]  # fmt: skip


def test_records_of_the_same_ten_minutes_are_always_in_one_slice():
    some = [record(f"2026-03-09 10:00:0{n}") for n in range(4)]
    (day,) = filled(some, some, some[:1]).days(DateRange(NINTH, NINTH)).values()
    assert len(day.slices) == 1
    assert Counter(day.slices[0].read()) == Counter([*some, *some, some[0]])


def test_a_day_on_disk_can_be_read_more_than_once():
    (day,) = filled([record("2026-03-09 10:00:00")] * 4).days(DateRange(NINTH, NINTH)).values()
    assert day.slices[0].read() == day.slices[0].read() == [record("2026-03-09 10:00:00")] * 4


def test_a_day_without_records_is_returned_empty():
    days = filled([record("2026-03-08 10:00:00")] * 4).days(WINDOW)
    assert [len(records) for records in days.values()] == [4, 0, 0]
    assert [part.read() for part in days[NINTH].slices] == [[]]


def test_the_file_is_deleted_with_the_last_day_that_needs_it():
    opened = []

    def open_file():
        opened.append(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the last reference
        return opened[-1]

    days = filled([record("2026-03-09 10:00:00")] * 4, open_file=open_file).days(WINDOW)
    gc.collect()
    assert not opened[0].closed
    del days
    gc.collect()
    assert opened[0].closed
    assert len(opened) == 1


def test_a_full_disk_is_reported_with_the_remedy():
    def open_file():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match=r"No space left on device.*TMPDIR"):
        filled([record("2026-03-09 10:00:00")] * 4, open_file=open_file)
