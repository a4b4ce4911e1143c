"""Delete an account with all its rows, one batch per transaction.

The account's row is marked first and deleted last: a later deletion resumes an interrupted one, and runs refuse an
account that is partly deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Table, and_, delete, func, select, update

from etl.db.tables import accounts, metadata, sync_state

BATCH_SIZE: Final = 5_000
"""Rows deleted in one transaction, so that other writers do not wait long."""
BATCHED_TABLES: Final[tuple[Table, ...]] = tuple(
    table for table in metadata.sorted_tables if "account_id" in table.c and "id" in table.c
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


def delete_batch(
    connection: Connection, account_id: int, table: Table, after: int, size: int
) -> tuple[int, int | None]:
    """Delete the account's next rows from a table, in the order of their ids.

    Args:
        connection: Connection in a transaction that holds the account's fence.
        account_id: `accounts.id`.
        table: One of `BATCHED_TABLES`.
        after: Last id of the previous batch.
        size: Maximum number of rows.

    Returns:
        Number of deleted rows and their last id; 0 and None if no rows are left.
    """
    row = table.c
    # "+ 0" keeps the planner on the primary key: the account's index would scan all rows, deleted ones included, in
    # every transaction.
    own = and_(row.account_id + 0 == account_id, row.id > after)
    ids = select(row.id).where(own).order_by(row.id).limit(size).subquery()
    last: int | None = connection.scalar(select(func.max(ids.c.id)))
    if last is None:
        return 0, None
    return connection.execute(delete(table).where(own, row.id <= last)).rowcount, last


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
