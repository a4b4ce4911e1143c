"""Rows of a view, and of `billing` also as of a past time, as texts: the same, in the same order, on every database.

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
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Date,
    Dialect,
    FromClause,
    Numeric,
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

from etl.db.bindings import interrupted_change
from etl.db.day_conditions import IS_COMPLETE, IS_PURGED
from etl.db.dialects import dialect_for
from etl.db.tables import accounts, synced_days
from etl.db.types import Money, UtcTime, WallClock
from etl.db.views import point_in_time_query
from etl.errors import ConfigError
from etl.reports.columns import BILLING, ColumnType, ExportView
from etl.suggestions import describe_known

BATCH_SIZE: Final = 5_000
"""Rows of a batch."""
_LAST_SECOND: Final = time(23, 59, 59)

Row = Sequence[str | None]
"""Values of a view's columns as text, in order; None for NULL."""


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
    ColumnType.RATIO: Numeric(18, 4),
    ColumnType.PERCENT: Numeric(18, 2),
    ColumnType.HOURS: Numeric(18, 1),
    ColumnType.FLAG: Boolean(),
}
"""SQLAlchemy types by the type of a view's column, for queries of few rows."""


def _utc_microsecond(value: Any) -> str:
    text = str(value)
    return f"{text}+00:00" if "." in text else f"{text}.000000+00:00"


def _decimal_format(places: int) -> Callable[[Any], str]:
    # On SQLite a number below a billion, where six decimal places are exact.
    return lambda value: f"{value if isinstance(value, float) else Decimal(value):.{places}f}"


