"""The vendor's records and the stored rows in one form, for comparison record by record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from etl.db.tables import billing_records, restatements, synced_days

FIELDS = ("created_at", "code_auth", "status", "status_info", "phone", "price")
Row: TypeAlias = tuple[Any, ...]
"""created_at, phone, code_auth, status, status_info, price."""

spellings = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["int", "string"]),
        "phone": st.sampled_from(["8", "7", "+7"]),
        "price": st.sampled_from(["number", "string", "padded"]),
        "code": st.sampled_from(["string", "number", "null"]),
    }
)
csv_forms = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(";,\t"),
        "header": st.sampled_from(["english", "russian", "none"]),
        "columns": st.permutations(FIELDS),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "cp1251"]),
        "decimal": st.sampled_from(".,"),
        "time": st.sampled_from(["iso", "space", "fraction", "dotted"]),
    }
)


def canonical(record: Mapping[str, Any]) -> Row:
    """The form in which a record of these tests is stored."""
    phone = "+7" + record["phone"][1:] if record["phone"].startswith("8") else record["phone"]
    return (
        datetime.fromisoformat(record["created_at"]),
        phone,
        record["code_auth"],
        record["status"],
        record["status_info"],
        record["price"],
    )


def day_of(row: Row) -> date:
    """The day a row belongs to."""
    return row[0].date()


def rows_of_day(rows: Counter[Row], day: date) -> Counter[Row]:
    """The rows of one day."""
    return Counter({row: times for row, times in rows.items() if day_of(row) == day})


def spend_of(rows: Mapping[Row, int]) -> Decimal:
    """The total amount of the rows."""
    return sum((row[-1] * times for row, times in rows.items()), Decimal(0))


class Stored:
    """The stored state of one account."""

    def __init__(self, engine: Engine, account_id: int | None, label: str) -> None:
        row = billing_records.c
        columns = (row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price)
        day = synced_days.c
        with engine.connect() as connection:
            every = connection.execute(
                select(row.ordinal, row.repeats, row.withdrawn_at, *columns).where(row.account_id == account_id)
            ).all()
            self.ledger = {
                entry.day: entry
                for entry in connection.execute(select(synced_days).where(day.account_id == account_id))
            }
            self.deltas: Counter[date] = Counter()
            journal = select(restatements.c.day, restatements.c.delta)
            for on, delta in connection.execute(journal.where(restatements.c.account_id == account_id)):
                self.deltas[on] += delta
            query = text("SELECT day, spend, records FROM daily_spend WHERE account = :label")
            self.view = {
                date.fromisoformat(str(on)): (Decimal(str(spend)), listed)
                for on, spend, listed in connection.execute(query, {"label": label})
            }
        self.rows = Counter({tuple(row[3:]): row.repeats for row in every if row.withdrawn_at is None})
        self.current = sum(row.withdrawn_at is None for row in every)
        self.ordinals = {tuple(row[3:]): row.ordinal for row in every if row.withdrawn_at is None}
        self.rows_of_key = Counter(tuple(row[3:6]) for row in every)
