"""Online backup of an SQLite database: a consistent snapshot, without blocking writers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, text

from etl import signals
from etl.atomic_file import atomic_write
from etl.db.engine import database_exists, database_file, read_connection
from etl.db.errors import translate_errors
from etl.db.migrate import schema_revision
from etl.errors import ConfigError, DatabaseError, DiskFullError

PAGES_PER_STEP: Final = 256
"""Pages copied between two checks for a signal."""
_DUMP_TOOLS: Final = {"postgresql": "pg_dump --format=custom --file=FILE", "mysql": "mariadb-dump --single-transaction"}


@dataclass(frozen=True, slots=True)
class Backup:
    """A written backup; `revision` is that of its schema, None without one."""

    path: Path
    size_bytes: int
    revision: str | None


def backup_database(engine: Engine, target: Path) -> Backup:
    """Copy an SQLite database to a file, atomically and with an integrity check.

    The whole database is read in one transaction, which blocks no writer and does not see later changes.

    Args:
        engine: Engine of the database.
        target: Path of the backup; an existing file is replaced. A new file gets the permissions of the database file.

    Raises:
        ConfigError: The database is not SQLite, or the file cannot be written.
        DatabaseError: The database is missing, unreadable or damaged.
        DiskFullError: The disk of the backup is full.
    """
    path = database_file(engine.url)
    if path is None:
        tool = _DUMP_TOOLS.get(engine.dialect.name, _DUMP_TOOLS["mysql"])
        raise ConfigError(
            f"backup copies SQLite databases; on a server, use its own tool: {tool} {engine.url.database}"
        )
    if not database_exists(engine):
        raise DatabaseError("there is no database yet: nothing to back up")
    if target.exists() and target.samefile(path):
        raise ConfigError(f"--out {target} is the database itself")
    is_new = not target.exists()
    with translate_errors(), signals.deferred(), read_connection(engine) as connection, connection.begin():
        revision = schema_revision(connection)  # begins the snapshot
        connection.execute(text("SELECT count(*) FROM sqlite_master"))
        with atomic_write(target) as file:
            temporary = Path(file.name)
            if is_new:
                temporary.chmod(path.stat().st_mode & 0o777 | 0o600)
            _copy(connection.connection.driver_connection, temporary)
            size = temporary.stat().st_size
    return Backup(target, size, revision)


def _copy(source: Any, temporary: Path) -> None:
    """Copy an open SQLite database to a file and check the copy."""

    def check_signals(_status: int, _remaining: int, _total: int) -> None:
        signals.raise_if_interrupted()

    with closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
        try:
            # No rollback journal: after an error the file is removed.
            copy.execute("PRAGMA journal_mode = OFF")
            source.backup(copy, pages=PAGES_PER_STEP, progress=check_signals)
            # A single file: the copied header selects WAL mode, with a -wal file beside the backup.
            copy.execute("PRAGMA journal_mode = DELETE")
            problems = copy.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.Error as error:
            if error.sqlite_errorname.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
                raise DiskFullError("--out: its disk is full") from None
            raise
    if problems != [("ok",)]:
        raise DatabaseError("the database file is damaged: its copy failed the integrity check")
