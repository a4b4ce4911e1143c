"""The URL of the database: its form, and the drivers that this program is tested with."""

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
    """A database URL with the driver this program is tested with.

    Raises:
        ConfigError: It is no such URL. The text never repeats it: it may hold a password.
    """
    url: URL | None = None
    with suppress(ArgumentError, ValueError):
        url = make_url(text)
    if url is None:
        # Outside of the block: the error under this one would hold a piece of the text.
        raise ConfigError(
            "BILLING_DATABASE_URL is not a database URL; write it like postgresql://user@host/database or "
            "sqlite:///billing.db"
        )
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS or (driver and _DRIVERS[backend] != url.drivername):
        raise ConfigError(
            "BILLING_DATABASE_URL names a database or driver that is not supported; it begins with sqlite:, "
            "postgresql:, mysql: or mariadb:"
        )
    if url.host and "@" in url.host:
        raise ConfigError("BILLING_DATABASE_URL has an @ in its password; write it as %40")
    if not url.database or url.database == ":memory:":
        raise ConfigError("BILLING_DATABASE_URL names no database; add /NAME behind the host, or sqlite:///FILE")
    return url.set(drivername=_DRIVERS[backend])
