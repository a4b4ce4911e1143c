"""Formats of the values in the report, independent of the locale."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from etl.reports.charts.count_specs import WEEKDAYS

EMPTY: Final = "–"
"""Text of a missing value."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MIN_PLACES: Final = 2


def decimal_places(amounts: Iterable[Decimal | None]) -> int:
    """Decimal places, from two to six, that show all amounts exactly."""
    fractions = (f"{amount:.6f}".rstrip("0").rpartition(".")[2] for amount in amounts if amount is not None)
    return max(_MIN_PLACES, *map(len, fractions), 0)


def format_amount(amount: Decimal | None, places: int | None = None, *, signed: bool = False) -> str:
    """`1,234.50`, with the given decimal places or as many as the amount needs."""
    if amount is None:
        return EMPTY
    sign = "+" if signed and amount else ""
    return f"{amount:{sign},.{decimal_places([amount]) if places is None else places}f}"


def format_count(count: int | None) -> str:
    """`1,234`."""
    return EMPTY if count is None else f"{count:,}"


def format_rate(rate: Decimal | None) -> str:
    """`93.41%`: the four decimal places of a rate."""
    return EMPTY if rate is None else f"{rate:.2%}"


def format_change(now: Decimal | int | None, before: Decimal | int | None) -> str:
    """`+4.2%`; empty where there is no ratio."""
    if now is None or not before or before < 0:
        return ""
    ratio = Decimal(now) / Decimal(before) - 1
    return f"{ratio:+,.0%}" if abs(ratio) >= 1 else f"{ratio:+.1%}"


def format_points(now: Decimal | None, before: Decimal | None) -> str:
    """`+1.25 points`: the difference of two rates; empty where one is not known."""
    return "" if now is None or before is None else f"{(now - before) * 100:+.2f} points"


def format_day(day: date | None) -> str:
    """`Tue 10 Mar 2026`."""
    return EMPTY if day is None else f"{_format_short_day(day)} {day.year}"


def format_month(month: date) -> str:
    """`Mar 2026`."""
    return f"{_MONTHS[month.month - 1]} {month.year}"


def format_time(timestamp: datetime | None) -> str:
    """`Tue 10 Mar 2026, 01:30`."""
    return EMPTY if timestamp is None else f"{format_day(timestamp)}, {timestamp:%H:%M}"


def format_period(since: date | None, until: date | None, *, empty: bool = False) -> str:
    """`Mon 26 Oct – Wed 25 Nov 2026`; without charges (`empty`) either end may be missing."""
    if empty:
        return f"No charges{f' from {format_day(since)}' if since else ''}{f' to {format_day(until)}' if until else ''}"
    if since is None or since == until:
        return format_day(until)
    year = "" if until and since.year == until.year else f" {since.year}"
    return f"{_format_short_day(since)}{year} – {format_day(until)}"


def _format_short_day(day: date) -> str:
    return f"{WEEKDAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}"
