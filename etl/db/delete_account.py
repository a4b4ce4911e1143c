"""Remove an account with all its rows, a batch a transaction.

Its beginning is marked in the account's row, which goes last: a removal that was killed is finished by the next one,
and no run takes what is left for an account.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Table, and_, delete, func, select, update

from etl.db.tables import accounts, metadata, sync_state

BATCH_SIZE: Final = 5_000
"""Rows of a transaction: no other writer waits long for it."""
BATCHED_TABLES: Final[tuple[Table, ...]] = tuple(
    table for table in metadata.sorted_tables if "account_id" in table.c and "id" in table.c
)
"""Whose rows may be many."""
_SMALL_TABLES: Final[tuple[Table, ...]] = tuple(
    table for table in metadata.sorted_tables if "account_id" in table.c and table not in BATCHED_TABLES
)
"""Of a row a day at the most."""


def mark_deletion(connection: Connection, account_id: int, now: datetime) -> None:
    """Say of an account that its removal has begun: from here on no run uses it."""
    account = accounts.c
    connection.execute(
        update(accounts)
        .where(account.id == account_id, account.deletion_started_at.is_(None))
        .values(deletion_started_at=now)
    )


def delete_batch(connection: Connection, account_id: int, table: Table, after: int) -> tuple[int, int | None]:
    """Remove the account's next rows from a table, in the order of their ids.

    Args:
        connection: In a transaction that holds the account's fence.
        account_id: Whose.
        table: One of `BATCHED_TABLES`.
        after: The last id before them.

    Returns:
        How many there were, and the last id; None where none was left.
    """
    row = table.c
    # An expression, so that the rows are found by their ids: the index of the account would pass all of its rows,
    # removed ones included, in every transaction.
    own = and_(row.account_id + 0 == account_id, row.id > after)
    ids = select(row.id).where(own).order_by(row.id).limit(BATCH_SIZE).subquery()
    last: int | None = connection.scalar(select(func.max(ids.c.id)))
    if last is None:
        return 0, None
    return connection.execute(delete(table).where(own, row.id <= last)).rowcount, last


def delete_rest(connection: Connection, account_id: int) -> dict[str, int]:
    """Remove what is left of an account whose large tables are empty: the rows of each table, the account last."""
    # The state's row, which is the fence, is held by this transaction until its end.
    tables = [*(table for table in _SMALL_TABLES if table is not sync_state), sync_state]
    removed = {
        table.name: connection.execute(delete(table).where(table.c.account_id == account_id)).rowcount
        for table in tables
    }
    removed[accounts.name] = connection.execute(delete(accounts).where(accounts.c.id == account_id)).rowcount
    return removed
