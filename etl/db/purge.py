"""Purge old months: delete records and journal lines, keep exact totals per month.

The day ledger marks each purged day: no run requests it again or compares an answer with it. The transaction that marks
days adds their totals to `purged_months`; those that delete journal lines add theirs, too, and of booked months also to
`purged_corrections`. So the views `monthly_spend` and `focus_charges` never change. Rows are deleted in batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from etl.amounts import exact_arithmetic, exact_sum
from etl.date_ranges import ONE_DAY, DateRange, next_month
from etl.db.day_conditions import IS_COMPLETE, IS_PURGED, IS_SUSPECT
from etl.db.days import raise_revision
from etl.db.month_views import SINCE_CLOSE
from etl.db.partitions import drop_month
from etl.db.prune import delete_by_id
from etl.db.tables import (
    billing_records,
    closed_months,
    purged_corrections,
    purged_months,
    rejected_records,
    restatements,
    synced_days,
)
from etl.db.totals import delete_totals
from etl.model import day_bounds

BATCH_SIZE: Final = 5_000
"""Rows of a table deleted in one transaction, so that other writers do not wait long."""


class LedgerDay(NamedTuple):
    """State of a day that decides whether it may be purged."""

    day: date
    complete: bool
    suspect: bool
    purged: bool


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """Classification of the months that are old enough, by their first day, in order.

    Attributes:
        months: Months to purge.
        purged: Months purged before; an interrupted purge may have left rows of them.
        still_in_lookback: Months that the lookback still reaches, or that follow a missing day.
        blocked: Months that need repair first, with the reason.
    """

    months: list[date] = field(default_factory=list)
    purged: list[date] = field(default_factory=list)
    still_in_lookback: list[date] = field(default_factory=list)
    blocked: dict[date, str] = field(default_factory=dict)


class RowCountsByTable(NamedTuple):
    """Number of rows by table, stored or deleted."""

    billing_records: int = 0
    restatements: int = 0
    rejected_records: int = 0


def plan_purge(days: Iterable[LedgerDay], before: date, *, settled_through: date | None, retired: bool) -> PurgePlan:
    """Classify the months that are old enough.

    Args:
        days: Days of the ledger, in order.
        before: First day of the first month that is not old enough.
        settled_through: Last day before the lookback.
        retired: The account is retired: no run fetches its days again, and none follow the last one. The day on which
            it was retired stays incomplete.
    """
    plan = PurgePlan()
    ledger = list(days)
    finished = [ledger_day.day for ledger_day in ledger if ledger_day.complete or ledger_day.suspect]
    last = max(finished, default=date.min)
    for first, group in groupby(ledger, key=lambda ledger_day: ledger_day.day.replace(day=1)):
        if first >= before:
            break
        known = {ledger_day.day: ledger_day for ledger_day in group}
        start = max(first, ledger[0].day)
        end = min(month_end(first), last) if retired else month_end(first)
        needed = DateRange(start, end).days() if start <= end else ()
        blockers = filter(None, (_blocker(day, known.get(day)) for day in needed))
        if all(ledger_day.purged for ledger_day in known.values()):
            plan.purged.append(first)
        elif blocker := next(blockers, None):
            plan.blocked[first] = blocker
        elif not retired and (settled_through is None or end > settled_through):
            plan.still_in_lookback.append(first)
        else:
            plan.months.append(first)
    return plan


def _blocker(day: date, ledger_day: LedgerDay | None) -> str | None:
    if ledger_day is None:
        return f"{day} was never fetched"
    if ledger_day.suspect:
        return f"{day} is suspect"
    return None if ledger_day.complete else f"{day} is not complete"


def month_end(month: date) -> date:
    """Last day of the month, given its first day."""
    return next_month(month) - ONE_DAY


def read_ledger(connection: Connection, account_id: int) -> list[LedgerDay]:
    """Read the account's ledger days, in order."""
    day = synced_days.c
    query = select(day.day, IS_COMPLETE, IS_SUSPECT, IS_PURGED)
    rows = connection.execute(query.where(day.account_id == account_id).order_by(day.day))
    return [LedgerDay(row[0], *map(bool, row[1:])) for row in rows]


def count_month(connection: Connection, account_id: int, month: date) -> RowCountsByTable:
    """Count the rows that a purge of the month would delete."""
    counted = (
        connection.scalars(select(func.count()).select_from(table).where(_in_month(table, account_id, month))).one()
        for table in (billing_records, restatements, rejected_records)
    )
    return RowCountsByTable(*counted)


