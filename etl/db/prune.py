"""Trim what only people read: the oldest runs of the history and the oldest rejected records, some at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Table, delete, func, select

from etl.db.tables import rejected_records, sync_runs, sync_state
from etl.model import SUCCESSFUL

BATCH_SIZE: Final = 1_000


def expired_runs(connection: Connection, account_id: int, before: datetime) -> list[int]:
    """Some runs that began before a moment, if there are any; the newest one that stored all it was asked for stays."""
    run = sync_runs.c
    # A newer run has a higher number: the oldest are the first of an index, and on most nights the first is young.
    oldest = select(run.id, run.started_at).where(run.account_id == account_id).order_by(run.id).limit(BATCH_SIZE)
    old = [number for number, started in connection.execute(oldest) if started < before]
    if not old:
        return []
    done = select(func.max(run.id)).where(run.account_id == account_id, run.outcome.in_(SUCCESSFUL))
    newest = connection.scalar(done)
    return [number for number in old if number != newest]


def expired_rejects(connection: Connection, account_id: int, before: datetime) -> list[int]:
    """Some rejected records first met before a moment, if there are any; those of days still fetched again stay."""
    row, state = rejected_records.c, sync_state.c
    settled_through = select(state.settled_through).where(state.account_id == account_id).scalar_subquery()
    old = (
        select(row.id)
        .where(row.account_id == account_id, row.first_seen_at < before)
        .where(func.coalesce(row.day, row.asked_last) <= settled_through)
        .order_by(row.first_seen_at)
        .limit(BATCH_SIZE)
    )
    return list(connection.scalars(old))


def delete_by_id(connection: Connection, table: Table, ids: list[int]) -> None:
    """Delete rows by their ids, as many in a statement as every database takes."""
    for start in range(0, len(ids), BATCH_SIZE):
        connection.execute(delete(table).where(table.c.id.in_(ids[start : start + BATCH_SIZE])))
