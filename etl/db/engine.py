"""SQLAlchemy engines for SQLite, PostgreSQL and MariaDB: strict types, bounded waits, UTC sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from etl.db.connection_failure import parameter_problem, report_failures
from etl.db.dialects import dialect_for
from etl.db.file_access import folder_problem
from etl.db.timeouts import POOL_RECYCLE_SECONDS
from etl.errors import DatabaseError, SettingError


def new_engine(url: URL, *, pooled: bool = False, setting: str = "database_url") -> Engine:
    """Create an engine with strict types, bounded waits and parameters hidden from error messages.

    Timeouts in the URL (`connect_timeout`, `read_timeout`, `timeout`, PostgreSQL's `options`, MariaDB's
    `init_command`) take precedence over the defaults in `timeouts`.

    Args:
        url: Database URL, as returned by `etl.config.database_url.parse_url`.
        pooled: Keep one connection open between transactions and test it before reuse.

        setting: Name of the setting with the URL, for the messages of failed connections.

    Raises:
        SettingError: The driver is not installed, or a parameter of the URL is invalid.
    """
    dialect = dialect_for(url.get_backend_name())
    connect = dialect.connect_options(url)
    pool: dict[str, Any] = {"poolclass": NullPool}
    if pooled:
        pool = {"poolclass": QueuePool, "pool_size": 1, "pool_pre_ping": True, "pool_recycle": POOL_RECYCLE_SECONDS}
    arguments = {name: value for name, value in connect.defaults.items() if name not in url.query} | connect.required
    try:
        engine = create_engine(connect.url, connect_args=arguments, hide_parameters=True, **pool, **connect.engine)
    except (ImportError, NoSuchModuleError):
        problem = f"needs a driver that is not installed; run: pip install 'billing-etl[{dialect.extra}]'"
    except (TypeError, ValueError, ArgumentError) as error:
        problem = parameter_problem(error, url, dialect)
    else:
        report_failures(engine, url, dialect, setting)
        dialect.set_up(engine, url)
        return engine
    raise SettingError("database_url", problem)  # outside the except block: the original may contain a password


def database_file(url: URL) -> Path | None:
    """Path of an SQLite database; None for an in-memory database and for other databases."""
    return dialect_for(url.get_backend_name()).database_file(url)


def database_exists(engine: Engine) -> bool:
    """Return False for a missing SQLite file, without creating it: opening one would hide a mistyped path.

    Raises:
        DatabaseError: A folder of its path is missing, or this user may not search it.
    """
    path = database_file(engine.url)
    if path is None:
        return True
    if problem := folder_problem(path):
        raise DatabaseError(problem)
    return path.exists()


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
    isolation = dialect_for(connection.dialect.name).snapshot_isolation
    if repeatable_read and isolation:
        connection.execution_options(isolation_level=isolation)
    return connection
