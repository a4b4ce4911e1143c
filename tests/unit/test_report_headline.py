"""The report's headline and axes: comparison, forecast, notices, weeks, outliers."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from etl.reports.charts.amount_specs import Grain
from etl.reports.charts.queries import QUERIES
from etl.reports.html.chart_data import adapt_charts
from etl.reports.html.comparison import compare_budget, compare_periods, forecast_month
from etl.reports.html.formatting import format_change
from etl.reports.html.headline import spark_path, unexplained_charges
from etl.reports.html.page import ReportData, render_page
from etl.reports.html.periods import axis_limit, choose_grain, group_days
from etl.reports.html.stored_days import stored_days
from etl.reports.html.totals import compute_totals

FIRST = date(2026, 1, 1)
NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


def days(count, spend=lambda day: 1, first=FIRST, last_state="closed", account="shop"):
    """Rows with ten charges per day."""
    rows = []
    for day in (first + timedelta(days=n) for n in range(count)):
        state = last_state if day == first + timedelta(days=count - 1) else "closed"
        rows.append({
            "account": account, "day": day, "records": 10, "delivered": 9, "failed": 1, "spend": Decimal(spend(day)),
            "repeated_spend": Decimal(0), "day_state": state,
        })  # fmt: skip
    return rows


def calendar(rows):
    """Rows of the calendar for rows of days."""
    return [{name: row[name] for name in ("account", "day", "day_state", "records", "spend")} for row in rows]


def compare(rows, since=None, until=None, *, days_of=calendar, retired=(), purged=frozenset()):
    """The comparison of rows of days."""
    labels = sorted({row["account"] for row in rows} | {"shop"})
    return spends(compare_periods(rows, stored_days(days_of(rows), labels, set(retired), purged), since, until))


def forecast(rows, today, *, missing=(), retired=()):
    """The forecast of rows of days, some of which are missing."""
    missing = [row | {"day_state": "missing", "records": None, "spend": None} for row in missing]
    labels = sorted({row["account"] for row in rows} | {"shop"})
    return forecast_month(stored_days(calendar([*rows, *missing]), labels, set(retired)), today)


def spends(comparison):
    return comparison and (comparison.before.spend, comparison.current.spend, comparison.name)


def test_a_month_is_compared_with_the_last_month_and_other_ranges_with_as_many_days():
    rows = days(90, lambda day: day.month)
    assert compare(rows, date(2026, 3, 1), date(2026, 3, 31)) == (56, 93, "on Feb 2026")
    assert compare(rows, date(2026, 3, 2), date(2026, 3, 31)) == (60, 90, "on the 30 days before")
    assert compare(rows, date(2026, 3, 1), date(2026, 3, 1)) == (2, 3, "on the day before")
    assert compare(rows, None, None) == (60, 90, "in the last 30 days, on the 30 before")
    assert compare(days(20), None, None) == (10, 10, "in the last 10 days, on the 10 before")


def test_an_open_day_is_not_compared():
    rows = days(90, lambda day: day.month, last_state="open")
    assert compare(rows, date(2026, 3, 1), date(2026, 3, 31)) == (58, 90, "on the 30 days before")


@pytest.mark.parametrize(
    ("rows", "since", "until"),
    [([], None, None), (days(9), None, None), (days(9), FIRST, None), (days(9), date.min, date.max),
     (days(1, last_state="open"), None, None), (days(9), date(2026, 2, 1), None)],
    ids=["empty", "short", "nothing before", "everything", "open", "after the data"],
)  # fmt: skip
def test_there_is_no_comparison_with_days_that_are_not_stored(rows, since, until):
    assert compare(rows, since, until) is None


def test_there_is_no_comparison_if_an_account_lacks_a_day():
    march = date(2026, 3, 1), date(2026, 3, 31)
    late = days(31, first=march[0], account="late")
    assert compare([*days(90), *late], *march) is None
    behind = days(80, account="behind")
    assert compare([*days(90), *behind], *march) == (42, 42, "on the 21 days before")


def test_a_day_without_charges_is_compared_and_a_missing_one_is_not():
    rows = [row for row in days(90) if row["day"] != date(2026, 2, 10)]
    march = date(2026, 3, 1), date(2026, 3, 31)
    empty = {**days(1, first=date(2026, 2, 10))[0], "records": 0, "spend": Decimal(0)}
    missing = empty | {"day_state": "missing", "records": None, "spend": None}
    assert compare(rows, *march, days_of=lambda rows: calendar([*rows, empty])) == (27, 31, "on Feb 2026")
    assert compare(rows, *march, days_of=lambda rows: calendar([*rows, missing])) is None


def test_the_days_after_the_last_one_of_a_retired_account_are_compared():
    old = days(40, account="old")
    march = date(2026, 3, 1), date(2026, 3, 31)
    assert compare([*days(90), *old], *march) is None
    assert compare([*days(90), *old], *march, retired=["old"]) == (28 + 9, 31, "on Feb 2026")
    assert compare([*days(90), *days(40, account="old", last_state="open")], *march, retired=["old"]) is None
    purged = {("old", date(2026, 2, 9))}
    assert compare([*days(90), *old], *march, retired=["old"], purged=purged) is None


def test_a_forecast_adds_the_mean_of_each_remaining_weekday():
    rows = days(41, lambda day: 10 if day.weekday() < 5 else 1, last_state="open")
    expected = forecast(rows, date(2026, 2, 10))
    assert (expected.so_far, expected.days_left, expected.weeks) == (63, 19, 4)
    assert expected.spend == 20 * 10 + 8 * 1
    assert expected.a_day == Decimal(52) / 7


def test_a_forecast_counts_missing_days_as_remaining_and_empty_ones_as_stored():
    rows = days(41, last_state="open")
    assert forecast([*rows[:10], *rows[35:]], date(2026, 2, 10), missing=rows[10:35]) is None
    expected = forecast([*rows[:31], *rows[36:]], date(2026, 2, 10), missing=rows[31:36])
    assert (expected.so_far, expected.days_left, expected.spend, expected.a_day) == (4, 24, 28, 1)
    empty = [row | {"records": 0, "spend": Decimal(0)} for row in rows[35:40]]
    expected = forecast([*rows[:35], *empty, rows[40]], date(2026, 2, 10))
    assert (expected.so_far, expected.days_left) == (4, 19)


def test_a_forecast_adds_the_means_of_the_accounts_in_use():
    rows = days(41, last_state="open")
    second = days(8, lambda day: 2, first=date(2026, 2, 3), account="second", last_state="open")
    old = days(35, account="old", last_state="open")
    expected = forecast([*rows, *second, *old], date(2026, 2, 10), retired=["old"])
    assert (expected.so_far, expected.spend) == (9 + 14 + 3, 28 + 2 * 26 + 3)
    assert forecast([*rows, *second, *old], date(2026, 2, 10)) is None
    assert forecast([*rows, *second[1:]], date(2026, 2, 10)) is None


@pytest.mark.parametrize(
    ("rows", "today"), [([], FIRST), (days(10), date(2026, 1, 11)), (days(40), date(2026, 3, 1))],
    ids=["empty", "short", "old"],
)  # fmt: skip
def test_there_is_no_forecast_without_recent_days(rows, today):
    assert forecast(rows, today) is None


def balance(account="shop", day=1, credit="0", charge="0", paid_in="0"):
    return {
        "account": account, "day": date(2026, 3, day), "balance": Decimal(1), "unexplained_credit": Decimal(credit),
        "unexplained_charge": Decimal(charge), "paid_in": Decimal(paid_in),
    }  # fmt: skip


def test_an_unexplained_charge_is_a_notice_unless_it_is_settled_late():
    late = [balance(day=1, credit="3"), balance(day=2, charge="-3")]
    assert unexplained_charges(late, "RUB") == []
    assert unexplained_charges([*late, balance(day=4, charge="-0.5")], "EUR") == [
        ("shop", "0.50 EUR, last on Wed 4 Mar 2026")
    ]
    paid = [balance(day=1, credit="3", paid_in="3"), balance(day=2, charge="-3")]
    assert unexplained_charges(paid, "RUB") == [("shop", "3.00 RUB, last on Mon 2 Mar 2026")]


def test_long_ranges_are_grouped_by_week_and_longer_ones_by_month():
    assert [choose_grain(row["day"] for row in days(count)) for count in (0, 1, 120, 121, 730, 731)] == [
        Grain.DAY, Grain.DAY, Grain.DAY, Grain.WEEK, Grain.WEEK, Grain.MONTH,
    ]  # fmt: skip
    rows = days(13, last_state="open")
    weeks = group_days(rows, Grain.WEEK, FIRST, FIRST + timedelta(days=12))
    assert [(week["day"], week["end"], week["spend"], week["partial"]) for week in weeks] == [
        (date(2025, 12, 29), date(2026, 1, 5), 4, True),
        (date(2026, 1, 5), date(2026, 1, 12), 7, False),
        (date(2026, 1, 12), date(2026, 1, 19), 2, True),
    ]
    [month] = group_days(days(31), Grain.MONTH, FIRST, date(2026, 1, 31))
    assert (month["day"], month["end"], month["spend"], month["partial"]) == (FIRST, date(2026, 2, 1), 31, False)
    for grain in (Grain.WEEK, Grain.MONTH):
        for first in (date.min, date.max):
            assert group_days(days(1, first=first), grain, first, first)[0]["records"] == 10


def test_an_outlier_does_not_determine_an_axis():
    usual = [Decimal(n % 5 + 1) for n in range(40)]
    assert axis_limit(usual) is None
    assert axis_limit([*usual, Decimal(500)]) == Decimal("5.5")
    assert axis_limit([*usual, Decimal(500), Decimal(-900)]) == Decimal("5.5")
    assert axis_limit([]) is axis_limit([Decimal(1), Decimal(1000)]) is None


def test_a_change_is_a_ratio_if_the_base_is_not_zero():
    assert [format_change(now, before) for now, before in ((110, 100), (90, 100), (300, 100), (5, 0), (5, -1))] == [
        "+10.0%", "-10.0%", "+200%", "", "",
    ]  # fmt: skip
    assert format_change(None, 5) == ""


def test_a_trend_line_needs_three_points_and_may_be_level():
    assert spark_path([1, None, 2]) == ""
    assert spark_path([5, 5, 5]) == "M0.0 22.0L60.0 22.0L120.0 22.0"


def test_a_page_of_a_year_has_weeks_and_labels_an_outlier():
    count = {"records": 10, "delivered": 9}
    rows = {name: [] for name in QUERIES} | {
        "days": days(400, lambda day: 5000 if day == date(2026, 6, 1) else 1),
        "operators": [{"operator": None, **count, "spend": Decimal(1)}],
        "hours": [{"weekday": 7, "hour": 10, **count, "days": 1}],
    }
    page = render_page(ReportData(compute_totals(rows, ["shop"], None, None), rows, currency="EUR"), "", NOW)
    assert 'Spend by week <span class="unit">EUR</span>' in page
    assert "\\u25b2 5,006.00" in page
    assert '"domainMax":7.7' in page
    assert "RUB" not in page


def test_an_account_keeps_its_colour_in_every_selection():
    rows = {name: [] for name in QUERIES} | {"days": days(2, account="shop")}
    charts = adapt_charts(compute_totals(rows, ["shop"], None, None), rows, "RUB", ["bank", "shop"]).charts
    color = charts[0].spec["layer"][0]["encoding"]["color"]
    assert color["scale"] == {"domain": ["shop"], "range": ["var(--account-2)"]}
    assert color["legend"] is None


def test_a_missing_day_is_a_notice_and_a_booked_month_shows_its_booked_spend():
    count = {"account": "shop", "records": 10, "delivered": 9}
    calendar = [
        {"account": "shop", "day": day, "day_state": state, "records": 10, "spend": Decimal(1)}
        for day, state in ((date(2026, 1, 2), "missing"), (date(2026, 1, 4), "missing"), (date(2026, 1, 5), "closed"))
    ]
    booked = {"restated": Decimal(2), "booked": Decimal("29.5"), "changed_since_close": Decimal("1.5"),
              "closed_in": "RUB"}  # fmt: skip
    rows = {name: [] for name in QUERIES} | {
        "days": days(31),
        "calendar": calendar,
        "months": [{**count, "day": FIRST, "spend": Decimal(31), **booked}],
        "operators": [{"operator": None, **count, "spend": Decimal(1)}],
        "hours": [{"weekday": 7, "hour": 10, **count, "days": 1}],
    }
    page = render_page(ReportData(compute_totals(rows, ["shop"], None, None), rows), "", NOW)
    assert "<strong>Missing: Fri 2 Jan 2026, Sun 4 Jan 2026.</strong> They were never stored as complete" in page
    assert "<code>billing-etl backfill --since 2026-01-02 --until 2026-01-04</code>" in page
    cells = [re.sub("<.*?>", "", cell) for cell in re.findall("<td.*?</td>", page)]
    assert {"29.50", "+1.50"} <= set(cells)


def budget_page(budget, *, count=15):
    """The page of a shop whose January costs 1 a day so far."""
    counts = {"records": 10, "delivered": 9}
    rows = {name: [] for name in QUERIES} | {
        "days": days(count),
        "operators": [{"operator": None, **counts, "spend": Decimal(1)}],
        "hours": [{"weekday": 7, "hour": 10, **counts, "days": 1}],
    }
    today = FIRST + timedelta(days=count)
    expected = forecast(rows["days"], today)
    state = compare_budget(rows["days"], ["shop"], budget, expected, today)
    totals = compute_totals(rows, ["shop"], None, None)
    return render_page(ReportData(totals, rows, forecast=expected, budget=state), "", NOW)


def test_a_month_that_exceeds_its_budget_or_will_is_a_notice():
    page = budget_page({"shop": Decimal(14)})
    assert "Over budget.</strong> Jan 2026 has cost 15.00 RUB, 1.00 above the budget of 14.00 RUB." in page
    page = budget_page({"shop": Decimal("30.5")})
    assert "Over budget.</strong> Jan 2026 will cost about 31.00 RUB, 0.50 above the budget of 30.50 RUB." in page
    page = budget_page({"shop": Decimal(31)})
    assert "Over budget" not in page
    assert "budget of Jan 2026: 31.00 RUB" in page


def test_total_spend_is_not_compared_with_budgets_of_only_some_accounts():
    rows = [*days(15), *days(15, account="bank")]
    budgets = {"shop": Decimal(1)}
    assert compare_budget(rows, ["bank", "shop"], budgets, None, FIRST + timedelta(days=15)) is None
    state = compare_budget(rows, ["bank", "shop"], budgets | {"bank": Decimal(2)}, None, FIRST + timedelta(days=15))
    assert (state.budget, state.so_far, state.expected) == (Decimal(3), Decimal(30), None)
    assert "budget" not in budget_page({})
