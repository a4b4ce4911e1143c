"""Records by day, out of memory: an export may be larger than the memory of a small host."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from types import TracebackType
from typing import Self

from etl.errors import NoRoom
from etl.model import Record, Window


@contextmanager
def needs_room() -> Iterator[None]:
    """For what writes temporary files.

    Raises:
        NoRoom: Instead of the error of the system, or of SQLite.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or type(error).__name__
    else:
        return
    raise NoRoom(f"a temporary file could not be written ({reason}); set TMPDIR to a folder with more room")


class Spill:
    """A private SQLite database, which keeps what is small in memory and removes itself when it is closed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE record "
            "(day TEXT, created_at TEXT, phone TEXT, code TEXT, status INTEGER, info TEXT, price TEXT)"
        )
        self._sorted = False
        # A run that ends early closes it under the hands of the thread that fetches ahead: SQLite would crash.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget all records."""
        with self._lock:
            self._database.close()

    def add(self, records: Iterable[Record]) -> None:
        """Keep some records. None may be added after the first was read back."""
        rows = ((record.created_at[:10], *record[:5], str(record.price)) for record in records)
        with self._lock:
            self._database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def days(self, window: Window) -> dict[date, list[Record]]:
        """The records of a window's days, each day of it named."""
        with needs_room(), self._lock:
            if not self._sorted:
                self._database.execute("CREATE INDEX by_day ON record (day)")
                self._sorted = True
            return {day: list(self._records(day)) for day in window.days()}

    def _records(self, day: date) -> Iterator[Record]:
        cursor = self._database.execute(
            "SELECT created_at, phone, code, status, info, price FROM record WHERE day = ?", (day.isoformat(),)
        )
        for created_at, phone, code, status, info, price in cursor:
            yield Record(created_at, phone, code, status, info, Decimal(price))
