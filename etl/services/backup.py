"""A copy of an SQLite database that is whole and of one moment, whoever writes to the database meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, text

from etl import signals
from etl.atomic_file import atomic_write
from etl.db.engine import database_exists, read_connection, sqlite_path
from etl.db.errors import translate_errors
from etl.db.migrate import schema_revision
from etl.errors import ConfigError, DatabaseError, DiskFullError

PAGES_PER_STEP: Final = 256
"""A signal is answered in between."""
_TOOLS: Final = {"postgresql": "pg_dump --format=custom --file=FILE", "mysql": "mariadb-dump --single-transaction"}


@dataclass(frozen=True, slots=True)
class Backup:
    """What was written: its size, and the schema in it (None: it holds none of ours)."""

    path: Path
    size_bytes: int
    revision: str | None


def backup_database(engine: Engine, target: Path) -> Backup:
    """Copy the database into a file, which is there whole and checked or not at all.

    All of it is read in one transaction: what others write meanwhile is not in it, and nobody waits for it.

    Args:
        engine: Of the database.
        target: A file there is replaced. A new one may be read by whom the database may be read.

    Raises:
        ConfigError: It is no SQLite database, or the file cannot be written there.
        DatabaseError: There is no database, or it cannot be read, or is damaged.
        DiskFullError: The disk of the file is full.
    """
    path = sqlite_path(engine.url)
    if path is None:
        tool = _TOOLS.get(engine.dialect.name, _TOOLS["mysql"])
        raise ConfigError(
            f"backup copies SQLite databases; on a server, use its own tool: {tool} {engine.url.database}"
        )
    if not database_exists(engine):
        raise DatabaseError("there is no database yet: nothing to back up")
    if target.exists() and target.samefile(path):
        raise ConfigError(f"--out {target} is the database itself")
    new = not target.exists()
    with translate_errors(), signals.deferred(), read_connection(engine) as connection, connection.begin():
        revision = schema_revision(connection)  # begins what is read
        connection.execute(text("SELECT count(*) FROM sqlite_master"))
        with atomic_write(target) as file:
            part = Path(file.name)
            if new:
                part.chmod(path.stat().st_mode & 0o777)
            _copy(connection.connection.driver_connection, part)
            size = part.stat().st_size
    return Backup(target, size, revision)


def _copy(source: Any, part: Path) -> None:
    def answer_signals(_status: int, _left: int, _pages: int) -> None:
        signals.raise_if_interrupted()

    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        try:
            # Nothing is to be rolled back: after an error the file goes.
            copy.execute("PRAGMA journal_mode = OFF")
            source.backup(copy, pages=PAGES_PER_STEP, progress=answer_signals)
            # One file, complete in itself: without this it would ask for a -wal beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
            findings = [words for (words,) in copy.execute("PRAGMA integrity_check(1)")]
        except sqlite3.Error as error:
            if error.sqlite_errorname.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
                raise DiskFullError("--out: its disk is full") from None
            raise
    if findings != ["ok"]:
        raise DatabaseError("the database file is damaged: what was copied of it did not pass its check")
