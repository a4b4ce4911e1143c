"""Engines of the configured databases; only services open them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, Engine

from etl.config.schema import Settings
from etl.db.engine import database_exists, database_file, new_engine, read_connection
from etl.db.errors import translate_errors
from etl.db.migrate import has_schema
from etl.errors import ConfigError
from etl.services.setting_errors import named_settings, variable_of


def open_engine(url: URL, *, pooled: bool = False) -> Engine:
    """Create the engine of a configured database; see `new_engine`.

    Raises:
        ConfigError: The driver is not installed, or an option of the URL is invalid.
    """
    with named_settings():
        return new_engine(url, pooled=pooled, setting=variable_of("database_url"))


def open_file(path: Path) -> Engine:
    """Create the engine of an SQLite file."""
    return new_engine(URL.create("sqlite", database=str(path)))


@contextmanager
def pooled_engine(url: URL) -> Iterator[Engine]:
    """Create a pooled engine for a block of many transactions and dispose of it afterwards.

    Without a pool each transaction opens a connection; PyMySQL takes 20 milliseconds for that, in which it loads the
    system's CA certificates.
    """
    engine = open_engine(url, pooled=True)
    try:
        yield engine
    finally:
        engine.dispose()


def file_of(engine: Engine) -> Path | None:
    """Path of an SQLite database; None for a server."""
    return database_file(engine.url)


def require_other_file(path: Path, url: URL, name: str) -> None:
    """Require that a file to write is none of the files of an SQLite database.

    Args:
        path: The file to write.
        url: URL of the database.
        name: Option or setting that names the file, for the error.

    Raises:
        ConfigError: It is the database, its log or one of its locks.
    """
    database = database_file(url)
    if database is None:
        return
    target, database = (Path(os.path.realpath(one)) for one in (path, database))
    own_names = rf"{re.escape(database.name)}(|-wal|-shm|-journal|-.*\.lock)"
    if target.parent == database.parent and re.fullmatch(own_names, target.name):
        raise ConfigError(f"{name} {str(path)!r} is a file of the database {database}: name another one")


@dataclass(frozen=True, slots=True)
class ConfiguredDatabase:
    """A database with the current schema, and the labels of the selected accounts that are stored in it."""

    engine: Engine
    labels: list[str]

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading.

        Raises:
            DatabaseError: The database cannot be read.
        """
        with translate_errors(), read_connection(self.engine) as connection:
            yield connection


@dataclass(frozen=True, slots=True)
class ConfiguredDatabases:
    """The configured databases: those with a schema, and the number of those that do not exist yet or are empty."""

    existing: list[ConfiguredDatabase]
    missing: int


def open_databases(all_settings: Iterable[Settings]) -> ConfiguredDatabases:
    """Open the databases of the accounts.

    Raises:
        DatabaseError: A database cannot be read, or has the schema of another version.
    """
    labels: dict[URL, list[str]] = {}
    for settings in all_settings:
        labels.setdefault(settings.database_url, []).append(settings.account)
    databases = [ConfiguredDatabase(open_engine(url), names) for url, names in labels.items()]
    existing = [database for database in databases if _has_schema(database)]
    return ConfiguredDatabases(existing, len(databases) - len(existing))


def _has_schema(database: ConfiguredDatabase) -> bool:
    if not database_exists(database.engine):
        return False
    with database.read() as connection:
        return has_schema(connection)
