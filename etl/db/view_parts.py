"""Parts of the queries of several views."""

from __future__ import annotations

from typing import Final

from etl.db.dialects.expressions import SqlExpressions

DAY_STATE: Final = """CASE
    WHEN d.suspect_since IS NOT NULL THEN 'suspect'
    WHEN d.first_closed_at IS NULL THEN 'open'
    WHEN s.settled_through IS NULL OR d.day > s.settled_through THEN 'settling'
    ELSE 'closed'
  END"""
"""State of a day `d` of synced_days; `s` is the row of its account in sync_state."""


def join_account(alias: str) -> str:
    """Join the account `a` of a row; the rows of an account that is partly deleted are left out."""
    # Not a condition on a column of `a`: SQLite would scan that table first, and sort the rows of the others.
    return f"""JOIN accounts a ON a.id = {alias}.account_id
  AND a.id NOT IN (SELECT id FROM accounts WHERE deletion_started_at IS NOT NULL)"""


def amount_columns(format_: str, parts: tuple[str, ...]) -> str:
    """Format one column per part of an amount: `{}` is its index, `{part}` its expression."""
    return ", ".join(format_.format(index, part=part) for index, part in enumerate(parts))


def amount_column_names(sql: SqlExpressions, column: str) -> tuple[str, ...]:
    """Names of the columns that `amount_columns` created for an amount."""
    return tuple(f"{column}_{index}" for index, _ in enumerate(sql.split_amount(column)))
