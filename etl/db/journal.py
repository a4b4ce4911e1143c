"""Writes restatements, the journal of changes of closed days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection

from etl.changes import DayDiff
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


def write_restatements(connection: Connection, run: RunHandle, change: DayDiff, *, now: datetime) -> None:
    """Insert a journal line per changed row: state before, state after, change of the day's spend."""
    day = change.day.isoformat()
    bulk_insert(
        connection,
        restatements,
        {"account_id": run.account_id, "run_id": run.id, "day": day, "restated_at": utc_text(now)},
        dict(zip(_JOURNAL_COLUMNS, zip(*_restatement_rows(change), strict=True), strict=True)),
    )


def _restatement_rows(change: DayDiff) -> Iterator[tuple[Any, ...]]:
    for new in change.inserts:
        yield _restatement_row("late", new.record, new.ordinal, None, 0, new.record, new.repeats)
    for row, record, repeats in change.updates:
        if row.withdrawn:
            yield _restatement_row("returned", record, row.ordinal, None, 0, record, repeats)
        else:
            yield _restatement_row("corrected", record, row.ordinal, row.record, row.repeats, record, repeats)
    for row in change.withdrawals:
        yield _restatement_row("withdrawn", row.record, row.ordinal, row.record, row.repeats, None, 0)


def _restatement_row(
    kind: str,
    key: Record,
    ordinal: int,
    before: Record | None,
    repeats_before: int,
    after: Record | None,
    repeats_after: int,
) -> tuple[Any, ...]:
    spend_before = (before.price * repeats_before) if before else Decimal(0)
    spend_after = (after.price * repeats_after) if after else Decimal(0)
    return (
        kind, key.created_at, key.phone, key.code_auth, ordinal,
        *_attributes(before), repeats_before, *_attributes(after), repeats_after, f"{spend_after - spend_before:.6f}",
    )  # fmt: skip


def _attributes(record: Record | None) -> tuple[Any, ...]:
    return (None, None, None) if record is None else (record.status, record.status_info, str(record.price))
