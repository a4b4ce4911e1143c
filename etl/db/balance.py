"""Reads and writes balance snapshots and top-ups, and reads the recorded spend that they are reconciled with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from etl.amounts import exact_sum
from etl.db.day_conditions import IS_COMPLETE, IS_SUSPECT
from etl.db.tables import balance_snapshots, balance_top_ups, restatements, synced_days
from etl.reconcile import (
    REPORTED_HISTORY,
    BalanceSnapshot,
    BalanceSummary,
    ReconciliationPeriod,
    Restated,
    TopUp,
    reconcile,
    summarise_balance,
)


def first_snapshot_at(connection: Connection, account_id: int) -> datetime | None:
    """Return the time of the account's first snapshot; None if there is none."""
    column = balance_snapshots.c
    first: datetime | None = connection.scalar(
        select(func.min(column.taken_at, type_=column.taken_at.type)).where(column.account_id == account_id)
    )
    return first


def recorded_spend_at(connection: Connection, account_id: int, since: date, fresh: Mapping[date, Decimal]) -> Decimal:
    """Sum the spend of the days from `since` on, and the changes of older days after they were first closed.

    A backfill of older days does not count: their charges lowered the balance before the first snapshot. The sum reads
    the day ledger only: one row per day from `since` on and one per restated older day.

    Args:
        connection: Connection to read with.
        account_id: `accounts.id`.
        since: Day of the account's first snapshot.
        fresh: Spend of days fetched after the ledger was written; replaces the ledger's.
    """
    day = synced_days.c
    rows = connection.execute(
        select(day.day, day.spend, day.first_closed_spend).where(
            day.account_id == account_id, or_(day.day >= since, day.restated_at.is_not(None))
        )
    )
    recorded = [
        row.spend if row.day >= since else row.spend - row.first_closed_spend
        for row in rows
        if row.day < since or row.day not in fresh
    ]
    return exact_sum([*recorded, *(amount for day, amount in fresh.items() if day >= since)])


def move_first_day(connection: Connection, account_id: int, old_zone: tzinfo, zone: tzinfo) -> None:
    """Adapt the recorded spend of all snapshots to another zone, in which the first one may be of another day."""
    if (first := first_snapshot_at(connection, account_id)) is None:
        return
    before, after = (
        recorded_spend_at(connection, account_id, first.astimezone(each).date(), {}) for each in (old_zone, zone)
    )
    if before == after:
        return
    column = balance_snapshots.c
    rows = connection.execute(select(column.id, column.recorded_spend).where(column.account_id == account_id)).all()
    connection.execute(
        update(balance_snapshots)
        .where(column.id == bindparam("snapshot"))
        .values(recorded_spend=bindparam("spend", type_=column.recorded_spend.type)),
        [{"snapshot": row.id, "spend": exact_sum([row.recorded_spend, after, -before])} for row in rows],
    )


