"""The longest text that a database accepts, derived from its settings."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from sqlalchemy import Connection, text

from etl.model import TextLimit

RESERVED_BYTES: Final = 65_536
"""Upper bound of a row, and of the statement that writes it, without its long texts."""
MAX_POSTGRESQL_FIELD_BYTES: Final = (1 << 30) - 1
"""Limit of a field and of a line of COPY: a compile-time constant of the server."""


def longest_text(connection: Connection) -> TextLimit:
    """Limit of one stored text: half of a row, because the journal stores a text before and after a change."""
    name = connection.dialect.name
    if name == "sqlite":
        driver: Any = connection.connection.driver_connection
        max_bytes, setting, escaped = driver.getlimit(sqlite3.SQLITE_LIMIT_LENGTH), "SQLITE_MAX_LENGTH", ""
    elif name == "postgresql":
        max_bytes, setting, escaped = MAX_POSTGRESQL_FIELD_BYTES, "the largest field of PostgreSQL", "\\\t\n\r"
    else:
        max_bytes = connection.scalar(text("SELECT @@max_allowed_packet"))
        setting, escaped = "max_allowed_packet", "\\'\"\n\r\x1a\0"
    return TextLimit(max((max_bytes - RESERVED_BYTES) // 2, 0), f"{setting} is {max_bytes:,} bytes", escaped)
