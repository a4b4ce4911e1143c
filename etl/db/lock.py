"""Advisory lock that allows one run per account and is released when its process dies.

Correctness rests on the fence in `run_store`, not on this lock: the lock spares the vendor and the operator a second
run whose writes would be refused.
"""

from __future__ import annotations

import hashlib
import logging
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

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.2
MAX_NAME_LENGTH: Final = 64
"""Characters of a lock's name that its file name repeats; a longer name is hashed."""


@contextmanager
def advisory_lock(engine: Engine, name: str, *, wait: float) -> Iterator[None]:
    """Hold the lock of this name until the block or the process ends.

    Args:
        engine: Engine of the database in which the name is unique.
        name: Name of the locked resource.
        wait: Seconds to wait for another holder; 0 does not wait.

    Raises:
        ConcurrentRunError: Another process still holds the lock.
        DatabaseError: The lock file beside an SQLite database cannot be opened or written.
    """
    backend = engine.dialect.name
    with ExitStack() as resources:
        if backend == "sqlite":
            path = sqlite_path(engine.url)
            if path is None:
                yield  # no other process can open an in-memory database
                return
            try_acquire = _sqlite_lock(path.with_name(f"{path.name}-{_file_name(name)}.lock"), resources)
        elif backend == "postgresql":
            try_acquire = _postgresql_lock(engine, name, resources)
        else:
            try_acquire = _mariadb_lock(engine, name, resources)
        deadline = time.monotonic() + wait
        waiting = False
        while not try_acquire():
            if wait and not waiting:
                waiting = True
                logger.info("another run holds the lock %s; waiting for up to %g s", name, wait)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise ConcurrentRunError("another run of this account is under way; see --wait")
            time.sleep(min(POLL_SECONDS, remaining))
        yield


def _sqlite_lock(path: Path, resources: ExitStack) -> Callable[[], bool]:
    # A write transaction on a separate SQLite file: a file lock that works on every system and ends with the process.
    # IMMEDIATE rather than EXCLUSIVE: two processes that already hold a shared lock would block each other.
    if not os.access(path.parent, os.W_OK):
        raise DatabaseError(f"the folder {path.parent.resolve()} does not exist or is not writable")
    if path.exists() and not os.access(path, os.W_OK):
        raise DatabaseError(f"{path} is not writable; SQLite would open it read-only, and lock nothing")
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        connection.execute("PRAGMA journal_mode = MEMORY")  # no journal file: works on a full disk
    except sqlite3.Error as error:
        raise DatabaseError(f"the lock file beside the database cannot be opened ({error.sqlite_errorname})") from None
    resources.callback(connection.close)

    def try_acquire() -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_BUSY":
                return False
            raise DatabaseError(f"the lock file beside the database failed ({error.sqlite_errorname})") from None
        return True

    return try_acquire


def _postgresql_lock(engine: Engine, name: str, resources: ExitStack) -> Callable[[], bool]:
    # Held by a transaction: behind a transaction pooler other clients get the session, and would keep its locks.
    connection = _dedicated_connection(engine, resources)
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    query = text("SELECT pg_try_advisory_xact_lock(:key)")
    key = int.from_bytes(_digest(name)[:8], signed=True)
    return lambda: bool(connection.scalar(query, {"key": key}))


def _mariadb_lock(engine: Engine, name: str, resources: ExitStack) -> Callable[[], bool]:
    # Lock names are global to the server, so the key includes the database's name.
    connection = _dedicated_connection(engine, resources)
    key = f"billing-etl:{_digest(f'{engine.url.database}:{name}').hex()[:32]}"

    def release(error: type[BaseException] | None, *_: object) -> None:
        # Closing the connection releases the lock when the server notices it, and the next run may come before. After
        # an error the server may not answer.
        if error is None:
            with suppress(SQLAlchemyError):
                connection.execute(text("DO RELEASE_LOCK(:key)"), {"key": key})

    resources.push(release)

    def try_acquire() -> bool:
        connection.execute(text("SET SESSION wait_timeout = 86400"))
        taken = connection.scalar(text("SELECT GET_LOCK(:key, 0)"), {"key": key})
        connection.rollback()  # the session holds the lock: no transaction stays open during the run
        return bool(taken)

    return try_acquire


def _dedicated_connection(engine: Engine, resources: ExitStack) -> Connection:
    connection = engine.connect()
    # Detached from the pool: a session's lock is released only when the session ends.
    connection.detach()

    def release() -> None:
        # If the session is lost, so is its lock; writes made under it were fenced in any case.
        with suppress(SQLAlchemyError):
            connection.close()

    resources.callback(release)
    return connection


def _file_name(name: str) -> str:
    """Percent-encoded name of the lock, or a hash of a long one."""
    quoted = quote(name, safe="")
    return quoted if len(quoted) <= MAX_NAME_LENGTH else _digest(name).hex()[:32]


def _digest(name: str) -> bytes:
    return hashlib.blake2b(f"billing-etl:{name}".encode()).digest()
