"""Erase one person from an account's rows without changing any amount."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, bindparam, delete, func, null, or_, select, update

from etl.db.days import raise_revision
from etl.db.records import RowKey, update_rows
from etl.db.rejects import payload_hash
from etl.db.tables import billing_records, rejected_records, restatements, sync_runs, synced_days
from etl.db.totals import has_numbering_plan, refresh_operators
from etl.pii import ERASED, PhoneNumber, erase_payload

_TEXT_COLUMNS: Final = (
    (billing_records, ("account_id", *RowKey._fields), "status_info", "created_at"),
    (restatements, ("id",), "status_info_before", "day"),
    (restatements, ("id",), "status_info_after", "day"),
    (sync_runs, ("id",), "error", None),
    (synced_days, ("account_id", "day"), "suspect_reason", "day"),
)
"""Texts that may contain a phone number: table, key columns, text column, column with the row's day."""


@dataclass(frozen=True, slots=True)
class ErasureSubject:
    """The person to erase.

    Attributes:
        number: Phone number in clear.
        stored_forms: The number in the account's privacy format.
    """

    number: PhoneNumber
    stored_forms: Collection[str]

    def matches(self, phone: Any) -> bool:
        """Whether a stored phone is the person's."""
        return phone in self.stored_forms or self.number.matches(phone)


def erase_person(connection: Connection, account_id: int, person: ErasureSubject, now: datetime) -> dict[str, int]:
    """Erase a person from an account.

    The person's rows keep time, status, price and repeats; phone, code and text are removed. The day ledger keeps
    its digests, which describe the vendor's last answer; only the revision of the affected days rises.

    Args:
        connection: Connection in the transaction of the whole erasure.
        account_id: `accounts.id`.
        person: The person to erase.
        now: Time of the change.

    Returns:
        Number of changed rows by table.
    """
    rows = _matching_rows(connection, billing_records, account_id, person)
    journal = _matching_rows(connection, restatements, account_id, person)
    ordinals = _new_ordinals(connection, account_id, rows)
    changed = Counter({"billing_records": len(rows), "restatements": len(journal), "rejected_records": 0})
    update_rows(
        connection,
        account_id,
        {
            key: {"phone": ERASED, "code_auth": "", "ordinal": ordinal, "status_info": "", "updated_at": now}
            for key, ordinal in ordinals.items()
        },
    )
    _update_journal(
        connection,
        [
            {
                "row_id": row.id, "phone": ERASED, "code_auth": "", "ordinal": ordinals.get(_key(row), row.ordinal),
                "status_info_before": _blank(row.status_info_before),
                "status_info_after": _blank(row.status_info_after),
            }
            for row in journal
        ],
    )  # fmt: skip
    days = {row.created_at.date() for row in rows} | {row.day for row in journal}
    for table, key, column, day_column in _TEXT_COLUMNS:
        mentions = _remove_mentions(connection, account_id, table, key, column, day_column, person.number)
        changed[table.name] += len(mentions)
        days |= {dated.date() if isinstance(dated, datetime) else dated for dated in mentions if dated}
    raise_revision(connection, account_id, days)
    if has_numbering_plan(connection):
        refresh_operators(connection, account_id, {row.created_at.date() for row in rows})
    changed["rejected_records"] += _erase_rejected(connection, account_id, person)
    return dict(changed)


def _matching_rows(connection: Connection, table: Table, account_id: int, person: ErasureSubject) -> list[Row[Any]]:
    column = table.c
    found = connection.execute(
        select(table).where(
            column.account_id == account_id,
            or_(column.phone.in_(person.stored_forms), column.phone.like(_like_pattern(person.number))),
        )
    )
    return [row for row in found if person.matches(row.phone)]


def _like_pattern(number: PhoneNumber) -> str:
    """LIKE pattern for a text that contains these digits in order, with any characters between them."""
    return f"%{'%'.join(number.digits)}%"


def _key(row: Row[Any]) -> RowKey:
    return RowKey(row.created_at, row.phone, row.code_auth, row.ordinal)


def _new_ordinals(connection: Connection, account_id: int, rows: list[Row[Any]]) -> dict[RowKey, int]:
    """New ordinals of the rows, unique among the erased rows of a second, by the rows' previous keys."""
    column = billing_records.c
    last: Counter[datetime] = Counter(
        dict(
            connection.execute(
                select(column.created_at, func.max(column.ordinal))
                .where(column.account_id == account_id, column.phone == ERASED, column.code_auth == "")
                .group_by(column.created_at)
            ).all()
        )
    )
    ordinals = {}
    for row in sorted(rows, key=_key):
        last[row.created_at] += 1
        ordinals[_key(row)] = last[row.created_at]
    return ordinals


def _blank(text: str | None) -> str | None:
    return None if text is None else ""


def _update_journal(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "row_id"}
        line = restatements.c
        connection.execute(update(restatements).where(line.id == bindparam("row_id")).values(values), rows)


def _remove_mentions(
    connection: Connection,
    account_id: int,
    table: Table,
    key: tuple[str, ...],
    text_column: str,
    day_column: str | None,
    number: PhoneNumber,
) -> list[date | None]:
    """Remove a number from the texts of a column, and return the day or time of each changed row."""
    keys = [table.c[name] for name in key]
    text = table.c[text_column]
    dated = table.c[day_column] if day_column else null()
    found = connection.execute(
        select(dated, *keys, text).where(table.c.account_id == account_id, text.like(_like_pattern(number)))
    ).all()
    changed: list[date | None] = []
    for day, *values, stored in found:
        if (cleaned := number.remove_from(stored)) != stored:
            condition = [column == value for column, value in zip(keys, values, strict=True)]
            connection.execute(update(table).where(*condition).values({text_column: cleaned}))
            changed.append(day)
    return changed


def _erase_rejected(connection: Connection, account_id: int, person: ErasureSubject) -> int:
    row = rejected_records.c
    found = connection.execute(
        select(row.id, row.payload, row.payload_digest).where(row.account_id == account_id).order_by(row.id)
    ).all()
    digests = {digest for _, _, digest in found}
    changed = 0
    for row_id, payload, _ in found:
        if not _concerns(payload, person):
            continue
        cleaned = erase_payload(payload)
        digest = payload_hash(cleaned)
        if digest in digests:  # equal to another row after the erasure
            connection.execute(delete(rejected_records).where(row.id == row_id))
        else:
            digests.add(digest)
            connection.execute(
                update(rejected_records).where(row.id == row_id).values(payload=cleaned, payload_digest=digest)
            )
        changed += 1
    return changed


def _concerns(payload: str, person: ErasureSubject) -> bool:
    if person.number.occurs_in(payload):
        return True
    with suppress(ValueError, RecursionError):
        value = json.loads(payload)
        phone = value.get("phone") if isinstance(value, dict) else None
        return any(map(person.matches, phone if isinstance(phone, list) else [phone]))
    return False
