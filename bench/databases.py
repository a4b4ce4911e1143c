"""Where contenders write: emptied before a run, kept once filled, and put back to that state as often as it takes.

A place is a database of one contender. Nothing of this is within anybody's time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql


class Database(Protocol):
    name: str
    kind: str

    def version(self) -> str:
        """The server's, or the library's."""

    def url(self, place: str) -> str:
        """The place's address."""

    def empty(self, place: str) -> None:
        """Make it anew, with nothing in it."""

    def keep(self, place: str) -> None:
        """Remember what it holds."""

    def restore(self, place: str) -> None:
        """Put it back to what was kept."""

    def drop(self, place: str) -> None:
        """Leave nothing of it, nor of what was kept."""

    def read(self, place: str, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query."""

    def execute(self, place: str, statement: str) -> None:
        """Run a statement and commit it."""

    def analyse(self, place: str) -> None:
        """Bring the planner's statistics up to date."""


class SQLite:
    """Files of a folder."""

    name, kind = "SQLite", "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version(self) -> str:
        return sqlite3.sqlite_version

    def url(self, place: str) -> str:
        return f"sqlite:///{self._path(place)}"

    def empty(self, place: str) -> None:
        for path in self._folder.glob(f"{place}.db*"):
            path.unlink()

    def keep(self, place: str) -> None:
        with contextlib.closing(sqlite3.connect(self._path(place))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(self._path(place), self._kept(place))

    def restore(self, place: str) -> None:
        self.empty(place)
        shutil.copyfile(self._kept(place), self._path(place))
        with self._path(place).open("rb+") as file:
            os.fsync(file)  # or the copy is written while the clock runs

    def drop(self, place: str) -> None:
        self.empty(place)
        self._kept(place).unlink(missing_ok=True)

    def read(self, place: str, query: str) -> Iterator[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._path(place))) as connection:
            yield from connection.execute(query)

    def execute(self, place: str, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(self._path(place))) as connection, connection:
            connection.execute(statement)

    def analyse(self, place: str) -> None:
        """Nothing: the program's own connections do not either."""

    def _path(self, place: str) -> Path:
        return self._folder / f"{place}.db"

    def _kept(self, place: str) -> Path:
        return self._folder / f"{place}.kept"


class PostgreSQL:
    """Databases of a server; what is kept is a template."""

    name, kind = "PostgreSQL", "postgresql"

    def __init__(self, server: str) -> None:
        self._server = server
        self._url = urlsplit(server)

    def version(self) -> str:
        with psycopg.connect(self._server) as connection:
            return str(connection.execute("SHOW server_version").fetchone()[0]).split()[0]  # type: ignore[index]

    def url(self, place: str) -> str:
        return self._url._replace(path=f"/{_database(place)}").geturl()

    def empty(self, place: str) -> None:
        self._do(f"DROP DATABASE IF EXISTS {_database(place)} WITH (FORCE)", f"CREATE DATABASE {_database(place)}")

    def keep(self, place: str) -> None:
        # As autovacuum leaves it by the next night, whether or not it came by meanwhile.
        with psycopg.connect(self.url(place), autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
        self._copy(place, f"{place}_kept")

    def restore(self, place: str) -> None:
        self._copy(f"{place}_kept", place)
        self._do("CHECKPOINT")

    def drop(self, place: str) -> None:
        for name in (_database(place), _database(f"{place}_kept")):
            self._do(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def read(self, place: str, query: str) -> Iterator[tuple[Any, ...]]:
        with psycopg.connect(self.url(place)) as connection:
            yield from connection.execute(query)

    def execute(self, place: str, statement: str) -> None:
        with psycopg.connect(self.url(place), autocommit=True) as connection:
            connection.execute(statement)

    def analyse(self, place: str) -> None:
        self.execute(place, "VACUUM (ANALYZE)")

    def _copy(self, source: str, target: str) -> None:
        self._do(
            f"DROP DATABASE IF EXISTS {_database(target)} WITH (FORCE)",
            f"CREATE DATABASE {_database(target)} TEMPLATE {_database(source)}",
        )

    def _do(self, *statements: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


class MariaDB:
    """Databases of a server; what is kept is a copy of each table, for there are no templates."""

    name, kind = "MariaDB", "mariadb"

    def __init__(self, server: str) -> None:
        self._url = urlsplit(server)

    def version(self) -> str:
        return str(self._do("SELECT version()")[0][0]).partition("-")[0]

    def url(self, place: str) -> str:
        return self._url._replace(path=f"/{_database(place)}").geturl()

    def empty(self, place: str) -> None:
        name = _database(place)
        self._do(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")

    def keep(self, place: str) -> None:
        self.empty(f"{place}_kept")
        for table in self._tables(place):
            source, target = f"{_database(place)}.{table}", f"{_database(f'{place}_kept')}.{table}"
            self._do(f"CREATE TABLE {target} LIKE {source}", f"INSERT INTO {target} SELECT * FROM {source}")

    def restore(self, place: str) -> None:
        statements = ["SET foreign_key_checks = 0"]
        for table in self._tables(place):
            source, target = f"{_database(f'{place}_kept')}.{table}", f"{_database(place)}.{table}"
            statements += [f"TRUNCATE {target}", f"INSERT INTO {target} SELECT * FROM {source}"]
        self._do(*statements)

    def drop(self, place: str) -> None:
        self._do(*(f"DROP DATABASE IF EXISTS {_database(name)}" for name in (place, f"{place}_kept")))

    def read(self, place: str, query: str) -> Iterator[tuple[Any, ...]]:
        yield from self._do(f"USE {_database(place)}", query)

    def execute(self, place: str, statement: str) -> None:
        self._do(f"USE {_database(place)}", statement)

    def analyse(self, place: str) -> None:
        self.execute(place, f"ANALYZE TABLE {', '.join(self._tables(place))}")

    def _tables(self, place: str) -> list[str]:
        listed = self._do(f"SHOW FULL TABLES FROM {_database(place)} WHERE table_type = 'BASE TABLE'")
        return [row[0] for row in listed]

    def _do(self, *statements: str) -> tuple[tuple[Any, ...], ...]:
        """Every statement, and the rows of the last."""
        connection = pymysql.connect(
            host=self._url.hostname or "127.0.0.1",
            port=self._url.port or 3306,
            user=unquote(self._url.username or ""),
            password=unquote(self._url.password or ""),
            autocommit=True,
        )
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())


def _database(place: str) -> str:
    return f"billing_bench_{place}"
