"""Online backup of an SQLite database: a consistent snapshot, without blocking writers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from etl import signals
from etl.atomic_file import atomic_write
from etl.db.dialects import dialect_for
from etl.db.engine import database_exists, read_connection
from etl.db.errors import translate_errors
from etl.db.migrate import schema_revision
from etl.errors import ConfigError, DatabaseError
from etl.services.database import require_other_file


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
    dialect = dialect_for(engine.dialect.name)
    path = dialect.database_file(engine.url)
    if path is None:
        command = f"{dialect.dump_command} {engine.url.database}"
        raise ConfigError(f"backup copies SQLite databases; on a server, use its own tool: {command}")
    if not database_exists(engine):
        raise DatabaseError("there is no database yet: nothing to back up")
    require_other_file(target, engine.url, "--out")
    is_new = not target.exists()
    with translate_errors(), signals.deferred(), read_connection(engine) as connection, connection.begin():
        revision = schema_revision(connection)
        with atomic_write(target) as file:
            temporary = Path(file.name)
            if is_new:
                temporary.chmod(path.stat().st_mode & 0o777 | 0o600)
            dialect.copy_database(connection, temporary)
            size = temporary.stat().st_size
    return Backup(target, size, revision)
