"""Reads and writes billing_records, the stored rows of the days."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, String, and_, bindparam, func, select, type_coerce, update

from etl.changes import DayDiff, InsertBatch, StoredRow
from etl.db.dialects.bulk_insert import bulk_insert
from etl.db.run_store import RunHandle
from etl.db.tables import billing_records
from etl.db.types import utc_text
from etl.model import record_from_tuple
from etl.zones import utc_offsets


class RowKey(NamedTuple):
    """The primary key of a row of one account."""

    created_at: datetime
    phone: str
    code_auth: str
    ordinal: int


_SEPARATOR: Final = "\x1f"
"""Separates the values of a row that is read as one text."""
_stored = partial(tuple.__new__, StoredRow)
"""Constructor without the overhead of `StoredRow.__new__`: it runs once per row of a compared day."""


def load_rows(connection: Connection, account_id: int | None, since: datetime, until: datetime) -> list[StoredRow]:
    """Read all rows of a time range of the vendor's wall clock, `until` excluded; withdrawn rows included."""
    row = billing_records.c
    return _read_rows(connection, and_(row.account_id == account_id, row.created_at >= since, row.created_at < until))


def read_seconds(connection: Connection, account_id: int, seconds: Collection[datetime]) -> list[StoredRow]:
    """Read all rows of the given seconds of the vendor's wall clock; withdrawn rows included."""
    row = billing_records.c
    return _read_rows(connection, and_(row.account_id == account_id, row.created_at.in_(seconds)))


def _read_rows(connection: Connection, condition: ColumnElement[bool]) -> list[StoredRow]:
    read = _load_rows_concatenated if connection.dialect.name in {"mysql", "mariadb"} else _read_columns
    if not (columns := read(connection, condition)):
        return []
    times, phones, codes, statuses, infos, prices, ordinals, repeats, withdrawn = columns
    amounts = {price: Decimal(price) for price in set(prices)}  # few distinct prices
    prices = map(amounts.__getitem__, prices)
    records = map(record_from_tuple, zip(map(str, times), phones, codes, statuses, infos, prices, strict=True))
    return list(map(_stored, zip(records, ordinals, repeats, map(bool, withdrawn), strict=True)))


def _read_columns(connection: Connection, condition: ColumnElement[bool]) -> Sequence[Iterable[Any]]:
    """Read the columns of `load_rows`, in its order; empty if there are no rows."""
    row = billing_records.c
    time: ColumnElement[Any] = row.created_at
    price: ColumnElement[Any] = row.price
    if connection.dialect.name == "sqlite":
        # Both are stored as text; skip the per-value conversion of their types.
        time, price = type_coerce(time, String), type_coerce(price, String)
    query = select(
        time, row.phone, row.code_auth, row.status, row.status_info, price,
        row.ordinal, row.repeats, row.withdrawn_at.is_not(None),
    ).where(condition)  # fmt: skip
    return tuple(zip(*connection.execute(query).all(), strict=True))


def _load_rows_concatenated(connection: Connection, condition: ColumnElement[bool]) -> Sequence[Iterable[Any]]:
    """Read the same columns from MariaDB as one text per row.

    PyMySQL decodes each value in Python, which costs a fifth of a nightly run.
    """
    row = billing_records.c
    texts = (row.created_at, row.phone, row.code_auth, func.ifnull(row.status, ""), row.status_info, row.price)
    numbers = (row.ordinal, row.repeats, row.withdrawn_at.is_not(None))
    rows = connection.scalars(select(func.concat_ws(_SEPARATOR, *texts, *numbers)).where(condition)).all()
    if not rows:
        return ()
    # CONCAT_WS is NULL for a row longer than max_allowed_packet, which may have been lowered since.
    fields = _SEPARATOR.join(rows).split(_SEPARATOR) if None not in rows else []
    width = len(texts) + len(numbers)
    if len(fields) != width * len(rows):
        return _read_columns(connection, condition)  # or a value contains the separator
    times, phones, codes, statuses, infos, prices, *counts = (fields[index::width] for index in range(width))
    states = [int(status) if status else None for status in statuses]
    return (times, phones, codes, states, infos, prices, *(map(int, column) for column in counts))


def apply_diff(connection: Connection, run: RunHandle, change: DayDiff, *, zone: tzinfo, now: datetime) -> None:
    """Insert, update and withdraw rows according to the difference of one day."""
    if change.inserts:
        bulk_insert(
            connection,
            billing_records,
            {"account_id": run.account_id, "first_seen_at": utc_text(now)},
            _insert_columns(change.inserts, zone),
        )
    update_rows(
        connection,
        run.account_id,
        {
            row_key(row): {
                "status": new.status, "status_info": new.status_info, "price": new.price, "repeats": repeats,
                "updated_at": now, "withdrawn_at": None,
            }
            for row, new, repeats in change.updates
        },
    )  # fmt: skip
    update_rows(
        connection,
        run.account_id,
        {row_key(row): {"withdrawn_at": now, "updated_at": now} for row in change.withdrawals},
    )


def row_key(row: StoredRow) -> RowKey:
    """The primary key of a row, without the account."""
    created_at, phone, code_auth, ordinal = row.key
    return RowKey(datetime.fromisoformat(created_at), phone, code_auth, ordinal)


def update_rows(connection: Connection, account_id: int, values: Mapping[RowKey, Mapping[str, Any]]) -> None:
    """Update rows by key, in one statement; all of them set the same columns."""
    if not values:
        return
    row = billing_records.c
    # A bound parameter must not have the name of a column that is set: key columns may be among them.
    keys = {name: bindparam(f"old_{name}", type_=row[name].type) for name in RowKey._fields}
    condition = [row[name] == parameter for name, parameter in keys.items()]
    columns: dict[str, Any] = {name: bindparam(name) for name in next(iter(values.values()))}
    connection.execute(
        update(billing_records).where(row.account_id == account_id, *condition).values(columns),
        [
            dict(zip((parameter.key for parameter in keys.values()), key, strict=True)) | dict(changes)
            for key, changes in values.items()
        ],
    )


def _insert_columns(inserts: InsertBatch, zone: tzinfo) -> dict[str, Sequence[Any]]:
    """Columns of new rows in text form; equal prices are converted once."""
    times, phones, codes, statuses, infos, prices = inserts.columns
    price_texts = {price: str(price) for price in set(prices)}
    return {
        "created_at": times, "phone": phones, "code_auth": codes, "ordinal": inserts.ordinals,
        "status": statuses, "status_info": infos, "price": list(map(price_texts.__getitem__, prices)),
        "repeats": inserts.repeats, "utc_offset": utc_offsets(times, zone),
    }  # fmt: skip