def purge_batch(
    connection: Connection, account_id: int, month: date, now: datetime, *, at_most: int = BATCH_SIZE
) -> RowCountsByTable:
    """Mark a month's days as purged, and delete a batch of its rows.

    Args:
        connection: Connection in a transaction that holds the account's fence.
        account_id: `accounts.id`.
        month: First day of the month.
        now: Time of the purge.
        at_most: Maximum number of rows of each table.

    Returns:
        Number of deleted rows by table; all zero when the month is purged.
    """
    day = synced_days.c
    unmarked = and_(day.account_id == account_id, day.day.between(month, month_end(month)), ~IS_PURGED)
    totals = connection.execute(select(day.day, day.records, day.delivered, day.spend).where(unmarked)).all()
    connection.execute(update(synced_days).where(unmarked).values(purged_at=now))
    delete_totals(connection, account_id, [purged for purged, *_ in totals])
    rejected = connection.execute(delete(rejected_records).where(_in_month(rejected_records, account_id, month)))
    records, days = _delete_records(connection, account_id, month, at_most)
    lines = _read_lines(connection, account_id, month, at_most)
    delete_by_id(connection, restatements, [line.id for line in lines])
    changed = {purged for purged, *_ in totals} | days | {line.day for line in lines}
    raise_revision(connection, account_id, changed)
    with exact_arithmetic():
        _keep_corrections(connection, account_id, lines)
        if lines or any(row.records for row in totals):
            amounts = {
                "records": sum(row.records for row in totals),
                "delivered": sum(row.delivered for row in totals),
                "spend": exact_sum(row.spend for row in totals),
                "restated": exact_sum(line.delta for line in lines),
            }
            _add(connection, purged_months, {"account_id": account_id, "month": month}, amounts, purged_at=now)
    return RowCountsByTable(records, len(lines), rejected.rowcount)


def _delete_records(connection: Connection, account_id: int, month: date, at_most: int) -> tuple[int, set[date]]:
    """Delete the first rows of a month; return their number and their days. A second is deleted whole.

    A partition with rows of this account alone is dropped as a whole.
    """
    if (dropped := drop_month(connection, account_id, month)) is not None:
        return dropped, set(DateRange(month, month_end(month)).days()) if dropped else set()
    row, rows = billing_records.c, _in_month(billing_records, account_id, month)
    first = connection.scalar(select(func.min(row.created_at)).where(rows))
    if first is None:
        return 0, set()
    by_time = select(row.created_at).where(rows).order_by(row.created_at)
    last = connection.scalar(by_time.offset(at_most - 1).limit(1))
    if last is None:
        last = connection.scalars(select(func.max(row.created_at)).where(rows)).one()
    deleted = connection.execute(delete(billing_records).where(rows, row.created_at <= last)).rowcount
    return deleted, set(DateRange(first.date(), last.date()).days())


def _in_month(table: Table, account_id: int, month: date) -> ColumnElement[bool]:
    column, last = table.c, month_end(month)
    if table is billing_records:
        within = and_(column.created_at >= day_bounds(month)[0], column.created_at < day_bounds(last)[1])
    elif table is restatements:
        within = column.day.between(month, last)
    else:
        undated = and_(column.day.is_(None), column.asked_first >= month, column.asked_last <= last)
        within = or_(column.day.between(month, last), undated)
    return and_(column.account_id == account_id, within)


def _read_lines(connection: Connection, account_id: int, month: date, at_most: int) -> Sequence[Any]:
    """Read the first journal lines of a month; `closing` is the final booking that a line followed, else None."""
    line, last = restatements.alias("j"), closed_months.alias("c")
    closed = closed_months.c
    newest = select(func.max(closed.closing)).where(closed.account_id == account_id, closed.month == month)
    is_last = and_(last.c.account_id == account_id, last.c.month == month, last.c.closing == newest.scalar_subquery())
    is_correction = and_(last.c.kind == "final", literal_column(SINCE_CLOSE))
    closing = case((is_correction, last.c.closing)).label("closing")
    return connection.execute(
        select(line.c.id, line.c.delta, line.c.day, line.c.restated_at, closing)
        .join_from(line, last, is_last, isouter=True)
        .where(line.c.account_id == account_id, line.c.day.between(month, month_end(month)))
        .order_by(line.c.day, line.c.id)
        .limit(at_most)
    ).all()


def _keep_corrections(connection: Connection, account_id: int, lines: Iterable[Any]) -> None:
    """Add the lines that followed a final booking to the totals that the view focus_charges reads."""
    deltas: defaultdict[tuple[date, int, date], Decimal] = defaultdict(Decimal)
    for line in lines:
        if line.closing is not None:
            found = line.restated_at.astimezone(UTC).date().replace(day=1)
            deltas[line.day, line.closing, max(found, next_month(line.day))] += line.delta
    for (day, closing, period), delta in deltas.items():
        key = {"account_id": account_id, "day": day, "closing": closing, "period": period}
        _add(connection, purged_corrections, key, {"delta": delta})


def _add(connection: Connection, table: Table, key: dict[str, Any], amounts: dict[str, Any], **values: Any) -> None:
    """Add amounts to the row of a key, which is created if it does not exist, and set its other values."""
    condition = and_(*(table.c[name] == value for name, value in key.items()))
    before = connection.execute(select(*(table.c[name] for name in amounts)).where(condition)).mappings().one_or_none()
    if before is None:
        connection.execute(insert(table).values(**key, **amounts, **values))
    else:
        sums = {name: before[name] + amount for name, amount in amounts.items()}
        connection.execute(update(table).where(condition).values(**sums, **values))
