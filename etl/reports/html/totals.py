"""Totals of the report: exact sums of the days, overall, by account and by month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from etl.amounts import exact_arithmetic, exact_sum

_RATE_STEP: Final = Decimal("0.0001")
_COST_STEP: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of a set of days.

    Attributes:
        records: Charges as the vendor lists them, repeats included.
        repeated_spend: Part of `spend` due to charges listed more than once; 0 where unknown.
    """

    records: int
    delivered: int
    spend: Decimal
    repeated_spend: Decimal = Decimal(0)

    @property
    def delivery_rate(self) -> Decimal | None:
        """Four decimal places, as in the views; None without records."""
        return _ratio(Decimal(self.delivered), self.records, _RATE_STEP)

    @property
    def cost_per_delivery(self) -> Decimal | None:
        """Six decimal places, as in the views; None if nothing was delivered."""
        return _ratio(self.spend, self.delivered, _COST_STEP)


@dataclass(frozen=True, slots=True)
class ReportTotals:
    """Totals of the report.

    Attributes:
        since: Requested first day, or else the first day with charges, purged ones if there are no others; None
            without either.
        until: Requested last day, or else the last day with charges, as for `since`.
        by_account: Totals by label of every requested account, including those without charges.
        by_month: Totals by the first day of the month.
        balances: Last known balance within the days by account; accounts without a balance are missing.
        balance_day: Day of the latest balance, in UTC.
        closed_through: Last day with charges before the first that may still change; None if all may change.
        unsettled: Days that may still change: not closed, or after a day of their account that was never fetched
            completely. Those of a retired account do not change.
        suspect: Days whose latest answer was implausible.
        missing: Days, between the first and the last stored one of an account, that were never stored.
        open: Days that were not over when they were last fetched.
        purged: Days whose charges were purged; only the totals of their months are left.
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
    missing: Sequence[date]
    open: Sequence[date]
    purged: Sequence[date]

    @property
    def days(self) -> int:
        """Number of days from `since` to `until`, inclusive."""
        return (self.until - self.since).days + 1 if self.since and self.until else 0

    @property
    def balance(self) -> Decimal | None:
        """Sum of the known balances; None if no balance is known."""
        return exact_sum(self.balances.values()) if self.balances else None


def compute_totals(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], labels: Sequence[str], since: date | None, until: date | None
) -> ReportTotals:
    """Compute the totals.

    Args:
        rows: Rows of the queries `days`, `calendar` and `balances`, by day, and of `freshness`.
        labels: Requested accounts.
        since: Requested first day.
        until: Requested last day.
    """
    days = rows["days"]
    dates = [row["day"] for row in days]
    months = sorted({day.replace(day=1) for day in dates})
    unsettled = _unsettled(rows)
    purged = sorted({day for _, day in purged_account_days(days, rows["calendar"])})
    balances = {row["account"]: row["balance"] for row in rows["balances"]}
    return ReportTotals(
        since=since or min(dates or purged, default=None),
        until=until or max(dates or purged, default=None),
        total=add_days(days),
        by_account={label: add_days(row for row in days if row["account"] == label) for label in labels},
        by_month={month: add_days(row for row in days if row["day"].replace(day=1) == month) for month in months},
        balances=balances,
        balance_day=max((row["day"] for row in rows["balances"]), default=None),
        closed_through=max((day for day in dates if not unsettled or day < unsettled[0]), default=None),
        unsettled=unsettled,
        suspect=sorted({row["day"] for row in days if row["day_state"] == "suspect"}),
        missing=sorted({row["day"] for row in rows["calendar"] if row["day_state"] == "missing"}),
        open=sorted({row["day"] for row in days if row["day_state"] == "open"}),
        purged=purged,
    )


def add_days(days: Iterable[Mapping[str, Any]]) -> Totals:
    """Totals of rows of the query `days`."""
    days = list(days)
    return Totals(
        records=sum(row["records"] for row in days),
        delivered=sum(row["delivered"] for row in days),
        spend=exact_sum(row["spend"] for row in days),
        repeated_spend=exact_sum(row["repeated_spend"] for row in days),
    )


def purged_account_days(
    days: Iterable[Mapping[str, Any]], calendar: Iterable[Mapping[str, Any]]
) -> set[tuple[str, date]]:
    """Accounts and days whose charges the calendar counts, and `days`, of the same days, does not have any more."""
    listed = {(row["account"], row["day"]) for row in days}
    return {(row["account"], row["day"]) for row in calendar if row["records"]} - listed


def retired_accounts(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[str]:
    """Labels of the accounts that no run fetches any more, by the rows of the query `freshness`."""
    return {row["account"] for row in rows["freshness"] if row["retired_at"]}


def _unsettled(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[date]:
    complete_through = {row["account"]: row["last_synced_date"] or date.min for row in rows["freshness"]}
    retired = retired_accounts(rows)
    return sorted(
        {
            row["day"]
            for row in rows["days"]
            if row["account"] not in retired
            and (row["day_state"] != "closed" or row["day"] > complete_through.get(row["account"], date.min))
        }
    )


def _ratio(amount: Decimal, count: int, step: Decimal) -> Decimal | None:
    if count <= 0:
        return None
    with exact_arithmetic():
        return (amount / count).quantize(step, ROUND_HALF_UP)
