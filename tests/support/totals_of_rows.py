"""The day ledger and its totals, computed from rows that a test inserted."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from etl.db.tables import billing_records, hourly_totals, operator_totals, synced_days
from etl.db.totals import refresh_operators


def write_totals_of_rows(connection: Connection, account_id: int) -> None:
    """Compute the ledger and the totals of an account from its rows; days without a ledger entry get a closed one."""
    row = billing_records.c
    rows = connection.execute(
        select(row.created_at, row.status, row.price, row.repeats).where(
            row.account_id == account_id, row.withdrawn_at.is_(None)
        )
    )
    hours: defaultdict[tuple[Any, int], list[Any]] = defaultdict(lambda: [0, 0, Decimal(0), Decimal(0)])
    for created_at, status, price, repeats in rows:
        sums = hours[created_at.date(), created_at.hour]
        sums[0] += repeats
        sums[1] += repeats if status == 1 else 0
        sums[2] += price * repeats
        sums[3] += price * (repeats - 1)
    for table in (hourly_totals, operator_totals):
        connection.execute(delete(table).where(table.c.account_id == account_id))
    every_day = select(row.created_at).where(row.account_id == account_id)
    for day in sorted({created_at.date() for created_at in connection.scalars(every_day)}):
        of_day = {hour: sums for (on, hour), sums in hours.items() if on == day}
        key = {"account_id": account_id, "day": day}
        for hour, (records, delivered, spend, _) in of_day.items():
            values = {"records": records, "delivered": delivered, "spend": spend}
            connection.execute(insert(hourly_totals).values(**key, hour=hour, **values))
        names = ("records", "delivered", "spend", "repeated_spend")
        sums = (sum((each[index] for each in of_day.values()), start) for index, start in enumerate(_ZEROES))
        _write_day(connection, key, dict(zip(names, sums, strict=True)))
        refresh_operators(connection, account_id, [day])


_ZEROES = (0, 0, Decimal(0), Decimal(0))


def _write_day(connection: Connection, key: dict[str, Any], totals: dict[str, Any]) -> None:
    condition = (synced_days.c.account_id == key["account_id"], synced_days.c.day == key["day"])
    if connection.execute(update(synced_days).where(*condition).values(**totals)).rowcount:
        return
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    entry = {"digest": "", "source": "json", "stored_at": moment, "first_closed_at": moment}
    connection.execute(insert(synced_days).values(**key, **entry, **totals))
