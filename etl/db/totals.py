"""Reads and writes the totals of a day by hour, by operator and by channel.

They are written in the transaction that changes the day, so that the views that read them always agree with its rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, bindparam, delete, exists, insert, select, text

from etl.amounts import exact_arithmetic
from etl.day_totals import ChannelTotals, DayTotals, HourTotals
from etl.db.channels import add_by_channel
from etl.db.dialects.expressions import expressions_for
from etl.db.tables import channel_totals, hourly_totals, numbering_ranges, operator_totals
from etl.db.types import WallClock
from etl.db.views import numbering_lookup
from etl.model import DELIVERED, DaySnapshot, day_bounds

_MILLION: Final = 1_000_000
_KEYS: Final = {hourly_totals: "hour", operator_totals: "operator", channel_totals: "channel"}
"""The tables of totals, with the column that their rows of a day differ in."""


class OperatorTotals(NamedTuple):
    """The totals of one operator's records of a day; the operator is empty for numbers outside the numbering plan."""

    operator: str
    records: int
    delivered: int
    spend: Decimal


class WrittenDay(NamedTuple):
    """A day whose rows are written.

    Attributes:
        totals: Totals of the day.
        hours: Totals by hour.
        inserted: Totals by channel of the rows that the transaction inserted; if they are all rows of the day, they are
            not read.
    """

    day: date
    totals: DayTotals
    hours: Sequence[HourTotals]
    inserted: Sequence[ChannelTotals]


def write_totals(connection: Connection, account_id: int, days: Sequence[WrittenDay]) -> None:
    """Replace the totals of days.

    Args:
        connection: Connection in the transaction that wrote the rows.
        account_id: `accounts.id`.
        days: The days, each one once.
    """
    if not days:
        return
    has_plan = has_numbering_plan(connection)
    channels: dict[date, Sequence[ChannelTotals]] = {}
    for day, totals, _, parts in days:
        inserted = add_by_channel(parts)
        is_whole = sum(part.records for part in inserted) == totals.records
        channels[day] = inserted if is_whole else sum_by_channel(connection, account_id, day)
    operators = {day: _operators_of(connection, account_id, day, totals, has_plan=has_plan) for day, totals, *_ in days}
    _replace(connection, channel_totals, account_id, channels)
    _replace(connection, hourly_totals, account_id, {day: hours for day, _, hours, _ in days})
    _replace(connection, operator_totals, account_id, operators)


def totals_differ(connection: Connection, account_id: int | None, snapshot: DaySnapshot) -> bool:
    """Whether the stored totals of a day, by hour, operator or channel, are not those of its rows."""
    hours = _read(connection, hourly_totals, account_id, snapshot.day)
    operators = [OperatorTotals(*row) for row in _read(connection, operator_totals, account_id, snapshot.day)]
    has_plan = has_numbering_plan(connection)
    expected = _operators_of(connection, account_id, snapshot.day, snapshot.totals, has_plan=has_plan)
    channels = [ChannelTotals(*row) for row in _read(connection, channel_totals, account_id, snapshot.day)]
    return (
        [HourTotals(*row) for row in hours] != list(snapshot.hours)
        or sorted(operators) != sorted(expected)
        or channels != sum_by_channel(connection, account_id, snapshot.day)
    )


def _operators_of(
    connection: Connection, account_id: int | None, day: date, totals: DayTotals, *, has_plan: bool
) -> list[OperatorTotals]:
    """The totals by operator of a day whose rows are written; without a numbering plan no row has to be read."""
    if has_plan:
        return sum_by_operator(connection, account_id, day)
    records, delivered, spend, _ = totals
    return [OperatorTotals("", records, delivered, spend)] if records else []


def refresh_operators(connection: Connection, account_id: int, days: Iterable[date]) -> None:
    """Compute the totals by operator again, after a change of phones or of the numbering plan."""
    operators = {day: sum_by_operator(connection, account_id, day) for day in days}
    _replace(connection, operator_totals, account_id, operators)


def refresh_channels(connection: Connection, account_id: int, day: date) -> None:
    """Compute the totals by channel again."""
    _replace(connection, channel_totals, account_id, {day: sum_by_channel(connection, account_id, day)})


def delete_totals(connection: Connection, account_id: int, days: Collection[date]) -> None:
    """Delete the totals of days whose records are purged."""
    for table in _KEYS:
        connection.execute(delete(table).where(table.c.account_id == account_id, table.c.day.in_(days)))


def has_numbering_plan(connection: Connection) -> bool:
    """Whether a numbering plan is imported."""
    return bool(connection.scalar(select(exists(select(numbering_ranges.c.block)))))


def sum_by_operator(connection: Connection, account_id: int | None, day: date) -> list[OperatorTotals]:
    """Sum a day's current rows by operator, exactly on every database."""
    operator = f"COALESCE({numbering_lookup(expressions_for(connection.dialect.name), 'operator')}, '')"
    return [OperatorTotals(*row) for row in _sum_rows(connection, account_id, day, operator)]


def sum_by_channel(connection: Connection, account_id: int | None, day: date) -> list[ChannelTotals]:
    """The same by channel, of the rows that are classified, in order."""
    sums = _sum_rows(connection, account_id, day, "r.channel")
    return sorted(ChannelTotals(*row) for row in sums if row[0] is not None)


def _sum_rows(
    connection: Connection, account_id: int | None, day: date, group: str
) -> Iterator[tuple[Any, int, int, Decimal]]:
    """The group, records, delivered records and spend of a day's current rows, by an SQL expression."""
    sql = expressions_for(connection.dialect.name)
    parts = ", ".join(f"SUM({part} * r.repeats)" for part in sql.split_amount("r.price"))
    statement = text(
        f"""SELECT r.part, SUM(r.repeats), SUM(CASE WHEN r.status = {DELIVERED} THEN r.repeats ELSE 0 END), {parts}
FROM (
  SELECT {group} AS part, r.repeats, r.status, r.price
  FROM billing_records r
  WHERE r.account_id = :account_id AND r.created_at >= :since AND r.created_at < :until AND r.withdrawn_at IS NULL
) r
GROUP BY r.part"""  # noqa: S608 - constants
    )
    since, until = day_bounds(day)
    bounds = (bindparam("since", since, WallClock()), bindparam("until", until, WallClock()))
    for part, records, delivered, *amount in connection.execute(
        statement.bindparams(bindparam("account_id", account_id), *bounds)
    ):
        yield part, int(records), int(delivered), _join(amount)


def _join(parts: Sequence[Any]) -> Decimal:
    """An amount from the sums of its parts: units, and millionths on SQLite."""
    with exact_arithmetic():
        units, millionths = (*map(Decimal, parts), Decimal(0))[:2]
        return units + millionths / _MILLION


def _read(connection: Connection, table: Table, account_id: int | None, day: date) -> list[tuple[Any, ...]]:
    key, columns = table.c[_KEYS[table]], table.c
    query = select(key, columns.records, columns.delivered, columns.spend).order_by(key)
    return [tuple(row) for row in connection.execute(query.where(columns.account_id == account_id, columns.day == day))]


def _replace(
    connection: Connection,
    table: Table,
    account_id: int,
    totals: Mapping[date, Sequence[HourTotals | OperatorTotals | ChannelTotals]],
) -> None:
    connection.execute(delete(table).where(table.c.account_id == account_id, table.c.day.in_(list(totals))))
    rows = [{"account_id": account_id, "day": day, **row._asdict()} for day, parts in totals.items() for row in parts]
    if rows:
        connection.execute(insert(table), rows)