_FORMATS: Final[dict[ColumnType, Callable[[Any], str]]] = {
    ColumnType.MICROSECOND_UTC: _utc_microsecond,
    ColumnType.DAY: str,
    ColumnType.NUMBER: str,
    ColumnType.PRICE: _decimal_format(6),
    ColumnType.AMOUNT: _decimal_format(6),
    ColumnType.RATIO: _decimal_format(4),
    ColumnType.PERCENT: _decimal_format(2),
    ColumnType.HOURS: _decimal_format(1),
    ColumnType.FLAG: {0: "false", 1: "true", "0": "false", "1": "true"}.__getitem__,
}
"""Formats of the values of the three drivers, by column type; the types that are missing here are texts or times."""


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Filter of the exported rows.

    Attributes:
        accounts: Account labels; empty for all accounts.
        since: First day; None for no limit.
        until: Last day, inclusive; None for no limit.
        as_of: Timestamp, aware, at which the records are read; None for now. Only of the `billing` view.
        view: The view. Days cannot be selected from one without a period column.
    """

    accounts: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    as_of: datetime | None = None
    view: ExportView = BILLING


def resolve_accounts(connection: Connection, labels: Sequence[str]) -> list[str]:
    """Sort and check account labels; an empty sequence selects all accounts that are not partly deleted.

    Raises:
        ConfigError: Unknown account, or one that is partly deleted, or whose times are partly converted.
    """
    account = accounts.c
    columns = (account.label, account.deletion_started_at, account.timezone_to)
    known = {row.label: row for row in connection.execute(select(*columns))}
    for label in labels:
        if label not in known:
            raise ConfigError(
                f"--account {label}: the database has no such account; {describe_known(label, sorted(known))}"
            )
    chosen = labels or [label for label, row in known.items() if row.deletion_started_at is None]
    for label in chosen:
        if problem := interrupted_change(known[label]):
            raise ConfigError(problem)
    return sorted(set(chosen))


def count_incomplete_days(connection: Connection, selection: ExportFilter, end: date) -> int:
    """Count the selected days up to `end` that were not complete at `selection.as_of`."""
    day = synced_days.c
    selected = select(func.count()).join_from(synced_days, accounts, accounts.c.id == day.account_id)
    conditions = [
        accounts.c.label.in_(resolve_accounts(connection, selection.accounts)),
        day.day.between(selection.since or date.min, min(selection.until or end, end)),
        or_(~IS_COMPLETE, day.first_closed_at > selection.as_of),
    ]
    return connection.scalars(selected.where(*conditions)).one()


def count_purged_days(connection: Connection, selection: ExportFilter) -> int:
    """Count the selected days whose records were purged."""
    day = synced_days.c
    selected = select(func.count()).join_from(synced_days, accounts, accounts.c.id == day.account_id)
    conditions = [
        accounts.c.label.in_(resolve_accounts(connection, selection.accounts)),
        day.day.between(selection.since or date.min, selection.until or date.max),
        IS_PURGED,
    ]
    return connection.scalars(selected.where(*conditions)).one()


def iter_batches(
    connection: Connection,
    selection: ExportFilter,
    transforms: Mapping[str, Callable[[str], str]] | None = None,
    *,
    size: int = BATCH_SIZE,
) -> Generator[list[Row]]:
    """Read rows ordered by account, the view's sort column and the remaining columns; the same on every database.

    Args:
        connection: Connection to read from; busy until all batches are read.
        selection: Filter of the rows.
        transforms: Functions by column, applied to each text before sorting.
        size: Maximum number of rows of a batch.

    Yields:
        Batches of rows.
    """
    labels = resolve_accounts(connection, selection.accounts)
    sort_key = _sort_key(selection.view)
    parts = chain.from_iterable(
        _sort_parts(_read_account(connection, selection, label, transforms or {}, size), sort_key) for label in labels
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
    source = _source(connection, selection)
    query = select(source).where(source.c[selection.view.account_column] == label, *_period(source, selection))
    query = query.order_by(source.c[selection.view.sort_column])
    with dialect_for(connection.dialect.name).unconverted_values(connection):
        result = connection.execute(query, execution_options={"yield_per": size})
    with result:
        for rows in result.partitions():
            columns = zip(selection.view.columns.items(), zip(*rows, strict=True), strict=True)
            yield list(
                zip(*(_texts(values, kind, transforms.get(name)) for (name, kind), values in columns), strict=True)
            )


def _texts(values: Sequence[Any], kind: ColumnType, transform: Callable[[str], str] | None) -> Sequence[str | None]:
    # Nearly every row has a different time.
    if kind is ColumnType.WALL_CLOCK:
        return list(map(str, values))
    if kind is ColumnType.SECOND_UTC:
        return [f"{value}+00:00" for value in values]
    to_text = _FORMATS.get(kind) or transform
    if to_text is None:
        return values
    texts = {value: None if value is None else to_text(value) for value in set(values)}
    return list(map(texts.__getitem__, values))


def _source(connection: Connection, selection: ExportFilter) -> FromClause:
    view = selection.view
    if selection.as_of is None:
        return table(view.name, *map(column, view.columns))
    moment = bindparam("moment", selection.as_of, UtcTime())
    query = text(point_in_time_query(connection.dialect.name)).bindparams(moment)
    return query.columns(*map(column, view.columns)).subquery(view.name)


def _period(source: FromClause, selection: ExportFilter) -> Iterator[ColumnElement[bool]]:
    """Conditions on the days; a month is selected if one of its days is."""
    name, since, until = selection.view.period_column, selection.since, selection.until
    if name is None:
        return
    kind = selection.view.columns[name]
    first: date | datetime | str | None = since
    last: date | datetime | str | None = until
    if kind is ColumnType.WALL_CLOCK:
        first, last = since and datetime.combine(since, time.min), until and datetime.combine(until, _LAST_SECOND)
    elif kind is ColumnType.LABEL:
        first, last = since and since.isoformat(), until and f"{until.isoformat()}T23:59:59Z"
    elif name == "month":
        first = since and since.replace(day=1)
    if first:
        yield source.c[name] >= literal(first, TYPES[kind])
    if last:
        yield source.c[name] <= literal(last, TYPES[kind])


def _sort_key(view: ExportView) -> Callable[[Row], str]:
    index = list(view.columns).index(view.sort_column)
    return lambda row: row[index] or ""


def _sort_parts(parts: Iterable[list[Row]], sort_key: Callable[[Row], str]) -> Iterator[list[Row]]:
    """Sort the rows that have the same value in the sort column: the databases collate texts differently.

    Args:
        parts: Rows ordered by the sort column. The last value of a part may continue in the next one.
        sort_key: The sort column of a row.
    """
    pending: list[Row] = []
    for part in parts:
        rows = pending + part
        end = bisect_left(rows, sort_key(rows[-1]), key=sort_key)
        pending = rows[end:]
        yield _sort_equal(rows[:end], sort_key)
    yield _sort_equal(pending, sort_key)


def _sort_equal(rows: list[Row], sort_key: Callable[[Row], str]) -> list[Row]:
    if len(set(map(sort_key, rows))) == len(rows):
        return rows
    return [row for _, equal in groupby(rows, sort_key) for row in sorted(equal, key=lambda row: list(map(str, row)))]
