"""One run an account at a time, by a lock that dies with its process.

Correctness does not rest on it, it rests on the fence in `run_store`: the lock spares the vendor and the operator a
second run that would come to nothing.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from etl.db.engine import sqlite_path
from etl.errors import ConcurrentRunError, DatabaseError

POLL_SECONDS: Final = 0.2
MAX_NAME_LENGTH: Final = 64
"""Characters of a lock's name in the name of its file."""


@contextmanager
def advisory_lock(engine: Engine, name: str, *, wait: float) -> Iterator[None]:
    """Hold the lock of a name, unique within the database, until the block ends or the process does.

    Args:
        engine: Of the database.
        name: What is locked.
        wait: Seconds to wait for another holder; 0 is not at all.

    Raises:
        ConcurrentRunError: Another process holds it.
    """
    backend = engine.dialect.name
    with ExitStack() as held:
        if backend == "sqlite":
            path = sqlite_path(engine.url)
            if path is None:
                yield  # a database in memory has no second process
                return
            attempt = _sqlite_lock(path.with_name(f"{path.name}-{_file_name(name)}.lock"), held)
        elif backend == "postgresql":
            attempt = _postgresql_lock(engine, name, held)
        else:
            attempt = _mariadb_lock(engine, name, held)
        deadline = time.monotonic() + wait
        while not attempt():
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConcurrentRunError("another run of this account is under way; see --wait")
            time.sleep(min(POLL_SECONDS, left))
        yield


def _sqlite_lock(path: Path, held: ExitStack) -> Callable[[], bool]:
    # A writer's transaction in a file of its own: a file lock that works on every system and dies with the process.
    # Immediate, not exclusive: two that both came as readers first would keep each other from becoming exclusive.
    if not os.access(path.parent, os.W_OK):
        raise DatabaseError(f"the folder {path.parent.resolve()} does not exist, or you may not write there")
    if path.exists() and not os.access(path, os.W_OK):
        raise DatabaseError(f"you may not write {path}; SQLite would open it to read, and lock nothing")
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        connection.execute("PRAGMA journal_mode = MEMORY")  # nothing is ever written, not even to a full disk
    except sqlite3.Error as error:
        raise DatabaseError(f"the lock beside the database cannot be opened ({error.sqlite_errorname})") from None
    held.callback(connection.close)

    def attempt() -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_BUSY":
                return False
            raise DatabaseError(f"the lock beside the database cannot be taken ({error.sqlite_errorname})") from None
        return True

    return attempt


def _postgresql_lock(engine: Engine, name: str, held: ExitStack) -> Callable[[], bool]:
    # Of a transaction, not of the session: behind a transaction pooler a session's lock goes to anybody, and stays.
    connection = _dedicated_connection(engine, held)
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    query = text("SELECT pg_try_advisory_xact_lock(:key)")
    key = int.from_bytes(_digest(name)[:8], signed=True)
    return lambda: bool(connection.scalar(query, {"key": key}))


def _mariadb_lock(engine: Engine, name: str, held: ExitStack) -> Callable[[], bool]:
    # The server knows these names for all databases together.
    connection = _dedicated_connection(engine, held)
    key = f"billing-etl:{_digest(f'{engine.url.database}:{name}').hex()[:32]}"

    def attempt() -> bool:
        connection.execute(text("SET SESSION wait_timeout = 86400"))
        taken = connection.scalar(text("SELECT GET_LOCK(:key, 0)"), {"key": key})
        connection.rollback()  # it is of the session: no transaction stays open for the length of a run
        return bool(taken)

    return attempt


def _dedicated_connection(engine: Engine, held: ExitStack) -> Connection:
    connection = engine.connect()
    # For no one else to use after this: a lock of the session goes with its session, and only so.
    connection.detach()

    def let_go() -> None:
        # Where the session is gone, so is its lock. What was stored under it was fenced all the same.
        with suppress(SQLAlchemyError):
            connection.close()

    held.callback(let_go)
    return connection


def _file_name(name: str) -> str:
    """The name itself where a file may be called so."""
    quoted = quote(name, safe="")
    return quoted if len(quoted) <= MAX_NAME_LENGTH else _digest(name).hex()[:32]


def _digest(name: str) -> bytes:
    return hashlib.blake2b(f"billing-etl:{name}".encode()).digest()
