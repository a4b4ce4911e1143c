"""Remove one person from an account's rows, and leave every amount as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, bindparam, delete, func, null, or_, select, update

from etl.db.ledger import raise_revision
from etl.db.records import payload_hash
from etl.db.tables import billing_records, rejected_records, restatements, sync_runs, synced_days
from etl.pii import ERASED, PhoneNumber, erase_payload

_TEXT_COLUMNS: Final = (
    (billing_records, ("id",), "status_info", "created_at"),
    (restatements, ("id",), "status_info_before", "day"),
    (restatements, ("id",), "status_info_after", "day"),
    (sync_runs, ("id",), "error", None),
    (synced_days, ("account_id", "day"), "suspect_reason", "day"),
)
"""Where a number may stand within a text: table, key, column, and what tells the day that the row is of."""


@dataclass(frozen=True, slots=True)
class ErasureSubject:
    """Who is to be forgotten.

    Attributes:
        number: In clear.
        stored_forms: What stands in place of the number in the account's form.
    """

    number: PhoneNumber
    stored_forms: Collection[str]

    def matches(self, phone: Any) -> bool:
        """Whether a stored phone is theirs."""
        return phone in self.stored_forms or self.number.matches(phone)


def erase_person(connection: Connection, account_id: int, person: ErasureSubject, now: datetime) -> dict[str, int]:
    """Take a person out of an account.

    Their rows keep id, time, status, price and repeats; phone, code and text go. The day ledger stays as it is: it
    tells what the vendor last said. Only the revision of their days rises.

    Args:
        connection: In the one transaction of it all.
        account_id: Whose rows to look through.
        person: Whom to forget.
        now: When the rows change.

    Returns:
        How many rows of each table were changed.
    """
    rows = _rows_of(connection, billing_records, account_id, person)
    journal = _rows_of(connection, restatements, account_id, person)
    ordinals = _new_ordinals(connection, account_id, rows)
    changed = Counter({"billing_records": len(rows), "restatements": len(journal), "rejected_records": 0})
    _update_rows(
        connection,
        billing_records,
        [
            {
                "row_id": row.id, "phone": ERASED, "code_auth": "", "ordinal": ordinals[_key(row)],
                "status_info": "", "updated_at": now,
            }
            for row in rows
        ],
    )  # fmt: skip
    _update_rows(
        connection,
        restatements,
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
    for table, key, column, dated in _TEXT_COLUMNS:
        mentions = _remove_mentions(connection, account_id, table, key, column, dated, person.number)
        changed[table.name] += len(mentions)
        days |= {moment.date() if isinstance(moment, datetime) else moment for moment in mentions if moment}
    raise_revision(connection, account_id, days)
    changed["rejected_records"] += _erase_rejected(connection, account_id, person)
    return dict(changed)


def _rows_of(connection: Connection, table: Table, account_id: int, person: ErasureSubject) -> list[Row[Any]]:
    column = table.c
    found = connection.execute(
        select(table).where(
            column.account_id == account_id,
            or_(column.phone.in_(person.stored_forms), column.phone.like(_like_pattern(person.number))),
        )
    )
    return [row for row in found if person.matches(row.phone)]


def _like_pattern(number: PhoneNumber) -> str:
    """For LIKE: whatever has these digits, in their order, however they are spelled."""
    return f"%{'%'.join(number.digits)}%"


def _key(row: Row[Any]) -> tuple[Any, ...]:
    return (row.created_at, row.phone, row.code_auth, row.ordinal)


def _new_ordinals(connection: Connection, account_id: int, rows: list[Row[Any]]) -> dict[tuple[Any, ...], int]:
    """The rows' ordinals among the forgotten ones of their seconds, by the key they have had so far."""
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
    for row in sorted(rows, key=lambda row: row.id):
        last[row.created_at] += 1
        ordinals[_key(row)] = last[row.created_at]
    return ordinals


def _blank(text: str | None) -> str | None:
    return None if text is None else ""


def _update_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "row_id"}
        connection.execute(update(table).where(table.c.id == bindparam("row_id")).values(values), rows)


def _remove_mentions(
    connection: Connection,
    account_id: int,
    table: Table,
    key: tuple[str, ...],
    name: str,
    dated: str | None,
    number: PhoneNumber,
) -> list[date | None]:
    """Take a number out of a column, and return what dates each row that changed."""
    keys = [table.c[part] for part in key]
    text = table.c[name]
    moment = table.c[dated] if dated else null()
    found = connection.execute(
        select(moment, *keys, text).where(table.c.account_id == account_id, text.like(_like_pattern(number)))
    ).all()
    changed: list[date | None] = []
    for when, *values, words in found:
        if (clean := number.remove_from(words)) != words:
            of_row = [column == value for column, value in zip(keys, values, strict=True)]
            connection.execute(update(table).where(*of_row).values({name: clean}))
            changed.append(when)
    return changed


def _erase_rejected(connection: Connection, account_id: int, person: ErasureSubject) -> int:
    row = rejected_records.c
    found = connection.execute(
        select(row.id, row.payload, row.payload_digest).where(row.account_id == account_id).order_by(row.id)
    ).all()
    known = {digest for _, _, digest in found}
    changed = 0
    for number, payload, _ in found:
        if not _concerns(payload, person):
            continue
        clean = erase_payload(payload)
        digest = payload_hash(clean)
        if digest in known:  # equal but for the person: one row says it
            connection.execute(delete(rejected_records).where(row.id == number))
        else:
            known.add(digest)
            connection.execute(
                update(rejected_records).where(row.id == number).values(payload=clean, payload_digest=digest)
            )
        changed += 1
    return changed


def _concerns(payload: str, person: ErasureSubject) -> bool:
    if person.number.occurs_in(payload):
        return True
    with suppress(ValueError, RecursionError):
        value = json.loads(payload)
        return isinstance(value, dict) and person.matches(value.get("phone"))
    return False
