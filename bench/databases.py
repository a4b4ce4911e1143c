"""The databases of the subjects: emptied before a run, saved when filled, and restored before each further run.

Each subject has its own database. None of this is part of a measured time.
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
        """The version of the server, or of the library."""

    def url(self, subject: str) -> str:
        """The URL of a subject's database."""

    def empty(self, subject: str) -> None:
        """Recreate the database, empty."""

    def keep(self, subject: str) -> None:
        """Save its content."""

    def restore(self, subject: str) -> None:
        """Restore the saved content."""

    def drop(self, subject: str) -> None:
        """Drop the database and its saved content."""

    def read(self, subject: str, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query."""

    def execute(self, subject: str, statement: str) -> None:
        """Run a statement and commit it."""

    def analyse(self, subject: str) -> None:
        """Bring the planner's statistics up to date."""

    def own_export(self, subject: str, view: str, file: str) -> list[str]:
        """The command by which the database's own client writes a view to a file of text."""


class SQLite:
    """Files in a folder."""

    name, kind = "SQLite", "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version(self) -> str:
        return sqlite3.sqlite_version

    def url(self, subject: str) -> str:
        return f"sqlite:///{self._path(subject)}"

    def empty(self, subject: str) -> None:
        for path in self._folder.glob(f"{subject}.db*"):
            path.unlink()

    def keep(self, subject: str) -> None:
        with contextlib.closing(sqlite3.connect(self._path(subject))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(self._path(subject), self._kept(subject))

    def restore(self, subject: str) -> None:
        self.empty(subject)
        shutil.copyfile(self._kept(subject), self._path(subject))
        with self._path(subject).open("rb+") as file:
            os.fsync(file)  # otherwise the copy would be written during the measurement

    def drop(self, subject: str) -> None:
        self.empty(subject)
        self._kept(subject).unlink(missing_ok=True)

    def read(self, subject: str, query: str) -> Iterator[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._path(subject))) as connection:
            yield from connection.execute(query)

    def execute(self, subject: str, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(self._path(subject))) as connection, connection:
            connection.execute(statement)

    def analyse(self, subject: str) -> None:
        """Do nothing, as the program's own connections do not either."""

    def own_export(self, subject: str, view: str, file: str) -> list[str]:
        query = f"SELECT * FROM {view}"
        return [
            _client("sqlite3"),
            "-cmd",
            ".headers on",
            "-cmd",
            f".once {file}",
            "-csv",
            str(self._path(subject)),
            query,
        ]

    def _path(self, subject: str) -> Path:
        return self._folder / f"{subject}.db"

    def _kept(self, subject: str) -> Path:
        return self._folder / f"{subject}.kept"


class PostgreSQL:
    """Databases of a server, saved as templates."""

    name, kind = "PostgreSQL", "postgresql"

    def __init__(self, server: str) -> None:
        self._server = server
        self._url = urlsplit(server)

    def version(self) -> str:
        with psycopg.connect(self._server) as connection:
            return str(connection.execute("SHOW server_version").fetchone()[0]).split()[0]  # type: ignore[index]

    def url(self, subject: str) -> str:
        return self._url._replace(path=f"/{_database(subject)}").geturl()

    def empty(self, subject: str) -> None:
        self._do(f"DROP DATABASE IF EXISTS {_database(subject)} WITH (FORCE)", f"CREATE DATABASE {_database(subject)}")

    def keep(self, subject: str) -> None:
        # The state after autovacuum, which may or may not have run.
        with psycopg.connect(self.url(subject), autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
        self._copy(subject, f"{subject}_kept")

    def restore(self, subject: str) -> None:
        self._copy(f"{subject}_kept", subject)
        self._do("CHECKPOINT")

    def drop(self, subject: str) -> None:
        for name in (_database(subject), _database(f"{subject}_kept")):
            self._do(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def read(self, subject: str, query: str) -> Iterator[tuple[Any, ...]]:
        with psycopg.connect(self.url(subject)) as connection:
            yield from connection.execute(query)

    def execute(self, subject: str, statement: str) -> None:
        with psycopg.connect(self.url(subject), autocommit=True) as connection:
            connection.execute(statement)

    def analyse(self, subject: str) -> None:
        self.execute(subject, "VACUUM (ANALYZE)")

    def own_export(self, subject: str, view: str, file: str) -> list[str]:
        return [_client("psql"), self.url(subject), "-qc", f"\\copy (SELECT * FROM {view}) TO '{file}' CSV HEADER"]

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
    """Databases of a server, saved as copies of each table, because there are no templates."""

    name, kind = "MariaDB", "mariadb"

    def __init__(self, server: str) -> None:
        self._url = urlsplit(server)

    def version(self) -> str:
        return str(self._do("SELECT version()")[0][0]).partition("-")[0]

    def url(self, subject: str) -> str:
        return self._url._replace(path=f"/{_database(subject)}").geturl()

    def empty(self, subject: str) -> None:
        name = _database(subject)
        self._do(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")

    def keep(self, subject: str) -> None:
        self.empty(f"{subject}_kept")
        for table in self._tables(subject):
            source, target = f"{_database(subject)}.{table}", f"{_database(f'{subject}_kept')}.{table}"
            self._do(f"CREATE TABLE {target} LIKE {source}", f"INSERT INTO {target} SELECT * FROM {source}")

    def restore(self, subject: str) -> None:
        statements = ["SET foreign_key_checks = 0"]
        for table in self._tables(subject):
            source, target = f"{_database(f'{subject}_kept')}.{table}", f"{_database(subject)}.{table}"
            statements += [f"TRUNCATE {target}", f"INSERT INTO {target} SELECT * FROM {source}"]
        self._do(*statements)

    def drop(self, subject: str) -> None:
        self._do(*(f"DROP DATABASE IF EXISTS {_database(name)}" for name in (subject, f"{subject}_kept")))

    def read(self, subject: str, query: str) -> Iterator[tuple[Any, ...]]:
        yield from self._do(f"USE {_database(subject)}", query)

    def execute(self, subject: str, statement: str) -> None:
        self._do(f"USE {_database(subject)}", statement)

    def analyse(self, subject: str) -> None:
        self.execute(subject, f"ANALYZE TABLE {', '.join(self._tables(subject))}")

    def own_export(self, subject: str, view: str, file: str) -> list[str]:
        host, port, user = self._url.hostname or "127.0.0.1", self._url.port or 3306, unquote(self._url.username or "")
        client = (
            f"mariadb -h {host} -P {port} -u {user} --batch {_database(subject)} -e 'SELECT * FROM {view}' > {file}"
        )
        return [_client("sh"), "-c", client]

    def _tables(self, subject: str) -> list[str]:
        listed = self._do(f"SHOW FULL TABLES FROM {_database(subject)} WHERE table_type = 'BASE TABLE'")
        return [row[0] for row in listed]

    def _do(self, *statements: str) -> tuple[tuple[Any, ...], ...]:
        """Execute statements; returns the rows of the last one."""
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


def _client(name: str) -> str:
    """The path of a program; its name if it is not installed, for the error of the run."""
    return shutil.which(name) or name


def _database(subject: str) -> str:
    return f"billing_bench_{subject}"
