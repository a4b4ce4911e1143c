"""Engines for the statements of tests: a connection stays open until the test ends.

Opening one takes milliseconds of CPU: SQLite parses all views, and a server starts a session.
"""

from __future__ import annotations

from sqlalchemy import URL, Engine, event

from etl.db.engine import new_engine

_CONNECTED: set[Engine] = set()
"""Engines that may have an open connection. The reference keeps them: psycopg warns of one that is not closed."""


def open_engine(url: URL) -> Engine:
    """An engine whose connection is closed when the test ends."""
    engine = new_engine(url, pooled=True)
    event.listen(engine, "connect", lambda *_: _CONNECTED.add(engine))
    return engine


def close_engines() -> None:
    """Close the connections of all engines."""
    while _CONNECTED:
        _CONNECTED.pop().dispose()
