"""Balances, top-ups, and the spend that is held against them. Small rows; SQLAlchemy writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal

from sqlalchemy import Connection, delete, func, insert, or_, select

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
    """When the account's first snapshot was taken."""
    column = balance_snapshots.c
    moment: datetime | None = connection.scalar(
        select(func.min(column.taken_at, type_=column.taken_at.type)).where(column.account_id == account_id)
    )
    return moment


def recorded_spend_at(connection: Connection, account_id: int, since: date, fresh: Mapping[date, Decimal]) -> Decimal:
    """What is on record of the charges since a day, and of what changed of older days after they were first whole.

    Loading an old day charges nobody: the balance fell when its charges were made. Read from the day ledger alone,
    one row a day from `since` on and one for each older day that was restated.

    Args:
        connection: Reads.
        account_id: Of the account.
        since: The day of the account's first snapshot.
        fresh: What days amount to by an answer that is newer than the ledger.
    """
    day = synced_days.c
    rows = connection.execute(
        select(day.day, day.spend, day.first_closed_spend).where(
            day.account_id == account_id, or_(day.day >= since, day.restated_at.is_not(None))
        )
    )
    spend = Decimal(0)
    for row in rows:
        if row.day >= since:
            spend += 0 if row.day in fresh else row.spend
        else:
            spend += row.spend - row.first_closed_spend
    return spend + sum((amount for when, amount in fresh.items() if when >= since), Decimal(0))


def restated_on_record(connection: Connection, account_id: int) -> Restated:
    """By how much closed days changed up to now: what the newest snapshot has, and the lines of the journal since.

    Days are added up by the sign of what all their new lines come to.
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
    by_day: defaultdict[date, Decimal] = defaultdict(Decimal)
    for number, day, delta in lines:
        by_day[day] += delta
        last_id = max(last_id, number)
    return Restated(
        before.up + sum((change for change in by_day.values() if change > 0), Decimal(0)),
        before.down + sum((change for change in by_day.values() if change < 0), Decimal(0)),
        last_id,
    )


def read_unproven_days(connection: Connection, account_id: int, zone: tzinfo | None) -> tuple[date, ...]:
    """The days whose spend on record is not the vendor's, in order.

    Suspect ones, and those that were fetched when they were over and could not be shown whole.

    Args:
        connection: Reads.
        account_id: Of the account.
        zone: Of the vendor's wall clock; without it only suspect days are known.
    """
    day = synced_days.c
    rows = connection.execute(
        select(day.day, day.stored_at, day.suspect_since)
        .where(
            day.account_id == account_id,
            or_(day.suspect_since.is_not(None), day.first_closed_at.is_(None)),
        )
        .order_by(day.day)
    )
    return tuple(
        row.day for row in rows if row.suspect_since or (zone and row.stored_at.astimezone(zone).date() > row.day)
    )


def write_snapshots(connection: Connection, account_id: int, snapshots: Iterable[BalanceSnapshot]) -> None:
    """Keep what was read."""
    rows = [
        {
            "account_id": account_id, "taken_at": one.taken_at, "balance": one.balance,
            "recorded_spend": one.recorded_spend, "run_id": one.run_id, "moment": one.moment,
            "restated_up": one.restated and one.restated.up, "restated_down": one.restated and one.restated.down,
            "journal_id": one.restated and one.restated.journal_id, "unproven_days": one.unproven_days,
        }
        for one in snapshots
    ]  # fmt: skip
    connection.execute(insert(balance_snapshots), rows)


def read_snapshots(
    connection: Connection, account_id: int, *, since: datetime | None = None, last: int | None = None
) -> list[BalanceSnapshot]:
    """The snapshots since a moment, or only so many of the last ones, the oldest first.

    Those since a moment begin with one without unproven days, an older one if need be.
    """
    column = balance_snapshots.c
    wanted = select(
        column.taken_at, column.balance, column.recorded_spend, column.run_id, column.moment,
        column.unproven_days, column.restated_up, column.restated_down, column.journal_id,
    ).where(column.account_id == account_id)  # fmt: skip
    if since is not None:
        settled = column.unproven_days == 0
        first = select(column.unproven_days).where(column.account_id == account_id, column.taken_at >= since)
        if connection.scalar(first.order_by(column.taken_at, column.id).limit(1)):
            newest = select(func.max(column.taken_at, type_=column.taken_at.type)).where(
                column.account_id == account_id, column.taken_at < since, settled
            )
            since = connection.scalar(newest) or since
        wanted = wanted.where(column.taken_at >= since)
    newest_first = wanted.order_by(column.taken_at.desc(), column.id.desc()).limit(last)
    snapshots = []
    for taken_at, balance, spend, run_id, moment, unproven, *counted in connection.execute(newest_first):
        restated = None if counted[-1] is None else Restated(*counted)
        snapshots.append(BalanceSnapshot(taken_at, balance, spend, run_id, moment, restated, unproven))
    return snapshots[::-1]


def write_top_up(connection: Connection, account_id: int, top_up: TopUp, *, now: datetime) -> None:
    """Note money that was paid in."""
    values = {"account_id": account_id, "at": top_up.at, "amount": top_up.amount, "noted_at": now}
    connection.execute(insert(balance_top_ups).values(values))


def remove_top_up(connection: Connection, account_id: int, number: int) -> TopUp | None:
    """Take a top-up of an account back; None where the account has none with this id."""
    found = next((one for one in read_all_top_ups(connection, account_id) if one.id == number), None)
    if found is not None:
        column = balance_top_ups.c
        connection.execute(delete(balance_top_ups).where(column.account_id == account_id, column.id == number))
    return found


def read_all_top_ups(connection: Connection, account_id: int) -> list[TopUp]:
    """All top-ups of an account, the oldest first."""
    column = balance_top_ups.c
    query = select(column.at, column.amount, column.id).where(column.account_id == account_id)
    return [TopUp(*row) for row in connection.execute(query.order_by(column.at, column.id))]


def read_top_ups(connection: Connection, account_id: int, snapshots: Sequence[BalanceSnapshot]) -> list[TopUp]:
    """The top-ups between the first and the last of some snapshots."""
    if not snapshots:
        return []
    first, last = snapshots[0].taken_at, snapshots[-1].taken_at
    return [one for one in read_all_top_ups(connection, account_id) if first <= one.at <= last]


def load_periods(connection: Connection, account_id: int, now: datetime) -> list[ReconciliationPeriod]:
    """The account's reconciliation periods of the last REPORTED_HISTORY."""
    snapshots = read_snapshots(connection, account_id, since=now - REPORTED_HISTORY)
    return reconcile(snapshots, read_top_ups(connection, account_id, snapshots))


def load_summary(
    connection: Connection, account_id: int, now: datetime, limit: Decimal | None, zone: tzinfo | None
) -> BalanceSummary | None:
    """The newest balance with the unexplained periods of the last REPORTED_HISTORY; None before the first snapshot."""
    newest = read_snapshots(connection, account_id, last=1)
    if not newest:
        return None
    periods = load_periods(connection, account_id, now)
    waits_for = read_unproven_days(connection, account_id, zone)
    return summarise_balance(newest[-1].taken_at, newest[-1].balance, limit, periods, waits_for)
