"""The longest text that a database takes, as its own settings say."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from sqlalchemy import Connection, text

from etl.model import TextLimit

OTHER_COLUMNS: Final = 65_536
"""Bytes of a row, and of the statement that writes it, beside its long texts: more than they ever take."""
POSTGRESQL_FIELD: Final = (1 << 30) - 1
"""Bytes of a field, and of a line of COPY: fixed when the server is built."""


def longest_text(connection: Connection) -> TextLimit:
    """The longest text that may be stored: half of a row, as the journal keeps a text before and after a change."""
    name = connection.dialect.name
    if name == "sqlite":
        driver: Any = connection.connection.driver_connection
        whole, setting, doubled = driver.getlimit(sqlite3.SQLITE_LIMIT_LENGTH), "SQLITE_MAX_LENGTH", ""
    elif name == "postgresql":
        whole, setting, doubled = POSTGRESQL_FIELD, "the largest field of PostgreSQL", "\\\t\n\r"
    else:
        whole = connection.scalar(text("SELECT @@max_allowed_packet"))
        setting, doubled = "max_allowed_packet", "\\'\"\n\r\x1a\0"
    return TextLimit(max((whole - OTHER_COLUMNS) // 2, 0), f"{setting} is {whole:,} bytes", doubled)
