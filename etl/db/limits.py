"""The longest text that a database accepts, derived from its settings."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from etl.db.dialects import dialect_for
from etl.model import TextLimit

RESERVED_BYTES: Final = 65_536
"""Upper bound of a row, and of the statement that writes it, without its long texts."""


def longest_text(connection: Connection) -> TextLimit:
    """Limit of one stored text: half of a row, because the journal stores a text before and after a change."""
    limit = dialect_for(connection.dialect.name).length_limit(connection)
    max_bytes = max((limit.max_bytes - RESERVED_BYTES) // 2, 0)
    return TextLimit(max_bytes, f"{limit.setting} is {limit.max_bytes:,} bytes", limit.escaped)
