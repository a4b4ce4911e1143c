"""Whether a day's changes are plausible enough to be stored without confirmation. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from etl.changes import RowCounts

MIN_ROWS_FOR_CHECK: Final = 20
"""Current rows of a day from which on a share of them is significant."""
MIN_ROWS_REPLACED: Final = 5
"""Current rows of a day from which on their replacement by others is implausible: the source spells keys otherwise."""
MIN_REPLACED_SHARE: Final = Decimal("0.5")
"""New rows, as a share of the current ones, from which on these are replaced."""
MAX_DUPLICATED_SHARE: Final = Decimal("0.5")
"""Share of a day's current rows that may be listed more often than before."""


def implausibility(rows: RowCounts, *, listed: int, max_withdrawn_share: Decimal) -> str | None:
    """Return why a day's changes are implausible, or None.

    Distinct rows are counted, not their repeats. Corrections and new rows are always plausible.

    Args:
        rows: The counts of the whole day.
        listed: Number of different valid records of the answer: without any, the rows that are not withdrawn are held
            by rejected records, which may belong to other days.
        max_withdrawn_share: Share of the current rows that may be withdrawn, if there are at least MIN_ROWS_FOR_CHECK.
    """
    current, withdrawn = rows.current, rows.withdrawn
    if withdrawn and not listed:
        unreadable = "" if withdrawn == current else " or cannot be read"
        return f"all {current} records are gone{unreadable}"
    is_replaced = withdrawn == current >= MIN_ROWS_REPLACED and rows.new >= MIN_REPLACED_SHARE * current
    if is_replaced and max_withdrawn_share < 1:
        return f"all {current} records are replaced by others: their times, phones or codes may be spelt otherwise"
    if current < MIN_ROWS_FOR_CHECK:
        return None
    if withdrawn > max_withdrawn_share * current:
        return f"{withdrawn} of {current} records are gone"
    if rows.duplicated > MAX_DUPLICATED_SHARE * current:
        return f"{rows.duplicated} of {current} records are listed more often than before"
    return None
