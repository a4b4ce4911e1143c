"""The figures at the head of the report: exact sums of the days, in all, by account and by month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any, Final

_DIGITS: Final = 60
"""More than any sum of the views' amounts has: nothing is rounded on the way."""
_RATE: Final = Decimal("0.0001")
_COST: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Totals:
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
class ReportTotals:
    """The head of the report.

    Attributes:
        since: As asked for, else the first day with charges; None where there is neither.
        until: The same at the other end.
        by_account: Of every account asked for, by label, those without charges too.
        by_month: By the first day of the month.
        balances: The last one known in these days, by account; those without one are missing.
        balance_day: Of the latest of them, in UTC.
        closed_through: The last day with charges before the first that may still change; None where all of them may.
        unsettled: Days that may still change: not closed, or beyond a day that was never fetched whole.
        suspect: Days whose latest answer was implausible.
    """

    since: date | None
    until: date | None
    total: Totals
    by_account: Mapping[str, Totals]
    by_month: Mapping[date, Totals]
    balances: Mapping[str, Decimal]
    balance_day: date | None
    closed_through: date | None
    unsettled: Sequence[date]
    suspect: Sequence[date]

    @property
    def days(self) -> int:
        """From the first to the last day, both included."""
        return (self.until - self.since).days + 1 if self.since and self.until else 0

    @property
    def balance(self) -> Decimal | None:
        """Of all accounts together, as far as one is known."""
        return exact_sum(self.balances.values()) if self.balances else None


def compute_totals(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], labels: Sequence[str], since: date | None, until: date | None
) -> ReportTotals:
    """The figures of the rows.

    Args:
        rows: Of the queries `days` and `balances`, by day, and of `freshness`.
        labels: The accounts asked for.
        since: The first day asked for.
        until: The last one.
    """
    days = rows["days"]
    every = [row["day"] for row in days]
    months = sorted({day.replace(day=1) for day in every})
    unsettled = _unsettled(rows)
    balances = {row["account"]: row["balance"] for row in rows["balances"]}
    return ReportTotals(
        since=since or min(every, default=None),
        until=until or max(every, default=None),
        total=_sum(days),
        by_account={label: _sum(row for row in days if row["account"] == label) for label in labels},
        by_month={month: _sum(row for row in days if row["day"].replace(day=1) == month) for month in months},
        balances=balances,
        balance_day=max((row["day"] for row in rows["balances"]), default=None),
        closed_through=max((day for day in every if not unsettled or day < unsettled[0]), default=None),
        unsettled=unsettled,
        suspect=sorted({row["day"] for row in days if row["day_state"] == "suspect"}),
    )


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """A sum of amounts, to the last digit."""
    with localcontext(prec=_DIGITS):
        return sum(amounts, Decimal(0))


def _unsettled(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[date]:
    complete = min((row["last_synced_date"] or date.min for row in rows["freshness"]), default=date.min)
    return sorted({row["day"] for row in rows["days"] if row["day_state"] != "closed" or row["day"] > complete})


def _sum(days: Iterable[Mapping[str, Any]]) -> Totals:
    days = list(days)
    return Totals(
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
