"""Reads and writes billing_records, the stored rows of the days."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, select, update

from etl.changes import DayDiff, InsertBatch, StoredRow, StoredRows
from etl.channels import Evidence
from etl.day_totals import ChannelTotals
from etl.db.channels import Channels, group_by_kind, total_by_channel
from etl.db.dialects import dialect_for
from etl.db.dialects.bulk_insert import bulk_insert
from etl.db.run_store import RunHandle
from etl.db.tables import billing_records
from etl.db.types import utc_text
from etl.model import to_columns
from etl.pii import ERASED
from etl.zones import utc_offsets


class RowKey(NamedTuple):
    """The primary key of a row of one account."""

    created_at: datetime
    phone: str
    code_auth: str
    ordinal: int


def load_rows(connection: Connection, account_id: int | None, since: datetime, until: datetime) -> StoredRows:
    """Read all rows of a time range of the vendor's wall clock, `until` excluded; withdrawn rows included."""
    row = billing_records.c
    return _read_rows(connection, and_(row.account_id == account_id, row.created_at >= since, row.created_at < until))


def read_seconds(connection: Connection, account_id: int, seconds: Collection[datetime]) -> StoredRows:
    """Read all rows of the given seconds of the vendor's wall clock; withdrawn rows included."""
    row = billing_records.c
    return _read_rows(connection, and_(row.account_id == account_id, row.created_at.in_(seconds)))


def _read_rows(connection: Connection, condition: ColumnElement[bool]) -> StoredRows:
    row = billing_records.c
    query = select(
        row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price,
        row.ordinal, row.repeats, row.withdrawn_at.is_not(None),
    ).where(condition)  # fmt: skip
    columns = dialect_for(connection.dialect.name).read_columns(connection, query) or ((),) * 9
    times, phones, codes, statuses, infos, prices, ordinals, repeats, withdrawn = columns
    amounts = {price: Decimal(price) for price in set(prices)}  # few distinct prices
    prices = list(map(amounts.__getitem__, prices))
    return StoredRows(
        (list(map(str, times)), phones, codes, statuses, infos, prices), ordinals, repeats, list(map(bool, withdrawn))
    )


def apply_diff(
    connection: Connection, run: RunHandle, change: DayDiff, channels: Channels, *, zone: tzinfo, now: datetime
) -> list[ChannelTotals]:
    """Insert, update and withdraw rows according to the difference of one day; return the totals of the new rows."""
    inserted: list[ChannelTotals] = []
    if change.inserts:
        kind_of, kinds = group_by_kind(change.inserts.columns)
        channel_of = [channels.number_of(Evidence(*kind[:3])) for kind in kinds]
        inserted = total_by_channel(kind_of, kinds, channel_of, change.inserts.repeats)
        prices = [str(kind.price) for kind in kinds]
        by_kind: dict[str, Sequence[Any]] = {
            "price": list(map(prices.__getitem__, kind_of)), "channel": list(map(channel_of.__getitem__, kind_of)),
        }  # fmt: skip
        bulk_insert(
            connection,
            billing_records,
            {"account_id": run.account_id, "first_seen_at": utc_text(now)},
            _insert_columns(change.inserts, zone) | by_kind,
        )
    kind_of, kinds = group_by_kind(to_columns(update.record for update in change.updates))
    channel_of = [channels.number_of(Evidence(*kind[:3])) for kind in kinds]
    for erased in (False, True):  # an erased row keeps its channel
        update_rows(
            connection,
            run.account_id,
            {
                row_key(row): {
                    "status": new.status, "status_info": new.status_info, "price": new.price, "repeats": repeats,
                    "updated_at": now, "withdrawn_at": None, **({} if erased else {"channel": channel_of[kind]}),
                }
                for (row, new, repeats), kind in zip(change.updates, kind_of, strict=True)
                if (new.phone == ERASED) is erased
            },
        )  # fmt: skip
    update_rows(
        connection,
        run.account_id,
        {row_key(row): {"withdrawn_at": now, "updated_at": now} for row in change.withdrawals},
    )
    return inserted


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
    """Columns of new rows, but for those that depend on their kind."""
    times, phones, codes, statuses, infos, _ = inserts.columns
    return {
        "created_at": times, "phone": phones, "code_auth": codes, "ordinal": inserts.ordinals,
        "status": statuses, "status_info": infos, "repeats": inserts.repeats, "utc_offset": utc_offsets(times, zone),
    }  # fmt: skip
