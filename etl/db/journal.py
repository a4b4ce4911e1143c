"""Writes restatements, the journal of changes of closed days."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from etl.changes import DayDiff, RowChange
from etl.db.dialects.bulk_insert import bulk_insert
from etl.db.run_store import RunHandle
from etl.db.tables import restatements
from etl.db.types import utc_text
from etl.model import Record

_JOURNAL_COLUMNS: Final = (
    "kind", "created_at", "phone", "code_auth", "ordinal",
    "status_before", "status_info_before", "price_before", "repeats_before",
    "status_after", "status_info_after", "price_after", "repeats_after", "delta",
)  # fmt: skip


def write_restatements(connection: Connection, run: RunHandle, diff: DayDiff, *, now: datetime) -> None:
    """Insert a journal line per changed row: state before, state after, change of the day's spend."""
    day = diff.day.isoformat()
    bulk_insert(
        connection,
        restatements,
        {"account_id": run.account_id, "run_id": run.id, "day": day, "restated_at": utc_text(now)},
        dict(zip(_JOURNAL_COLUMNS, zip(*map(_journal_line, diff.row_changes()), strict=True), strict=True)),
    )


def _journal_line(change: RowChange) -> tuple[Any, ...]:
    key = change.key
    return (
        change.kind, key.created_at, key.phone, key.code_auth, change.ordinal,
        *_attributes(change.before), change.repeats_before, *_attributes(change.after), change.repeats_after,
        f"{change.delta:.6f}",
    )  # fmt: skip


def _attributes(record: Record | None) -> tuple[Any, ...]:
    return (None, None, None) if record is None else (record.status, record.status_info, str(record.price))
