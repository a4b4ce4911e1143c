"""Rejected records: what the vendor lists and no record can be made of."""

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
from etl.load.erased import erase_payload
from etl.model import DateRange, RejectedRecord

_REASON_LENGTH: Final = 255
DELETE_BATCH_SIZE: Final = 1_000


def sync_rejects(
    connection: Connection,
    run: RunHandle,
    rejected: Iterable[RejectedRecord],
    *,
    days: set[date],
    asked: DateRange,
    asked_before: DateRange | None,
    now: datetime,
) -> None:
    """Make what is kept aside equal to what the answer shows.

    A record of a known day leaves when its day no longer lists it. One whose day cannot be read lies somewhere in
    the days asked for; each answer narrows that down, and it leaves when an answer covers what is left and does not
    list it.

    Args:
        connection: In a transaction.
        run: Of the account.
        rejected: All of the answer's bad records, of the days taken from it or of no day.
        days: The days taken from it.
        asked: The days that the answer reaches over.
        asked_before: Those of the answer before it in this run.
        now: When they are seen.
    """
    row = rejected_records.c
    listed = {payload_hash(item.payload): item for item in rejected}
    of_these_days = or_(row.day.in_(days), row.day.is_(None)) if days else row.day.is_(None)
    kept = connection.execute(
        select(row.id, row.day, row.asked_first, row.asked_last, row.payload_digest).where(
            row.account_id == run.account_id, of_these_days
        )
    ).all()
    digests = {row.payload_digest for row in kept}
    for digest in listed.keys() - digests:
        forgotten = erase_payload(listed[digest].payload)
        if payload_hash(forgotten) in digests:
            listed[payload_hash(forgotten)] = replace(listed.pop(digest), payload=forgotten)
    gone: list[int] = []
    for number, day, first, last, digest in kept:
        still_listed = listed.pop(digest, None) is not None
        if day is not None:
            if not still_listed:
                gone.append(number)
            continue
        place = DateRange(first, last)
        left = _intersect(place, asked) or asked if still_listed else _subtract(place, asked)
        if left is None:
            gone.append(number)
        elif left != place:
            connection.execute(
                update(rejected_records).where(row.id == number).values(asked_first=left.first, asked_last=left.last)
            )
    if gone:
        # PostgreSQL takes no more than 65,535 values in one statement.
        for start in range(0, len(gone), DELETE_BATCH_SIZE):
            some = gone[start : start + DELETE_BATCH_SIZE]
            connection.execute(delete(rejected_records).where(row.id.in_(some)))
    place = (_subtract(asked, asked_before) if asked_before else None) or asked
    if listed:
        connection.execute(
            rejected_records.insert(),
            [
                {
                    "account_id": run.account_id, "day": item.day, "asked_first": place.first, "asked_last": place.last,
                    "reason": item.reason[:_REASON_LENGTH], "payload": item.payload, "payload_digest": digest,
                    "first_seen_at": now,
                }
                for digest, item in listed.items()
            ],
        )  # fmt: skip


def payload_hash(payload: str) -> str:
    """Tells one bad record from another."""
    return hashlib.blake2b(payload.encode(), digest_size=16).hexdigest()


def _intersect(one: DateRange, other: DateRange) -> DateRange | None:
    first, last = max(one.first, other.first), min(one.last, other.last)
    return DateRange(first, last) if first <= last else None


def _subtract(one: DateRange, other: DateRange) -> DateRange | None:
    """What of a window another leaves; a hole in its middle does not count."""
    if other.first <= one.first:
        first = max(one.first, other.last + ONE_DAY)
        return DateRange(first, one.last) if first <= one.last else None
    if other.last >= one.last:
        return DateRange(one.first, min(one.last, other.first - ONE_DAY))
    return one
