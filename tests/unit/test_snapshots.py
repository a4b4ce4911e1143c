"""The identity of records without an id: equal multisets are equal days, in any order and from any source."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders import DAY, counted_records, day_of

from etl.date_ranges import DateRange
from etl.day_totals import DayTotals, HourTotals
from etl.model import CountedRecord, DayRecords, Feed, RawRecord, Record, TimeSlice, day_bounds
from etl.transform.reader import read_feed
from etl.transform.snapshots import snapshot_day, snapshot_days

calm = settings(deadline=None)

RECORDS = st.builds(
    Record,
    st.sampled_from(["2026-03-09 10:00:00", "2026-03-09 10:00:01"]),
    st.sampled_from(["", "+79243555100"]),
    st.sampled_from(["", "0371"]),
    st.sampled_from([None, -1, 0, 1]),
    st.sampled_from(["", "ok"]),
    st.sampled_from([Decimal("0.000000"), Decimal("0.200000"), Decimal("-3.250000")]),
)
MANY = st.lists(RECORDS, max_size=12)


def record(status: int | None = 1, price: str = "0.200000", code: str = "2371") -> Record:
    return Record("2026-03-09 10:00:00", "+79243555100", code, status, "ok", Decimal(price))


def test_a_day_lists_distinct_records_in_canonical_order_and_counts_all():
    call, message = record(), record(price="3.250000")
    day = day_of([message, call, message])
    assert counted_records(day) == [CountedRecord(call, 1), CountedRecord(message, 2)]
    assert (day.day, day.totals.records, day.distinct, day.totals.spend) == (DAY, 3, 2, Decimal("6.700000"))


def test_a_digest_is_the_same_in_every_version():
    # Existing ledgers contain it; with another digest every stored day would look changed.
    day = day_of([record(code="0371")] * 2 + [record(None, "-3.000000", "")])
    assert day.digest == "d0f24e8b6c1983f3dfa4776bf72faff2"


def test_a_day_without_records_has_a_digest():
    empty = day_of([])
    assert (counted_records(empty), empty.distinct, empty.totals, empty.hours) == ([], 0, DayTotals(), ())
    assert empty.digest != day_of([record()]).digest


@calm
@given(MANY, st.randoms(use_true_random=False))
def test_the_same_records_in_any_order_are_the_same_snapshot(records, random):
    shuffled = records.copy()
    random.shuffle(shuffled)
    one, other = day_of(shuffled), day_of(records)
    assert counted_records(one) == counted_records(other)
    assert replace(one, slices=()) == replace(other, slices=())


@calm
@given(MANY, MANY)
def test_digests_are_equal_only_for_equal_multisets(one, other):
    same = Counter(one) == Counter(other)
    assert (day_of(one).digest == day_of(other).digest) is same


@calm
@given(MANY)
def test_a_snapshot_has_the_multiset_its_count_and_its_spend(records):
    day = day_of(records)
    assert Counter(dict(counted_records(day))) == Counter(records)
    assert len(dict(counted_records(day))) == len(counted_records(day))
    once = Counter(set(records))
    assert day.totals == DayTotals(
        records=len(records),
        delivered=sum(record.status == 1 for record in records),
        spend=sum((record.price for record in records), Decimal(0)),
        repeated_spend=sum((one.price for one in (Counter(records) - once).elements()), Decimal(0)),
    )
    for hour in range(24):
        listed = [record for record in records if int(record.created_at[11:13]) == hour]
        delivered = sum(record.status == 1 for record in listed)
        expected = [HourTotals(hour, len(listed), delivered, sum((record.price for record in listed), Decimal(0)))]
        assert [totals for totals in day.hours if totals.hour == hour] == (expected if listed else [])


@calm
@given(MANY)
def test_records_of_one_key_are_adjacent_and_ordered(records):
    keys = [item.record[:3] for item in counted_records(day_of(records))]
    assert keys == sorted(keys)


def test_a_null_status_sorts_before_every_number():
    statuses = [None, -(2**63), -1, 0, 1, 2**63 - 1]
    day = day_of([record(status) for status in reversed(statuses)])
    assert [item.record.status for item in counted_records(day)] == statuses


def test_a_null_status_differs_from_zero():
    assert day_of([record(None)]).digest != day_of([record(0)]).digest


def test_moving_a_character_from_one_field_to_the_next_changes_the_digest():
    one = Record("2026-03-09 10:00:00", "12", "3", None, '","', Decimal("0.000000"))
    other = Record("2026-03-09 10:00:00", "1", "23", None, '","', Decimal("0.000000"))
    assert day_of([one]).digest != day_of([other]).digest


def test_the_digest_depends_on_repeats():
    assert day_of([record()] * 3).digest != day_of([record()] * 2).digest


@pytest.mark.fault(42)
def test_the_digest_is_independent_of_the_format_of_the_source():
    def identify(raw: RawRecord) -> tuple[str, list[CountedRecord]]:
        records: list[Record] = []
        read_feed(Feed([raw]), DateRange(DAY, DAY), ZoneInfo("Europe/Moscow"), records.extend)
        assert len(records) == 1
        day = day_of(records)
        return day.digest, counted_records(day)

    json = RawRecord("2026-03-09T10:00:00", "0371", True, None, "89243555100", Decimal("0.20000000000000001"))
    csv = RawRecord("09.03.2026 10:00:00", "371", "1", "", "7 924 355-51-00", "0,2")
    assert identify(json) == identify(csv)


def test_spend_is_exact_when_binary_floats_are_not():
    assert day_of([record(price="0.100000")] * 3).totals.spend == Decimal("0.300000")
    large = record(price="999999999999.999999")
    assert day_of([large] * 1_000_000).totals.spend == Decimal("999999999999999999.000000")


# A large day ---------------------------------------------------------------------------------------------------------


def in_slices(records: list[Record]) -> tuple[TimeSlice[Record], ...]:
    """The day cut at the first second of RECORDS, at the next one and at noon; one slice is empty."""
    begins, ends = day_bounds(DAY)
    cuts = [begins, begins.replace(hour=10), begins.replace(hour=10, second=1), begins.replace(hour=12), ends]

    def some(since: datetime, until: datetime) -> list[Record]:
        return [record for record in records if since <= datetime.fromisoformat(record.created_at) < until]

    return tuple(TimeSlice(since, until, partial(some, since, until)) for since, until in pairwise(cuts))


@calm
@given(MANY)
def test_a_day_in_slices_is_the_same_day(records):
    cut, whole = snapshot_day(DAY, in_slices(records)), day_of(records)
    assert counted_records(cut) == counted_records(whole)
    assert replace(cut, slices=()) == replace(whole, slices=())


@pytest.mark.parametrize(("on_disk", "read"), [(False, 1), (True, 3)])
def test_days_on_disk_are_identified_at_each_read_and_days_in_memory_once(on_disk, read):
    reads = []

    def read_slice() -> list[Record]:
        reads.append(1)
        return [record()]

    part = TimeSlice(*day_bounds(DAY), read_slice)
    days = snapshot_days({DAY + timedelta(1): DayRecords(0, (), on_disk), DAY: DayRecords(1, (part,), on_disk)})
    assert len(reads) == (0 if on_disk else 1)
    for _ in range(read):
        assert [day.day for day in days] == [DAY, DAY + timedelta(1)]
    assert len(reads) == read
