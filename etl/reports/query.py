"""Rows of the `billing` view, now or as of a past time, as texts: the same, in the same order, on every database.

Rows are read as the driver returns them, and formatted by column: a batch has few distinct values of most columns, and
converting each value by a type of SQLAlchemy takes most of an export's time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain, groupby
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
    literal,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.types import TypeEngine

from etl.db.dialects import dialect_for
from etl.db.tables import accounts, synced_days
from etl.db.types import Money, UtcTime, WallClock
from etl.db.views import point_in_time_query
from etl.errors import ConfigError
from etl.reports.columns import COLUMNS, ColumnType
from etl.suggestions import describe_known

BATCH_SIZE: Final = 5_000
"""Rows of a batch."""
_LAST_SECOND: Final = time(23, 59, 59)

Row = Sequence[str | None]
"""Values of COLUMNS as text, in order; None for NULL."""


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
"""SQLAlchemy types by the type of a view's column, for queries of few rows."""
_VIEW: Final = table("billing", *map(column, COLUMNS))
_CREATED_AT: Final = list(COLUMNS).index("created_at")


def _utc_microsecond(value: Any) -> str:
    text = str(value)
    return f"{text}+00:00" if "." in text else f"{text}.000000+00:00"


def _six_places(value: Any) -> str:
    # On SQLite a number below a billion, where six decimal places are exact.
    return f"{value if isinstance(value, float) else Decimal(value):.6f}"


_FORMATS: Final[dict[ColumnType, Callable[[Any], str]]] = {
    ColumnType.MICROSECOND_UTC: _utc_microsecond,
    ColumnType.DAY: str,
    ColumnType.NUMBER: str,
    ColumnType.PRICE: _six_places,
    ColumnType.AMOUNT: _six_places,
    ColumnType.FLAG: {0: "false", 1: "true", "0": "false", "1": "true"}.__getitem__,
}
"""Formats of the values of the three drivers, by column type; the types that are missing here are texts or times."""


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
            raise ConfigError(f"--account {label}: the database has no such account; {describe_known(label, known)}")
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
    transforms: Mapping[str, Callable[[str], str]] | None = None,
    *,
    size: int = BATCH_SIZE,
) -> Generator[list[Row]]:
    """Read records ordered by account, time, phone, code and the remaining columns, alike on every database.

    Args:
        connection: Connection to read from; busy until all batches are read.
        selection: Filter of the records.
        transforms: Functions by column, applied to each text before sorting.
        size: Maximum number of rows of a batch.

    Yields:
        Batches of rows.
    """
    labels = resolve_accounts(connection, selection.accounts)
    parts = chain.from_iterable(
        _sorted_seconds(_read_account(connection, selection, label, transforms or {}, size)) for label in labels
    )
    rows: list[Row] = []
    for part in parts:
        rows += part
        while len(rows) >= size:
            yield rows[:size]
            rows = rows[size:]
    if rows:
        yield rows


def _read_account(
    connection: Connection,
    selection: ExportFilter,
    label: str,
    transforms: Mapping[str, Callable[[str], str]],
    size: int,
) -> Iterator[list[Row]]:
    billing = _source(connection, selection.as_of)
    row = billing.c
    conditions = [row.account == label]
    if selection.since:
        conditions.append(row.created_at >= literal(datetime.combine(selection.since, time.min), WallClock()))
    if selection.until:
        conditions.append(row.created_at <= literal(datetime.combine(selection.until, _LAST_SECOND), WallClock()))
    query = select(billing).where(*conditions).order_by(row.created_at)
    with dialect_for(connection.dialect.name).unconverted_values(connection):
        result = connection.execute(query, execution_options={"yield_per": size})
    with result:
        for rows in result.partitions():
            columns = zip(COLUMNS.items(), zip(*rows, strict=True), strict=True)
            yield list(
                zip(*(_texts(values, kind, transforms.get(name)) for (name, kind), values in columns), strict=True)
            )


def _texts(values: Sequence[Any], kind: ColumnType, transform: Callable[[str], str] | None) -> Sequence[str | None]:
    # Nearly every row has a time of its own.
    if kind is ColumnType.WALL_CLOCK:
        return list(map(str, values))
    if kind is ColumnType.SECOND_UTC:
        return [f"{value}+00:00" for value in values]
    to_text = _FORMATS.get(kind) or transform
    if to_text is None:
        return values
    texts = {value: None if value is None else to_text(value) for value in set(values)}
    return list(map(texts.__getitem__, values))


def _source(connection: Connection, as_of: datetime | None) -> FromClause:
    if as_of is None:
        return _VIEW
    query = text(point_in_time_query(connection.dialect.name)).bindparams(bindparam("moment", as_of, UtcTime()))
    return query.columns(*map(column, COLUMNS)).subquery("billing")


def _sorted_seconds(parts: Iterable[list[Row]]) -> Iterator[list[Row]]:
    """Sort the rows of each second: the databases collate texts differently.

    Args:
        parts: Rows ordered by time. The last second of a part may continue in the next one.
    """
    created_at = itemgetter(_CREATED_AT)
    held: list[Row] = []
    for part in parts:
        rows = held + part
        end = bisect_left(rows, created_at(rows[-1]), key=created_at)
        held = rows[end:]
        yield _sort_within_seconds(rows[:end])
    yield _sort_within_seconds(held)


def _sort_within_seconds(rows: list[Row]) -> list[Row]:
    created_at = itemgetter(_CREATED_AT)
    if len(set(map(created_at, rows))) == len(rows):
        return rows
    return [
        row for _, second in groupby(rows, created_at) for row in sorted(second, key=lambda row: list(map(str, row)))
    ]
