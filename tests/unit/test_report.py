"""Totals of the report and formats of its values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from etl.reports.charts.queries import QUERIES
from etl.reports.html.formatting import decimal_places, format_amount, format_period
from etl.reports.html.page import ReportData, render_page
from etl.reports.html.totals import compute_totals

NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


def dataset_rows(*states, complete=date(2026, 3, 31), account="shop"):
    """Rows with one charge per day from 1 March, with the given day states."""
    days = [
        {"account": account, "day": date(2026, 3, 1 + n), "records": 1, "delivered": 1, "failed": 0,
         "spend": Decimal("0.2"), "repeated_spend": Decimal(0), "day_state": state}
        for n, state in enumerate(states)
    ]  # fmt: skip
    freshness = {"account": account, "last_synced_date": complete, "last_success_at": NOW, "hours_behind": Decimal(9),
                 "open_days": 0, "suspect_days": 0, "retired_at": None}  # fmt: skip
    count = {"records": len(days), "delivered": len(days)}
    operators = [{"operator": None, **count, "spend": Decimal("0.2") * len(days)}]
    hours = [{"weekday": 7, "hour": 10, **count, "days": 1}]
    calendar = [{name: row[name] for name in ("account", "day", "day_state", "records", "spend")} for row in days]
    known = {"days": days, "calendar": calendar, "operators": operators, "hours": hours, "freshness": [freshness]}
    return {name: [] for name in QUERIES} | known


@pytest.mark.parametrize(
    ("states", "complete", "through", "unsettled"),
    [
        (("closed", "closed"), date(2026, 3, 2), 2, []),
        (("closed", "closed", "settling", "open"), date(2026, 3, 3), 2, [3, 4]),
        (("closed", "suspect", "closed"), date(2026, 3, 3), 1, [2]),
        (("closed", "closed", "closed"), date(2026, 3, 1), 1, [2, 3]),
        (("closed",), None, None, [1]),
        (("open",), None, None, [1]),
    ],
    ids=["all", "settling", "suspect", "behind a gap", "never complete", "open"],
)
def test_figures_are_final_before_the_first_day_that_may_still_change(states, complete, through, unsettled):
    figures = compute_totals(dataset_rows(*states, complete=complete), ["shop"], None, None)
    assert figures.closed_through == (date(2026, 3, through) if through else None)
    assert figures.unsettled == [date(2026, 3, day) for day in unsettled]


@pytest.mark.parametrize(("retired_at", "unsettled"), [(None, [1, 2, 3]), (NOW, [3])], ids=["behind", "retired"])
def test_days_are_compared_with_the_last_complete_day_of_their_own_account(retired_at, unsettled):
    shop = dataset_rows("closed", "closed", "settling")
    other = dataset_rows("closed", "open", complete=None, account="other")
    other["freshness"][0]["retired_at"] = retired_at
    rows = {name: [*shop[name], *other[name]] for name in shop}
    assert [day.day for day in compute_totals(rows, ["shop", "other"], None, None).unsettled] == unsettled
    page = render_page(ReportData(compute_totals(rows, ["shop", "other"], None, None), rows), "", NOW)
    assert "Not over when last fetched: Mon 2 Mar 2026." in page
    assert ("Final through Mon 2 Mar 2026.</strong> 1 later day may still change" in page) == bool(retired_at)


def test_a_range_may_extend_to_the_ends_of_the_calendar():
    rows = dataset_rows("closed", "closed")
    page = render_page(ReportData(compute_totals(rows, ["shop"], date.min, date.max), rows), "", NOW)
    assert "Mon 1 Jan 1 – Fri 31 Dec 9999" in page
    first, last = '{"year":2026,"month":3,"date":1,"utc":true}', '{"year":2026,"month":3,"date":2,"utc":true,'
    assert f'"domain":[{first},{last}"hours":23,"minutes":59}}]' in page


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"), ("-0.5", "-0.50"), ("0.000001", "0.000001"), ("1234567.1", "1,234,567.10"),
        ("999999999999999999999999999999.999999", "999,999,999,999,999,999,999,999,999,999.999999"),
    ],
)  # fmt: skip
def test_an_amount_has_two_places_or_more_if_needed(amount, text):
    assert format_amount(Decimal(amount)) == text


def test_all_amounts_of_a_column_have_the_same_places():
    assert decimal_places([Decimal("0.2"), None, Decimal("1.1234")]) == 4
    assert decimal_places([]) == 2


def test_a_period_names_its_days():
    assert format_period(date(2025, 12, 31), date(2026, 1, 1)) == "Wed 31 Dec 2025 – Thu 1 Jan 2026"
    assert format_period(date(2026, 3, 1), date(2026, 3, 31)) == "Sun 1 Mar – Tue 31 Mar 2026"
    assert format_period(date(2026, 3, 1), date(2026, 3, 1)) == "Sun 1 Mar 2026"
    assert format_period(None, date(2026, 3, 1), empty=True) == "No charges to Sun 1 Mar 2026"
