"""Snapshots: SQLite files with the views that the charts read.

A snapshot contains no phone, code or text of the vendor, only figures and the labels of accounts and operators.
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

BATCH_SIZE: Final = 5_000
"""Rows of a batch."""
APPLICATION_ID: Final = int.from_bytes(b"bill")
"""SQLite application id of snapshots."""
_APPLICATION_ID_BYTES: Final = slice(68, 72)
"""Position of the application id in the file header."""
_COPIED_VIEWS: Final = (
    "daily_spend",
    "monthly_spend",
    "monthly_close",
    "calendar",
    "hourly_spend",
    "delivery_by_operator",
    "daily_channels",
    "restated_days",
    "balance_proof",
    "freshness",
)


def is_snapshot(path: Path) -> bool:
    """Whether a path is a snapshot, which may be replaced."""
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        head = file.read(_APPLICATION_ID_BYTES.stop)
    return head.startswith(b"SQLite format 3\0") and head[_APPLICATION_ID_BYTES] == APPLICATION_ID.to_bytes(4)


def require_views(engine: Engine) -> None:
    """Check that the database has all views; needs no privilege but to read them.

    Raises:
        DatabaseError: The database or a view is missing, or the database failed.
    """
    require_database(engine)
    with translate_errors(), read_connection(engine) as connection:
        if not {*VIEW_COLUMNS} <= set(inspect(connection).get_view_names()):
            raise SchemaMismatchError("the database lacks some of its views; run: billing-etl migrate")


def create_snapshot(engine: Engine, path: Path) -> None:
    """Copy the data of the charts to an SQLite file, in the formats of the SQLite views.

    Args:
        engine: Engine of the source database.
        path: A missing or empty file.

    Raises:
        DatabaseError: The database or writing the file failed.
    """
    with (
        translate_errors(),
        signals.deferred(),
        read_connection(engine, repeatable_read=True) as connection,
        closing(sqlite3.connect(path)) as target,
        target,
    ):
        target.execute("PRAGMA journal_mode = OFF")  # an incomplete file is discarded
        target.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for view in _COPIED_VIEWS:
            _copy_view(connection, target, view)


def _copy_view(source: Connection, target: sqlite3.Connection, view: str) -> None:
    names = tuple(column.name for column in VIEW_COLUMNS[view])
    query = f"SELECT {', '.join(names)} FROM {view}"
    target.execute(f"CREATE TABLE {view} ({', '.join(names)})")
    placeholders = ", ".join("?" * len(names))
    target.executemany(f"INSERT INTO {view} VALUES ({placeholders})", _rows(source, query, view, names))


def _rows(source: Connection, query: str, view: str, names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    kinds = {column.name: column.kind for column in VIEW_COLUMNS[view]}
    converters = [_CONVERTERS[kinds[name]] for name in names]
    with source.execute(text(query), execution_options={"yield_per": BATCH_SIZE}) as result:
        for batch in result.partitions():
            signals.raise_if_interrupted()
            for row in batch:
                yield tuple(
                    None if value is None else convert(value) for convert, value in zip(converters, row, strict=True)
                )


def _amount_text(value: Any) -> str:
    # Text with six decimal places on every database, so that no amount is rounded.
    return value if isinstance(value, str) else f"{value:.6f}"


def _time_text(value: datetime | str) -> str:
    return value if isinstance(value, str) else value.isoformat(" ")


def _day_text(value: date | str) -> str:
    return str(value)


_CONVERTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "text": str,
    "whole number": int,
    "amount": _amount_text,
    "ratio": float,
    "percent": float,
    "hours": float,
    "date": _day_text,
    "time": _time_text,
    "time, UTC": _time_text,
    "true or false": int,
}
"""Converters by the kind of a view's column."""
