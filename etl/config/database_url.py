"""Validation of the database URL."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from etl.db.dialects import DIALECTS
from etl.errors import ConfigError

_ALIASES: Final = {"postgres": "postgresql"}
"""Other names of backends, as used in URLs of hosting services."""


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
    name, _, driver = url.drivername.partition("+")
    backend = _ALIASES.get(name, name)
    if backend not in DIALECTS or (driver and (name != backend or driver != DIALECTS[backend].driver)):
        *names, last = (f"{known}:" for known in DIALECTS)
        raise ConfigError(
            f"BILLING_DATABASE_URL names a database or driver that is not supported; use {', '.join(names)} or {last}"
        )
    if url.host and "@" in f"{url.host}{url.database}":
        raise ConfigError("BILLING_DATABASE_URL has an @ in its password; encode it as %40, and / as %2F")
    if "\N{REPLACEMENT CHARACTER}" in str(url.password):
        raise ConfigError("BILLING_DATABASE_URL has a % in its password; encode it as %25")
    if not url.database or url.database == ":memory:":
        raise ConfigError("BILLING_DATABASE_URL names no database; append /NAME to the host, or use sqlite:///FILE")
    return url.set(drivername=f"{backend}+{DIALECTS[backend].driver}")
