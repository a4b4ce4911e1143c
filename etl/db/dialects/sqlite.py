"""SQLite: a file on a local disk, without users and timeouts of a server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, bindparam, event, inspect, text
from sqlalchemy.exc import DBAPIError

from etl.db.connection_failure import ConnectionFailure, unknown_parameter
from etl.db.dialects.lock_session import lock_digest
from etl.db.dialects.protocol import ConnectOptions, DatabaseDialect, LengthLimit, Relation, TryLock
from etl.db.timeouts import LOCK_WAIT_SECONDS
from etl.errors import DatabaseError

MAX_NAME_LENGTH: Final = 64
"""Characters of a lock's name that its file name repeats; a longer name is hashed."""
_PARAMETERS: Final = frozenset(
    {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements", "uri"}
)
"""Parameters of a URL. Source: SQLAlchemy's dialect `pysqlite`."""
_MAY_SET_JOURNAL: Final = """
SELECT NOT EXISTS (SELECT 1 FROM sqlite_master) OR EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'synced_days')
"""


class SqliteDialect(DatabaseDialect):
    extra = ""
    snapshot_isolation = None

    def connect_options(self, url: URL) -> ConnectOptions:
        if url.query.get("uri") != "true":
            for name in url.query.keys() - _PARAMETERS:
                raise unknown_parameter(name, sorted(_PARAMETERS))
        return ConnectOptions(url, {"timeout": LOCK_WAIT_SECONDS})

    def connect(self, url: URL, arguments: list[Any], options: dict[str, Any]) -> Any:
        path = self.database_file(url)
        if path is None or options.get("uri"):
            return sqlite3.connect(*arguments, **options)
        try:
            if path.exists() and not _is_writable(path):
                return sqlite3.connect(_read_only_uri(path), uri=True, **options)
            _create_private(path)
            return sqlite3.connect(*arguments, **options)
        except sqlite3.OperationalError as error:
            reason = _problem_of(path) or f"the database file cannot be opened ({error.sqlite_errorname})"
        raise ConnectionFailure(reason)

    def set_up(self, engine: Engine, url: URL) -> None:
        event.listen(engine, "connect", _set_up_connection)
        event.listen(engine, "begin", _begin)

    def database_file(self, url: URL) -> Path | None:
        return Path(url.database) if url.database else None

    def lock(self, engine: Engine, name: str, resources: ExitStack) -> TryLock | None:
        database = self.database_file(engine.url)
        if database is None:
            return None
        path = database.with_name(f"{database.name}-{_file_name(name)}.lock")
        # A write transaction on a separate SQLite file: a file lock that works on every system and ends with the
        # process. IMMEDIATE rather than EXCLUSIVE: two processes that already hold a shared lock would block each
        # other.
        if not os.access(path.parent, os.W_OK):
            raise DatabaseError(_problem_of(database) or f"no file can be written in {path.parent.resolve()}")
        if path.exists() and not os.access(path, os.W_OK):
            raise DatabaseError(f"{path} is not writable; SQLite would open it read-only, and lock nothing")
        try:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            connection.execute("PRAGMA journal_mode = MEMORY")  # no journal file: works on a full disk
        except sqlite3.Error as error:
            raise DatabaseError(
                f"the lock file beside the database cannot be opened ({error.sqlite_errorname})"
            ) from None
        resources.callback(connection.close)

        def try_lock() -> bool:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname == "SQLITE_BUSY":
                    return False
                raise DatabaseError(f"the lock file beside the database failed ({error.sqlite_errorname})") from None
            return True

        return try_lock

    def length_limit(self, connection: Connection) -> LengthLimit:
        driver: Any = connection.connection.driver_connection
        return LengthLimit(driver.getlimit(sqlite3.SQLITE_LIMIT_LENGTH), "SQLITE_MAX_LENGTH")

    def read_relations(
        self, connection: Connection, names: Collection[str], functions: Mapping[str, str]
    ) -> Iterable[Relation]:
        query = text(
            "SELECT name, type, sql FROM sqlite_master WHERE type <> 'trigger' AND lower(name) IN :names"
        ).bindparams(bindparam("names", expanding=True))
        inspector = inspect(connection)
        for name, kind, sql in connection.execute(query, {"names": list(names)}).all():
            columns: set[str] = set()
            if kind != "index":
                try:
                    columns = {column["name"] for column in inspector.get_columns(name)}
                except DBAPIError:  # a view of a dropped table
                    columns = set()
            yield Relation(name, kind, frozenset(columns), f"pk_{name}" in sql if sql else False)


def _set_up_connection(connection: Any, _record: Any) -> None:
    # Disable the driver's implicit transactions, which start late and exclude DDL; see _begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    # synchronous=NORMAL may lose the last transactions in a power failure; rows and watermark are lost together, and
    # the next run fetches them again. page_size applies to new files and needs fewer writes. cache_size, in KiB, holds
    # the index pages that one day's rows touch. journal_mode is persistent: leave another program's file unchanged.
    pragmas = (
        "page_size = 16384",
        *(["journal_mode = WAL"] if cursor.execute(_MAY_SET_JOURNAL).fetchone()[0] else []),
        "synchronous = NORMAL",
        "foreign_keys = ON",
        "cache_size = -8192",
    )
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _is_writable(path: Path) -> bool:
    """Whether this user may change a database: SQLite also creates files beside it."""
    real = path.resolve()
    return os.access(real, os.W_OK) and os.access(real.parent, os.W_OK | os.X_OK)


def _read_only_uri(path: Path) -> str:
    """The URI of a database that may only be read.

    Without its write-ahead log no process has it open. SQLite would create one, unless the file is declared immutable.
    """
    real = path.resolve()
    unchanging = "" if Path(f"{real}-wal").exists() else "&immutable=1"
    return f"file:{quote(str(real))}?mode=ro{unchanging}"


def _create_private(path: Path) -> None:
    """Create a missing file that only its owner may read. SQLite gives its mode to the files beside it."""
    with suppress(OSError):  # it exists, or SQLite reports the same problem
        os.close(os.open(path.resolve(), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _problem_of(path: Path) -> str:
    """Why the file of a database cannot be opened, with the solution; empty if its permissions do not show it."""
    folder = path.resolve().parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist; create it, or correct the path in BILLING_DATABASE_URL"
    if path.is_dir():
        return f"{path} is a folder; BILLING_DATABASE_URL has to name a file"
    if path.exists() and not os.access(path, os.R_OK):
        return f"this user may not read {path}; give it to the user of the nightly job: chown or chmod"
    if not os.access(folder, os.W_OK | os.X_OK) or not path.exists():
        return f"no file can be written in {folder}; give it to the user of the nightly job: chown or chmod"
    return ""


def _begin(connection: Connection) -> None:
    # A deferred transaction that reads before it writes fails at once if another writer committed in between.
    reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _file_name(name: str) -> str:
    """Percent-encoded name of a lock, or a hash of a long one."""
    quoted = quote(name, safe="")
    return quoted if len(quoted) <= MAX_NAME_LENGTH else lock_digest(name).hex()[:32]


DIALECT: Final = SqliteDialect()
