"""Database sessions that hold an advisory lock."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError


def open_lock_session(engine: Engine, resources: ExitStack) -> Connection:
    """Open a connection outside the pool: a session's lock is released only when the session ends."""
    connection = engine.connect()
    connection.detach()

    def release() -> None:
        # If the session is lost, so is its lock; writes made under it were fenced in any case.
        with suppress(SQLAlchemyError):
            connection.close()

    resources.callback(release)
    return connection


def lock_digest(name: str) -> bytes:
    """Hash of a lock's name, for names of limited length."""
    return hashlib.blake2b(f"billing-etl:{name}".encode()).digest()
