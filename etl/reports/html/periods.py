"""Days grouped to weeks or months, and the end of an axis that one outlier does not determine."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from etl.amounts import exact_sum
from etl.reports.charts.amount_specs import Grain

Rows = Sequence[Mapping[str, Any]]
_DAY: Final = timedelta(days=1)
_MAX_DAYS: Final = 120
"""Longer periods are shown by week."""
_MAX_DAYS_OF_WEEKS: Final = 730
"""Longer periods are shown by month."""
_OUTLIER_FACTOR: Final = 4
"""How many times the amount that nearly all others stay below an outlier exceeds."""
_USUAL_SHARE: Final = 0.95
_HEADROOM: Final = Decimal("1.1")


def choose_grain(days: Iterable[date]) -> Grain:
    """The period of a bar for a page with these days."""
    days = list(days)
    length = (max(days) - min(days)).days + 1 if days else 0
    if length <= _MAX_DAYS:
        return Grain.DAY
    return Grain.WEEK if length <= _MAX_DAYS_OF_WEEKS else Grain.MONTH


def period_start(day: date, grain: Grain) -> date:
    """The first day of the day's week, which begins on Monday, or month."""
    if grain is Grain.MONTH:
        return day.replace(day=1)
    return day - _DAY * min(day.weekday(), day.toordinal() - 1) if grain is Grain.WEEK else day


def last_of_period(start: date, grain: Grain) -> date:
    """The last day of a period."""
    if grain is Grain.MONTH:
        return start.replace(day=calendar.monthrange(start.year, start.month)[1])
    return start + _DAY * min(6, (date.max - start).days) if grain is Grain.WEEK else start


def group_days(rows: Rows, grain: Grain, first: date, last: date) -> list[dict[str, Any]]:
    """Group rows of days by account and period.

    Args:
        rows: Rows of the query `days`.
        grain: Week or month.
        first: First day of the page.
        last: Last day of the page.

    Returns:
        Rows with `day`, the first day of the period, `end`, the day after it, and `partial`: whether the period is not
        over, or only in part within the days of the page.
    """
    groups: dict[tuple[date, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((period_start(row["day"], grain), row["account"]), []).append(row)
    return [
        {
            "account": account,
            "day": start,
            "end": min(last_of_period(start, grain), date.max - _DAY) + _DAY,
            "records": sum(row["records"] for row in group),
            "delivered": sum(row["delivered"] for row in group),
            "spend": exact_sum(row["spend"] for row in group),
            "partial": start < first
            or last_of_period(start, grain) > last
            or any(row["day_state"] == "open" for row in group),
        }
        for (start, account), group in sorted(groups.items(), key=lambda item: item[0])
    ]


def axis_limit(amounts: Iterable[Decimal]) -> Decimal | None:
    """The end of an axis from zero if outliers would flatten all other bars; None if there are none.

    Args:
        amounts: Heights of the bars; those below zero are ignored.
    """
    heights = sorted(amount for amount in amounts if amount > 0)
    if len(heights) < 3:
        return None
    usual = heights[min(int(len(heights) * _USUAL_SHARE), len(heights) - 2)]
    ordinary = [height for height in heights if height <= usual * _OUTLIER_FACTOR]
    return ordinary[-1] * _HEADROOM if len(ordinary) < len(heights) else None
