"""The UTC times of stored rows: found wrong, and set right. The wall clock of a row never changes.

A row is right when its time in UTC is one that the zone gives for its wall clock. In an hour that the clock repeats
these are two: which of them it is, the offset that came with the record says, and where none came, whatever stands
there stays. So a zone is applied again and again with the same result.
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
"""By record, 0 for the first reading of a repeated time and 1 for the second."""


class _Wrong(NamedTuple):
    """Rows with a wrong time in UTC, and the right one."""

    rows: ColumnElement[bool]
    utc: ColumnElement[datetime]


def count_wrong(
    connection: Connection, account_id: int | None, day: date, zone: tzinfo, folds: Folds, *, every_row: bool
) -> int:
    """How many rows of a day have a wrong time in UTC.

    Args:
        connection: To read.
        account_id: Whose.
        day: In the vendor's wall clock.
        zone: Of the vendor's wall clock.
        folds: Of the day's records, as the vendor's offsets say.
        every_row: Not only those that `folds` tells of.
    """

    def count(wrong: _Wrong) -> int:
        return connection.scalars(select(func.count()).select_from(billing_records).where(wrong.rows)).one()

    return _each(connection, account_id, day, zone, folds, count, every_row=every_row)


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
    """Give the rows that `count_wrong` counts their right time in UTC, and return how many they were."""

    def set_right(wrong: _Wrong) -> int:
        return connection.execute(
            update(billing_records).where(wrong.rows).values(created_at_utc=wrong.utc, updated_at=now)
        ).rowcount

    return _each(connection, account_id, day, zone, folds, set_right, every_row=every_row)


def next_day(connection: Connection, account_id: int, since: date) -> date | None:
    """The first day from one day on of which there are rows."""
    row = billing_records.c
    moment = connection.scalar(
        select(func.min(row.created_at)).where(row.account_id == account_id, row.created_at >= day_bounds(since)[0])
    )
    return None if moment is None else moment.date()


def _each(
    connection: Connection,
    account_id: int | None,
    day: date,
    zone: tzinfo,
    folds: Folds,
    do: Callable[[_Wrong], int],
    *,
    every_row: bool,
) -> int:
    """The sum of what is done to the wrong rows of each stretch of a day."""
    row, done = billing_records.c, 0
    for stretch in stretches(zone, day):
        within = and_(
            row.account_id == account_id, row.created_at >= stretch.since, row.created_at < stretch.until
        )  # fmt: skip
        first = _shifted(connection, -stretch.offset)
        readings = [first]
        if stretch.second_offset is not None:
            readings.append(_shifted(connection, -stretch.second_offset))
        if every_row:
            done += do(_Wrong(and_(within, *(row.created_at_utc != utc for utc in readings)), first))
        if folds and len(readings) > 1:
            done += sum(map(do, _misread(connection, within, readings, _of_stretch(folds, stretch))))
    return done


def _shifted(connection: Connection, seconds: int) -> ColumnElement[datetime]:
    words = expressions_for(connection.dialect.name)
    return literal_column(words.shifted.format(time="created_at", seconds=seconds), WallClock())


def _of_stretch(folds: Folds, stretch: Stretch) -> Folds:
    since, until = str(stretch.since), str(stretch.until)
    return {record: fold for record, fold in folds.items() if since <= record.created_at < until}


def _misread(
    connection: Connection, within: ColumnElement[bool], readings: list[ColumnElement[datetime]], folds: Folds
) -> Iterator[_Wrong]:
    """The rows that stand at one reading of a repeated time, and belong to the other."""
    row = billing_records.c
    by_key: dict[tuple[Any, ...], set[int]] = {}
    for record, reading in folds.items():
        by_key.setdefault(record[:3], set()).add(reading)
    rows = connection.execute(
        select(
            row.id, row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price,
        ).where(within)
    ).all()  # fmt: skip
    belonging: tuple[list[int], list[int]] = ([], [])
    for row_id, *fields in rows:
        record = Record(str(fields[0]), *fields[1:])
        # The rows of a key differ in their attributes, which a source may lack: they matter only where readings differ.
        known = by_key.get(record[:3], set())
        fold: int | None = next(iter(known)) if len(known) == 1 else folds.get(record)
        if fold is not None:
            belonging[fold].append(row_id)
    for reading, ids in enumerate(belonging):
        for some in _batches(ids):
            yield _Wrong(and_(row.id.in_(some), row.created_at_utc == readings[1 - reading]), readings[reading])


def _batches(ids: list[int], size: int = 1_000) -> Iterable[list[int]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
