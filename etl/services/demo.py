"""The figures that `demo` shows of its database: restated days, spend by day, status."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from sqlalchemy import text

from etl.config.schema import Settings
from etl.db.bindings import fingerprint_of
from etl.db.engine import read_connection
from etl.db.errors import translate_errors
from etl.errors import DatabaseError
from etl.ops.status_query import AccountStatus, read_account_statuses
from etl.services.context import utc_now
from etl.services.database import open_engine


class RestatedDay(NamedTuple):
    """A row of the view `restated_days` on SQLite."""

    day: str
    spend_before: float
    spend_after: float
    delta: float


class DailySpend(NamedTuple):
    """A row of the view `daily_spend` on SQLite."""

    day: str
    records: int
    delivered: int
    spend: float
    day_state: str


@dataclass(frozen=True, slots=True)
class DemoFigures:
    """The restated days, the newest days with their spend, and the status of the account; all in ascending order."""

    restated: list[RestatedDay]
    spend: list[DailySpend]
    statuses: list[AccountStatus]


def require_writable_folder(database: Path) -> None:
    """Require that the demo can create its database.

    Raises:
        DatabaseError: No file can be written in its folder.
    """
    try:
        with TemporaryFile(dir=database.absolute().parent):
            pass
    except OSError as error:
        folder = database.absolute().parent
        raise DatabaseError(
            f"the demo creates {database.name} in the current folder, and no file can be written in {folder} "
            f"({error.strerror}); run it in another folder"
        ) from None


def require_demo_database(database: Path, token: str) -> None:
    """Require that the demo may replace its database: it is the demo's, empty, or not there.

    Args:
        database: The file.
        token: The token of the demo's account.

    Raises:
        DatabaseError: The file is something else.
    """
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            is_empty = connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
            found = [] if is_empty else connection.execute("SELECT token_fingerprint FROM accounts").fetchall()
    except sqlite3.Error as error:
        raise DatabaseError(_not_replaced(database, str(error))) from None
    if any(fingerprint != fingerprint_of(token) for (fingerprint,) in found):
        raise DatabaseError(_not_replaced(database, "it has an account that is not the demo's"))


def _not_replaced(database: Path, reason: str) -> str:
    return f"the demo does not replace {database.absolute()} ({reason}); rename it, or run the demo in another folder"


def read_figures(settings: Settings, *, days: int, clock: Callable[[], datetime] = utc_now) -> DemoFigures:
    """Read the figures of the demo's database, with the spend of its newest days.

    Raises:
        DatabaseError: The database cannot be read.
    """
    restated = text("SELECT day, spend_before, spend_after, delta FROM restated_days ORDER BY day")
    spend = text("SELECT day, records, delivered, spend, day_state FROM daily_spend ORDER BY day DESC LIMIT :days")
    with translate_errors(), read_connection(open_engine(settings.database_url)) as connection:
        return DemoFigures(
            [RestatedDay(*row) for row in connection.execute(restated)],
            [DailySpend(*row) for row in connection.execute(spend, {"days": days})][::-1],
            read_account_statuses(connection, [settings.account], clock()),
        )
