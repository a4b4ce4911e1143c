"""The rows of the days: read back, written, journalled and kept aside."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    type_coerce,
    update,
)

from etl.changes import DayDiff, InsertBatch, StoredRow
from etl.date_ranges import ONE_DAY
from etl.db.dialects.bulk_insert import bulk_insert
from etl.db.ledger import RunHandle
from etl.db.tables import billing_records, rejected_records, restatements
from etl.model import DateRange, Record, RejectedRecord, record_from_tuple
from etl.pii import erase_payload
from etl.zones import all_to_utc

_JOURNAL_COLUMNS: Final = (
    "kind", "created_at", "phone", "code_auth", "ordinal",
    "status_before", "status_info_before", "price_before", "repeats_before",
    "status_after", "status_info_after", "price_after", "repeats_after", "delta",
)  # fmt: skip
_REASON_LENGTH: Final = 255
_BETWEEN: Final = "\x1f"
"""Stands between the values of a row that is read as one text."""
DELETE_BATCH_SIZE: Final = 1_000
_stored = partial(tuple.__new__, StoredRow)
"""Made at the speed of a tuple: a day that is compared runs them once a row."""


def load_rows(connection: Connection, account_id: int | None, since: datetime, until: datetime) -> list[StoredRow]:
    """All rows from one time of the vendor's wall clock on, up to another; withdrawn ones included."""
    row = billing_records.c
    return _read_rows(connection, and_(row.account_id == account_id, row.created_at >= since, row.created_at < until))


def read_seconds(connection: Connection, account_id: int, seconds: Collection[datetime]) -> list[StoredRow]:
    """All rows of some seconds of the vendor's wall clock; withdrawn ones included."""
    row = billing_records.c
    return _read_rows(connection, and_(row.account_id == account_id, row.created_at.in_(seconds)))


def _read_rows(connection: Connection, place: ColumnElement[bool]) -> list[StoredRow]:
    read = _load_rows_concatenated if connection.dialect.name in {"mysql", "mariadb"} else _read_columns
    if not (columns := read(connection, place)):
        return []
    times, phones, codes, statuses, infos, prices, ids, ordinals, repeats, withdrawn = columns
    amounts = {price: Decimal(price) for price in set(prices)}  # few are different
    prices = map(amounts.__getitem__, prices)
    records = map(record_from_tuple, zip(map(str, times), phones, codes, statuses, infos, prices, strict=True))
    return list(map(_stored, zip(ids, records, ordinals, repeats, map(bool, withdrawn), strict=True)))


def _read_columns(connection: Connection, place: ColumnElement[bool]) -> Sequence[Iterable[Any]]:
    """What `load_rows` reads, a column at a time; nothing where there is no row."""
    row = billing_records.c
    time: ColumnElement[Any] = row.created_at
    price: ColumnElement[Any] = row.price
    if connection.dialect.name == "sqlite":
        # It keeps both as text, and the types would look at each.
        time, price = type_coerce(time, String), type_coerce(price, String)
    query = select(
        time, row.phone, row.code_auth, row.status, row.status_info, price,
        row.id, row.ordinal, row.repeats, row.withdrawn_at.is_not(None),
    ).where(place)  # fmt: skip
    return tuple(zip(*connection.execute(query).all(), strict=True))


def _load_rows_concatenated(connection: Connection, place: ColumnElement[bool]) -> Sequence[Iterable[Any]]:
    """The same from MariaDB: its driver takes a row apart in Python, value by value, which costs a fifth of a night."""
    row = billing_records.c
    texts = (row.created_at, row.phone, row.code_auth, func.ifnull(row.status, ""), row.status_info, row.price)
    numbers = (row.id, row.ordinal, row.repeats, row.withdrawn_at.is_not(None))
    rows = connection.scalars(select(func.concat_ws(_BETWEEN, *texts, *numbers)).where(place)).all()
    if not rows:
        return ()
    # As NULL comes a row for which the server's packets, made smaller since, have become too short.
    fields = _BETWEEN.join(rows).split(_BETWEEN) if None not in rows else []
    width = len(texts) + len(numbers)
    if len(fields) != width * len(rows):
        return _read_columns(connection, place)  # or a row holds what stands between its values
    times, phones, codes, statuses, infos, prices, *counts = (fields[number::width] for number in range(width))
    states = [int(status) if status else None for status in statuses]
    return (times, phones, codes, states, infos, prices, *(map(int, column) for column in counts))


