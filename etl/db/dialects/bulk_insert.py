"""Bulk insert: multi-row INSERT on SQLite and MariaDB, COPY on PostgreSQL.

A few large driver calls release the GIL longer than many small ones, so that fetching in another thread can overlap.
Rows are passed and joined column by column, in loops of the interpreter's C code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from etl import signals

BATCH_SIZE: Final = 2_048
"""Rows per driver call."""
SQLITE_BATCH_SIZE: Final = 256
"""Rows per statement on SQLite, where the cost per row grows with the statement; the limit is 32,766 parameters."""
MAX_STATEMENT_LENGTH: Final = 1_000_000
"""Bytes of UTF-8: below the smallest default of max_allowed_packet in MariaDB and MySQL."""

Values = tuple[Sequence[Any], ...]
"""Rows in columnar form: one sequence of values per column."""

_COPY_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NEXT_FIELD, _NEXT_ROW, _NULL = "\x1f", "\x1e", "\x1d"
"""Separators of values and rows, and the mark of NULL, in the text that PyMySQL escapes; it leaves them unchanged."""


def bulk_insert(
    connection: Connection, table: Table, shared: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
) -> None:
    """Insert rows given in columnar form; values are str, int or None, without conversion by column types.

    Args:
        connection: Connection in a transaction.
        table: Target table.
        shared: Values that all rows have in common, by column.
        columns: The remaining columns, all of the same length.

    Raises:
        DBAPIError: The database refused the rows.
    """
    names = ", ".join(map(connection.dialect.identifier_preparer.quote, [*shared, *columns]))
    insert = {"sqlite": _insert_sqlite, "postgresql": _insert_postgresql}.get(connection.dialect.name, _insert_mariadb)
    insert(connection, f"{table.name} ({names})", tuple(shared.values()), tuple(columns.values()))


def _insert_sqlite(connection: Connection, target: str, shared: tuple[Any, ...], columns: Values) -> None:
    width = len(columns)
    shared_marks = [f"?{position}" for position in range(1, len(shared) + 1)]
    row = f"({', '.join([*shared_marks, *['?'] * width])})"
    for batch in _batches(columns, SQLITE_BATCH_SIZE):
        rows, done = len(batch[0]), 0
        while done < rows:
            # Sizes are powers of two: few distinct statements, which the driver compiles once and caches.
            size = 1 << (rows - done).bit_length() - 1
            values = [None] * (size * width)
            for index, column in enumerate(batch):
                values[index::width] = column[done : done + size]
            statement = f"INSERT INTO {target} VALUES {', '.join([row] * size)}"  # noqa: S608 - placeholders only
            connection.exec_driver_sql(statement, (*shared, *values))
            done += size


def _insert_postgresql(connection: Connection, target: str, shared: tuple[Any, ...], columns: Values) -> None:
    driver: Any = connection.connection.driver_connection
    statement = f"COPY {target} FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in _batches(columns, BATCH_SIZE):
                copy.write(_copy_text(batch, shared))
    except connection.dialect.loaded_dbapi.Error as error:
        # SQLAlchemy does not wrap errors of a raw cursor; callers expect its exceptions.
        raise DBAPIError(statement, None, error, hide_parameters=True, connection_invalidated=driver.closed) from None


def _copy_text(batch: Values, shared: tuple[Any, ...]) -> str:
    """Format rows for COPY. Most batches need no escaping, which counting the special characters shows."""
    prefix = "".join([f"{_copy_field(value)}\t" for value in shared])
    text, nulls = _join_literals(batch, "\t", "\n", "\\N")
    rows = len(batch[0])
    plain = text.count("\t") == (len(batch) - 1) * rows and text.count("\n") == rows - 1
    if plain and text.count("\\") == nulls and "\r" not in text:
        return prefix + text.replace("\n", f"\n{prefix}") + "\n"
    return "".join([prefix + "\t".join(map(_copy_field, row)) + "\n" for row in zip(*batch, strict=True)])


def _copy_field(value: Any) -> str:
    return "\\N" if value is None else str(value).translate(_COPY_ESCAPES)


class _EscapedRows:
    """SQL literals that are already escaped, passed as a parameter."""

    def __init__(self, text: str) -> None:
        self.text = text

    def escape(self, _mapping: Any = None) -> str:
        """Return the SQL unchanged; PyMySQL calls this as the encoder of the type."""
        return self.text


def _insert_mariadb(connection: Connection, target: str, shared: tuple[Any, ...], columns: Values) -> None:
    driver: Any = connection.connection.driver_connection
    driver.encoders[_EscapedRows] = _EscapedRows.escape
    insert = f"INSERT INTO {target} VALUES"
    row = f"({', '.join(['%s'] * (len(shared) + len(columns)))})"
    for batch in _batches(columns, BATCH_SIZE):
        if literals := _mariadb_literals(driver, batch, shared):
            connection.exec_driver_sql(f"{insert} %s", (literals,))
        else:
            rows = zip(*batch, strict=True)
            connection.exec_driver_sql(f"{insert} {row}", [(*shared, *values) for values in rows])


def _mariadb_literals(driver: Any, batch: Values, shared: tuple[Any, ...]) -> _EscapedRows | None:
    """Format rows as SQL literals, escaped by the driver as one text.

    Escaping value by value, as PyMySQL does, takes half of a run's time.

    Returns:
        The literals; None if a value contains a separator or the text is too long for one statement.
    """
    text, nulls = _join_literals(batch, _NEXT_FIELD, _NEXT_ROW, _NULL)
    escaped: str = driver.escape(text)  # with a quote at each end
    marks = [escaped.count(mark) for mark in (_NEXT_FIELD, _NEXT_ROW, _NULL)]
    rows = len(batch[0])
    if marks != [(len(batch) - 1) * rows, rows - 1, nulls]:
        return None
    prefix = "".join([f"{driver.escape(value)}," for value in shared])
    values = escaped.replace(_NEXT_ROW, f"'),({prefix}'").replace(_NEXT_FIELD, "','").replace(f"'{_NULL}'", "NULL")
    text = f"({prefix}{values})"
    return _EscapedRows(text) if len(text.encode()) < MAX_STATEMENT_LENGTH else None


def _join_literals(batch: Values, next_field: str, next_row: str, null: str) -> tuple[str, int]:
    """Join rows to one text and count the NULLs in it."""
    nulls = 0
    columns = []
    for column in batch:
        if not {str}.issuperset(map(type, column)):
            # Numbers and NULLs, few of them distinct.
            nulls += column.count(None)
            texts = {value: null if value is None else str(value) for value in set(column)}
            column = tuple(map(texts.__getitem__, column))  # noqa: PLW2901 - the same column as text
        columns.append(column)
    return next_row.join(map(next_field.join, zip(*columns, strict=True))), nulls


def _batches(columns: Values, size: int) -> Iterator[Values]:
    for start in range(0, len(columns[0]), size):
        signals.raise_if_interrupted()
        yield tuple(column[start : start + size] for column in columns)
