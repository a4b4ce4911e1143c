"""What the charts need of any database, as an SQLite file: the views by name, of `billing` only counts by the hour.

No phone, code or text of the vendor goes in, so whoever has the file has figures and labels of accounts and operators.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, inspect, text

from etl import signals
from etl.db.engine import read_connection, require_database
from etl.db.errors import translate_errors
from etl.db.view_columns import VIEW_COLUMNS
from etl.errors import SchemaMismatchError

BATCH: Final = 5_000
"""Rows in memory at once."""
APPLICATION_ID: Final = int.from_bytes(b"bill")
"""By which SQLite tells a snapshot from other files."""
_ID_AT: Final = slice(68, 72)
"""Where it stands in the file."""
_WHOLE: Final = ("daily_spend", "delivery_by_operator", "restated_days", "balance_proof", "freshness")
_BY_THE_HOUR: Final = ("account", "created_at", "day", "repeats", "delivered")
_HOUR: Final = {
    "sqlite": "strftime('%Y-%m-%d %H:00:00', created_at)",
    "postgresql": "date_trunc('hour', created_at)",
    "mysql": "CAST(DATE_FORMAT(created_at, '%Y-%m-%d %H:00:00') AS DATETIME)",
}
_HOUR["mariadb"] = _HOUR["mysql"]


def is_snapshot(path: Path) -> bool:
    """Whether something is a file that was made here, and may be made anew."""
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        head = file.read(_ID_AT.stop)
    return head.startswith(b"SQLite format 3\0") and head[_ID_AT] == APPLICATION_ID.to_bytes(4)


def require_views(engine: Engine) -> None:
    """Make sure that the database has the views; a user who may read nothing else is enough.

    Raises:
        DatabaseError: There is no database, it lacks some of them, or it failed.
    """
    require_database(engine)
    with translate_errors(), read_connection(engine) as connection:
        if not {*VIEW_COLUMNS} <= set(inspect(connection).get_view_names()):
            raise SchemaMismatchError("the database lacks some of its views; run: billing-etl migrate")


def create_snapshot(engine: Engine, path: Path) -> None:
    """Copy what the charts read, as it is now, in the forms that the views have on SQLite.

    Args:
        engine: Of any of the three databases.
        path: A file that is not there yet, or is empty.

    Raises:
        DatabaseError: The database failed, or the file's disk did.
    """
    with (
        translate_errors(),
        signals.deferred(),
        read_connection(engine, repeatable_read=True) as connection,
        closing(sqlite3.connect(path)) as target,
        target,
    ):
        target.execute("PRAGMA journal_mode = OFF")  # the file is thrown away when it does not become whole
        target.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for view in (*_WHOLE, "billing"):
            _copy(connection, target, view)


def _copy(source: Connection, target: sqlite3.Connection, view: str) -> None:
    names = _columns(view)
    query = _hourly_counts(source.dialect.name) if view == "billing" else f"SELECT {', '.join(names)} FROM {view}"
    target.execute(f"CREATE TABLE {view} ({', '.join(names)})")
    places = ", ".join("?" * len(names))
    target.executemany(f"INSERT INTO {view} VALUES ({places})", _rows(source, query, view, names))


def _columns(view: str) -> tuple[str, ...]:
    return _BY_THE_HOUR if view == "billing" else tuple(column.name for column in VIEW_COLUMNS[view])


def _hourly_counts(backend: str) -> str:
    hour = _HOUR[backend]
    return f"""SELECT account, {hour} AS created_at, day, SUM(repeats) AS repeats, delivered
FROM billing
GROUP BY account, {hour}, day, delivered"""


def _rows(source: Connection, query: str, view: str, names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    kinds = {column.name: column.kind for column in VIEW_COLUMNS[view]}
    forms = [_FORMS[kinds[name]] for name in names]
    with source.execute(text(query), execution_options={"yield_per": BATCH}) as result:
        for batch in result.partitions():
            signals.raise_if_interrupted()
            for row in batch:
                yield tuple(None if value is None else form(value) for form, value in zip(forms, row, strict=True))


def _amount(value: Any) -> str:
    # Text of six places wherever it comes from, so that nothing is rounded on the way.
    return value if isinstance(value, str) else f"{value:.6f}"


def _time(value: datetime | str) -> str:
    return value if isinstance(value, str) else value.isoformat(" ")


def _day(value: date | str) -> str:
    return str(value)


_FORMS: Final[dict[str, Callable[[Any], Any]]] = {
    "text": str,
    "whole number": int,
    "amount": _amount,
    "ratio": float,
    "hours": float,
    "date": _day,
    "time": _time,
    "time, UTC": _time,
    "true or false": int,
}
"""By the kind of a view's column."""
