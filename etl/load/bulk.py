"""Many new rows at once: the fastest safe way into each of the three databases, behind one function.

Each hands over many rows in one call of its driver. While a call waits or works, the other thread has the interpreter
and fetches; and as each call has to wait for its turn after that, few long calls let the two overlap, many short ones
do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from etl import stopping

BATCH: Final = 2_048
"""Rows handed over at once. SQLite, which takes 32,766 values in a statement, takes as many of 15 columns."""
LONGEST_STATEMENT: Final = 1_000_000
"""Bytes: the least that a MariaDB or MySQL server takes by default is a little more."""

Rows = Iterable[tuple[Any, ...]]
Batch = list[tuple[Any, ...]]

_COPY_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NEXT_FIELD, _NEXT_ROW, _NULL = "\x1f", "\x1e", "\x1d"
"""What stands between values, and for none, while MariaDB's driver escapes them: it leaves these as they are."""


def insert_rows(
    connection: Connection, table: Table, shared: Mapping[str, Any], columns: Sequence[str], rows: Rows
) -> None:
    """Insert rows whose values are what the database's own text form takes: str, int or None.

    Args:
        connection: In a transaction.
        table: Where to.
        shared: The values that all rows have in common, by column.
        columns: The names of the rows' other values, in their order.
        rows: Consumed as a stream.
    """
    names = ", ".join(map(connection.dialect.identifier_preparer.quote, [*shared, *columns]))
    write = {"sqlite": _insert_sqlite, "postgresql": _copy}.get(connection.dialect.name, _insert_mariadb)
    write(connection, f"{table.name} ({names})", tuple(shared.values()), len(columns), rows)


def _insert_sqlite(connection: Connection, target: str, shared: tuple[Any, ...], width: int, rows: Rows) -> None:
    insert = f"INSERT INTO {target}"
    row = f"({', '.join('?' * width)})"
    for batch in _batches(rows):
        while batch:
            # Of powers of two there are few: the driver remembers the statements, and compiles each once.
            size = 1 << len(batch).bit_length() - 1
            values = f"SELECT {'?, ' * len(shared)}* FROM (VALUES {', '.join([row] * size)})"  # noqa: S608 - only marks
            connection.exec_driver_sql(f"{insert} {values}", (*shared, *chain.from_iterable(batch[:size])))
            del batch[:size]


def _copy(connection: Connection, target: str, shared: tuple[Any, ...], width: int, rows: Rows) -> None:
    driver: Any = connection.connection.driver_connection
    statement = f"COPY {target} FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in _batches(rows):
                copy.write(_copy_text(batch, shared, width))
    except connection.dialect.loaded_dbapi.Error as error:
        # SQLAlchemy does not see what the driver raises here: it would cross every border that knows its errors.
        raise DBAPIError(statement, None, error, hide_parameters=True, connection_invalidated=driver.closed) from None


def _copy_text(batch: Batch, shared: tuple[Any, ...], width: int) -> str:
    """Rows in PostgreSQL's text form. Most batches hold nothing to escape: one look at the whole tells."""
    begin = "".join([f"{_copy_field(value)}\t" for value in shared])
    line = begin.replace("%", "%%") + "\t".join(["%s"] * width) + "\n"
    text = "".join([line % row for row in batch])
    plain = text.count("\t") == (len(shared) + width - 1) * len(batch) and text.count("\n") == len(batch)
    if plain and "\\" not in text and "\r" not in text and "None" not in text:
        return text
    return "".join([begin + "\t".join(map(_copy_field, row)) + "\n" for row in batch])


def _copy_field(value: Any) -> str:
    return "\\N" if value is None else str(value).translate(_COPY_ESCAPES)


class _Literals:
    """Rows as SQL, every value of which the driver has escaped."""

    def __init__(self, text: str) -> None:
        self.text = text

    def as_they_are(self, _mapping: Any = None) -> str:
        """What the driver puts in for them."""
        return self.text


def _insert_mariadb(connection: Connection, target: str, shared: tuple[Any, ...], width: int, rows: Rows) -> None:
    driver: Any = connection.connection.driver_connection
    driver.encoders[_Literals] = _Literals.as_they_are
    insert = f"INSERT INTO {target} VALUES"
    row = f"({', '.join(['%s'] * (len(shared) + width))})"
    for batch in _batches(rows):
        if literals := _mariadb_literals(driver, batch, shared, width):
            connection.exec_driver_sql(f"{insert} %s", (literals,))
        else:
            connection.exec_driver_sql(f"{insert} {row}", [(*shared, *values) for values in batch])


def _mariadb_literals(driver: Any, batch: Batch, shared: tuple[Any, ...], width: int) -> _Literals | None:
    """The driver escapes a value after the other, at the price of half a run: here it escapes all of them as one text.

    Returns:
        None where a value holds what separates them, or the text is too long for one statement.
    """
    line = _NEXT_FIELD.join(["%s"] * width) + _NEXT_ROW
    text = "".join([line % row for row in batch])
    nulls = 0
    if "None" in text:
        nulls = sum(row.count(None) for row in batch)
        text = "".join([line % tuple([_NULL if value is None else value for value in row]) for row in batch])
    escaped: str = driver.escape(text)  # with a quote at each end
    marks = [escaped.count(mark) for mark in (_NEXT_FIELD, _NEXT_ROW, _NULL)]
    if marks != [(width - 1) * len(batch), len(batch), nulls]:
        return None
    begin = "".join([f"{driver.escape(value)}," for value in shared])
    values = escaped[:-2].replace(_NEXT_ROW, f"'),({begin}'").replace(_NEXT_FIELD, "','").replace(f"'{_NULL}'", "NULL")
    text = f"({begin}{values}')"
    return _Literals(text) if len(text.encode()) < LONGEST_STATEMENT else None


def _batches(rows: Rows) -> Iterator[Batch]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        stopping.check()
        yield batch
