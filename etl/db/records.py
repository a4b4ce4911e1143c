"""The rows of the days: read back and written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, String, and_, bindparam, func, select, type_coerce, update

from etl.db.dialects.bulk_insert import bulk_insert
from etl.db.run_store import RunHandle
from etl.db.tables import billing_records
from etl.db.types import utc_text
from etl.load.diff import DayDiff, InsertBatch, StoredRow
from etl.model import record_from_tuple
from etl.zones import all_to_utc

_BETWEEN: Final = "\x1f"
"""Stands between the values of a row that is read as one text."""
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
    moment = utc_text(now)
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


def _columns_of(inserts: InsertBatch, zone: tzinfo) -> dict[str, Sequence[Any]]:
    """The columns of new rows; what holds for many of them is worked out once."""
    times, phones, codes, statuses, infos, prices = inserts.columns
    spelled = {price: str(price) for price in set(prices)}
    return {
        "created_at": times, "phone": phones, "code_auth": codes, "ordinal": inserts.ordinals,
        "status": statuses, "status_info": infos, "price": list(map(spelled.__getitem__, prices)),
        "repeats": inserts.repeats, "created_at_utc": all_to_utc(times, zone),
    }  # fmt: skip
