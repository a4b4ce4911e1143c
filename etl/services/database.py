"""Engines of the configured databases; only services open them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Engine

from etl.db.engine import database_file, new_engine
from etl.services.setting_errors import named_settings, variable_of


def open_engine(url: URL, *, pooled: bool = False) -> Engine:
    """Create the engine of a configured database; see `new_engine`.

    Raises:
        ConfigError: The driver is not installed, or an option of the URL is invalid.
    """
    with named_settings():
        return new_engine(url, pooled=pooled, setting=variable_of("database_url"))


@contextmanager
def pooled_engine(url: URL) -> Iterator[Engine]:
    """Create a pooled engine for a block of many transactions and dispose of it afterwards.

    Without a pool each transaction opens a connection; PyMySQL takes 20 milliseconds for that, in which it loads the
    system's CA certificates.
    """
    engine = open_engine(url, pooled=True)
    try:
        yield engine
    finally:
        engine.dispose()


def file_of(engine: Engine) -> Path | None:
    """Path of an SQLite database; None for a server."""
    return database_file(engine.url)
