"""Reads and writes rejected_records: quarantined records that failed validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, delete, or_, select, update

from etl.date_ranges import ONE_DAY
from etl.db.run_store import RunHandle
from etl.db.tables import rejected_records
from etl.model import DateRange, RejectedRecord
from etl.pii import erase_payload

_MAX_REASON_LENGTH: Final = 255
DELETE_BATCH_SIZE: Final = 1_000


def sync_rejects(
    connection: Connection,
    run: RunHandle,
    rejected: Iterable[RejectedRecord],
    *,
    days: set[date],
    requested: DateRange,
    previously_requested: DateRange | None,
    now: datetime,
) -> None:
    """Make the quarantined rows equal to the rejected records of an answer.

    A record of a known day is removed when its day no longer lists it. A record without a readable day lies somewhere
    in the requested days: each answer narrows that range down, and the record is removed when an answer covers the
    remaining range and does not list it.

    Args:
        connection: Connection in a transaction.
        run: The run that fetched the answer.
        rejected: The answer's rejected records, of the days taken from it or without a readable day.
        days: Days taken from the answer.
        requested: Range of days that the answer covers.
        previously_requested: Range of the previous answer of this run.
        now: When the records were seen.
    """
    row = rejected_records.c
    listed = {payload_hash(item.payload): item for item in rejected}
    affected = or_(row.day.in_(days), row.day.is_(None)) if days else row.day.is_(None)
    stored = connection.execute(
        select(row.id, row.day, row.asked_first, row.asked_last, row.payload_digest).where(
            row.account_id == run.account_id, affected
        )
    ).all()
    digests = {row.payload_digest for row in stored}
    for digest in listed.keys() - digests:
        # A record of an erased person is stored without the person's data.
        erased = erase_payload(listed[digest].payload)
        if payload_hash(erased) in digests:
            listed[payload_hash(erased)] = replace(listed.pop(digest), payload=erased)
    removed: list[int] = []
    for row_id, day, first, last, digest in stored:
        still_listed = listed.pop(digest, None) is not None
        if day is not None:
            if not still_listed:
                removed.append(row_id)
            continue
        possible = DateRange(first, last)
        remaining = _intersect(possible, requested) or requested if still_listed else _subtract(possible, requested)
        if remaining is None:
            removed.append(row_id)
        elif remaining != possible:
            narrowed = {"asked_first": remaining.first, "asked_last": remaining.last}
            connection.execute(update(rejected_records).where(row.id == row_id).values(narrowed))
    # PostgreSQL accepts at most 65,535 parameters in one statement.
    for start in range(0, len(removed), DELETE_BATCH_SIZE):
        batch = removed[start : start + DELETE_BATCH_SIZE]
        connection.execute(delete(rejected_records).where(row.id.in_(batch)))
    possible = (_subtract(requested, previously_requested) if previously_requested else None) or requested
    if listed:
        connection.execute(
            rejected_records.insert(),
            [
                {
                    "account_id": run.account_id, "day": item.day,
                    "asked_first": possible.first, "asked_last": possible.last,
                    "reason": item.reason[:_MAX_REASON_LENGTH], "payload": item.payload, "payload_digest": digest,
                    "first_seen_at": now,
                }
                for digest, item in listed.items()
            ],
        )  # fmt: skip


def payload_hash(payload: str) -> str:
    """Hash that identifies a rejected record by its payload."""
    return hashlib.blake2b(payload.encode(), digest_size=16).hexdigest()


def _intersect(days: DateRange, other: DateRange) -> DateRange | None:
    first, last = max(days.first, other.first), min(days.last, other.last)
    return DateRange(first, last) if first <= last else None


def _subtract(days: DateRange, covered: DateRange) -> DateRange | None:
    """Days that are not covered, as one range: a gap in the middle is ignored."""
    if covered.first <= days.first:
        first = max(days.first, covered.last + ONE_DAY)
        return DateRange(first, days.last) if first <= days.last else None
    if covered.last >= days.last:
        return DateRange(days.first, min(days.last, covered.first - ONE_DAY))
    return days
