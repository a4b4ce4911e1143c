"""Find and correct wrong values of `billing_records.created_at_utc`; `created_at` never changes.

A row is correct if its UTC time is valid for its wall clock time in the zone. In an hour that the clock repeats, two
UTC times are valid: the offset sent with the record decides, and without one the stored value stays. Applying a zone is
therefore idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, literal_column, select, update

from etl.db.dialects.expressions import expressions_for
from etl.db.tables import billing_records
from etl.db.types import WallClock
from etl.model import Record, day_bounds
from etl.zones import Stretch, stretches

Folds = Mapping[Record, int]
"""`datetime.fold` by record: 0 for the first occurrence of a repeated time, 1 for the second."""


class _Correction(NamedTuple):
    """Condition for rows with a wrong UTC time, and expression of the correct one."""

    rows: ColumnElement[bool]
    utc: ColumnElement[datetime]


def count_wrong(
    connection: Connection, account_id: int | None, day: date, zone: tzinfo, folds: Folds, *, every_row: bool
) -> int:
    """Count the rows of a day with a wrong UTC time.

    Args:
        connection: Connection to read with.
        account_id: `accounts.id`.
        day: Day of the vendor's wall clock.
        zone: Zone of the vendor's wall clock.
        folds: Folds of the day's records, derived from the vendor's offsets.
        every_row: Check all rows, not only the records in `folds`.
    """

    def count(correction: _Correction) -> int:
        return connection.scalars(select(func.count()).select_from(billing_records).where(correction.rows)).one()

    return _sum_over_corrections(connection, account_id, day, zone, folds, count, every_row=every_row)


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

    def apply(correction: _Correction) -> int:
        return connection.execute(
            update(billing_records).where(correction.rows).values(created_at_utc=correction.utc, updated_at=now)
        ).rowcount

    return _sum_over_corrections(connection, account_id, day, zone, folds, apply, every_row=every_row)


def next_day(connection: Connection, account_id: int, since: date) -> date | None:
    """Return the first day with rows, not before `since`; None if there is none."""
    row = billing_records.c
    created_at = connection.scalar(
        select(func.min(row.created_at)).where(row.account_id == account_id, row.created_at >= day_bounds(since)[0])
    )
    return None if created_at is None else created_at.date()


def _sum_over_corrections(
    connection: Connection,
    account_id: int | None,
    day: date,
    zone: tzinfo,
    folds: Folds,
    handle: Callable[[_Correction], int],
    *,
    every_row: bool,
) -> int:
    """Handle the corrections of each stretch of a day with a constant offset, and sum the row counts."""
    row, total = billing_records.c, 0
    for stretch in stretches(zone, day):
        within = and_(
            row.account_id == account_id, row.created_at >= stretch.since, row.created_at < stretch.until
        )  # fmt: skip
        first = _shifted(connection, -stretch.offset)
        candidates = [first]
        if stretch.second_offset is not None:
            candidates.append(_shifted(connection, -stretch.second_offset))
        if every_row:
            total += handle(_Correction(and_(within, *(row.created_at_utc != utc for utc in candidates)), first))
        if folds and len(candidates) > 1:
            misplaced = _fold_corrections(connection, within, candidates, _folds_within(folds, stretch))
            total += sum(map(handle, misplaced))
    return total


def _shifted(connection: Connection, seconds: int) -> ColumnElement[datetime]:
    sql = expressions_for(connection.dialect.name)
    return literal_column(sql.shifted.format(time="created_at", seconds=seconds), WallClock())


def _folds_within(folds: Folds, stretch: Stretch) -> Folds:
    since, until = str(stretch.since), str(stretch.until)
    return {record: fold for record, fold in folds.items() if since <= record.created_at < until}


def _fold_corrections(
    connection: Connection, within: ColumnElement[bool], candidates: list[ColumnElement[datetime]], folds: Folds
) -> Iterator[_Correction]:
    """Corrections of rows stored at one occurrence of a repeated time that belong to the other."""
    row = billing_records.c
    by_key: dict[tuple[Any, ...], set[int]] = {}
    for record, fold in folds.items():
        by_key.setdefault(record[:3], set()).add(fold)
    rows = connection.execute(
        select(
            row.id, row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price,
        ).where(within)
    ).all()  # fmt: skip
    ids_by_fold: tuple[list[int], list[int]] = ([], [])
    for row_id, *fields in rows:
        record = Record(str(fields[0]), *fields[1:])
        # Match by key first, as a source may lack attributes; compare the attributes only if the folds of a key differ.
        key_folds = by_key.get(record[:3], set())
        known_fold = next(iter(key_folds)) if len(key_folds) == 1 else folds.get(record)
        if known_fold is not None:
            ids_by_fold[known_fold].append(row_id)
    for fold, ids in enumerate(ids_by_fold):
        for batch in _id_batches(ids):
            misplaced = and_(row.id.in_(batch), row.created_at_utc == candidates[1 - fold])
            yield _Correction(misplaced, candidates[fold])


def _id_batches(ids: list[int], size: int = 1_000) -> Iterable[list[int]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
