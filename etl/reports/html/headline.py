"""The headline of the report: figures with their change, a line of their course, and notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from etl.amounts import exact_sum
from etl.reports.charts.amount_specs import Grain
from etl.reports.html.comparison import BudgetState, Comparison, Forecast
from etl.reports.html.formatting import (
    format_amount,
    format_change,
    format_count,
    format_day,
    format_month,
    format_points,
    format_rate,
)
from etl.reports.html.periods import period_start
from etl.reports.html.totals import ReportTotals, Totals, add_days

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
_SPARK_WIDTH: Final = 120
_SPARK_HEIGHT: Final = 24
_MIN_POINTS: Final = 3


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline figure.

    Attributes:
        value: The figure without its currency.
        currency: Empty for counts and rates.
        change: Change against the period before; empty if that is not known.
        notes: Lines below it.
        path: SVG path of its course, within SPARK_SIZE; empty with few points.
    """

    name: str
    value: str
    currency: str
    change: str
    notes: Sequence[str]
    path: str

    @property
    def characters(self) -> int:
        """Length of the figure, which determines its size: it never breaks."""
        return len(self.value) + (len(self.currency) + 1 if self.currency else 0)


SPARK_SIZE: Final = (_SPARK_WIDTH, _SPARK_HEIGHT)
"""Width and height of a tile's line, in the units of its path."""


def build_tiles(
    totals: ReportTotals,
    rows: Rows,
    grain: Grain,
    comparison: Comparison | None,
    forecast: Forecast | None,
    budget: BudgetState | None,
    currency: str,
) -> Iterator[Tile]:
    """The tiles of a page with charges."""
    total, periods = totals.total, _totals_by_period(rows["days"], grain)

    def change(value: Callable[[Totals], Any], to_text: Callable[[Any, Any], str] = format_change) -> str:
        return to_text(value(comparison.current), value(comparison.before)) if comparison else ""

    def path(value: Callable[[Totals], Any]) -> str:
        return spark_path([value(period) for period in periods])

    repeated = total.repeated_spend
    yield Tile(
        "Spend",
        format_amount(total.spend),
        currency,
        change(lambda period: period.spend),
        [
            f"{format_amount(repeated)} {currency} of it for charges listed more than once"
            if repeated
            else "none of it for charges listed more than once",
            *(_describe_forecast(forecast, currency) if forecast else ()),
            *(_describe_budget(budget, currency) if budget else ()),
        ],
        path(lambda period: period.spend),
    )
    yield Tile(
        "Delivered",
        format_count(total.delivered),
        "",
        change(lambda period: period.delivered),
        [f"of {format_count(total.records)} charges"],
        path(lambda period: period.delivered),
    )
    yield Tile(
        "Delivery rate",
        format_rate(total.delivery_rate),
        "",
        change(lambda period: period.delivery_rate, format_points),
        [f"{format_count(total.records - total.delivered)} not delivered"],
        path(lambda period: period.delivery_rate),
    )
    yield Tile(
        "Cost per delivery",
        format_amount(total.cost_per_delivery),
        currency if total.delivered else "",
        change(lambda period: period.cost_per_delivery),
        ["spend ÷ delivered" if total.delivered else "nothing was delivered"],
        path(lambda period: period.cost_per_delivery),
    )
    known, accounts = len(totals.balances), len(totals.by_account)
    coverage = f"{known} of {accounts} accounts, " if known < accounts else ""
    yield Tile(
        "Balance",
        format_amount(totals.balance),
        currency if totals.balances else "",
        "",
        [
            f"{coverage}on {format_day(totals.balance_day)}" if totals.balance_day else "not known for these days",
            *(_describe_range(forecast, totals.balance) if forecast else ()),
        ],
        spark_path(_balances_by_day(rows["balances"])),
    )


def spark_path(values: Sequence[Decimal | int | None]) -> str:
    """An SVG path through the values, from left to right; empty if fewer than three are known."""
    known = [(index, float(value)) for index, value in enumerate(values) if value is not None]
    if len(known) < _MIN_POINTS:
        return ""
    low, high = min(value for _, value in known), max(value for _, value in known)
    height = (high - low) or 1.0
    points = (
        f"{index * _SPARK_WIDTH / (len(values) - 1):.1f} {_SPARK_HEIGHT - 2 - (value - low) / height * 20:.1f}"
        for index, value in known
    )
    return "M" + "L".join(points)


def unexplained_charges(amounts: Sequence[Mapping[str, Any]], currency: str) -> list[tuple[str, str]]:
    """Accounts and their unexplained charges, less the credits that preceded them as late settlements."""
    by_account: dict[str, list[Mapping[str, Any]]] = {}
    for row in amounts:
        by_account.setdefault(row["account"], []).append(row)
    found = []
    for account, rows in by_account.items():
        charged = exact_sum(row["unexplained_charge"] for row in rows)
        late = exact_sum(row["unexplained_credit"] - row["paid_in"] for row in rows)
        if charged + late < 0:
            last = max(row["day"] for row in rows if row["unexplained_charge"] < 0)
            found.append((account, f"{format_amount(-charged - late)} {currency}, last on {format_day(last)}"))
    return found


def _totals_by_period(days: Sequence[Mapping[str, Any]], grain: Grain) -> list[Totals]:
    """Totals of the periods that are over, in order."""
    groups: dict[date, list[Mapping[str, Any]]] = {}
    for row in days:
        if row["day_state"] != "open":
            groups.setdefault(period_start(row["day"], grain), []).append(row)
    return [add_days(groups[start]) for start in sorted(groups)]


def _balances_by_day(balances: Sequence[Mapping[str, Any]]) -> list[Decimal]:
    """The sum of the accounts' last balances after each day."""
    latest: dict[str, Decimal] = {}
    sums: dict[date, Decimal] = {}
    for row in balances:
        latest[row["account"]] = row["balance"]
        sums[row["day"]] = exact_sum(latest.values())
    return list(sums.values())


def _describe_forecast(forecast: Forecast, currency: str) -> Iterator[str]:
    month = format_month(forecast.month)
    if forecast.days_left:
        yield f"{month}: about {forecast.spend:,.0f} {currency}, if the rest is as in the last {forecast.weeks} weeks"


def _describe_budget(budget: BudgetState, currency: str) -> Iterator[str]:
    yield f"budget of {format_month(budget.month)}: {format_amount(budget.budget)} {currency}"


def describe_excess(budget: BudgetState, currency: str) -> str:
    """By how much a month exceeds its budget, or is expected to; empty if it does not."""

    def amounts(amount: Decimal, text: str) -> str:
        excess = format_amount(amount - budget.budget)
        return f"{format_month(budget.month)} {text} {currency}, {excess} above the budget of {allowed} {currency}."

    allowed = format_amount(budget.budget)
    if budget.so_far > budget.budget:
        return amounts(budget.so_far, f"has cost {format_amount(budget.so_far)}")
    if budget.expected is not None and budget.expected > budget.budget:
        return amounts(budget.expected, f"will cost about {format_amount(budget.expected)}")
    return ""


def _describe_range(forecast: Forecast, balance: Decimal | None) -> Iterator[str]:
    if balance is not None and balance > 0 and forecast.a_day > 0:
        days = int(balance / forecast.a_day)
        yield f"lasts about {format_count(days)} day{'' if days == 1 else 's'}, as in the last {forecast.weeks} weeks"
