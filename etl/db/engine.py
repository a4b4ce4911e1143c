"""Connections to the three databases, set up so that none of them loses, rounds or waits in silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

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

RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
"""PostgreSQL: serialization failure, deadlock, lock not available, the server shutting down or starting."""
RETRYABLE_ERROR_NUMBERS: Final = frozenset({1205, 1213, 2006, 2013, 1020, 1053, 1927})
"""MariaDB: lock wait timeout, deadlock, connection lost (two ways), record changed, shutting down, killed."""
UNREACHABLE: Final = frozenset({"", "1040", "2002", "2003"})
"""PostgreSQL's driver gives no state to what fails while it connects; MariaDB: too many connections, no connection."""
_DRIVERS: Final = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_EXTRAS: Final = {"psycopg": "postgres", "pymysql": "mysql"}
_DRIVER_MODULES: Final = frozenset({"sqlite3", "psycopg", "pymysql"})
_CONSTRAINT: Final = re.compile(r"(?:constraint|key) [\"'`]([\w.]{1,80})[\"'`]", re.IGNORECASE)


def parse_url(text: str) -> URL:
    """A database URL with the driver this program is tested with.

    Raises:
        ConfigError: It is no such URL. The text never repeats it: it may hold a password.
    """
    url: URL | None = None
    with suppress(ArgumentError, ValueError):
        url = make_url(text)
    if url is None:
        # Outside of the block: the error under this one would hold a piece of the text.
        raise ConfigError(
            "BILLING_DATABASE_URL is not a database URL; write it like postgresql://user@host/database or "
            "sqlite:///billing.db"
        )
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS or (driver and _DRIVERS[backend] != url.drivername):
        raise ConfigError(
            "BILLING_DATABASE_URL names a database or driver that is not supported; it begins with sqlite:, "
            "postgresql:, mysql: or mariadb:"
        )
    if url.host and "@" in url.host:
        raise ConfigError("BILLING_DATABASE_URL has an @ in its password; write it as %40")
    if not url.database or url.database == ":memory:":
        raise ConfigError("BILLING_DATABASE_URL names no database; add /NAME behind the host, or sqlite:///FILE")
    return url.set(drivername=_DRIVERS[backend])


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


@contextmanager
def translate_errors() -> Iterator[None]:
    """Reduce whatever the database raises to one line without values.

    Messages of servers and drivers repeat rows, parameters and passwords: only the class, the state and the name of
    the constraint cross this border.

    Raises:
        DatabaseError: Instead of any error of SQLAlchemy or its drivers.
    """
    try:
        yield
    except SQLAlchemyError as error:
        failure = DatabaseError(describe_error(error))
    except Exception as error:
        # What a driver raises while SQLAlchemy opens or closes a connection comes through as it is.
        if not _is_driver_error(error):
            raise
        failure = DatabaseError(_describe_drivers(error))
    else:
        return
    raise failure


def describe_error(error: SQLAlchemyError) -> str:
    """A database error in words that hold no value of any row."""
    original = getattr(error, "orig", None)
    return _describe_drivers(original) if original else f"the database failed ({type(error).__name__})"


def _describe_drivers(original: BaseException) -> str:
    state = _error_code(original)
    match = _CONSTRAINT.search(str(original))
    constraint = getattr(getattr(original, "diag", None), "constraint_name", None) or (match and match[1])
    hint = _explain(original, state)
    where = f", constraint {constraint}" if constraint else ""
    return f"{hint} ({type(original).__name__}{f' {state}' if state else ''}{where})"


def is_retryable(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if original is None or not _is_driver_error(original):
        return False
    state = _error_code(original)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if state in RETRYABLE_SQLSTATES or state.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return True
    return state.isdecimal() and int(state) in RETRYABLE_ERROR_NUMBERS


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection could be made: the server restarts, or is not there."""
    if not isinstance(error, OperationalError) or error.statement is not None:
        return False
    return error.orig is not None and _error_code(error.orig) in UNREACHABLE


def _is_driver_error(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _DRIVER_MODULES


def _error_code(original: BaseException) -> str:
    """SQLSTATE on PostgreSQL, the error's number on MariaDB, its name on SQLite."""
    number = original.args[0] if original.args else None
    if isinstance(number, int):  # before its SQLSTATE, which says HY000 of most things
        return str(number)
    return str(getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None) or "")


_HINTS: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"}), "the database is locked by another program"),
    (frozenset({"SQLITE_FULL", "53100", "1021", "1114"}), "the disk of the database is full"),
    (frozenset({"SQLITE_IOERR"}), "the disk of the database took no more, or not all of it: is it full?"),
    (frozenset({"SQLITE_CANTOPEN"}), "the database file cannot be opened: does its folder exist, may you write there?"),
    (frozenset({"SQLITE_READONLY", "25006", "1290", "1792", "1836"}), "the database may only be read"),
    (frozenset({"SQLITE_NOTADB"}), "the file is no SQLite database"),
    (frozenset({"SQLITE_CORRUPT"}), "the database file is damaged"),
    (frozenset({"28P01", "28000", "1045", "1698"}), "the database refused the user or the password"),
    (frozenset({"3D000", "1049"}), "the database does not exist on that server"),
    (frozenset({"42501", "1044", "1142"}), "the database user lacks a permission"),
    (frozenset({"2003", "2005"}), "the database server cannot be reached"),
    (frozenset({"2006", "2013", "57P01", "57P05", "1927", "4031"}), "the connection to the database was lost"),
    (frozenset({"1153"}), "a statement is longer than max_allowed_packet lets the server take"),
    (frozenset({"1205", "55P03"}), "a lock in the database was not given up in time"),
)


def _explain(original: BaseException, state: str) -> str:
    for states, words in _HINTS:
        if state in states or any(known.startswith("SQLITE_") and state.startswith(known) for known in states):
            return words
    if not state and type(original).__name__ in {"OperationalError", "ConnectionTimeout"}:
        return "the database server cannot be reached, or refused the connection"
    return "the database failed"


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
