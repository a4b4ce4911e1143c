"""Reads and writes rejected_records: quarantined records that failed validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from etl.date_ranges import ONE_DAY, DateRange
from etl.db.run_store import RunHandle, lock_account
from etl.db.tables import accounts, rejected_records
from etl.model import RejectedRecord
from etl.pii import erase_payload

_MAX_REASON_LENGTH: Final = 255
DELETE_BATCH_SIZE: Final = 1_000


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A row of `rejected_records`, without the payload, which contains personal data.

    Attributes:
        id: `rejected_records.id`.
        account: Label of the account.
        day: None if the record's day cannot be read.
        acknowledged_at: When a person acknowledged it; None until then.
    """

    id: int
    account: str
    day: date | None
    reason: str
    first_seen_at: datetime
    acknowledged_at: datetime | None


def read_rejects(
    connection: Connection, labels: Collection[str] | None = None, ids: Collection[int] | None = None
) -> list[QuarantinedRecord]:
    """Return the quarantined records in the order in which they were first seen.

    Args:
        connection: Connection for reading.
        labels: Labels of the accounts; None for all of the database.
        ids: `rejected_records.id`; None for all.
    """
    row = rejected_records.c
    query = select(row.id, accounts.c.label, row.day, row.reason, row.first_seen_at, row.acknowledged_at)
    query = query.join(accounts, accounts.c.id == row.account_id).order_by(row.id)
    if labels is not None:
        query = query.where(accounts.c.label.in_(labels))
    if ids is not None:
        query = query.where(row.id.in_(ids))
    return [QuarantinedRecord(*values) for values in connection.execute(query)]


def acknowledge_rejects(connection: Connection, ids: Collection[int], now: datetime) -> int:
    """Mark quarantined records as acknowledged; return how many were not before. Their earlier times are kept."""
    row = rejected_records.c
    owners = connection.scalars(select(row.account_id).where(row.id.in_(ids)).distinct().order_by(row.account_id)).all()
    for account_id in owners:  # a run that is loading locks in this order too
        lock_account(connection, account_id)
    unmarked = update(rejected_records).where(row.id.in_(ids), row.acknowledged_at.is_(None))
    return connection.execute(unmarked.values(acknowledged_at=now)).rowcount


def read_acknowledged(
    connection: Connection, account_id: int | None, rejected: Collection[RejectedRecord]
) -> frozenset[str]:
    """Return the payload digests of those rejected records of an answer that a person acknowledged."""
    if not rejected:
        return frozenset()
    row = rejected_records.c
    query = select(row.payload_digest).where(row.account_id == account_id, row.acknowledged_at.is_not(None))
    acknowledged = frozenset(connection.scalars(query))
    if not acknowledged:
        return acknowledged
    return frozenset(payload_hash(item.payload) for item in rejected if _stored_digests(item.payload) & acknowledged)


def read_rejected(connection: Connection, account_id: int | None, reason: str) -> list[RejectedRecord]:
    """Return the quarantined records of an account with this reason."""
    row = rejected_records.c
    query = select(row.day, row.reason, row.payload).where(row.account_id == account_id, row.reason == reason)
    return [RejectedRecord(*values) for values in connection.execute(query)]


def are_quarantined(connection: Connection, account_id: int | None, rejected: Collection[RejectedRecord]) -> bool:
    """Whether all of some rejected records are in the quarantine."""
    row = rejected_records.c
    stored = set(connection.scalars(select(row.payload_digest).where(row.account_id == account_id)))
    return all(_stored_digests(item.payload) & stored for item in rejected)


def sync_rejects(
    connection: Connection,
    run: RunHandle,
    rejected: Iterable[RejectedRecord],
    *,
    days: set[date],
    requested: DateRange,
    previous_request: DateRange | None,
    now: datetime,
) -> None:
    """Make the quarantined rows equal to the rejected records of an answer.

    A record of a known day is removed when its day no longer lists it. A record without a readable day is somewhere
    in the requested days: each answer narrows that range down, and the record is removed when an answer covers the
    remaining range and does not list it.

    Args:
        connection: Connection in a transaction.
        run: The run that fetched the answer.
        rejected: The answer's rejected records, of the days taken from it or without a readable day.
        days: Days taken from the answer.
        requested: Range of days that the answer covers.
        previous_request: Range of the previous answer of this run.
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
    # An answer from the other source replaces the row of a record, or adds one if its day is unreadable: it stays
    # acknowledged.
    acknowledged: dict[str, datetime] = {}
    if listed and any(day is None for _, day, *_ in stored):
        acknowledged |= _acknowledged_texts(connection, and_(row.account_id == run.account_id, row.day.is_(None)))
    # PostgreSQL accepts at most 65,535 parameters in one statement.
    for start in range(0, len(removed), DELETE_BATCH_SIZE):
        batch = row.id.in_(removed[start : start + DELETE_BATCH_SIZE])
        acknowledged |= _acknowledged_texts(connection, batch)
        connection.execute(delete(rejected_records).where(batch))
    possible = (_subtract(requested, previous_request) if previous_request else None) or requested
    if listed:
        connection.execute(
            rejected_records.insert(),
            [
                {
                    "account_id": run.account_id, "day": item.day,
                    "asked_first": possible.first, "asked_last": possible.last,
                    "reason": item.reason[:_MAX_REASON_LENGTH], "payload": item.payload, "payload_digest": digest,
                    "first_seen_at": now,
                    "acknowledged_at": acknowledged.get(_as_texts(item.payload)) if acknowledged else None,
                }
                for digest, item in listed.items()
            ],
        )  # fmt: skip


def _acknowledged_texts(connection: Connection, condition: ColumnElement[bool]) -> dict[str, datetime]:
    """When the quarantined records were acknowledged, by payload as texts."""
    row = rejected_records.c
    marked = select(row.payload, row.acknowledged_at).where(condition, row.acknowledged_at.is_not(None))
    return {_as_texts(payload): time for payload, time in connection.execute(marked)}


def payload_hash(payload: str) -> str:
    """Hash that identifies a rejected record by its payload."""
    return hashlib.blake2b(payload.encode(), digest_size=16).hexdigest()


def _stored_digests(payload: str) -> set[str]:
    """The digests by which a rejected record may be stored: as it is, or without the data of an erased person."""
    return {payload_hash(payload), payload_hash(erase_payload(payload))}


def _as_texts(payload: str) -> str:
    """The payload in a form that JSON and CSV share: fields are texts, an empty one is missing."""
    with suppress(ValueError, RecursionError):  # the text of a malformed record may be no JSON
        fields = json.loads(payload)
        if isinstance(fields, dict):
            given = {name: value for name, value in fields.items() if value not in (None, "")}
            texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
            return json.dumps(texts, sort_keys=True)
    return payload


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
