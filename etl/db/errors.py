"""Errors of the databases and their drivers: which may pass when tried again, and in which words they are told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from etl.errors import DatabaseError

RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
"""PostgreSQL: serialization failure, deadlock, lock not available, the server shutting down or starting."""
RETRYABLE_ERROR_NUMBERS: Final = frozenset({1205, 1213, 2006, 2013, 1020, 1053, 1927})
"""MariaDB: lock wait timeout, deadlock, connection lost (two ways), record changed, shutting down, killed."""
UNREACHABLE: Final = frozenset({"", "1040", "2002", "2003"})
"""PostgreSQL's driver gives no state to what fails while it connects; MariaDB: too many connections, no connection."""
_DRIVER_MODULES: Final = frozenset({"sqlite3", "psycopg", "pymysql"})
_CONSTRAINT: Final = re.compile(r"(?:constraint|key) [\"'`]([\w.]{1,80})[\"'`]", re.IGNORECASE)


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
