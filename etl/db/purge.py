"""Purge old months: records and journal lines go, what they amounted to stays, to the last digit.

The day ledger says of each day that its records are purged: no run asks for it again, and none takes an answer about it
for news. A month's rows go a few at a time, and what they amounted to is added up in the transaction that removes them:
the view `monthly_spend` is the same before, between and after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, localcontext
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, insert, or_, select, update

from etl.date_ranges import ONE_DAY
from etl.db.days import raise_revision
from etl.db.prune import delete_by_id
from etl.db.tables import billing_records, purged_months, rejected_records, restatements, synced_days
from etl.model import DateRange, day_bounds

BATCH_SIZE: Final = 5_000
"""Rows of a transaction: no other writer waits long for it."""
_DIGITS: Final = 60
"""More than any sum has."""


class LedgerDay(NamedTuple):
    """A day, as far as purging looks at it."""

    day: date
    closed: bool
    suspect: bool
    purged: bool


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What is old enough.

    Attributes:
        months: First days of the months to purge, in order.
        purged: Of those that were purged before; a purge that was killed may have left rows of them.
        still_in_lookback: Those that the lookback still reaches, or that lie behind a day that is missing.
        blocked: By first day, those that stay until somebody mends them, and why.
    """

    months: list[date] = field(default_factory=list)
    purged: list[date] = field(default_factory=list)
    still_in_lookback: list[date] = field(default_factory=list)
    blocked: dict[date, str] = field(default_factory=dict)


class RowCountsByTable(NamedTuple):
    """How many rows there are of a month, or were removed, by table."""

    billing_records: int = 0
    restatements: int = 0
    rejected_records: int = 0


def plan_purge(days: Iterable[LedgerDay], *, settled_through: date | None, retired: bool) -> PurgePlan:
    """Which months can go. Pure.

    Args:
        days: All days of the ledger in months that are old enough, in order.
        settled_through: The last day that no lookback fetches again.
        retired: No sync fetches anything again, and nothing comes after the last day.
    """
    plan = PurgePlan()
    ledger = list(days)
    for first, group in groupby(ledger, key=lambda each: each.day.replace(day=1)):
        known = {each.day: each for each in group}
        begins = max(first, ledger[0].day)
        ends = min(month_end(first), ledger[-1].day) if retired else month_end(first)
        if all(each.purged for each in known.values()):
            plan.purged.append(first)
        elif trouble := next(
            filter(None, (_blocker(day, known.get(day)) for day in DateRange(begins, ends).days())), None
        ):
            plan.blocked[first] = trouble
        elif not retired and (settled_through is None or ends > settled_through):
            plan.still_in_lookback.append(first)
        else:
            plan.months.append(first)
    return plan


def _blocker(day: date, of: LedgerDay | None) -> str | None:
    if of is None:
        return f"{day} was never fetched"
    if of.suspect:
        return f"{day} is suspect"
    return None if of.closed else f"{day} is not complete"


def month_end(month: date) -> date:
    """The last day of the month that begins so."""
    return _next_month(month) - ONE_DAY


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def read_ledger(connection: Connection, account_id: int, before: date) -> list[LedgerDay]:
    """The account's days before another one, in order."""
    day = synced_days.c
    query = select(
        day.day, day.first_closed_at.is_not(None), day.suspect_since.is_not(None), day.purged_at.is_not(None)
    )
    rows = connection.execute(query.where(day.account_id == account_id, day.day < before).order_by(day.day))
    return [LedgerDay(row[0], *map(bool, row[1:])) for row in rows]


def count_month(connection: Connection, account_id: int, month: date) -> RowCountsByTable:
    """How many rows a purge of the month would remove."""
    counted = (
        connection.scalars(select(func.count()).select_from(table).where(_in_month(table, account_id, month))).one()
        for table in (billing_records, restatements, rejected_records)
    )
    return RowCountsByTable(*counted)


def purge_batch(
    connection: Connection, account_id: int, month: date, now: datetime, *, at_most: int = BATCH_SIZE
) -> RowCountsByTable:
    """Remove some rows of a month and add up what they amounted to; no rows are left when it removes none.

    Args:
        connection: In a transaction that holds the account's fence.
        account_id: Whose.
        month: Its first day.
        now: When it happens.
        at_most: How many rows of each table.
    """
    day = synced_days.c
    unmarked = and_(day.account_id == account_id, day.day.between(month, month_end(month)), day.purged_at.is_(None))
    changed = set(connection.scalars(select(day.day).where(unmarked)))
    connection.execute(update(synced_days).where(unmarked).values(purged_at=now))
    rejected = connection.execute(delete(rejected_records).where(_in_month(rejected_records, account_id, month)))
    row, line = billing_records.c, restatements.c
    # In the order of an index.
    records = connection.execute(
        select(row.id, row.status, row.price, row.repeats, row.withdrawn_at, row.created_at)
        .where(_in_month(billing_records, account_id, month))
        .order_by(row.created_at)
        .limit(at_most)
    ).all()
    lines = connection.execute(
        select(line.id, line.delta, line.day)
        .where(_in_month(restatements, account_id, month))
        .order_by(line.day, line.id)
        .limit(at_most)
    ).all()
    delete_by_id(connection, billing_records, [number for number, *_ in records])
    delete_by_id(connection, restatements, [number for number, *_ in lines])
    changed |= {created_at.date() for *_, created_at in records} | {changed_day for *_, changed_day in lines}
    raise_revision(connection, account_id, changed)
    current = [
        (status, price, repeats) for _, status, price, repeats, withdrawn_at, _ in records if withdrawn_at is None
    ]
    if current or lines:
        with localcontext(prec=_DIGITS):
            amounts = {
                "records": sum(repeats for _, _, repeats in current),
                "delivered": sum(repeats for status, _, repeats in current if status == 1),
                "spend": sum((price * repeats for _, price, repeats in current), Decimal(0)),
                "restated": sum((delta for _, delta, _ in lines), Decimal(0)),
            }
            _add_to_month_total(connection, account_id, month, amounts, now)
    return RowCountsByTable(len(records), len(lines), rejected.rowcount)


def _in_month(table: Table, account_id: int, month: date) -> ColumnElement[bool]:
    column, last = table.c, month_end(month)
    if table is billing_records:
        within = and_(column.created_at >= day_bounds(month)[0], column.created_at < day_bounds(last)[1])
    elif table is restatements:
        within = column.day.between(month, last)
    else:
        of_no_day = and_(column.day.is_(None), column.asked_first >= month, column.asked_last <= last)
        within = or_(column.day.between(month, last), of_no_day)
    return and_(column.account_id == account_id, within)


def _add_to_month_total(
    connection: Connection, account_id: int, month: date, amounts: dict[str, Any], now: datetime
) -> None:
    column = purged_months.c
    is_it = and_(column.account_id == account_id, column.month == month)
    before = connection.execute(select(*(column[name] for name in amounts)).where(is_it)).mappings().one_or_none()
    if before is None:
        key = {"account_id": account_id, "month": month}
        connection.execute(insert(purged_months).values(**key, **amounts, purged_at=now))
    else:
        sums = {name: before[name] + amount for name, amount in amounts.items()}
        connection.execute(update(purged_months).where(is_it).values(**sums, purged_at=now))
