"""Reads and writes billing_records, the stored rows of the days."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, select, update

from etl.changes import DayDiff, InsertBatch, StoredRow
from etl.db.dialects import dialect_for
from etl.db.dialects.bulk_insert import bulk_insert
from etl.db.run_store import RunHandle
from etl.db.tables import billing_records
from etl.db.types import utc_text
from etl.model import record_from_tuple
from etl.zones import all_to_utc

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
    row = billing_records.c
    query = select(
        row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price,
        row.id, row.ordinal, row.repeats, row.withdrawn_at.is_not(None),
    ).where(condition)  # fmt: skip
    if not (columns := dialect_for(connection.dialect.name).read_columns(connection, query)):
        return []
    times, phones, codes, statuses, infos, prices, ids, ordinals, repeats, withdrawn = columns
    amounts = {price: Decimal(price) for price in set(prices)}  # few distinct prices
    prices = list(map(amounts.__getitem__, prices))
    records = map(record_from_tuple, zip(map(str, times), phones, codes, statuses, infos, prices, strict=True))
    return list(map(_stored, zip(ids, records, ordinals, repeats, map(bool, withdrawn), strict=True)))


def apply_diff(connection: Connection, run: RunHandle, change: DayDiff, *, zone: tzinfo, now: datetime) -> None:
    """Insert, update and withdraw rows according to the difference of one day."""
    timestamp = utc_text(now)
    if change.inserts:
        bulk_insert(
            connection,
            billing_records,
            {"account_id": run.account_id, "first_seen_at": timestamp, "updated_at": timestamp},
            _insert_columns(change.inserts, zone),
        )
    by_id = update(billing_records).where(billing_records.c.id == bindparam("row_id"))
    if change.updates:
        connection.execute(
            by_id.values(
                status=bindparam("status"), status_info=bindparam("info"), price=bindparam("price"),
                repeats=bindparam("repeats"), updated_at=now, withdrawn_at=None,
            ),
            [
                {
                    "row_id": row.id, "status": new.status, "info": new.status_info, "price": new.price,
                    "repeats": repeats,
                }
                for row, new, repeats in change.updates
            ],
        )  # fmt: skip
    if change.withdrawals:
        connection.execute(
            by_id.values(withdrawn_at=now, updated_at=now), [{"row_id": old.id} for old in change.withdrawals]
        )


def _insert_columns(inserts: InsertBatch, zone: tzinfo) -> dict[str, Sequence[Any]]:
    """Columns of new rows in text form; equal prices and times are converted once."""
    times, phones, codes, statuses, infos, prices = inserts.columns
    price_texts = {price: str(price) for price in set(prices)}
    return {
        "created_at": times, "phone": phones, "code_auth": codes, "ordinal": inserts.ordinals,
        "status": statuses, "status_info": infos, "price": list(map(price_texts.__getitem__, prices)),
        "repeats": inserts.repeats, "created_at_utc": all_to_utc(times, zone),
    }  # fmt: skip
