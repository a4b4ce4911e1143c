"""The identity of records without an id: the same multiset is the same day, in any order and from any source."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.model import DaySnapshot, Feed, Listed, RawRecord, Record, Window
from etl.transform.identity import identify_day, snapshot
from etl.transform.reading import read_feed

calm = settings(deadline=None)
DAY = date(2026, 3, 9)

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
    day = identify_day(DAY, [message, call, message])
    assert day == DaySnapshot(
        DAY, [Listed(call, 1), Listed(message, 2)], day.digest, records=3, spend=Decimal("6.700000")
    )


def test_a_digest_is_the_same_in_every_version():
    # Ledgers that exist hold it: another one, and every stored day would look changed.
    day = identify_day(DAY, [record(code="0371")] * 2 + [record(None, "-3.000000", "")])
    assert day.digest == "d0f24e8b6c1983f3dfa4776bf72faff2"


def test_a_day_without_records_has_a_digest_too():
    empty = identify_day(DAY, [])
    assert empty == DaySnapshot(DAY, [], empty.digest, records=0, spend=Decimal(0))
    assert empty.digest != identify_day(DAY, [record()]).digest


@calm
@given(MANY, st.randoms(use_true_random=False))
def test_the_same_records_in_any_order_are_the_same_snapshot(records, random):
    shuffled = records.copy()
    random.shuffle(shuffled)
    assert identify_day(DAY, shuffled) == identify_day(DAY, records) == snapshot(DAY, Counter(shuffled))


@calm
@given(MANY, MANY)
def test_digests_are_equal_for_equal_multisets_and_for_no_others(one, other):
    same = Counter(one) == Counter(other)
    assert (identify_day(DAY, one).digest == identify_day(DAY, other).digest) is same


@calm
@given(MANY)
def test_a_snapshot_tells_the_multiset_its_count_and_its_spend(records):
    day = identify_day(DAY, records)
    assert Counter(dict(day.listed)) == Counter(records)
    assert len(dict(day.listed)) == len(day.listed)
    assert day.records == len(records)
    assert day.spend == sum((one.price for one in records), Decimal(0))


@calm
@given(MANY)
def test_records_of_one_key_stand_together_and_in_order(records):
    keys = [item.record[:3] for item in identify_day(DAY, records).listed]
    assert keys == sorted(keys)


def test_a_null_status_stands_before_every_number():
    statuses = [None, -(2**63), -1, 0, 1, 2**63 - 1]
    day = identify_day(DAY, [record(status) for status in reversed(statuses)])
    assert [item.record.status for item in day.listed] == statuses


def test_a_null_status_is_not_a_zero():
    assert identify_day(DAY, [record(None)]).digest != identify_day(DAY, [record(0)]).digest


def test_moving_a_character_from_one_field_to_the_next_changes_the_digest():
    one = Record("2026-03-09 10:00:00", "12", "3", None, '","', Decimal("0.000000"))
    other = Record("2026-03-09 10:00:00", "1", "23", None, '","', Decimal("0.000000"))
    assert identify_day(DAY, [one]).digest != identify_day(DAY, [other]).digest


def test_three_listings_of_a_record_are_not_two():
    assert identify_day(DAY, [record()] * 3).digest != identify_day(DAY, [record()] * 2).digest


@pytest.mark.fault(42)
def test_the_digest_does_not_depend_on_how_a_source_spells_the_records():
    def identify(raw: RawRecord) -> DaySnapshot:
        records: list[Record] = []
        read_feed(Feed([raw]), Window(DAY, DAY), ZoneInfo("Europe/Moscow"), records.extend)
        assert len(records) == 1
        return identify_day(DAY, records)

    json = RawRecord("2026-03-09T10:00:00", "0371", True, None, "89243555100", Decimal("0.20000000000000001"))
    csv = RawRecord("09.03.2026 10:00:00", "371", "1", "", "7 924 355-51-00", "0,2")
    assert identify(json) == identify(csv)


def test_spend_is_exact_where_binary_floats_are_not():
    assert identify_day(DAY, [record(price="0.100000")] * 3).spend == Decimal("0.300000")
    large = record(price="999999999999.999999")
    assert identify_day(DAY, [large] * 1_000_000).spend == Decimal("999999999999999999.000000")
