"""Limits that leave a random part of an answer in the order of time, or some records of each day."""

from __future__ import annotations

import random
from itertools import groupby

import pytest
from support.fake_vendor import (
    TODAY,
    FakeClient,
    day,
    days,
    expected_days,
    raising,
    records_by_day,
    records_per_day,
    within,
)

from etl.date_ranges import DateRange
from etl.errors import RetryableError

SIZES = {number: 30 + number * 17 % 31 for number in range(-12, 11)}
RECORDS = [record for number, size in SIZES.items() for record in records_per_day(number, number, size)]
DOWN = raising(RetryableError("down"))


def part_of(records, limit, requested):
    """A random part of the records, in their order."""
    if len(records) <= limit:
        return records
    places = random.Random(str(requested)).sample(range(len(records)), limit)
    return [records[place] for place in sorted(places)]


def first_of_each_day(records, limit):
    by_day = groupby(records, key=lambda record: record["created_at"][:10])
    return [record for _, some in by_day for record in list(some)[:limit]]


@pytest.mark.parametrize("limit", [150, 137, 260])
def test_no_day_of_json_is_wrong_of_which_a_random_part_is_listed(limit):
    windows = [days(-9, -3), days(-2, 4), days(5, 10)]
    client = FakeClient(
        lambda requested: part_of(within(RECORDS, requested), limit, requested),
        lambda start: within(RECORDS, DateRange(start, TODAY)),
        RECORDS,
    )
    for window, batch in zip(windows, client.fetch(*windows), strict=True):
        assert (records_by_day(batch), batch.unresolved_days) == (expected_days(RECORDS, window), {})


@pytest.mark.parametrize("limit", [10, 100, 250])
def test_no_day_of_an_export_is_wrong_of_which_a_random_part_is_listed(limit):
    client = FakeClient(DOWN, lambda start: part_of(within(RECORDS, DateRange(start, TODAY)), limit, start), RECORDS)
    [batch] = client.fetch(days(-9, 10))
    expected = expected_days(RECORDS, days(-9, 10))
    assert records_by_day(batch) == {each: expected[each] for each in batch.days}
    assert len(batch.unresolved_days) > 10


def test_days_of_one_size_are_taken_from_an_export_that_lists_more():
    client = FakeClient(
        lambda requested: first_of_each_day(within(RECORDS, requested), 30),
        lambda start: within(RECORDS, DateRange(start, TODAY)),
        RECORDS,
    )
    [batch] = client.fetch(days(-6, 0))
    assert records_by_day(batch) == expected_days(RECORDS, days(-6, 0))


def test_a_day_that_lost_records_is_compared_with_the_export():
    lost = day(-3)
    listed = [record for record in RECORDS if record["created_at"][:10] != str(lost)]
    listed += [record for record in RECORDS if record["created_at"][:10] == str(lost)][:-3]
    client = FakeClient(
        lambda requested: within(listed, requested), lambda start: within(RECORDS, DateRange(start, TODAY)), RECORDS
    )
    complete = {day(number): size for number, size in SIZES.items()}
    [batch] = client.fetch(days(-6, 0), complete=complete)
    assert records_by_day(batch) == expected_days(RECORDS, days(-6, 0))


def test_days_of_different_sizes_need_no_export():
    client = FakeClient(lambda requested: within(RECORDS, requested), None, RECORDS)
    [batch] = client.fetch(days(-6, 0))
    assert (records_by_day(batch), client.exports) == (expected_days(RECORDS, days(-6, 0)), [])
