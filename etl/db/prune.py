"""Delete expired run history and rejected records in batches."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Table, delete, func, select

from etl.db.tables import rejected_records, sync_runs, sync_state
from etl.run_counts import SUCCESSFUL

BATCH_SIZE: Final = 1_000
"""Rows selected or deleted in one statement."""


def expired_runs(connection: Connection, account_id: int, before: datetime) -> list[int]:
    """Return the next batch of runs that started before a time, without the newest successful run."""
    run = sync_runs.c
    # Ids ascend with time: the oldest runs come first in the index, and on most nights none has expired.
    oldest = select(run.id, run.started_at).where(run.account_id == account_id).order_by(run.id).limit(BATCH_SIZE)
    expired = [run_id for run_id, started_at in connection.execute(oldest) if started_at < before]
    if not expired:
        return []
    successful = select(func.max(run.id)).where(run.account_id == account_id, run.outcome.in_(SUCCESSFUL))
    newest = connection.scalar(successful)
    return [run_id for run_id in expired if run_id != newest]


def expired_rejects(connection: Connection, account_id: int, before: datetime) -> list[int]:
    """Return the next batch of rejected records first seen before a time, without those of days in the lookback."""
    row, state = rejected_records.c, sync_state.c
    settled_through = select(state.settled_through).where(state.account_id == account_id).scalar_subquery()
    expired = (
        select(row.id)
        .where(row.account_id == account_id, row.first_seen_at < before)
        .where(func.coalesce(row.day, row.asked_last) <= settled_through)
        .order_by(row.first_seen_at)
        .limit(BATCH_SIZE)
    )
    return list(connection.scalars(expired))


def delete_by_id(connection: Connection, table: Table, ids: list[int]) -> None:
    """Delete rows by id, in statements with at most `BATCH_SIZE` parameters."""
    for start in range(0, len(ids), BATCH_SIZE):
        connection.execute(delete(table).where(table.c.id.in_(ids[start : start + BATCH_SIZE])))
