"""The unexplained amounts of a page, by the rule of `status`, which leaves out charges in progress during a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, inspect, select

from etl.db.balance import read_snapshots, read_top_ups
from etl.db.tables import accounts, balance_snapshots
from etl.reconcile import REPORTED_HISTORY, ReconciliationPeriod, reconcile, unexplained_periods

_NOTHING: Final = Decimal(0)


def load_unexplained(
    connection: Connection,
    labels: Sequence[str],
    since: date | None,
    until: date | None,
    balances: Sequence[Mapping[str, Any]],
) -> Sequence[Mapping[str, Any]]:
    """The unexplained amounts of the days, in UTC, of a page.

    Args:
        connection: Connection to a database, or to a snapshot of the dashboard.
        labels: The accounts.
        since: Requested first day.
        until: Requested last day.
        balances: Rows of the query `balances`, the result for a snapshot: it does not have the runs.

    Returns:
        Rows with the columns `account`, `day`, `unexplained_charge`, `unexplained_credit` and `paid_in` of `balances`.
    """
    if not inspect(connection).has_table(balance_snapshots.name):
        return balances
    ids = connection.execute(select(accounts.c.id, accounts.c.label).where(accounts.c.label.in_(labels)))
    return [
        _as_row(label, period)
        for account_id, label in ids.all()
        for period in unexplained_periods(_load_periods(connection, account_id, since))
        if (since or date.min) <= period.closed_at.date() <= (until or date.max)
    ]


def _load_periods(connection: Connection, account_id: int, since: date | None) -> list[ReconciliationPeriod]:
    """All periods of the page's days, of REPORTED_HISTORY before them, and of the time since."""
    start = None
    if since and since > date.min + REPORTED_HISTORY:
        start = datetime.combine(since, time(), UTC) - REPORTED_HISTORY
    snapshots = read_snapshots(connection, account_id, since=start)
    return reconcile(snapshots, read_top_ups(connection, account_id, snapshots))


def _as_row(label: str, period: ReconciliationPeriod) -> dict[str, Any]:
    amount = period.unexplained
    return {
        "account": label,
        "day": period.closed_at.date(),
        "unexplained_charge": min(amount, _NOTHING),
        "unexplained_credit": max(amount, _NOTHING),
        "paid_in": max(amount, _NOTHING) if period.closing > period.opening else _NOTHING,
    }