def apply_diff(connection: Connection, run: RunHandle, change: DayDiff, *, zone: tzinfo, now: datetime) -> None:
    """Write the difference of one day, and nothing else."""
    moment = _text(now)
    if change.inserts:
        bulk_insert(
            connection,
            billing_records,
            {"account_id": run.account_id, "first_seen_at": moment, "updated_at": moment},
            _columns_of(change.inserts, zone),
        )
    by_id = update(billing_records).where(billing_records.c.id == bindparam("row_id"))
    if change.updates:
        connection.execute(
            by_id.values(
                status=bindparam("status"), status_info=bindparam("info"), price=bindparam("price"),
                repeats=bindparam("repeats"), updated_at=now, withdrawn_at=None,
            ),
            [
                {"row_id": row.id, "status": new.status, "info": new.status_info, "price": new.price, "repeats": times}
                for row, new, times in change.updates
            ],
        )  # fmt: skip
    if change.withdrawals:
        connection.execute(
            by_id.values(withdrawn_at=now, updated_at=now), [{"row_id": old.id} for old in change.withdrawals]
        )


def write_restatements(connection: Connection, run: RunHandle, change: DayDiff, *, now: datetime) -> None:
    """A line for each change of a closed day: what it was, what it is, what that does to the day's spend."""
    day = change.day.isoformat()
    bulk_insert(
        connection,
        restatements,
        {"account_id": run.account_id, "run_id": run.id, "day": day, "restated_at": _text(now)},
        dict(zip(_JOURNAL_COLUMNS, zip(*_restatement_rows(change), strict=True), strict=True)),
    )


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


def _columns_of(inserts: InsertBatch, zone: tzinfo) -> dict[str, Sequence[Any]]:
    """The columns of new rows; what holds for many of them is worked out once."""
    times, phones, codes, statuses, infos, prices = inserts.columns
    spelled = {price: str(price) for price in set(prices)}
    return {
        "created_at": times, "phone": phones, "code_auth": codes, "ordinal": inserts.ordinals,
        "status": statuses, "status_info": infos, "price": list(map(spelled.__getitem__, prices)),
        "repeats": inserts.repeats, "created_at_utc": all_to_utc(times, zone),
    }  # fmt: skip


def _restatement_rows(change: DayDiff) -> Iterator[tuple[Any, ...]]:
    for item in change.inserts:
        yield _journal_line("late", item.record, item.ordinal, None, 0, item.record, item.repeats)
    for row, record, repeats in change.updates:
        if row.withdrawn:
            yield _journal_line("returned", record, row.ordinal, None, 0, record, repeats)
        else:
            yield _journal_line("corrected", record, row.ordinal, row.record, row.repeats, record, repeats)
    for row in change.withdrawals:
        yield _journal_line("withdrawn", row.record, row.ordinal, row.record, row.repeats, None, 0)


def _journal_line(
    kind: str,
    key: Record,
    ordinal: int,
    before: Record | None,
    repeats_before: int,
    after: Record | None,
    repeats_after: int,
) -> tuple[Any, ...]:
    spent = (before.price * repeats_before) if before else Decimal(0)
    spends = (after.price * repeats_after) if after else Decimal(0)
    return (
        kind, key.created_at, key.phone, key.code_auth, ordinal,
        *_attributes(before), repeats_before, *_attributes(after), repeats_after, f"{spends - spent:.6f}",
    )  # fmt: skip


def _attributes(record: Record | None) -> tuple[Any, ...]:
    return (None, None, None) if record is None else (record.status, record.status_info, str(record.price))


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


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
