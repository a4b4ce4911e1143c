"""Reads and writes the totals of a day by hour and by operator.

They are written in the transaction that changes the day, so that the views that read them always agree with its rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, bindparam, delete, exists, insert, select, text

from etl.amounts import exact_arithmetic
from etl.db.dialects.expressions import expressions_for
from etl.db.tables import hourly_totals, numbering_ranges, operator_totals
from etl.db.types import WallClock
from etl.db.views import numbering_lookup
from etl.model import DaySnapshot, HourTotals, day_bounds

_MILLION: Final = 1_000_000


class OperatorTotals(NamedTuple):
    """The totals of one operator's records of a day; the operator is empty for numbers outside the numbering plan."""

    operator: str
    records: int
    delivered: int
    spend: Decimal


def write_totals(connection: Connection, account_id: int, snapshot: DaySnapshot) -> None:
    """Replace the totals of a day whose rows are already written."""
    _replace(connection, hourly_totals, account_id, snapshot.day, snapshot.hours)
    _replace(connection, operator_totals, account_id, snapshot.day, _operators_of(connection, account_id, snapshot))


def totals_differ(connection: Connection, account_id: int | None, snapshot: DaySnapshot) -> bool:
    """Whether the stored totals of a day, by hour or by operator, are not those of its rows."""
    hours = _read(connection, hourly_totals, account_id, snapshot.day)
    operators = [OperatorTotals(*row) for row in _read(connection, operator_totals, account_id, snapshot.day)]
    expected = _operators_of(connection, account_id, snapshot)
    return [HourTotals(*row) for row in hours] != list(snapshot.hours) or sorted(operators) != sorted(expected)


def _operators_of(connection: Connection, account_id: int | None, snapshot: DaySnapshot) -> list[OperatorTotals]:
    """The totals by operator of a day whose rows are written; without a numbering plan no row has to be read."""
    if has_numbering_plan(connection):
        return sum_by_operator(connection, account_id, snapshot.day)
    records, delivered, spend, _ = snapshot.totals
    return [OperatorTotals("", records, delivered, spend)] if records else []


def refresh_operators(connection: Connection, account_id: int, days: Iterable[date]) -> None:
    """Compute the totals by operator again, after a change of phones or of the numbering plan."""
    for day in days:
        _replace(connection, operator_totals, account_id, day, sum_by_operator(connection, account_id, day))


def delete_totals(connection: Connection, account_id: int, days: Collection[date]) -> None:
    """Delete the totals of days whose records are purged."""
    for table in (hourly_totals, operator_totals):
        connection.execute(delete(table).where(table.c.account_id == account_id, table.c.day.in_(days)))


def has_numbering_plan(connection: Connection) -> bool:
    """Whether a numbering plan is imported."""
    return bool(connection.scalar(select(exists(select(numbering_ranges.c.block)))))


def sum_by_operator(connection: Connection, account_id: int | None, day: date) -> list[OperatorTotals]:
    """Sum a day's current rows by operator, exactly on every database."""
    sql = expressions_for(connection.dialect.name)
    parts = ", ".join(f"SUM({part} * r.repeats)" for part in sql.split_amount("r.price"))
    statement = text(
        f"""SELECT r.operator, SUM(r.repeats), SUM(CASE WHEN r.status = 1 THEN r.repeats ELSE 0 END), {parts}
FROM (
  SELECT COALESCE({numbering_lookup(sql, "operator")}, '') AS operator, r.repeats, r.status, r.price
  FROM billing_records r
  WHERE r.account_id = :account_id AND r.created_at >= :since AND r.created_at < :until AND r.withdrawn_at IS NULL
) r
GROUP BY r.operator"""  # noqa: S608 - constants
    )
    since, until = day_bounds(day)
    bounds = (bindparam("since", since, WallClock()), bindparam("until", until, WallClock()))
    rows = connection.execute(statement.bindparams(bindparam("account_id", account_id), *bounds))
    return [
        OperatorTotals(operator, int(records), int(delivered), _join(amount))
        for operator, records, delivered, *amount in rows
    ]


def _join(parts: Sequence[Any]) -> Decimal:
    """An amount from the sums of its parts: units, and millionths on SQLite."""
    with exact_arithmetic():
        units, millionths = (*map(Decimal, parts), Decimal(0))[:2]
        return units + millionths / _MILLION


def _read(connection: Connection, table: Table, account_id: int | None, day: date) -> list[tuple[Any, ...]]:
    key, columns = table.c.hour if table is hourly_totals else table.c.operator, table.c
    query = select(key, columns.records, columns.delivered, columns.spend).order_by(key)
    return [tuple(row) for row in connection.execute(query.where(columns.account_id == account_id, columns.day == day))]


def _replace(
    connection: Connection, table: Table, account_id: int, day: date, totals: Iterable[HourTotals | OperatorTotals]
) -> None:
    connection.execute(delete(table).where(table.c.account_id == account_id, table.c.day == day))
    if rows := [{"account_id": account_id, "day": day, **row._asdict()} for row in totals]:
        connection.execute(insert(table), rows)
