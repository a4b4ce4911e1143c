"""Which days a run fetches."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from etl.date_ranges import (
    DateRange,
    bisect,
    find_gaps,
    first_outside,
    last_contiguous,
    plan_lookback_apart,
    split_into_windows,
    sync_range,
)

calm = settings(deadline=None)
TODAY = date(2026, 3, 11)
START = date(2026, 2, 9)


def day(number: int) -> date:
    """A day of March 2026; 0 is the last day of February."""
    return date(2026, 2, 28) + timedelta(number)


def plan(**changes: date | int | None) -> DateRange | None:
    usual = {"start": START, "watermark": None, "first_synced": None, "today": TODAY, "lookback": 7}
    return sync_range(**{**usual, **changes})  # type: ignore[arg-type]  # one table of all the cases


def test_the_lookback_includes_complete_days_behind_a_gap():
    complete = [day(number) for number in (2, 3, 5, 8, 9, 10)]
    assert plan_lookback_apart(day(8), day(10), 7, complete) == [day(5)]
    assert plan_lookback_apart(day(8), day(10), 8, complete) == [day(3), day(5)]
    assert plan_lookback_apart(day(8), day(10), 3, complete) == []
    assert plan_lookback_apart(None, None, 7, complete) == plan_lookback_apart(day(8), None, 7, complete) == []


# The range -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "window"),
    [
        ({}, DateRange(START, TODAY)),
        ({"start": TODAY}, DateRange(TODAY, TODAY)),
        ({"start": day(12)}, None),
        ({"first_synced": day(1)}, DateRange(day(1), TODAY)),
        ({"watermark": day(10), "first_synced": START}, DateRange(day(4), TODAY)),
        ({"watermark": day(10), "first_synced": day(8)}, DateRange(day(8), TODAY)),
        ({"watermark": day(10), "first_synced": day(10)}, DateRange(day(10), TODAY)),
        ({"watermark": day(10)}, DateRange(day(4), TODAY)),
        ({"watermark": day(10), "first_synced": START, "lookback": 1}, DateRange(day(10), TODAY)),
        ({"watermark": day(10), "first_synced": START, "lookback": 0}, DateRange(TODAY, TODAY)),
        ({"watermark": day(3), "first_synced": START}, DateRange(day(-3), TODAY)),
        ({"watermark": day(3), "first_synced": START, "lookback": 0}, DateRange(day(4), TODAY)),
        ({"watermark": TODAY, "first_synced": START, "lookback": 0}, None),
        ({"watermark": day(20), "first_synced": START, "lookback": 0}, None),
        ({"watermark": day(10), "first_synced": START, "start": day(11)}, DateRange(day(4), TODAY)),
        ({"since": day(5)}, DateRange(day(5), TODAY)),
        ({"since": day(-99), "watermark": day(10), "first_synced": day(8)}, DateRange(day(-99), TODAY)),
        ({"since": day(11), "watermark": day(3), "first_synced": START}, DateRange(TODAY, TODAY)),
        ({"since": day(12)}, None),
        ({"until": day(9)}, DateRange(START, day(9))),
        ({"until": day(99)}, DateRange(START, TODAY)),
        ({"until": START - timedelta(1)}, None),
        ({"until": day(5), "watermark": day(10), "first_synced": START}, DateRange(day(4), day(5))),
        ({"until": day(3), "watermark": day(10), "first_synced": START}, None),
        ({"since": day(2), "until": day(2)}, DateRange(day(2), day(2))),
        ({"since": day(3), "until": day(2)}, None),
    ],
    ids=str,
)
def test_the_range_is_the_lookback_and_every_day_up_to_today(case, window):
    assert plan(**case) == window


DAYS = st.dates(date(2025, 12, 1), date(2026, 4, 30))


@calm
@given(st.lists(DAYS, min_size=3, max_size=3).map(sorted), st.integers(0, 400))
def test_a_nightly_range_includes_every_day_from_the_watermark_to_today(days, lookback):
    first_synced, watermark, today = days
    window = plan(first_synced=first_synced, watermark=watermark, today=today, lookback=lookback)
    fetched = set(window.days()) if window else set()
    newer = {watermark + timedelta(n) for n in range(1, (today - watermark).days + 1)}
    again = {watermark - timedelta(n) for n in range(lookback)}
    assert fetched == newer | {one for one in again if one >= first_synced}


# Windows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "extra", "size", "windows"),
    [
        (None, (), 7, []),
        (DateRange(day(1), day(7)), (), 7, [DateRange(day(1), day(7))]),
        (DateRange(day(1), day(8)), (), 7, [DateRange(day(1), day(7)), DateRange(day(8), day(8))]),
        (DateRange(day(1), day(3)), (), 1, [DateRange(day(n), day(n)) for n in (1, 2, 3)]),
        (None, (day(5), day(1), day(2)), 7, [DateRange(day(1), day(2)), DateRange(day(5), day(5))]),
        (DateRange(day(4), day(6)), (day(5), day(1)), 7, [DateRange(day(1), day(1)), DateRange(day(4), day(6))]),
        (DateRange(day(4), day(6)), (day(3), day(7)), 7, [DateRange(day(3), day(7))]),
        (DateRange(day(1), day(1)), [day(2)], 366, [DateRange(day(1), day(2))]),
    ],
    ids=str,
)
def test_days_are_cut_into_windows(wanted, extra, size, windows):
    assert split_into_windows(wanted, extra, size=size) == windows


@calm
@given(st.none() | st.tuples(DAYS, DAYS), st.lists(DAYS, max_size=8), st.integers(1, 40))
def test_windows_contain_every_day_once_in_order_and_respect_the_size(ends, extra, size):
    wanted = DateRange(min(ends), max(ends)) if ends else None
    windows = split_into_windows(wanted, extra, size=size)
    days = [day for window in windows for day in window.days()]
    assert days == sorted({*(wanted.days() if wanted else ()), *extra})
    assert all(1 <= len(window) <= size for window in windows)


@calm
@given(st.tuples(DAYS, DAYS), st.integers(1, 40))
def test_an_unbroken_range_is_cut_into_the_fewest_windows(ends, size):
    wanted = DateRange(min(ends), max(ends))
    assert len(split_into_windows(wanted, (), size=size)) == -(-len(wanted) // size)


@calm
@given(st.tuples(DAYS, DAYS))
def test_halves_make_up_the_window(ends):
    window = DateRange(min(ends), max(ends))
    assume(len(window) > 1)
    one, other = bisect(window)
    assert one.days() + other.days() == window.days()
    assert abs(len(one) - len(other)) <= 1


# Complete days and gaps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "complete", "last"),
    [
        (1, [], None),
        (1, [2, 3], None),
        (1, [1], 1),
        (1, [1, 2, 3], 3),
        (1, [3, 1, 2, 2], 3),
        (1, [1, 2, 4, 5], 2),
        (2, [1, 2, 3], 3),
        (1, [-1, 0, 1], 1),
    ],
)
def test_the_unbroken_run_ends_before_the_first_gap(first, complete, last):
    assert last_contiguous(day(first), map(day, complete)) == (None if last is None else day(last))


@pytest.mark.parametrize(
    ("complete", "gaps"),
    [
        ([], []),
        ([1], []),
        ([1, 2, 3], []),
        ([1, 3], [(2, 2)]),
        ([7, 1, 2, 5], [(3, 4), (6, 6)]),
    ],
)
def test_gaps_are_the_days_between_complete_ones(complete, gaps):
    assert find_gaps(map(day, complete)) == [DateRange(day(first), day(last)) for first, last in gaps]


@calm
@given(st.sets(DAYS, min_size=1))
def test_gaps_and_complete_days_make_up_all_days_from_the_first_to_the_last(complete):
    gaps = [day for gap in find_gaps(complete) for day in gap.days()]
    assert set(gaps).isdisjoint(complete)
    assert sorted([*gaps, *complete]) == DateRange(min(complete), max(complete)).days()
    assert all(after.first > before.last + timedelta(1) for before, after in pairwise(find_gaps(complete)))


@calm
@given(DAYS, st.sets(DAYS))
def test_no_gap_hides_behind_the_last_day_of_the_unbroken_run(first, complete):
    last = last_contiguous(first, complete)
    if last is None:
        assert first not in complete
    else:
        assert set(DateRange(first, last).days()) <= complete
        assert last + timedelta(1) not in complete


# A window ------------------------------------------------------------------------------------------------------------


def test_a_window_includes_both_ends():
    window = DateRange(day(1), day(3))
    assert (len(window), window.days(), str(window)) == (3, [day(1), day(2), day(3)], "2026-03-01..2026-03-03")
    assert [one in window for one in map(day, range(5))] == [False, True, True, True, False]


def test_a_window_may_not_end_before_it_starts():
    with pytest.raises(ValueError, match="ends before it starts"):
        DateRange(day(2), day(1))


def test_the_first_day_outside_of_ranges_is_in_none_of_them():
    assert first_outside(START, []) == START
    assert first_outside(day(1), [day(1), day(2), day(4)]) == day(3)
    assert first_outside(day(3), [day(1), day(2), day(4)]) == day(3)
