"""Which months a purge deletes, and which days later runs skip."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from etl.date_ranges import DateRange, exclude_days
from etl.db.purge import LedgerDay, plan_purge
from etl.services.purge import parse_retention_age

JANUARY, FEBRUARY, MARCH = (date(2024, month, 1) for month in (1, 2, 3))


def days(first, last, **changes):
    """A ledger of closed days; `d12=...` changes the twelfth day, None removes it."""
    ledger = [
        LedgerDay(first + timedelta(days=n), complete=True, suspect=False, purged=False)
        for n in range((last - first).days + 1)
    ]
    for name, change in changes.items():
        ledger[int(name[1:])] = change and ledger[int(name[1:])]._replace(**change)
    return [day for day in ledger if day]


def plan(ledger, settled_through=date(2030, 1, 1), *, before=date(2030, 1, 1), retired=False):
    return plan_purge(ledger, before, settled_through=settled_through, retired=retired)


@pytest.mark.parametrize(
    ("text", "today", "first_kept"),
    [
        ("36m", date(2026, 11, 25), date(2023, 11, 1)),
        ("1m", date(2026, 3, 31), date(2026, 2, 1)),
        ("12m", date(2024, 2, 29), date(2023, 2, 1)),
        ("3y", date(2026, 1, 1), date(2023, 1, 1)),
        ("90d", date(2026, 3, 31), date(2025, 12, 1)),
        ("1d", date(2026, 3, 1), date(2026, 2, 1)),
        ("9999y", date(2026, 3, 1), date.min),
    ],
)
def test_a_month_is_old_enough_when_its_last_day_is_old_enough(text, today, first_kept):
    assert parse_retention_age(text).cutoff(today) == first_kept


@pytest.mark.parametrize("text", ["", "36", "m", "0m", "-1m", "3.5y", "36 m", "36M", "٣m", "10000d", "1w"])
def test_an_age_is_a_number_and_a_letter(text):
    with pytest.raises(ValueError, match="like 90d, 36m or 3y"):
        parse_retention_age(text)


def test_whole_closed_months_are_purged_from_the_first_day_of_the_ledger_on():
    assert plan(days(date(2024, 1, 20), date(2024, 2, 29))).months == [JANUARY, FEBRUARY]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"complete": False}, "2024-02-01 is not complete"),
        ({"suspect": True}, "2024-02-01 is suspect"),
        (None, "2024-02-01 was never fetched"),
    ],
)
def test_a_month_with_a_day_that_needs_attention_is_kept_with_the_reason(change, reason):
    found = plan(days(JANUARY, date(2024, 3, 31), d31=change))
    assert (found.months, found.blocked) == ([JANUARY, MARCH], {FEBRUARY: reason})


def test_a_month_within_the_lookback_is_kept():
    found = plan(days(JANUARY, date(2024, 2, 29)), settled_through=date(2024, 2, 28))
    assert (found.months, found.still_in_lookback, found.blocked) == ([JANUARY], [FEBRUARY], {})
    assert plan(days(JANUARY, date(2024, 1, 31)), settled_through=None).still_in_lookback == [JANUARY]


def test_a_month_whose_end_was_never_fetched_is_kept_unless_retired():
    ledger = days(JANUARY, date(2024, 2, 10))
    assert plan(ledger).blocked == {FEBRUARY: "2024-02-11 was never fetched"}
    assert plan(ledger, settled_through=date(2024, 2, 3), retired=True).months == [JANUARY, FEBRUARY]


def test_the_open_day_of_a_retirement_does_not_keep_its_month():
    ledger = days(JANUARY, date(2024, 2, 10), d40={"complete": False})
    assert plan(ledger, retired=True).months == [JANUARY, FEBRUARY]
    assert plan(days(JANUARY, FEBRUARY, d31={"complete": False}), retired=True).months == [JANUARY, FEBRUARY]
    assert list(plan(ledger[:40]).blocked) == [FEBRUARY]
    gap = days(JANUARY, date(2024, 3, 10), d59={"complete": False})
    assert list(plan(gap, before=MARCH, retired=True).blocked) == [FEBRUARY]
    assert plan(gap, before=MARCH, retired=True).months == [JANUARY]


def test_a_purged_month_is_not_reported_again_and_can_get_more_days():
    ledger = [day._replace(purged=True) for day in days(date(2024, 1, 10), date(2024, 1, 31))]
    found = plan(ledger)
    assert (found.months, found.purged) == ([], [JANUARY])
    assert plan(days(date(2024, 1, 5), date(2024, 1, 9)) + ledger).months == [JANUARY]


def test_skipped_days_split_a_window():
    windows = [DateRange(date(2024, 1, 1), date(2024, 1, 5)), DateRange(date(2024, 1, 6), date(2024, 1, 6))]
    assert exclude_days(windows, ()) == windows
    assert exclude_days(windows, {date(2024, 1, 3), date(2024, 1, 6)}) == [
        DateRange(date(2024, 1, 1), date(2024, 1, 2)),
        DateRange(date(2024, 1, 4), date(2024, 1, 5)),
    ]
