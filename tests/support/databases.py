"""Databases for tests: each one new, empty or with the current schema, and dropped after its test.

The program creates its schema once per server. From then on it is copied: a file on SQLite, a template on PostgreSQL,
the recorded statements on MariaDB. A thread prepares the next database and drops the last one while tests run; it uses
the drivers themselves, because some tests listen to everything that SQLAlchemy does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from sqlalchemy import URL, event

from etl.config.database_url import parse_url
from etl.db.engine import new_engine
from etl.db.migrate import ensure_current


class SQLiteFiles:
    """New database files."""

    def __init__(self) -> None:
        self.template: bytes | None = None

    @contextmanager
    def database(self, folder: Path, *, empty: bool) -> Iterator[URL]:
        """Provide `billing.db` in a folder; there is no file yet if it is to be empty."""
        path = folder / "billing.db"
        url = parse_url(f"sqlite:///{path}")
        if not empty:
            if self.template is None:
                ensure_current(new_engine(url))
                self.template = path.read_bytes()
            path.write_bytes(self.template)
        yield url

    def close(self) -> None:
        """Leave the files to the folder's owner."""


class Server:
    """New databases of a PostgreSQL or MariaDB server."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="databases")
        self.template: str | None = None
        self.script: list[tuple[str, Any]] = []
        self.next: Future[str] | None = None

    @contextmanager
    def database(self, _folder: Path, *, empty: bool) -> Iterator[URL]:
        """Provide a new database.

        Raises:
            psycopg.Error, pymysql.Error: The server cannot be reached.
        """
        name = self.thread.submit(self._create).result() if empty else self._take()
        try:
            yield self.url.set(database=name)
        finally:
            dropped = self.thread.submit(self._drop, name)
            if empty:  # who made it may have roles to drop next
                dropped.result()

    def close(self) -> None:
        """Drop the prepared database and the template."""
        if self.next is not None:
            self.thread.submit(self._drop, self.next.result())
        if self.template is not None:
            self.thread.submit(self._drop, self.template)
        self.thread.shutdown()

    def _take(self) -> str:
        ready = self.next or self.thread.submit(self._copy)
        self.next = None
        name = ready.result()
        self.next = self.thread.submit(self._copy)
        return name

    def _copy(self) -> str:
        if self.template is None:
            self.template = self._create()
            self.script = record_schema(self.url.set(database=self.template))
        if self.url.get_backend_name() == "postgresql":
            return self._create(f" TEMPLATE {self.template}")
        name = self._create()
        with self._connect(name) as cursor:
            for statement, parameters in self.script:
                cursor.execute(statement, parameters)
        return name

    def _create(self, options: str = "") -> str:
        name = f"billing_test_{uuid.uuid4().hex[:12]}"
        with self._connect() as cursor:
            cursor.execute(f"CREATE DATABASE {name}{options}")
        return name

    def _drop(self, name: str) -> None:
        force = " WITH (FORCE)" if self.url.get_backend_name() == "postgresql" else ""
        with self._connect() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}{force}")

    @contextmanager
    def _connect(self, database: str | None = None) -> Iterator[Any]:
        url = self.url if database is None else self.url.set(database=database)
        options: dict[str, Any] = url.translate_connect_args(username="user") | dict(url.query)
        if url.get_backend_name() == "postgresql":
            options["dbname"] = options.pop("database")
            connect: Any = psycopg.connect
        else:
            options["charset"] = "utf8mb4"
            connect = pymysql.connect
        with closing(connect(**options, autocommit=True)) as connection, connection.cursor() as cursor:
            yield cursor


def record_schema(url: URL) -> list[tuple[str, Any]]:
    """Have the program create its schema.

    Returns:
        The statements that it executed, with their parameters.
    """
    engine = new_engine(url)
    statements = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.lstrip().startswith(("CREATE", "INSERT")):
            statements.append((statement, parameters))

    ensure_current(engine)
    return statements
