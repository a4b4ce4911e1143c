"""The rows of the `billing` view, or of what it was at a moment: a few at a time, in the same order everywhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Date,
    Dialect,
    FromClause,
    String,
    bindparam,
    column,
    func,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.types import TypeEngine

from etl.db.tables import accounts, synced_days
from etl.db.types import Money, UtcTime, WallClock
from etl.db.views import point_in_time_query
from etl.errors import ConfigError
from etl.reports.columns import COLUMNS, ColumnType

BATCH: Final = 5_000
"""Rows in memory at once."""
_LAST_SECOND: Final = time(23, 59, 59)

Row = Sequence[Any]
"""The values of COLUMNS, in their order."""


class ViewMoney(Money):
    """An amount as a view shows it: on SQLite a number up to a billion, where its six places are exact."""

    cache_ok = True

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        """The amount of a value that the driver returned."""
        return Decimal(f"{value:.6f}") if isinstance(value, float) else super().process_result_value(value, _dialect)


TYPES: Final[dict[ColumnType, TypeEngine[Any]]] = {
    ColumnType.LABEL: String(),
    ColumnType.TEXT: String(),
    ColumnType.PHONE: String(),
    ColumnType.WALL_CLOCK: WallClock(),
    ColumnType.SECOND_UTC: UtcTime(),
    ColumnType.MOMENT_UTC: UtcTime(),
    ColumnType.DAY: Date(),
    ColumnType.NUMBER: BigInteger(),
    ColumnType.PRICE: ViewMoney(18),
    ColumnType.AMOUNT: ViewMoney(38),
    ColumnType.FLAG: Boolean(),
}
"""What the database's driver is to make of each kind of column of a view."""
_VIEW: Final = table("billing", *(column(name, TYPES[kind]) for name, kind in COLUMNS.items()))
_CREATED_AT: Final = list(COLUMNS).index("created_at")


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Which records.

    Attributes:
        accounts: Labels; all of the database where there are none.
        since: The first day and
        until: the last.
        as_of: As they were known at this moment, aware; None for now.
    """

    accounts: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    as_of: datetime | None = None


def resolve_accounts(connection: Connection, wanted: Sequence[str]) -> list[str]:
    """The labels of the wanted accounts, sorted; of all that there are where none is named.

    Raises:
        ConfigError: The database has no such account.
    """
    known = sorted(connection.scalars(select(accounts.c.label)))
    for label in wanted:
        if label not in known:
            has = f"it has {', '.join(known)}" if known else "it has none yet"
            raise ConfigError(f"--account {label}: the database has no such account; {has}")
    return [label for label in known if not wanted or label in wanted]


def count_incomplete_days(connection: Connection, selection: ExportFilter, last: date) -> int:
    """How many of the selected days up to `last` were not complete at the selection's moment."""
    day = synced_days.c
    selected = select(func.count()).join_from(synced_days, accounts, accounts.c.id == day.account_id)
    conditions = [
        accounts.c.label.in_(resolve_accounts(connection, selection.accounts)),
        day.day.between(selection.since or date.min, min(selection.until or last, last)),
        or_(day.first_closed_at.is_(None), day.first_closed_at > selection.as_of),
    ]
    return connection.scalars(selected.where(*conditions)).one()


def count_purged_days(connection: Connection, selection: ExportFilter) -> int:
    """How many of the selected days lost their records to a purge."""
    day = synced_days.c
    selected = select(func.count()).join_from(synced_days, accounts, accounts.c.id == day.account_id)
    conditions = [
        accounts.c.label.in_(resolve_accounts(connection, selection.accounts)),
        day.day.between(selection.since or date.min, selection.until or date.max),
        day.purged_at.is_not(None),
    ]
    return connection.scalars(selected.where(*conditions)).one()


def iter_batches(
    connection: Connection, selection: ExportFilter, form: Callable[[Row], Row] | None = None
) -> Generator[list[Row]]:
    """The records by account, time, phone, code and whatever else they say: the same on every database.

    Args:
        connection: To read with; as long as the batches are read it can do nothing else.
        selection: Which records.
        form: What becomes of each before they are sorted.

    Yields:
        Up to BATCH rows.
    """
    rows = chain.from_iterable(
        _read_account(connection, selection, label) for label in resolve_accounts(connection, selection.accounts)
    )
    ordered = _stable_order(map(form, rows) if form else rows)
    while batch := list(islice(ordered, BATCH)):
        yield batch


def _read_account(connection: Connection, selection: ExportFilter, label: str) -> Iterator[Row]:
    billing = _source(connection, selection.as_of)
    row = billing.c
    conditions = [row.account == label]
    if selection.since:
        conditions.append(row.created_at >= datetime.combine(selection.since, time.min))
    if selection.until:
        conditions.append(row.created_at <= datetime.combine(selection.until, _LAST_SECOND))
    query = select(billing).where(*conditions).order_by(row.created_at)
    with connection.execute(query, execution_options={"yield_per": BATCH}) as result:
        yield from result


def _source(connection: Connection, as_of: datetime | None) -> FromClause:
    if as_of is None:
        return _VIEW
    query = text(point_in_time_query(connection.dialect.name)).bindparams(bindparam("moment", as_of, UtcTime()))
    return query.columns(**{name: TYPES[kind] for name, kind in COLUMNS.items()}).subquery("billing")


def _stable_order(rows: Iterable[Row]) -> Iterator[Row]:
    # Within a second by hand: each database has an order of texts of its own.
    for _, group in groupby(rows, itemgetter(_CREATED_AT)):
        of_second = list(group)
        if len(of_second) > 1:
            of_second.sort(key=lambda row: list(map(str, row)))
        yield from of_second
