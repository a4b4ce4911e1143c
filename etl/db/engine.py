"""SQLAlchemy engines for SQLite, PostgreSQL and MariaDB: strict types, bounded waits, UTC sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import NoSuchModuleError

from etl.errors import ConfigError, DatabaseError

LOCK_WAIT_SECONDS: Final = 30
CONNECT_SECONDS: Final = 10
STATEMENT_SECONDS: Final = 600
"""Limit of one statement: a server that accepts one and never answers must not block the nightly run for ever."""
IDLE_TRANSACTION_SECONDS: Final = 600
"""Limit of an idle transaction: a run paused in the middle of one must not lock out other runs for ever."""
POOL_RECYCLE_SECONDS: Final = 30
"""Age after which a pooled connection is reopened: firewalls drop idle ones."""
SQL_MODE: Final = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
"""MariaDB's modes, whatever the server's default: without the first, values that do not fit are silently truncated."""

_EXTRAS: Final = {"psycopg": "postgres", "pymysql": "mysql"}


@contextmanager
def pooled_engine(url: URL) -> Iterator[Engine]:
    """Create a pooled engine for a block of many transactions and dispose of it afterwards.

    Without a pool each transaction opens a connection; PyMySQL takes 20 milliseconds for that, in which it loads the
    system's CA certificates.
    """
    engine = new_engine(url, pooled=True)
    try:
        yield engine
    finally:
        engine.dispose()


def new_engine(url: URL, *, pooled: bool = False) -> Engine:
    """Create an engine with strict types, bounded waits and parameters hidden from error messages.

    Timeouts in the URL (`connect_timeout`, `read_timeout`, `timeout`, PostgreSQL's `options`, MariaDB's
    `init_command`) take precedence over the defaults of this module.

    Args:
        url: Database URL, as returned by `etl.config.database_url.parse_url`.
        pooled: Keep one connection open between transactions and test it before reuse. See `pooled_engine`.

    Raises:
        ConfigError: The driver is not installed, or `read_timeout` is not a number.
    """
    backend = url.get_backend_name()
    query = url.query
    options: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
    if pooled:
        options |= {"poolclass": QueuePool, "pool_size": 1, "pool_pre_ping": True, "pool_recycle": POOL_RECYCLE_SECONDS}
    defaults: dict[str, Any] = {"timeout": LOCK_WAIT_SECONDS}
    required: dict[str, Any] = {}
    if backend == "postgresql":
        url = url.difference_update_query(["read_timeout"])  # for TimeoutConnection, not for the driver
        defaults = {"connect_timeout": CONNECT_SECONDS}
        # Prepared statements fail behind a transaction pooler.
        required = {"client_encoding": "utf8", "prepare_threshold": None}
        options |= {"isolation_level": "READ COMMITTED", "use_native_hstore": False}  # detecting hstore costs a query
    elif backend in {"mysql", "mariadb"}:
        url = url.update_query_dict({"charset": "utf8mb4"})
        defaults = {
            "connect_timeout": CONNECT_SECONDS, "read_timeout": STATEMENT_SECONDS, "write_timeout": STATEMENT_SECONDS,
        }  # fmt: skip
        options["isolation_level"] = "READ COMMITTED"
    options["connect_args"] = {name: value for name, value in defaults.items() if name not in query} | required
    try:
        engine = create_engine(url, **options)
    except (ModuleNotFoundError, NoSuchModuleError):
        extra = _EXTRAS[url.get_driver_name()]
        raise ConfigError(
            f"BILLING_DATABASE_URL needs a driver that is not installed; run: pip install 'billing-etl[{extra}]'"
        ) from None
    if backend == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif backend == "postgresql":
        event.listen(engine, "do_connect", _connect_postgresql(_read_timeout(query)))
        event.listen(engine, "begin", _set_up_postgresql(str(query.get("options", ""))))
    else:
        # Before SQLAlchemy reads sql_mode, which decides how it quotes names.
        event.listen(engine, "connect", _set_up_mariadb(str(query.get("init_command", ""))), insert=True)
    return engine


def sqlite_path(url: URL) -> Path | None:
    """Path of an SQLite database file; None for an in-memory database and for other backends."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def database_exists(engine: Engine) -> bool:
    """Return False for a missing SQLite file, without creating it: opening one would hide a mistyped path."""
    path = sqlite_path(engine.url)
    return path is None or path.exists()


def require_database(engine: Engine) -> None:
    """Require an existing database, for commands that do not create one.

    Raises:
        DatabaseError: The SQLite file does not exist.
    """
    if not database_exists(engine):
        raise DatabaseError("there is no database yet; run: billing-etl sync")


def read_connection(engine: Engine, *, repeatable_read: bool = False) -> Connection:
    """Open a connection for reading: on SQLite its transactions take no write lock.

    Args:
        engine: Engine to connect with.
        repeatable_read: All queries of a transaction see the same snapshot, as they always do on SQLite.
    """
    connection = engine.connect().execution_options(only_reads=True)
    if repeatable_read and connection.dialect.name != "sqlite":
        connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # Disable the driver's implicit transactions, which start late and exclude DDL; see _begin_sqlite.
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


_MAY_SET_JOURNAL: Final = """
SELECT NOT EXISTS (SELECT 1 FROM sqlite_master) OR EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'synced_days')
"""


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads before it writes fails at once if another writer committed in between.
    reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _read_timeout(query: Mapping[str, Any]) -> float:
    try:
        # Longer than the server's own limit, so that its error message arrives first.
        return float(query.get("read_timeout", STATEMENT_SECONDS + CONNECT_SECONDS))
    except (TypeError, ValueError):
        raise ConfigError("BILLING_DATABASE_URL has a read_timeout that is not a number of seconds") from None


def _connect_postgresql(read_timeout: float) -> Callable[..., Any]:
    def connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        from etl.db.dialects.psycopg_timeout import TimeoutConnection  # it needs the driver, which is an extra

        connection = TimeoutConnection.connect(*arguments, **options)
        connection.read_timeout = read_timeout
        return connection

    return connect


def _set_up_postgresql(options: str) -> Callable[[Connection], None]:
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_WAIT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS,
    }
    # SET LOCAL: behind a transaction pooler session settings are lost or leak to other clients.
    settings = "; ".join(f"SET LOCAL {name} = '{seconds}s'" for name, seconds in limits.items() if name not in options)

    def set_up(connection: Connection) -> None:
        if settings:
            connection.exec_driver_sql(settings)

    return set_up


def _set_up_mariadb(init_command: str) -> Callable[[Any, Any], None]:
    settings = [f"sql_mode = '{SQL_MODE}'", "time_zone = '+00:00'"]
    if "innodb_lock_wait_timeout" not in init_command:
        settings.append(f"innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}")
    # MariaDB runs such a comment; MySQL, which lacks the setting, ignores it.
    idle = f" /*M!100301 , idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS} */"
    if "idle_transaction_timeout" in init_command:
        idle = ""

    def set_up(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {', '.join(settings)}{idle}")

    return set_up
