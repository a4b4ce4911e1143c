"""A period compared with the one before it, and the forecast from the last weeks."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from etl.amounts import exact_sum
from etl.reports.html.formatting import format_month
from etl.reports.html.stored_days import AccountDays
from etl.reports.html.totals import Totals, add_days

Rows = Sequence[Mapping[str, Any]]
_DAY: Final = timedelta(days=1)
_WEEK: Final = 7
_MIN_DAYS: Final = 7
"""Days of the shortest period that is compared when no first day was requested."""
_MAX_DAYS: Final = 30
_FORECAST_WEEKS: Final = 4
_MIN_FORECAST_WEEKS: Final = 2
_MAX_DELAY: Final = 3
"""Days without data up to today for which a forecast is still made."""
_CENT: Final = Decimal("0.01")
HISTORY_DAYS: Final = 62
"""Days before the page's first day that a comparison or a forecast may need, besides as many as the page has."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Totals of two periods of equal meaning.

    Attributes:
        name: The two periods, after the change: `on the 31 days before`.
    """

    current: Totals
    before: Totals
    name: str


def compare_periods(
    days: Rows, accounts: Sequence[AccountDays], since: date | None, until: date | None
) -> Comparison | None:
    """Compare the page's days that are over with the same number of days, or the calendar month, before them.

    Without a requested first day all stored days are on the page: its last days are then compared with those before.

    Args:
        days: Rows of the query `days` up to `until`, also of days before `since`.
        accounts: The same days of each account, of which those whose charges were purged are left out.
        since: Requested first day; None for the first stored one.
        until: Requested last day; None for the last stored one.

    Returns:
        None if an account lacks one of the days.
    """
    in_use = [account for account in accounts if not account.is_retired] or accounts
    if not in_use or not all(account.spend for account in in_use):
        return None
    last = min(max(account.spend) for account in in_use)
    end = min(until or last, last)
    if since is None:
        first = max(min(account.spend) for account in accounts if account.spend)
        length = min(_MAX_DAYS, ((end - first).days + 1) // 2)
        if length < _MIN_DAYS:
            return None
        start, before_end = end - _DAY * (length - 1), end - _DAY * length
        before_start, name = end - _DAY * (2 * length - 1), f"in the last {length} days, on the {length} before"
    else:
        start, before_end = since, since - _DAY if since > date.min else since
        length = (end - start).days + 1
        if length < 1 or (start - date.min).days < length:
            return None
        if start.day == 1 and end == start.replace(day=calendar.monthrange(start.year, start.month)[1]):
            before_start, name = before_end.replace(day=1), f"on {format_month(before_end)}"
        else:
            before_start = start - _DAY * length
            name = "on the day before" if length == 1 else f"on the {length:,} days before"
    if not all(account.has_all(before_start, end) for account in accounts):
        return None
    return Comparison(
        current=add_days(_between(days, start, end)),
        before=add_days(_between(days, before_start, before_end)),
        name=name,
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected spend of the current month.

    Attributes:
        month: First day of the month.
        spend: Expected spend, to a hundredth.
        so_far: Spend of the days of the month that are over.
        days_left: Days that `spend` contains an estimate for.
        a_day: Mean spend a day of the last weeks.
        weeks: Number of those weeks.
    """

    month: date
    spend: Decimal
    so_far: Decimal
    days_left: int
    a_day: Decimal
    weeks: int


def forecast_month(rows: Rows, today: date) -> Forecast | None:
    """Expect for each remaining day of the month the mean of its weekday over the last two to four weeks.

    Args:
        rows: Rows of the query `days`.
        today: The current day, which is not over.

    Returns:
        None if the data are old, or of less than two weeks.
    """
    finished = [row for row in rows if row["day_state"] != "open" and row["day"] < today]
    if not finished:
        return None
    first, last = min(row["day"] for row in finished), max(row["day"] for row in finished)
    weeks = min(_FORECAST_WEEKS, ((last - first).days + 1) // _WEEK)
    if weeks < _MIN_FORECAST_WEEKS or (today - last).days > _MAX_DELAY:
        return None
    recent = _between(finished, last - _DAY * (weeks * _WEEK - 1), last)
    by_weekday = [
        exact_sum(row["spend"] for row in recent if row["day"].weekday() == weekday) / weeks for weekday in range(_WEEK)
    ]
    month = today.replace(day=1)
    month_end = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    left = [last + _DAY * (n + 1) for n in range((month_end - last).days)]
    left = [day for day in left if day >= month]
    so_far = exact_sum(row["spend"] for row in _between(finished, month, last))
    expected = exact_sum([so_far, *(by_weekday[day.weekday()] for day in left)])
    return Forecast(
        month=month,
        spend=expected.quantize(_CENT, ROUND_HALF_UP),
        so_far=so_far,
        days_left=len(left),
        a_day=exact_sum(by_weekday) / _WEEK,
        weeks=weeks,
    )


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The spend of the current month, compared with its budget.

    Attributes:
        month: First day of the month.
        budget: Maximum spend of the month.
        so_far: Spend of its stored days, the current one included.
        expected: The forecast of the month; None without one.
    """

    month: date
    budget: Decimal
    so_far: Decimal
    expected: Decimal | None


def compare_budget(
    rows: Rows, labels: Sequence[str], budgets: Mapping[str, Decimal], forecast: Forecast | None, today: date
) -> BudgetState | None:
    """Compare the current month with the budgets of the accounts.

    Args:
        rows: Rows of the query `days` of these accounts.
        labels: The accounts.
        budgets: Monthly budgets by account, also of others.
        forecast: The forecast of the month.
        today: The current day.

    Returns:
        None if an account has no budget, as the spend of all cannot be compared with the budgets of some, or without
        days of the month and a forecast.
    """
    month = today.replace(day=1)
    current = _between(rows, month, today)
    if not labels or any(label not in budgets for label in labels) or not (current or forecast):
        return None
    return BudgetState(
        month=month,
        budget=exact_sum(budgets[label] for label in labels),
        so_far=exact_sum(row["spend"] for row in current),
        expected=forecast.spend if forecast else None,
    )


def _between(rows: Iterable[Mapping[str, Any]], first: date, last: date) -> list[Mapping[str, Any]]:
    return [row for row in rows if first <= row["day"] <= last]
