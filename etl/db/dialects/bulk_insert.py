"""Many new rows at once: the fastest safe way into each of the three databases, behind one function.

Each hands over many rows in one call of its driver. Where a thread fetches meanwhile, it has the interpreter while the
call works; and as each call has to wait for its turn after that, few long calls let the two overlap, many short ones do
not. Rows come, and are put together, a column at a time: that is done in the interpreter's own C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from etl import signals

BATCH_SIZE: Final = 2_048
"""Rows handed over at once."""
SQLITE_BATCH_SIZE: Final = 256
"""Fewer for SQLite, whose work on a statement grows faster than its rows; it takes 32,766 values in one at the most."""
MAX_STATEMENT_LENGTH: Final = 1_000_000
"""Bytes: the least that a MariaDB or MySQL server takes by default is a little more."""

Values = tuple[Sequence[Any], ...]
"""Of rows, a column at a time."""

_COPY_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NEXT_FIELD, _NEXT_ROW, _NULL = "\x1f", "\x1e", "\x1d"
"""What stands between values, and for none, while MariaDB's driver escapes them: it leaves these as they are."""


def bulk_insert(
    connection: Connection, table: Table, shared: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
) -> None:
    """Insert rows whose values are what the database's own text form takes: str, int or None.

    Args:
        connection: In a transaction.
        table: Where to.
        shared: The values that all rows have in common, by column.
        columns: The rows' other values, by column; all of one length.
    """
    names = ", ".join(map(connection.dialect.identifier_preparer.quote, [*shared, *columns]))
    write = {"sqlite": _insert_sqlite, "postgresql": _copy}.get(connection.dialect.name, _insert_mariadb)
    write(connection, f"{table.name} ({names})", tuple(shared.values()), tuple(columns.values()))


def _insert_sqlite(connection: Connection, target: str, shared: tuple[Any, ...], columns: Values) -> None:
    width = len(columns)
    marks = [f"?{number}" for number in range(1, len(shared) + 1)]
    row = f"({', '.join([*marks, *['?'] * width])})"
    for batch in _batches(columns, SQLITE_BATCH_SIZE):
        rows, done = len(batch[0]), 0
        while done < rows:
            # Of powers of two there are few: the driver remembers the statements, and compiles each once.
            size = 1 << (rows - done).bit_length() - 1
            values = [None] * (size * width)
            for number, column in enumerate(batch):
                values[number::width] = column[done : done + size]
            statement = f"INSERT INTO {target} VALUES {', '.join([row] * size)}"  # noqa: S608 - only marks
            connection.exec_driver_sql(statement, (*shared, *values))
            done += size


def _copy(connection: Connection, target: str, shared: tuple[Any, ...], columns: Values) -> None:
    driver: Any = connection.connection.driver_connection
    statement = f"COPY {target} FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in _batches(columns, BATCH_SIZE):
                copy.write(_copy_text(batch, shared))
    except connection.dialect.loaded_dbapi.Error as error:
        # SQLAlchemy does not see what the driver raises here: it would cross every border that knows its errors.
        raise DBAPIError(statement, None, error, hide_parameters=True, connection_invalidated=driver.closed) from None


def _copy_text(batch: Values, shared: tuple[Any, ...]) -> str:
    """Rows in PostgreSQL's text form. Most batches hold nothing to escape: one look at the whole tells."""
    begin = "".join([f"{_copy_field(value)}\t" for value in shared])
    text, nulls = _join_literals(batch, "\t", "\n", "\\N")
    rows = len(batch[0])
    plain = text.count("\t") == (len(batch) - 1) * rows and text.count("\n") == rows - 1
    if plain and text.count("\\") == nulls and "\r" not in text:
        return begin + text.replace("\n", f"\n{begin}") + "\n"
    return "".join([begin + "\t".join(map(_copy_field, row)) + "\n" for row in zip(*batch, strict=True)])


def _copy_field(value: Any) -> str:
    return "\\N" if value is None else str(value).translate(_COPY_ESCAPES)


class _Literals:
    """Rows as SQL, every value of which the driver has escaped."""

    def __init__(self, text: str) -> None:
        self.text = text

    def as_they_are(self, _mapping: Any = None) -> str:
        """What the driver puts in for them."""
        return self.text


def _insert_mariadb(connection: Connection, target: str, shared: tuple[Any, ...], columns: Values) -> None:
    driver: Any = connection.connection.driver_connection
    driver.encoders[_Literals] = _Literals.as_they_are
    insert = f"INSERT INTO {target} VALUES"
    row = f"({', '.join(['%s'] * (len(shared) + len(columns)))})"
    for batch in _batches(columns, BATCH_SIZE):
        if literals := _mariadb_literals(driver, batch, shared):
            connection.exec_driver_sql(f"{insert} %s", (literals,))
        else:
            rows = zip(*batch, strict=True)
            connection.exec_driver_sql(f"{insert} {row}", [(*shared, *values) for values in rows])


def _mariadb_literals(driver: Any, batch: Values, shared: tuple[Any, ...]) -> _Literals | None:
    """The driver escapes a value after the other, at the price of half a run: here it escapes all of them as one text.

    Returns:
        None where a value holds what separates them, or the text is too long for one statement.
    """
    text, nulls = _join_literals(batch, _NEXT_FIELD, _NEXT_ROW, _NULL)
    escaped: str = driver.escape(text)  # with a quote at each end
    marks = [escaped.count(mark) for mark in (_NEXT_FIELD, _NEXT_ROW, _NULL)]
    rows = len(batch[0])
    if marks != [(len(batch) - 1) * rows, rows - 1, nulls]:
        return None
    begin = "".join([f"{driver.escape(value)}," for value in shared])
    values = escaped.replace(_NEXT_ROW, f"'),({begin}'").replace(_NEXT_FIELD, "','").replace(f"'{_NULL}'", "NULL")
    text = f"({begin}{values})"
    return _Literals(text) if len(text.encode()) < MAX_STATEMENT_LENGTH else None


def _join_literals(batch: Values, next_field: str, next_row: str, null: str) -> tuple[str, int]:
    """Rows as one text, and how many values in it are none."""
    nulls = 0
    columns = []
    for column in batch:
        if not {str}.issuperset(map(type, column)):
            # Numbers and none; few of them are different.
            nulls += column.count(None)
            spelled = {value: null if value is None else str(value) for value in set(column)}
            column = tuple(map(spelled.__getitem__, column))  # noqa: PLW2901 - the same column
        columns.append(column)
    return next_row.join(map(next_field.join, zip(*columns, strict=True))), nulls


def _batches(columns: Values, size: int) -> Iterator[Values]:
    for start in range(0, len(columns[0]), size):
        signals.raise_if_interrupted()
        yield tuple(column[start : start + size] for column in columns)
