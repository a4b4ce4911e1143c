"""Validation of the database URL."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from etl.errors import ConfigError

_DRIVERS: Final = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


def parse_url(text: str) -> URL:
    """Parse a database URL and set the driver that the program is tested with.

    Raises:
        ConfigError: The URL is malformed or not supported. The message never repeats it: it may hold a password.
    """
    url: URL | None = None
    with suppress(ArgumentError, ValueError):
        url = make_url(text)
    if url is None:
        # Outside the except block: a chained error would repeat a part of the URL.
        raise ConfigError(
            "BILLING_DATABASE_URL is not a database URL; write it like postgresql://user@host/database or "
            "sqlite:///billing.db"
        )
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS or (driver and _DRIVERS[backend] != url.drivername):
        raise ConfigError(
            "BILLING_DATABASE_URL names a database or driver that is not supported; use sqlite:, postgresql:, "
            "mysql: or mariadb:"
        )
    if backend != "sqlite" and "@" in f"{url.host}{url.database}":
        raise ConfigError("BILLING_DATABASE_URL has an @ in its password; encode it as %40, and / as %2F")
    if "\N{REPLACEMENT CHARACTER}" in str(url.password):
        raise ConfigError("BILLING_DATABASE_URL has a % in its password; encode it as %25")
    if not url.database or url.database == ":memory:":
        raise ConfigError("BILLING_DATABASE_URL names no database; append /NAME to the host, or use sqlite:///FILE")
    return url.set(drivername=_DRIVERS[backend])
