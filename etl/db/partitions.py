"""Partitions of `billing_records` by month of `created_at`, on request, where the database supports them.

A default partition takes the rows of months that have none, so that no write fails for lack of a partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from etl.date_ranges import next_month
from etl.db.dependents import require_partitionable
from etl.db.dialects import dialect_for
from etl.db.regrant import regrant_statements
from etl.db.tables import billing_records
from etl.db.views import VIEWS, create_view_statements, drop_view_statements
from etl.errors import DatabaseError

_TABLE: Final = billing_records.name
_OLD: Final = f"{_TABLE}_unpartitioned"
_DEFAULT: Final = f"{_TABLE}_default"
_NOT_NOW: Final = frozenset({"42501", "55P03"})
"""SQLSTATE of a missing privilege, and of a lock that a query of a reader keeps."""
LOCK_TIMEOUT_SECONDS: Final = 5.0
"""Seconds that a run or a purge waits for readers before it skips a change of partitions."""
_KEY: Final = ", ".join(column.name for column in billing_records.primary_key)


def supports_partitions(connection: Connection) -> bool:
    """Whether the database can partition the table."""
    return dialect_for(connection.dialect.name).has_partitions


def is_partitioned(connection: Connection) -> bool:
    """Whether the table is partitioned."""
    query = text("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:name)")
    return supports_partitions(connection) and bool(connection.scalar(query, {"name": _TABLE}))


def partition_by_month(connection: Connection, today: date) -> int:
    """Partition the table, or give each month in the default partition its own partition.

    The rows are copied: the transaction needs disk space for a second copy of the table, and blocks readers and runs
    until it ends.

    Returns:
        Number of partitions, the default one included.

    Raises:
        DatabaseError: The copy differs from the table, or other objects depend on it; nothing is changed.
    """
    # No run may write to the table between the copy of a row and its deletion: that row would be lost.
    connection.exec_driver_sql(f"LOCK TABLE {_TABLE} IN ACCESS EXCLUSIVE MODE")
    if is_partitioned(connection):
        for month in _months_with_rows(connection, _DEFAULT):
            _move_from_default(connection, month)
    else:
        _rewrite(connection)
    create_months(connection, today, today)
    return len(_partitions(connection))


def create_months(connection: Connection, first: date, last: date) -> int:
    """Create the missing partitions of a range of days and of the month after it; return their number.

    A month that the default partition already has rows of is left there.
    """
    months = list(_months(first, next_month(last)))
    if {_partition(month) for month in months} <= _partitions(connection):
        return 0
    # Runs of several accounts begin at once: one creates the partitions, the others wait and then find them.
    connection.exec_driver_sql(f"LOCK TABLE {_TABLE} IN SHARE UPDATE EXCLUSIVE MODE")
    existing, created = _partitions(connection), 0
    for month in months:
        if _partition(month) in existing or _has_rows(connection, _DEFAULT, month):
            continue
        connection.exec_driver_sql(
            f"CREATE TABLE {_partition(month)} PARTITION OF {_TABLE} "
            f"FOR VALUES FROM ('{month}') TO ('{next_month(month)}')"
        )
        # A superuser would own it otherwise, and the owner of the table could not drop it.
        connection.exec_driver_sql(f"ALTER TABLE {_partition(month)} OWNER TO {_owner(connection)}")
        created += 1
    return created


def drop_month(
    connection: Connection, account_id: int, month: date, *, wait: float = LOCK_TIMEOUT_SECONDS
) -> int | None:
    """Drop the partition of a month that has rows of this account alone; return their number.

    Returns:
        None if the month has no partition, other accounts have rows in it, this user may not drop it, or a reader
        uses it for longer than `wait` seconds.
    """
    if not is_partitioned(connection) or _partition(month) not in _partitions(connection):
        return None
    if _has_rows_of_others(connection, month, account_id):
        return None

    def drop() -> int | None:
        # The statement locks the table, then the partition: it waits for writers, and what they commit is seen below.
        connection.exec_driver_sql(f"ALTER TABLE {_TABLE} DETACH PARTITION {_partition(month)}")
        if _has_rows_of_others(connection, month, account_id):
            return None
        rows = int(connection.scalar(text(f"SELECT COUNT(*) FROM {_partition(month)}")) or 0)  # noqa: S608 - a date
        connection.exec_driver_sql(f"DROP TABLE {_partition(month)}")
        return rows

    return _try_change(connection, drop, wait)


def _has_rows_of_others(connection: Connection, month: date, account_id: int) -> bool:
    # Two ranges of the primary key, not a scan.
    others = text(
        f"SELECT EXISTS (SELECT 1 FROM {_partition(month)} WHERE account_id < :id) "  # noqa: S608 - a constant and a date
        f"OR EXISTS (SELECT 1 FROM {_partition(month)} WHERE account_id > :id)"
    )
    return bool(connection.scalar(others, {"id": account_id}))


def create_partitions(connection: Connection, first: date, last: date, *, wait: float = LOCK_TIMEOUT_SECONDS) -> None:
    """As `create_months`, if the table is partitioned.

    Without the right to create tables, or while a reader uses the table for longer than `wait` seconds, nothing is
    created: the rows go to the default partition, or a later run creates the partition in time.
    """
    if is_partitioned(connection):
        _try_change(connection, partial(create_months, connection, first, last), wait)


def _try_change(connection: Connection, change: Callable[[], int | None], wait: float) -> int | None:
    """Apply a change of partitions, or nothing of it where it is not possible now.

    Args:
        connection: Connection in a transaction.
        change: Applies it; its result None takes it back.
        wait: Seconds to wait for each lock.

    Returns:
        The result of `change`; None if nothing was changed.
    """
    try:
        with connection.begin_nested() as savepoint:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(wait * 1000)}")
            result = change()
            if result is None:
                savepoint.rollback()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _NOT_NOW:
            raise
        return None
    return result


def _rewrite(connection: Connection) -> None:
    require_partitionable(connection)
    grants = regrant_statements(connection, [_TABLE, *VIEWS])
    owner = _owner(connection)
    backend = connection.dialect.name
    before = _totals(connection, _TABLE)
    index = next(iter(billing_records.indexes)).name
    for statement in (
        *drop_view_statements(backend),
        f"ALTER TABLE {_TABLE} RENAME TO {_OLD}",
        f"ALTER TABLE {_OLD} RENAME CONSTRAINT pk_{_TABLE} TO pk_{_OLD}",
        f"DROP INDEX {index}",
        f"CREATE TABLE {_TABLE} (LIKE {_OLD} INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY RANGE (created_at)",
        f"ALTER TABLE {_TABLE} ADD CONSTRAINT pk_{_TABLE} PRIMARY KEY ({_KEY})",
        f"CREATE INDEX {index} ON {_TABLE} (created_at)",
        f"COMMENT ON TABLE {_TABLE} IS '{billing_records.comment}'",
        f"ALTER TABLE {_TABLE} OWNER TO {owner}",
        f"CREATE TABLE {_DEFAULT} PARTITION OF {_TABLE} DEFAULT",
    ):
        connection.exec_driver_sql(statement)
    for month in _months_with_rows(connection, _OLD):
        create_months(connection, month, month)
    connection.exec_driver_sql(f"ALTER TABLE {_DEFAULT} OWNER TO {owner}")
    connection.exec_driver_sql(f"INSERT INTO {_TABLE} SELECT * FROM {_OLD}")  # noqa: S608 - constants
    after = _totals(connection, _TABLE)
    if after != before:
        raise DatabaseError(
            f"the partitioned table differs: (rows, spend) were {before}, are {after}; nothing is changed"
        )
    connection.exec_driver_sql(f"DROP TABLE {_OLD}")
    for statement in [*create_view_statements(backend), *grants]:
        connection.exec_driver_sql(statement)


def _move_from_default(connection: Connection, month: date) -> None:
    name, end = _partition(month), next_month(month)
    within = f"created_at >= '{month}' AND created_at < '{end}'"
    for statement in (
        f"CREATE TABLE {name} (LIKE {_TABLE} INCLUDING ALL)",
        f"ALTER TABLE {name} OWNER TO {_owner(connection)}",
        f"INSERT INTO {name} SELECT * FROM {_DEFAULT} WHERE {within}",  # noqa: S608 - constants and dates
        f"DELETE FROM {_DEFAULT} WHERE {within}",  # noqa: S608 - constants and dates
        f"ALTER TABLE {_TABLE} ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{end}')",
    ):
        connection.exec_driver_sql(statement)


def _owner(connection: Connection) -> str:
    query = text("SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass(:name)")
    return str(connection.scalar(query, {"name": _TABLE})).replace("%", "%%")


def _totals(connection: Connection, table: str) -> tuple[int, Decimal]:
    query = text(f"SELECT COUNT(*), COALESCE(SUM(price * repeats), 0) FROM {table}")  # noqa: S608 - constants
    rows, spend = connection.execute(query).one()
    return rows, spend


def _partitions(connection: Connection) -> set[str]:
    query = text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = to_regclass(:name)"
    )
    return set(connection.scalars(query, {"name": _TABLE}))


def _months_with_rows(connection: Connection, table: str) -> Iterable[date]:
    """The months of a table's rows, one index lookup each."""
    month = connection.scalar(_month_from(table, "-infinity"))
    while month is not None:
        yield month
        month = connection.scalar(_month_from(table, str(next_month(month))))


def _month_from(table: str, since: str) -> Any:
    return text(
        f"SELECT CAST(date_trunc('month', MIN(created_at)) AS DATE) FROM {table} WHERE created_at >= '{since}'"  # noqa: S608 - constants and dates
    )


def _has_rows(connection: Connection, table: str, month: date) -> bool:
    query = text(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE created_at >= :since AND created_at < :until)")  # noqa: S608 - constants
    return bool(connection.scalar(query, {"since": month, "until": next_month(month)}))


def _partition(month: date) -> str:
    return f"{_TABLE}_{month:%Y_%m}"


def _months(first: date, last: date) -> Iterator[date]:
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = next_month(month)
