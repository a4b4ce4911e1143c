"""Engines for the statements of tests: a connection stays open until the test ends.

Opening one takes milliseconds of CPU: SQLite parses all views, and a server starts a session.
"""

from __future__ import annotations

from weakref import WeakSet

from sqlalchemy import URL, Engine

from etl.db.engine import new_engine

_OPENED: WeakSet[Engine] = WeakSet()


def open_engine(url: URL) -> Engine:
    """An engine whose connection is closed when the test ends."""
    engine = new_engine(url, pooled=True)
    _OPENED.add(engine)
    return engine


def close_engines() -> None:
    """Close the connections of all engines."""
    for engine in list(_OPENED):
        engine.dispose()
