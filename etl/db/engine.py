"""Connections to the three databases, set up so that none of them loses, rounds or waits in silence."""

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
"""A server that accepts a statement and never answers must not hold the night's run for ever."""
IDLE_SECONDS: Final = 600
"""A run that was paused in the middle of a transaction must not keep the account from all others for ever."""
POOL_RECYCLE_SECONDS: Final = 30
"""A connection older than that is made anew: on its way there may be somebody who forgets connections that are idle."""
SQL_MODE: Final = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
"""All of it, whatever the server's default is: without the first, values that do not fit are changed in silence."""

_EXTRAS: Final = {"psycopg": "postgres", "pymysql": "mysql"}


@contextmanager
def pooled_engine(url: URL) -> Iterator[Engine]:
    """An engine as of `new_engine` for a block of many transactions, which need not connect anew for each of them.

    PyMySQL alone takes 20 milliseconds for that, in which it reads the certificates of all authorities.
    """
    engine = new_engine(url, kept=True)
    try:
        yield engine
    finally:
        engine.dispose()


def new_engine(url: URL, *, kept: bool = False) -> Engine:
    """An engine for one short job: no pool to go stale, strict types, bounded waits, hidden parameters.

    What the URL itself says of waits (`connect_timeout`, `read_timeout`, `timeout`, PostgreSQL's `options`, MariaDB's
    `init_command`) goes before what is said here.

    Args:
        url: Of the database.
        kept: A connection that was given back is kept, and tried before it is used again. See `pooled_engine`.

    Raises:
        ConfigError: The driver is not installed.
    """
    backend = url.get_backend_name()
    given = url.query
    options: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
    if kept:
        options |= {"poolclass": QueuePool, "pool_size": 1, "pool_pre_ping": True, "pool_recycle": POOL_RECYCLE_SECONDS}
    defaults: dict[str, Any] = {"timeout": LOCK_WAIT_SECONDS}
    required: dict[str, Any] = {}
    if backend == "postgresql":
        url = url.difference_update_query(["read_timeout"])  # ours: the driver has none
        defaults = {"connect_timeout": CONNECT_SECONDS}
        # Prepared statements do not survive a transaction pooler.
        required = {"client_encoding": "utf8", "prepare_threshold": None}
        options |= {"isolation_level": "READ COMMITTED", "use_native_hstore": False}  # whether there are any is a query
    elif backend in {"mysql", "mariadb"}:
        url = url.update_query_dict({"charset": "utf8mb4"})
        defaults = {
            "connect_timeout": CONNECT_SECONDS, "read_timeout": STATEMENT_SECONDS, "write_timeout": STATEMENT_SECONDS,
        }  # fmt: skip
        options["isolation_level"] = "READ COMMITTED"
    options["connect_args"] = {name: value for name, value in defaults.items() if name not in given} | required
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
        event.listen(engine, "do_connect", _connect_postgresql(_read_timeout(given)))
        event.listen(engine, "begin", _set_up_postgresql(str(given.get("options", ""))))
    else:
        # Before SQLAlchemy looks at the mode: it would quote names as another one wants them.
        event.listen(engine, "connect", _set_up_mariadb(str(given.get("init_command", ""))), insert=True)
    return engine


def sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite database; None for one in memory and for other databases."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def database_exists(engine: Engine) -> bool:
    """False for an SQLite file that is not there: opening it would make an empty one, and hide a typing error."""
    path = sqlite_path(engine.url)
    return path is None or path.exists()


def require_database(engine: Engine) -> None:
    """Make sure that there is a database for a command that makes none.

    Raises:
        DatabaseError: There is none.
    """
    if not database_exists(engine):
        raise DatabaseError("there is no database yet; run: billing-etl sync")


def read_connection(engine: Engine, *, one_moment: bool = False) -> Connection:
    """A connection that will only read: on SQLite its transactions take no write lock.

    Args:
        engine: Of the database.
        one_moment: All queries of a transaction see the same moment; on SQLite they do in any case.
    """
    connection = engine.connect().execution_options(only_reads=True)
    if one_moment and connection.dialect.name != "sqlite":
        connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin late and leave DDL out: ours begin when SQLAlchemy says so.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Rows and watermark are one transaction: losing the last one at a power cut loses nothing but a night's work.
    # Larger pages, of a new file only, are written in fewer pieces; the cache, in KiB, holds what of the two indexes a
    # day's rows go into.
    # The journal's mode is written into the file: another program's database keeps its own.
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
    # A deferred transaction that first reads and then writes fails at once when another writer was quicker.
    reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _read_timeout(given: Mapping[str, Any]) -> float:
    try:
        # A little more than the server's own limit: its answer says more than our giving up.
        return float(given.get("read_timeout", STATEMENT_SECONDS + CONNECT_SECONDS))
    except (TypeError, ValueError):
        raise ConfigError("BILLING_DATABASE_URL has a read_timeout that is no number of seconds") from None


def _connect_postgresql(read_timeout: float) -> Callable[..., Any]:
    def connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        from etl.db.dialects.psycopg_timeout import TimeoutConnection  # it needs the driver, which is an extra

        connection = TimeoutConnection.connect(*arguments, **options)
        connection.read_timeout = read_timeout
        return connection

    return connect


def _set_up_postgresql(given: str) -> Callable[[Connection], None]:
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_WAIT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    # Per transaction: a session's settings would be lost, or left behind, in a transaction pooler.
    settings = "; ".join(f"SET LOCAL {name} = '{seconds}s'" for name, seconds in limits.items() if name not in given)

    def set_up(connection: Connection) -> None:
        if settings:
            connection.exec_driver_sql(settings)

    return set_up


def _set_up_mariadb(given: str) -> Callable[[Any, Any], None]:
    settings = [f"sql_mode = '{SQL_MODE}'", "time_zone = '+00:00'"]
    if "innodb_lock_wait_timeout" not in given:
        settings.append(f"innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}")
    # Between these signs MariaDB reads what MySQL, which has no such setting, takes for a comment.
    idle = "" if "idle_transaction_timeout" in given else f" /*M!100301 , idle_transaction_timeout = {IDLE_SECONDS} */"

    def set_up(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {', '.join(settings)}{idle}")

    return set_up
