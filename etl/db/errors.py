"""Classify errors of SQLAlchemy and the database drivers, and describe them without values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from etl.db.connection_failure import ConnectionFailure
from etl.errors import DatabaseError

RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
"""PostgreSQL: serialization failure, deadlock, lock not available, server shutting down or starting up."""
RETRYABLE_ERROR_NUMBERS: Final = frozenset({1205, 1213, 2006, 2013, 1020, 1053, 1927})
"""MariaDB: lock wait timeout, deadlock, connection lost (two codes), record changed, shutting down, killed."""
_DRIVER_MODULES: Final = frozenset({"sqlite3", "psycopg", "pymysql"})
_CONSTRAINT: Final = re.compile(r"(?:constraint|key) [\"'`]([\w.]{1,80})[\"'`]", re.IGNORECASE)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors of SQLAlchemy and its drivers to a one-line `DatabaseError` without values.

    Messages of servers and drivers repeat rows, parameters and passwords, so the text holds only the class of the
    error, its code and the name of the constraint.

    Raises:
        DatabaseError: Replaces any error of SQLAlchemy or a driver; the original is not chained.
    """
    try:
        yield
    except SQLAlchemyError as error:
        translated = DatabaseError(describe_error(error))
    except Exception as error:
        # SQLAlchemy does not wrap every error that a driver raises on opening or closing a connection.
        if not _is_driver_error(error):
            raise
        translated = DatabaseError(_describe_driver_error(error))
    else:
        return
    raise translated  # outside the except block: the original, with its values, must not be chained


def describe_error(error: SQLAlchemyError) -> str:
    """Describe a database error in one line without values."""
    if isinstance(error, ConnectionFailure):
        return str(error)
    original = getattr(error, "orig", None)
    return _describe_driver_error(original) if original else f"the database failed ({type(error).__name__})"


def _describe_driver_error(original: BaseException) -> str:
    code = _error_code(original)
    match = _CONSTRAINT.search(str(original))
    constraint = getattr(getattr(original, "diag", None), "constraint_name", None) or (match and match[1])
    hint = _hint_for(original, code)
    suffix = f", constraint {constraint}" if constraint else ""
    return f"{hint} ({type(original).__name__}{f' {code}' if code else ''}{suffix})"


def is_retryable(error: BaseException) -> bool:
    """Whether a retry of the same transaction may succeed."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if original is None or not _is_driver_error(original):
        return False
    code = _error_code(original)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if code in RETRYABLE_SQLSTATES or code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return True
    return code.isdecimal() and int(code) in RETRYABLE_ERROR_NUMBERS


def is_unreachable(error: BaseException) -> bool:
    """Whether the connection attempt failed: the server is restarting or down."""
    return isinstance(error, ConnectionFailure) and error.is_transient


def _is_driver_error(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _DRIVER_MODULES


def _error_code(original: BaseException) -> str:
    """SQLSTATE on PostgreSQL, error number on MariaDB, error name on SQLite; empty if unknown."""
    number = original.args[0] if original.args else None
    if isinstance(number, int):  # MariaDB; its SQLSTATE is HY000 for most errors
        return str(number)
    return str(getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None) or "")


_LOST: Final = "the connection to the database was lost"
_HINTS: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"}), "the database is locked by another program"),
    (frozenset({"SQLITE_FULL", "53100", "1021", "1114"}), "the disk of the database is full"),
    (frozenset({"SQLITE_IOERR"}), "writing to the disk of the database failed: is it full?"),
    (frozenset({"SQLITE_CANTOPEN"}), "the database file cannot be opened: does its folder exist, and is it writable?"),
    (frozenset({"SQLITE_READONLY", "25006", "1290", "1792", "1836"}), "the database is read-only"),
    (frozenset({"SQLITE_NOTADB"}), "the file is not an SQLite database"),
    (frozenset({"SQLITE_CORRUPT"}), "the database file is damaged"),
    (frozenset({"42501", "1044", "1142"}), "the database user lacks a permission"),
    (frozenset({"2006", "2013", "57P01", "57P05", "1927", "4031"}), _LOST),
    (frozenset({"1153"}), "a statement exceeds the server's max_allowed_packet"),
    (frozenset({"1205", "55P03"}), "timed out waiting for a lock in the database"),
)


def _hint_for(original: BaseException, code: str) -> str:
    for codes, hint in _HINTS:
        # SQLite's extended names add to the primary one: SQLITE_IOERR_WRITE.
        if code in codes or any(known.startswith("SQLITE_") and code.startswith(known) for known in codes):
            return hint
    # psycopg has no code for a connection that ended, and TimeoutConnection none for a silent server.
    return _LOST if not code and type(original).__name__ == "OperationalError" else "the database failed"
