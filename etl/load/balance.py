"""Balances, top-ups, and the spend that is held against them. Small rows; SQLAlchemy writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, func, insert, or_, select

from etl.load.tables import balance_snapshots, balance_top_ups, synced_days


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The balance at a moment, and the spend on record that belongs to it.

    Attributes:
        run_id: Of the run that took it; None where a person asked.
        moment: `before` or `after` that run.
    """

    taken_at: datetime
    balance: Decimal
    recorded_spend: Decimal
    run_id: int | None = None
    moment: str | None = None


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money paid in, as a person told of it."""

    at: datetime
    amount: Decimal


def first_snapshot_at(connection: Connection, account_id: int) -> datetime | None:
    """When the account's first snapshot was taken."""
    column = balance_snapshots.c
    moment: datetime | None = connection.scalar(
        select(func.min(column.taken_at, type_=column.taken_at.type)).where(column.account_id == account_id)
    )
    return moment


def spend_on_record(connection: Connection, account_id: int, since: date, fresh: Mapping[date, Decimal]) -> Decimal:
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


def write_snapshots(connection: Connection, account_id: int, snapshots: Iterable[Snapshot]) -> None:
    """Keep what was read."""
    rows = [{"account_id": account_id, **asdict(snapshot)} for snapshot in snapshots]
    connection.execute(insert(balance_snapshots), rows)


def read_snapshots(
    connection: Connection, account_id: int, *, since: datetime | None = None, last: int | None = None
) -> list[Snapshot]:
    """The snapshots since a moment, or only so many of the last ones, the oldest first."""
    column = balance_snapshots.c
    wanted = select(
        column.taken_at, column.balance, column.recorded_spend, column.run_id, column.moment
    ).where(column.account_id == account_id)  # fmt: skip
    if since is not None:
        wanted = wanted.where(column.taken_at >= since)
    newest_first = wanted.order_by(column.taken_at.desc(), column.id.desc()).limit(last)
    return [Snapshot(*row) for row in connection.execute(newest_first)][::-1]


def write_top_up(connection: Connection, account_id: int, top_up: TopUp, *, now: datetime) -> None:
    """Note money that was paid in."""
    connection.execute(insert(balance_top_ups).values(account_id=account_id, **asdict(top_up), noted_at=now))


def read_top_ups(connection: Connection, account_id: int, snapshots: Sequence[Snapshot]) -> list[TopUp]:
    """The top-ups between the first and the last of some snapshots."""
    if not snapshots:
        return []
    column = balance_top_ups.c
    between = column.at.between(snapshots[0].taken_at, snapshots[-1].taken_at)
    rows = connection.execute(select(column.at, column.amount).where(column.account_id == account_id, between))
    return [TopUp(*row) for row in rows]
