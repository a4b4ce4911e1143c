"""Writes numbering_ranges, the imported numbering plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, or_

from etl.db.tables import numbering_ranges

BATCH_SIZE: Final = 5_000
"""Rows inserted in one statement."""


def replace_ranges(connection: Connection, leading_digits: Collection[int], rows: Sequence[dict[str, Any]]) -> int:
    """Replace the ranges of some codes within the caller's transaction.

    Args:
        connection: Connection in a transaction.
        leading_digits: First digits of the codes whose ranges are replaced; 9 stands for mobile numbers.
        rows: New ranges, disjoint, each a mapping of columns.

    Returns:
        Number of deleted rows.
    """
    replaced = [numbering_ranges.c.block.startswith(f"+7{digit}") for digit in sorted(leading_digits)]
    deleted = connection.execute(delete(numbering_ranges).where(or_(*replaced))).rowcount
    for start in range(0, len(rows), BATCH_SIZE):
        connection.execute(insert(numbering_ranges), rows[start : start + BATCH_SIZE])
    return deleted
