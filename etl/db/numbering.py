"""The numbering plan in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, or_

from etl.db.tables import numbering_ranges

BATCH_SIZE: Final = 5000


def replace_ranges(connection: Connection, leading_digits: Collection[int], rows: Sequence[dict[str, Any]]) -> int:
    """Put new ranges where others stood; within the caller's transaction.

    Args:
        connection: In a transaction.
        leading_digits: First digits of the codes whose ranges go: 9 is those of mobile numbers.
        rows: By column, disjoint.

    Returns:
        How many rows went.
    """
    of_the_codes = [numbering_ranges.c.block.startswith(f"+7{digit}") for digit in sorted(leading_digits)]
    gone = connection.execute(delete(numbering_ranges).where(or_(*of_the_codes))).rowcount
    for start in range(0, len(rows), BATCH_SIZE):
        connection.execute(insert(numbering_ranges), rows[start : start + BATCH_SIZE])
    return gone
