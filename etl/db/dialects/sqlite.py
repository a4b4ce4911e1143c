"""SQLite: a file on a local disk, without users and timeouts of a server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Boolean,
    Connection,
    Engine,
    Integer,
    Select,
    String,
    Text,
    bindparam,
    event,
    inspect,
    text,
    type_coerce,
)
from sqlalchemy.dialects.sqlite import DATETIME
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from etl import signals
from etl.db.connection_failure import Cause, ConnectionFailure, unknown_parameter
from etl.db.dialects.expressions import SqlExpressions
from etl.db.dialects.health import Caution, HealthCheck
from etl.db.dialects.lock_session import lock_digest
from etl.db.dialects.protocol import (
    ColumnTypes,
    ColumnValues,
    ConnectOptions,
    DatabaseDialect,
    LengthLimit,
    Relation,
    TryLock,
)
from etl.db.dialects.row_batches import split_batches
from etl.db.errors import is_retryable
from etl.db.file_access import file_problem, folder_problem
from etl.db.timeouts import LOCK_WAIT_SECONDS
from etl.errors import DatabaseError, DiskFullError, SettingError

BATCH_SIZE: Final = 256
"""Rows per statement: the cost per row grows with the statement; the limit is 32,766 parameters."""
PAGES_PER_STEP: Final = 256
"""Pages of a backup copied between two checks for a signal."""
MAX_NAME_LENGTH: Final = 64
"""Characters of a lock's name that its file name repeats; a longer name is hashed."""
_PARAMETERS: Final = frozenset(
    {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements", "uri"}
)
"""Parameters of a URL. Source: SQLAlchemy's dialect `pysqlite`."""
_MAY_SET_JOURNAL: Final = """
SELECT NOT EXISTS (SELECT 1 FROM sqlite_master) OR EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'synced_days')
"""


class SqliteExpressions(SqlExpressions):
    """Expressions with exact sums: SQLite adds binary floats, so an amount is two integers, units and millionths.

    The amount of a view is a number below one billion, where a binary float represents every millionth, and text from
    there on.
    """

    def split_amount(self, amount: str) -> tuple[str, ...]:
        """Units and millionths of an amount stored as text of six decimal places, both with its sign."""
        sign = f"(CASE WHEN {amount} LIKE '-%' THEN -1 ELSE 1 END)"
        return f"CAST({amount} AS INTEGER)", f"({sign} * CAST(substr({amount}, -6) AS INTEGER))"

    def join_amount(self, *parts: str) -> str:
        """A number below one billion, where it is exact; text of six decimal places from there on."""
        units, millionths = _same_sign(*parts)
        whole, rest = f"({parts[0]} + {parts[1]} / 1000000)", f"({parts[1]} % 1000000)"
        return (
            f"CASE WHEN abs({whole}) < 1000000000 THEN ({whole} * 1000000 + {rest}) / 1000000.0 "
            f"ELSE printf('%d.%06d', {units}, abs({millionths})) END"
        )

    def view_amount(self, amount: str) -> str:
        """Text of six decimal places."""
        return f"(CASE typeof({amount}) WHEN 'text' THEN {amount} ELSE printf('%.6f', {amount}) END)"

    def is_positive(self, *parts: str) -> str:
        units, millionths = parts
        return f"{units} + {millionths} / 1000000.0 > 0"

    def divide(self, parts: tuple[str, ...], count: str) -> str:
        units, millionths = _same_sign(*parts)
        rest = f"({units} % {count} * 1000000 + {millionths})"
        half = f"(CASE WHEN {rest} < 0 THEN -{count} ELSE {count} END)"
        return self.join_amount(f"({units} / {count})", f"((2 * {rest} + {half}) / (2 * {count}))")

    def cast_amount(self, amount: str) -> str:
        """Unchanged: a column of a view has no type, and a cast to DECIMAL would make a float."""
        return amount

    def cast_hours(self, hours: str) -> str:
        return hours

    def multiply(self, parts: tuple[str, ...], numerator: str, denominator: str) -> tuple[str, ...]:
        units, millionths = _same_sign(*parts)
        rest = f"(({units} % {denominator} * 1000000 + {millionths}) * {numerator})"
        half = f"(CASE WHEN {rest} < 0 THEN -{denominator} ELSE {denominator} END)"
        return f"({units} / {denominator} * {numerator})", f"((2 * {rest} + {half}) / (2 * {denominator}))"

    def hundredths(self, count: str) -> str:
        return f"({count} / 100.0)"

    def ratio(self, part: str, whole: str) -> str:
        return f"(20000 * {part} + {whole}) / (2 * {whole}) / 10000.0"


def _same_sign(units: str, millionths: str) -> tuple[str, str]:
    """Normalise an amount: fewer than a million millionths, with the same sign as the units."""
    whole = f"({units} + {millionths} / 1000000)"
    rest = f"({millionths} % 1000000)"
    borrow = f"(({whole} < 0 AND {rest} > 0) - ({whole} > 0 AND {rest} < 0))"
    return f"({whole} + {borrow})", f"({rest} - {borrow} * 1000000)"


class SqliteTypes(ColumnTypes):
    """Column types: SQLite stores times as text, and amounts as text of six decimal places, which is exact."""

    def money(self, digits: int) -> TypeEngine[Any]:
        return Text()

    def money_parameter(self, amount: Decimal) -> str:
        """Text of six decimal places, so that equal amounts are equal texts."""
        return f"{amount:.6f}"


class SqliteDialect(DatabaseDialect):
    title = "SQLite"
    has_users = False
    snapshot_isolation = None
    lock_release_seconds = 0.0
    expressions = SqliteExpressions(
        day_of="date({})",
        month_of="date({}, 'start of month')",
        weekday_of="((CAST(strftime('%w', {}) AS INTEGER) + 6) % 7 + 1)",
        integer="CAST({} AS INTEGER)",
        hours_since="ROUND((julianday('now') - julianday({})) * 24, 1)",
        full_number=f"{{}} GLOB '+7{'[0-9]' * 10}'",
        next_day="date({}, '+1 day')",
        next_month="date({}, '+1 month')",
        add_days="date({day}, ({days}) || ' days')",
        days_between="CAST(julianday({end}) - julianday({start}) AS INTEGER)",
        utc_text="date({}) || 'T00:00:00Z'",
        to_utc="datetime({time}, (0 - {offset}) || ' minutes')",
    )
    column_types = SqliteTypes(wall_clock=DATETIME(truncate_microseconds=True))  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy
    table_options: Mapping[str, str] = {}

    def connect_options(self, url: URL) -> ConnectOptions:
        if url.query.get("uri") != "true":
            for name in url.query.keys() - _PARAMETERS:
                raise SettingError("database_url", unknown_parameter(name, self.parameters()))
        return ConnectOptions(url, {"timeout": LOCK_WAIT_SECONDS})

    def connect(self, url: URL, arguments: list[Any], options: dict[str, Any]) -> Any:
        path = self.database_file(url)
        if path is None or options.get("uri"):
            return sqlite3.connect(*arguments, **options)
        if problem := folder_problem(path):
            raise ConnectionFailure(problem)
        try:
            if path.exists() and not _is_writable(path):
                return sqlite3.connect(_read_only_uri(path), uri=True, **options)
            _create_private(path)
            return sqlite3.connect(*arguments, **options)
        except sqlite3.OperationalError as error:
            reason = file_problem(path) or f"the database file cannot be opened ({error.sqlite_errorname})"
        raise ConnectionFailure(reason)

    def find_cause(self, error: Exception, text: str) -> Cause | None:
        return None

    def parameters(self) -> list[str]:
        return sorted(_PARAMETERS)

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
            raise DatabaseError(file_problem(database) or f"no file can be written in {path.parent.resolve()}")
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

    def read_dependents(self, connection: Connection, names: Collection[str], own: Collection[str]) -> Iterable[str]:
        query = text(
            "SELECT type || ' ' || name || ' on ' || tbl_name FROM sqlite_master "
            "WHERE type IN ('index', 'trigger') AND sql IS NOT NULL AND lower(tbl_name) IN :names "
            "AND lower(name) NOT IN :own ORDER BY 1"
        ).bindparams(bindparam("names", expanding=True), bindparam("own", expanding=True))
        return connection.scalars(query, {"names": list(names), "own": list(own)}).all()

    def insert_rows(self, connection: Connection, target: str, shared: tuple[Any, ...], columns: ColumnValues) -> None:
        width = len(columns)
        shared_marks = [f"?{position}" for position in range(1, len(shared) + 1)]
        row = f"({', '.join([*shared_marks, *['?'] * width])})"
        for batch in split_batches(columns, BATCH_SIZE):
            rows, done = len(batch[0]), 0
            while done < rows:
                # Sizes are powers of two: few distinct statements, which the driver compiles once and caches.
                size = 1 << (rows - done).bit_length() - 1
                values = [None] * (size * width)
                for index, column in enumerate(batch):
                    values[index::width] = column[done : done + size]
                statement = f"INSERT INTO {target} VALUES {', '.join([row] * size)}"
                connection.exec_driver_sql(statement, (*shared, *values))
                done += size

    def read_columns(self, connection: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
        # Times and amounts are stored as text: skip the conversion of their types, value by value.
        columns = [
            column if isinstance(column.type, Integer | Boolean) else type_coerce(column, String)
            for column in query.selected_columns
        ]
        return tuple(zip(*connection.execute(query.with_only_columns(*columns)).all(), strict=True))

    def health_checks(self, connection: Connection, tables: Collection[str], setting: str) -> Iterable[HealthCheck]:
        return (HealthCheck("journal", lambda: _describe_journal_mode(connection)),)

    def copy_database(self, connection: Connection, target: Path) -> None:
        connection.execute(text("SELECT count(*) FROM sqlite_master"))  # begins the snapshot
        source: Any = connection.connection.driver_connection

        def check_signals(_status: int, _remaining: int, _total: int) -> None:
            signals.raise_if_interrupted()

        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
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


def _describe_journal_mode(connection: Connection) -> str:
    mode = connection.scalar(text("PRAGMA journal_mode"))
    if mode == "wal":
        return "wal: readers and the nightly job do not wait for each other"
    return Caution(f"{mode}: readers and the nightly job wait for each other; a write-ahead log cannot be used here")


def _set_up_connection(connection: Any, _record: Any) -> None:
    # Disable the driver's implicit transactions, which start late and exclude DDL; see _begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    # synchronous=NORMAL may lose the last transactions in a power failure; rows and watermark are lost together, and
    # the next run fetches them again. page_size applies to new files and needs fewer writes. cache_size, in KiB, holds
    # the index pages that one day's rows touch. journal_mode is persistent: leave another program's file unchanged.
    cursor.execute("PRAGMA page_size = 16384")
    _set_journal_mode(cursor)
    for pragma in ("synchronous = NORMAL", "foreign_keys = ON", "cache_size = -8192"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _set_journal_mode(cursor: sqlite3.Cursor) -> None:
    # Two connections that switch a new file at once would wait for each other: SQLite fails one of them immediately.
    timeout = cursor.execute("PRAGMA busy_timeout").fetchone()[0] / 1000
    for attempt in Retrying(
        retry=retry_if_exception(is_retryable),
        stop=stop_after_delay(timeout),
        wait=wait_random(0.01, 0.05),
        reraise=True,
    ):
        with attempt:
            if cursor.execute(_MAY_SET_JOURNAL).fetchone()[0]:
                cursor.execute("PRAGMA journal_mode = WAL")


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


def _begin(connection: Connection) -> None:
    # A deferred transaction that reads before it writes fails at once if another writer committed in between.
    reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _file_name(name: str) -> str:
    """Percent-encoded name of a lock, or a hash of a long one."""
    quoted = quote(name, safe="")
    return quoted if len(quoted) <= MAX_NAME_LENGTH else lock_digest(name).hex()[:32]


DIALECT: Final = SqliteDialect()
