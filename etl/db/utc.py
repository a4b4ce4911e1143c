"""Find and correct wrong values of `billing_records.utc_offset`; `created_at` never changes.

A row is correct if its offset is valid for its wall clock time in the zone. In an hour that the clock repeats, two
offsets are valid: that of the vendor's record decides, and without one the stored value stays. Applying a zone is
therefore idempotent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select, update

from etl.db.records import RowKey, update_rows
from etl.db.tables import billing_records
from etl.model import Record, day_bounds
from etl.zones import Stretch, stretches

Folds = Mapping[Record, int]
"""`datetime.fold` by record: 0 for the first occurrence of a repeated time, 1 for the second."""


def count_wrong(
    connection: Connection, account_id: int | None, day: date, zone: tzinfo, folds: Folds, *, every_row: bool
) -> int:
    """Count the rows of a day with a wrong offset.

    Args:
        connection: Connection to read with.
        account_id: `accounts.id`.
        day: Day of the vendor's wall clock.
        zone: Zone of the vendor's wall clock.
        folds: Folds of the day's records, derived from the vendor's offsets.
        every_row: Check all rows, not only the records in `folds`.
    """
    total = 0
    for stretch in stretches(zone, day):
        if every_row:
            invalid = select(func.count()).select_from(billing_records).where(_is_invalid(account_id, stretch))
            total += connection.scalars(invalid).one()
        total += len(_misplaced(connection, account_id, stretch, folds))
    return total


def correct(
    connection: Connection,
    account_id: int,
    day: date,
    zone: tzinfo,
    folds: Folds,
    *,
    every_row: bool,
    now: datetime,
) -> int:
    """Correct the rows that `count_wrong` counts, and return their number."""
    total = 0
    for stretch in stretches(zone, day):
        if every_row:
            invalid = update(billing_records).where(_is_invalid(account_id, stretch))
            total += connection.execute(invalid.values(utc_offset=stretch.offset, updated_at=now)).rowcount
        misplaced = _misplaced(connection, account_id, stretch, folds)
        update_rows(
            connection,
            account_id,
            {key: {"utc_offset": offset, "updated_at": now} for key, offset in misplaced.items()},
        )
        total += len(misplaced)
    return total


def next_day(connection: Connection, account_id: int, since: date) -> date | None:
    """Return the first day with rows, not before `since`; None if there is none."""
    row = billing_records.c
    created_at = connection.scalar(
        select(func.min(row.created_at)).where(row.account_id == account_id, row.created_at >= day_bounds(since)[0])
    )
    return None if created_at is None else created_at.date()


def _within(account_id: int | None, stretch: Stretch) -> ColumnElement[bool]:
    row = billing_records.c
    return and_(row.account_id == account_id, row.created_at >= stretch.since, row.created_at < stretch.until)


def _is_invalid(account_id: int | None, stretch: Stretch) -> ColumnElement[bool]:
    """Condition for rows whose offset the zone does not have at their time."""
    valid = [stretch.offset] if stretch.second_offset is None else [stretch.offset, stretch.second_offset]
    return and_(_within(account_id, stretch), billing_records.c.utc_offset.not_in(valid))


def _misplaced(connection: Connection, account_id: int | None, stretch: Stretch, folds: Folds) -> dict[RowKey, int]:
    """Rows with the offset of one occurrence of a repeated time that belong to the other, and its offset."""
    known = dict(_folds_within(folds, stretch))
    if stretch.second_offset is None or not known:
        return {}
    offsets = (stretch.offset, stretch.second_offset)
    by_key: dict[tuple[Any, ...], set[int]] = {}
    for record, fold in known.items():
        by_key.setdefault(record[:3], set()).add(fold)
    row = billing_records.c
    rows = connection.execute(
        select(
            row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price,
            row.ordinal, row.utc_offset,
        ).where(_within(account_id, stretch))
    ).all()  # fmt: skip
    misplaced = {}
    for created_at, *fields, ordinal, offset in rows:
        record = Record(str(created_at), *fields)
        # Match by key first, as a source may lack attributes; compare the attributes only if the folds of a key differ.
        key_folds = by_key.get(record[:3], set())
        known_fold = next(iter(key_folds)) if len(key_folds) == 1 else known.get(record)
        if known_fold is not None and offset == offsets[1 - known_fold]:
            misplaced[RowKey(created_at, record.phone, record.code_auth, ordinal)] = offsets[known_fold]
    return misplaced


def _folds_within(folds: Folds, stretch: Stretch) -> Iterator[tuple[Record, int]]:
    since, until = str(stretch.since), str(stretch.until)
    return ((record, fold) for record, fold in folds.items() if since <= record.created_at < until)
