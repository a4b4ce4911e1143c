"""Rows of the `billing` view, now or as of a past time, in batches and in the same order on every database."""

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

BATCH_SIZE: Final = 5_000
"""Rows of a batch."""
_LAST_SECOND: Final = time(23, 59, 59)

Row = Sequence[Any]
"""Values of COLUMNS, in order."""


class ViewMoney(Money):
    """An amount of a view; on SQLite a number below a billion, where six decimal places are exact."""

    cache_ok = True

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        """Convert a value that the driver returned."""
        return Decimal(f"{value:.6f}") if isinstance(value, float) else super().process_result_value(value, _dialect)


TYPES: Final[dict[ColumnType, TypeEngine[Any]]] = {
    ColumnType.LABEL: String(),
    ColumnType.TEXT: String(),
    ColumnType.PHONE: String(),
    ColumnType.WALL_CLOCK: WallClock(),
    ColumnType.SECOND_UTC: UtcTime(),
    ColumnType.MICROSECOND_UTC: UtcTime(),
    ColumnType.DAY: Date(),
    ColumnType.NUMBER: BigInteger(),
    ColumnType.PRICE: ViewMoney(18),
    ColumnType.AMOUNT: ViewMoney(38),
    ColumnType.FLAG: Boolean(),
}
"""SQLAlchemy types by the type of a view's column."""
_VIEW: Final = table("billing", *(column(name, TYPES[column_type]) for name, column_type in COLUMNS.items()))
_CREATED_AT: Final = list(COLUMNS).index("created_at")


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Filter of the exported records.

    Attributes:
        accounts: Account labels; empty for all accounts.
        since: First day; None for no limit.
        until: Last day, inclusive; None for no limit.
        as_of: Timestamp, aware, at which the records are read; None for now.
    """

    accounts: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    as_of: datetime | None = None


def resolve_accounts(connection: Connection, labels: Sequence[str]) -> list[str]:
    """Sort and check account labels; an empty sequence selects all accounts of the database.

    Raises:
        ConfigError: Unknown account.
    """
    known = sorted(connection.scalars(select(accounts.c.label)))
    for label in labels:
        if label not in known:
            has = f"it has {', '.join(known)}" if known else "it has none yet"
            raise ConfigError(f"--account {label}: the database has no such account; {has}")
    return [label for label in known if not labels or label in labels]


def count_incomplete_days(connection: Connection, selection: ExportFilter, end: date) -> int:
    """Count the selected days up to `end` that were not complete at `selection.as_of`."""
    day = synced_days.c
    selected = select(func.count()).join_from(synced_days, accounts, accounts.c.id == day.account_id)
    conditions = [
        accounts.c.label.in_(resolve_accounts(connection, selection.accounts)),
        day.day.between(selection.since or date.min, min(selection.until or end, end)),
        or_(day.first_closed_at.is_(None), day.first_closed_at > selection.as_of),
    ]
    return connection.scalars(selected.where(*conditions)).one()


def count_purged_days(connection: Connection, selection: ExportFilter) -> int:
    """Count the selected days whose records were purged."""
    day = synced_days.c
    selected = select(func.count()).join_from(synced_days, accounts, accounts.c.id == day.account_id)
    conditions = [
        accounts.c.label.in_(resolve_accounts(connection, selection.accounts)),
        day.day.between(selection.since or date.min, selection.until or date.max),
        day.purged_at.is_not(None),
    ]
    return connection.scalars(selected.where(*conditions)).one()


def iter_batches(
    connection: Connection,
    selection: ExportFilter,
    transform: Callable[[Row], Row] | None = None,
    *,
    size: int = BATCH_SIZE,
) -> Generator[list[Row]]:
    """Read records ordered by account, time, phone, code and the remaining columns, alike on every database.

    Args:
        connection: Connection to read from; busy until all batches are read.
        selection: Filter of the records.
        transform: Applied to each row before sorting.
        size: Maximum number of rows of a batch.

    Yields:
        Batches of rows.
    """
    rows = chain.from_iterable(
        _account_rows(connection, selection, label, size) for label in resolve_accounts(connection, selection.accounts)
    )
    ordered = _stable_order(map(transform, rows) if transform else rows)
    while batch := list(islice(ordered, size)):
        yield batch


def _account_rows(connection: Connection, selection: ExportFilter, label: str, size: int) -> Iterator[Row]:
    billing = _source(connection, selection.as_of)
    row = billing.c
    conditions = [row.account == label]
    if selection.since:
        conditions.append(row.created_at >= datetime.combine(selection.since, time.min))
    if selection.until:
        conditions.append(row.created_at <= datetime.combine(selection.until, _LAST_SECOND))
    query = select(billing).where(*conditions).order_by(row.created_at)
    with connection.execute(query, execution_options={"yield_per": size}) as result:
        yield from result


def _source(connection: Connection, as_of: datetime | None) -> FromClause:
    if as_of is None:
        return _VIEW
    query = text(point_in_time_query(connection.dialect.name)).bindparams(bindparam("moment", as_of, UtcTime()))
    return query.columns(**{name: TYPES[column_type] for name, column_type in COLUMNS.items()}).subquery("billing")


def _stable_order(rows: Iterable[Row]) -> Iterator[Row]:
    # Rows of the same second are sorted here: the databases collate texts differently.
    for _, group in groupby(rows, itemgetter(_CREATED_AT)):
        same_second = list(group)
        if len(same_second) > 1:
            same_second.sort(key=lambda row: list(map(str, row)))
        yield from same_second
