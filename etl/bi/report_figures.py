"""The figures at the head of the report: exact sums of the days, in all, by account and by month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, Final

from etl.bi.charts import STATES

_DIGITS: Final = 60
"""More than any sum of the views' amounts has: nothing is rounded on the way."""
_RATE: Final = Decimal("0.0001")
_COST: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Sum:
    """What some days come to.

    Attributes:
        records: Charges as the vendor lists them, repeats included.
        repeated_spend: The part of spend that charges listed more than once add, where that is known.
    """

    records: int
    delivered: int
    spend: Decimal
    repeated_spend: Decimal = Decimal(0)

    @property
    def delivery_rate(self) -> Decimal | None:
        """Four places, as in the views; None of nothing."""
        return _share(Decimal(self.delivered), self.records, _RATE)

    @property
    def cost_per_delivery(self) -> Decimal | None:
        """Six places, as in the views; None where nothing was delivered."""
        return _share(self.spend, self.delivered, _COST)


@dataclass(frozen=True, slots=True)
class Figures:
    """The head of the report.

    Attributes:
        since: As asked for, else the first day with charges; None where there is neither.
        until: The same at the other end.
        by_account: Of every account asked for, by label, those without charges too.
        by_month: By the first day of the month.
        balances: The last one known in these days, by account; those without one are missing.
        balance_day: Of the latest of them, in UTC.
        closed_through: The last day before the first that may still change; None where all of them may.
        days_of_state: The days that are in each state for some account.
    """

    since: date | None
    until: date | None
    total: Sum
    by_account: Mapping[str, Sum]
    by_month: Mapping[date, Sum]
    balances: Mapping[str, Decimal]
    balance_day: date | None
    closed_through: date | None
    days_of_state: Mapping[str, Sequence[date]]

    @property
    def days(self) -> int:
        """From the first to the last day, both included."""
        return (self.until - self.since).days + 1 if self.since and self.until else 0

    @property
    def unsettled(self) -> list[date]:
        """Days whose figures may still change."""
        return sorted({day for state, days in self.days_of_state.items() if state != "closed" for day in days})

    @property
    def balance(self) -> Decimal | None:
        """Of all accounts together, as far as one is known."""
        return exact_sum(self.balances.values()) if self.balances else None


def add_up(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], labels: Sequence[str], since: date | None, until: date | None
) -> Figures:
    """The figures of the rows.

    Args:
        rows: Of the queries `days` and `balances`, by day.
        labels: The accounts asked for.
        since: The first day asked for.
        until: The last one.
    """
    days = rows["days"]
    months = sorted({row["day"].replace(day=1) for row in days})
    unsettled = min((row["day"] for row in days if row["day_state"] != "closed"), default=date.max)
    balances = {row["account"]: row["balance"] for row in rows["balances"]}
    return Figures(
        since=since or min((row["day"] for row in days), default=None),
        until=until or max((row["day"] for row in days), default=None),
        total=_sum(days),
        by_account={label: _sum(row for row in days if row["account"] == label) for label in labels},
        by_month={month: _sum(row for row in days if row["day"].replace(day=1) == month) for month in months},
        balances=balances,
        balance_day=max((row["day"] for row in rows["balances"]), default=None),
        closed_through=max((row["day"] for row in days if row["day"] < unsettled), default=None),
        days_of_state={state: sorted({row["day"] for row in days if row["day_state"] == state}) for state in STATES},
    )


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """A sum of amounts, to the last digit."""
    with localcontext(prec=_DIGITS):
        return sum(amounts, Decimal(0))


def _sum(days: Iterable[Mapping[str, Any]]) -> Sum:
    days = list(days)
    return Sum(
        records=sum(row["records"] for row in days),
        delivered=sum(row["delivered"] for row in days),
        spend=exact_sum(row["spend"] for row in days),
        repeated_spend=exact_sum(row["repeated_spend"] for row in days),
    )


def _share(amount: Decimal, count: int, place: Decimal) -> Decimal | None:
    if count <= 0:
        return None
    with localcontext(prec=_DIGITS):
        return (amount / count).quantize(place, ROUND_HALF_UP)
