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
MAX_DELAY: Final = 3
"""Days without data up to today for which a forecast is still made."""
_CENT: Final = Decimal("0.01")
HISTORY_DAYS: Final = 31
"""Days that a forecast needs at most, and a comparison besides as many as the page has."""


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
        so_far: Spend of the stored days of the month that are over.
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


def forecast_month(accounts: Sequence[AccountDays], today: date) -> Forecast | None:
    """Expect for each remaining or missing day of the month the account's mean of its weekday.

    The mean is that of the stored days of the last two to four weeks; that of all of them if the weekday is not stored.

    Args:
        accounts: The last HISTORY_DAYS of each account.
        today: The current day.

    Returns:
        None if the days of all accounts are less than two weeks, or if those of an account are old or less than one.
    """
    in_use = [account for account in accounts if not account.is_retired]
    if not in_use or not all(account.spend for account in in_use):
        return None
    first, last = min(min(account.spend) for account in in_use), max(max(account.spend) for account in in_use)
    weeks = min(_FORECAST_WEEKS, ((last - first).days + 1) // _WEEK)
    start = last - _DAY * (weeks * _WEEK - 1)
    recent = [{day: spend for day, spend in account.spend.items() if day >= start} for account in in_use]
    if weeks < _MIN_FORECAST_WEEKS or any(len(days) < _WEEK or (today - max(days)).days > MAX_DELAY for days in recent):
        return None
    by_weekday = [_mean_by_weekday(days) for days in recent]
    month = today.replace(day=1)
    length = calendar.monthrange(month.year, month.month)[1]
    month_days = [month + _DAY * n for n in range(length)]
    left = [
        (day, means[day.weekday()])
        for account, means in zip(in_use, by_weekday, strict=True)
        for day in month_days
        if account.lacks(day)
    ]
    so_far = exact_sum(account.spend[day] for account in accounts for day in month_days if day in account.spend)
    return Forecast(
        month=month,
        spend=exact_sum([so_far, *(spend for _, spend in left)]).quantize(_CENT, ROUND_HALF_UP),
        so_far=so_far,
        days_left=len({day for day, _ in left}),
        a_day=exact_sum(spend for means in by_weekday for spend in means) / _WEEK,
        weeks=weeks,
    )


def _mean_by_weekday(days: Mapping[date, Decimal]) -> list[Decimal]:
    """The mean spend of each weekday; that of all days for a weekday without any."""
    groups = [[spend for day, spend in days.items() if day.weekday() == weekday] for weekday in range(_WEEK)]
    return [exact_sum(group) / len(group) for group in (own or list(days.values()) for own in groups)]


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
        rows: Rows of the query `calendar` of these accounts.
        labels: The accounts.
        budgets: Monthly budgets by account, also of others.
        forecast: The forecast of the month.
        today: The current day.

    Returns:
        None if an account has no budget, as the spend of all cannot be compared with the budgets of some, or without
        days of the month and a forecast.
    """
    month = today.replace(day=1)
    current = [row for row in _between(rows, month, today) if row["day_state"] != "missing"]
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
