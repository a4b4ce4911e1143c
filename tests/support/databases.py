"""Databases for tests: each one empty or with the current schema and no row, for one test at a time.

The program creates its schema once per server. From then on it is copied: a file on SQLite, a template on PostgreSQL,
the recorded statements on MariaDB. Creating and dropping a database costs a server more than most tests do; so a
database whose schema a test left as it was is emptied and used again, and any other one is dropped. A thread does this
while tests run; it uses the drivers themselves, because some tests listen to everything that SQLAlchemy does.
"""

from __future__ import annotations

import re
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from sqlalchemy import URL, event

from etl.config.database_url import parse_url
from etl.db.engine import new_engine
from etl.db.migrate import ensure_current

LARGE = 4 << 20
"""Bytes by which a reused database may have grown: deleted rows still slow down scans of their table."""


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


class Server(ABC):
    """Databases of a server."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="databases")
        self.template: str | None = None
        self.script: list[tuple[str, Any]] = []
        self.schema: Any = None
        self.size = 0
        self.ready: deque[Future[str]] = deque()

    @contextmanager
    def database(self, _folder: Path, *, empty: bool) -> Iterator[URL]:
        """Provide a database.

        Raises:
            psycopg.Error, pymysql.Error: The server cannot be reached.
        """
        if empty:
            name = self.thread.submit(self._create).result()
        else:
            name = (self.ready.popleft() if self.ready else self.thread.submit(self._copy)).result()
        try:
            yield self.url.set(database=name)
        finally:
            if empty:  # its creator may drop roles next
                self.thread.submit(self._drop, name).result()
            else:
                self.ready.append(self.thread.submit(self._renew, name))

    def close(self) -> None:
        """Drop the databases that are ready, and the template."""
        for name in [future.result() for future in self.ready] + [self.template] * bool(self.template):
            self.thread.submit(self._drop, name)
        self.thread.shutdown()

    def _copy(self) -> str:
        if self.template is None:
            self.template = self._create()
            self.script = record_schema(self.url.set(database=self.template))
            with self._connect(self.template) as cursor:
                self.schema = self._schema(cursor, self.template)
                self.size = self._size(cursor, self.template)
        return self._copy_template(self.template)

    def _renew(self, name: str) -> str:
        """Empty a database, or make another in its place if its schema has changed or it is large."""
        with suppress(psycopg.Error, pymysql.Error), self._connect(name) as cursor:  # the test may have dropped it
            self._end_sessions(cursor, name)
            if self._schema(cursor, name) == self.schema and self._size(cursor, name) <= self.size + LARGE:
                self._delete_rows(cursor)
                for statement, parameters in self.script:
                    if statement.startswith("INSERT"):
                        cursor.execute(statement, parameters)
                return name
        self._drop(name)
        return self._copy()

    def _create(self, options: str = "") -> str:
        name = f"billing_test_{uuid.uuid4().hex[:12]}"
        with self._connect() as cursor:
            cursor.execute(f"CREATE DATABASE {name}{options}")
        return name

    @contextmanager
    def _connect(self, database: str | None = None) -> Iterator[Any]:
        with closing(self._open(database or self.url.database)) as connection, connection.cursor() as cursor:
            yield cursor

    @abstractmethod
    def _open(self, database: str | None) -> Any:
        """A connection of the driver in autocommit mode."""

    @abstractmethod
    def _drop(self, name: str) -> None: ...

    @abstractmethod
    def _copy_template(self, template: str) -> str: ...

    @abstractmethod
    def _schema(self, cursor: Any, name: str) -> Any:
        """A value that changes with anything but the rows: definitions, privileges, options, statistics."""

    @abstractmethod
    def _size(self, cursor: Any, name: str) -> int:
        """Size in bytes."""

    @abstractmethod
    def _end_sessions(self, cursor: Any, name: str) -> None:
        """End the sessions that a test left."""

    @abstractmethod
    def _delete_rows(self, cursor: Any) -> None:
        """Delete all rows; numbers begin with 1 again."""


class PostgreSQL(Server):
    """Databases of a PostgreSQL server."""

    CATALOGUES = (
        *("pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_proc", "pg_rewrite", "pg_type"),
        *("pg_trigger", "pg_namespace", "pg_extension", "pg_default_acl", "pg_policy", "pg_statistic"),
    )

    def _open(self, database: str | None) -> Any:
        options = self.url.translate_connect_args(username="user") | dict(self.url.query)
        return psycopg.connect(**options | {"dbname": database, "database": None}, autocommit=True)

    def _create(self, options: str = "") -> str:
        name = super()._create(options)
        with self._connect() as cursor:  # tests kill processes, never the server
            cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        return name

    def _drop(self, name: str) -> None:
        with self._connect() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _copy_template(self, template: str) -> str:
        return self._create(f" TEMPLATE {template}")

    def _schema(self, cursor: Any, name: str) -> Any:
        # Each row has the number of the transaction that wrote it.
        parts = [f"SELECT COUNT(*), MAX(xmin::text::bigint) FROM {catalogue}" for catalogue in self.CATALOGUES]
        parts.append(
            "SELECT COUNT(*), SUM(LENGTH(CONCAT(datacl, setconfig)))"
            f" FROM pg_database d LEFT JOIN pg_db_role_setting s ON d.oid = setdatabase WHERE datname = '{name}'"
        )
        return cursor.execute(" UNION ALL ".join(parts)).fetchall()

    def _size(self, cursor: Any, name: str) -> int:
        return cursor.execute("SELECT pg_database_size(current_database())").fetchone()[0]

    def _end_sessions(self, cursor: Any, name: str) -> None:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )

    def _delete_rows(self, cursor: Any) -> None:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        deletes = [f"DELETE FROM {table}" for (table,) in cursor.fetchall()]
        cursor.execute("SET session_replication_role = replica")  # foreign keys wait for all tables
        cursor.execute("; ".join(deletes))
        cursor.execute("SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence")


class MariaDB(Server):
    """Databases of a MariaDB server."""

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self.definitions: dict[str, str] = {}

    def _open(self, database: str | None) -> Any:
        options: dict[str, Any] = self.url.translate_connect_args(username="user") | dict(self.url.query)
        return pymysql.connect(**options | {"database": database, "charset": "utf8mb4"}, autocommit=True)

    def _drop(self, name: str) -> None:
        with self._connect() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")

    def _copy_template(self, template: str) -> str:
        name = self._create()
        with self._connect(name) as cursor:
            for statement, parameters in self.script:
                cursor.execute(statement, parameters)
        return name

    def _schema(self, cursor: Any, name: str) -> Any:
        self.definitions = self._read_definitions(cursor)
        definitions = [re.sub(" AUTO_INCREMENT=[0-9]+", "", each) for each in self.definitions.values()]
        cursor.execute("SHOW TRIGGERS")
        triggers = cursor.fetchall()
        cursor.execute(
            "SELECT user, table_name, column_name FROM mysql.columns_priv WHERE db = %s"
            " UNION ALL SELECT user, table_name, '' FROM mysql.tables_priv WHERE db = %s"
            " UNION ALL SELECT user, '', '' FROM mysql.db WHERE db = %s",
            [name] * 3,
        )
        return definitions, triggers, cursor.fetchall()

    def _size(self, cursor: Any, name: str) -> int:
        cursor.execute(
            "SELECT SUM(file_size) FROM information_schema.innodb_sys_tablespaces WHERE name LIKE %s", [f"{name}/%"]
        )
        return int(cursor.fetchone()[0])

    def _end_sessions(self, cursor: Any, name: str) -> None:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()", [name])
        for (session,) in cursor.fetchall():
            with suppress(pymysql.Error):  # it may have ended
                cursor.execute(f"KILL {session}")

    def _delete_rows(self, cursor: Any) -> None:
        definitions = self.definitions  # `_schema` has just read them
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute("BEGIN")
        tables = [name for name, definition in definitions.items() if definition.startswith("CREATE TABLE")]
        for table in tables:
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("COMMIT")
        for table in tables:
            if " AUTO_INCREMENT=" in definitions[table]:
                cursor.execute(f"ALTER TABLE {table} AUTO_INCREMENT = 1")

    def _read_definitions(self, cursor: Any) -> dict[str, str]:
        """The statements that would create the tables and views, by name."""
        cursor.execute("SHOW TABLES")
        found = {}
        for (table,) in cursor.fetchall():
            cursor.execute(f"SHOW CREATE TABLE `{table}`")
            found[table] = cursor.fetchone()[1]
        return found


def databases_of(url: URL) -> Server:
    """The databases of a server."""
    return (PostgreSQL if url.get_backend_name() == "postgresql" else MariaDB)(url)


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
