"""Delete an account with all its rows, one batch per transaction.

The account's row is marked first and deleted last: a later deletion resumes an interrupted one, and runs refuse an
account that is partly deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, delete, func, select, update

from etl.db.tables import accounts, billing_records, metadata, sync_state

BATCH_SIZE: Final = 5_000
"""Rows deleted in one transaction, so that other writers do not wait long."""
BATCHED_TABLES: Final[tuple[Table, ...]] = tuple(
    table
    for table in metadata.sorted_tables
    if "account_id" in table.c and ("id" in table.c or table is billing_records)
)
"""Tables that may have many rows."""
_SMALL_TABLES: Final[tuple[Table, ...]] = tuple(
    table for table in metadata.sorted_tables if "account_id" in table.c and table not in BATCHED_TABLES
)
"""Tables with at most one row per day."""


def mark_deletion(connection: Connection, account_id: int, now: datetime) -> None:
    """Mark an account whose deletion has begun: runs refuse it from now on."""
    account = accounts.c
    connection.execute(
        update(accounts)
        .where(account.id == account_id, account.deletion_started_at.is_(None))
        .values(deletion_started_at=now)
    )


def delete_batch(connection: Connection, account_id: int, table: Table, after: Any, size: int) -> tuple[int, Any]:
    """Delete the account's next rows from a table, in the order of its position column.

    Args:
        connection: Connection in a transaction that holds the account's fence.
        account_id: `accounts.id`.
        table: One of `BATCHED_TABLES`.
        after: Last position of the previous batch; None for the first one.
        size: Number of rows; of `billing_records`, the rest of the last second more.

    Returns:
        Number of deleted rows and their last position; 0 and None if no rows are left.
    """
    if table is billing_records:
        position = table.c.created_at
        own = table.c.account_id == account_id
    else:
        position = table.c.id
        # "+ 0" keeps the planner on the primary key: the account's index would scan all rows, deleted ones included,
        # in every transaction.
        own = table.c.account_id + 0 == account_id
    remaining = own if after is None else and_(own, position > after)
    batch = select(position).where(remaining).order_by(position).limit(size).subquery()
    last = connection.scalar(select(func.max(batch.c[position.name])))
    if last is None:
        return 0, None
    return connection.execute(delete(table).where(remaining, position <= last)).rowcount, last


def delete_rest(connection: Connection, account_id: int) -> dict[str, int]:
    """Delete the remaining rows of an account whose large tables are empty, and return the row count of each table."""
    # sync_state second to last: its row is the fence, which this transaction holds until it ends.
    tables = [*(table for table in _SMALL_TABLES if table is not sync_state), sync_state]
    removed = {
        table.name: connection.execute(delete(table).where(table.c.account_id == account_id)).rowcount
        for table in tables
    }
    removed[accounts.name] = connection.execute(delete(accounts).where(accounts.c.id == account_id)).rowcount
    return removed