def restated_on_record(connection: Connection, account_id: int) -> Restated:
    """Accumulate the changes of closed days: the newest snapshot's totals plus the journal lines after it.

    The new lines are summed per day, and the sign of a day's sum decides whether it counts as `up` or `down`.
    """
    column, line = balance_snapshots.c, restatements.c
    row = connection.execute(
        select(column.restated_up, column.restated_down, column.journal_id)
        .where(column.account_id == account_id, column.journal_id.is_not(None))
        .order_by(column.taken_at.desc(), column.id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        last = select(func.max(line.id)).where(line.account_id == account_id)
        return Restated(journal_id=connection.scalar(last) or 0)
    before = Restated(*row)
    lines = connection.execute(
        select(line.id, line.day, line.delta).where(line.account_id == account_id, line.id > before.journal_id)
    )
    last_id = before.journal_id
    by_day: defaultdict[date, list[Decimal]] = defaultdict(list)
    for line_id, day, delta in lines:
        by_day[day].append(delta)
        last_id = max(last_id, line_id)
    changes = [exact_sum(deltas) for deltas in by_day.values()]
    return Restated(
        exact_sum([before.up, *(change for change in changes if change > 0)]),
        exact_sum([before.down, *(change for change in changes if change < 0)]),
        last_id,
    )


def read_unproven_days(connection: Connection, account_id: int, zone: tzinfo | None) -> tuple[date, ...]:
    """Return the days whose recorded spend may differ from the vendor's, in order.

    These are suspect days, and days that were fetched after they were over and are still incomplete.

    Args:
        connection: Connection to read with.
        account_id: `accounts.id`.
        zone: Zone of the vendor's wall clock; without it only suspect days are found.
    """
    day = synced_days.c
    rows = connection.execute(
        select(day.day, day.stored_at, day.suspect_since)
        .where(
            day.account_id == account_id,
            or_(IS_SUSPECT, ~IS_COMPLETE),
        )
        .order_by(day.day)
    )
    return tuple(
        row.day for row in rows if row.suspect_since or (zone and row.stored_at.astimezone(zone).date() > row.day)
    )


def write_snapshots(connection: Connection, account_id: int, snapshots: Iterable[BalanceSnapshot]) -> None:
    """Insert snapshots."""
    rows = [
        {
            "account_id": account_id, "taken_at": snapshot.taken_at, "balance": snapshot.balance,
            "recorded_spend": snapshot.recorded_spend, "run_id": snapshot.run_id, "moment": snapshot.moment,
            "restated_up": snapshot.restated and snapshot.restated.up,
            "restated_down": snapshot.restated and snapshot.restated.down,
            "journal_id": snapshot.restated and snapshot.restated.journal_id,
            "unproven_days": snapshot.unproven_days,
        }
        for snapshot in snapshots
    ]  # fmt: skip
    connection.execute(insert(balance_snapshots), rows)


def read_snapshots(
    connection: Connection, account_id: int, *, since: datetime | None = None, last: int | None = None
) -> list[BalanceSnapshot]:
    """Read the snapshots taken since a time, or the last ones, oldest first.

    With `since` the result starts with a snapshot without unproven days, an older one if necessary.

    Args:
        connection: Connection to read with.
        account_id: `accounts.id`.
        since: Time of the earliest snapshot.
        last: Maximum number of snapshots, counted from the newest.
    """
    column = balance_snapshots.c
    query = select(
        column.taken_at, column.balance, column.recorded_spend, column.run_id, column.moment,
        column.unproven_days, column.restated_up, column.restated_down, column.journal_id,
    ).where(column.account_id == account_id)  # fmt: skip
    if since is not None:
        first = select(column.unproven_days).where(column.account_id == account_id, column.taken_at >= since)
        if connection.scalar(first.order_by(column.taken_at, column.id).limit(1)):
            proven = select(func.max(column.taken_at, type_=column.taken_at.type)).where(
                column.account_id == account_id, column.taken_at < since, column.unproven_days == 0
            )
            since = connection.scalar(proven) or since
        query = query.where(column.taken_at >= since)
    newest_first = query.order_by(column.taken_at.desc(), column.id.desc()).limit(last)
    snapshots = []
    for taken_at, balance, spend, run_id, moment, unproven, *restated_columns in connection.execute(newest_first):
        restated = None if restated_columns[-1] is None else Restated(*restated_columns)
        snapshots.append(BalanceSnapshot(taken_at, balance, spend, run_id, moment, restated, unproven))
    return snapshots[::-1]


def write_top_up(connection: Connection, account_id: int, top_up: TopUp, *, now: datetime) -> None:
    """Insert a top-up."""
    values = {"account_id": account_id, "at": top_up.at, "amount": top_up.amount, "noted_at": now}
    connection.execute(insert(balance_top_ups).values(values))


def remove_top_up(connection: Connection, account_id: int, top_up_id: int) -> TopUp | None:
    """Delete a top-up and return it; None if the account has none with this id."""
    top_ups = read_all_top_ups(connection, account_id)
    removed = next((top_up for top_up in top_ups if top_up.id == top_up_id), None)
    if removed is not None:
        column = balance_top_ups.c
        connection.execute(delete(balance_top_ups).where(column.account_id == account_id, column.id == top_up_id))
    return removed


def read_all_top_ups(connection: Connection, account_id: int) -> list[TopUp]:
    """Read all top-ups of an account, oldest first."""
    column = balance_top_ups.c
    query = select(column.at, column.amount, column.id).where(column.account_id == account_id)
    return [TopUp(*row) for row in connection.execute(query.order_by(column.at, column.id))]


def read_top_ups(connection: Connection, account_id: int, snapshots: Sequence[BalanceSnapshot]) -> list[TopUp]:
    """Read the top-ups between the first and the last of the given snapshots."""
    if not snapshots:
        return []
    first, last = snapshots[0].taken_at, snapshots[-1].taken_at
    return [top_up for top_up in read_all_top_ups(connection, account_id) if first <= top_up.at <= last]


def load_periods(connection: Connection, account_id: int, now: datetime) -> list[ReconciliationPeriod]:
    """The account's reconciliation periods of the last REPORTED_HISTORY."""
    snapshots = read_snapshots(connection, account_id, since=now - REPORTED_HISTORY)
    return reconcile(snapshots, read_top_ups(connection, account_id, snapshots))


def load_summary(
    connection: Connection, account_id: int, now: datetime, limit: Decimal | None, zone: tzinfo | None
) -> BalanceSummary | None:
    """The newest balance with the unexplained periods of the last REPORTED_HISTORY; None before the first snapshot."""
    snapshots = read_snapshots(connection, account_id, since=now - REPORTED_HISTORY)
    newest = snapshots[-1:] or read_snapshots(connection, account_id, last=1)
    if not newest:
        return None
    periods = reconcile(snapshots, read_top_ups(connection, account_id, snapshots))
    waits_for = read_unproven_days(connection, account_id, zone)
    return summarise_balance(newest[-1].taken_at, newest[-1].balance, limit, periods, waits_for)
