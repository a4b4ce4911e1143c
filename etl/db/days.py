"""The ledger of days: what each stored day amounts to. Small rows; SQLAlchemy writes them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from etl.db.run_store import RunHandle
from etl.db.tables import sync_state, synced_days
from etl.model import DateRange, DaySnapshot

DAYS_PER_STATEMENT: Final = 1_000


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A day of the ledger; of a purged one there are no records any more."""

    digest: str
    records: int
    spend: Decimal
    closed: bool
    suspect: bool
    purged: bool = False

    def matches(self, snapshot: DaySnapshot) -> bool:
        """Whether the ledger has the day as the snapshot shows it."""
        return (self.digest, self.records, self.spend) == (snapshot.digest, snapshot.records, snapshot.spend)


def purged_days(connection: Connection, account_id: int | None, window: DateRange) -> frozenset[date]:
    """The days of a window whose records were purged."""
    day = synced_days.c
    query = select(day.day).where(
        day.account_id == account_id, day.day.between(window.first, window.last), day.purged_at.is_not(None)
    )
    return frozenset(connection.scalars(query))


def read_days(connection: Connection, account_id: int | None, window: DateRange) -> dict[date, LedgerEntry]:
    """The ledger's days of a window."""
    column = synced_days.c
    rows = connection.execute(
        select(
            column.day, column.digest, column.records, column.spend,
            column.first_closed_at, column.suspect_since, column.purged_at,
        ).where(column.account_id == account_id, column.day.between(window.first, window.last))
    )  # fmt: skip
    return {
        day: LedgerEntry(digest, records, spend, *(moment is not None for moment in moments))
        for day, digest, records, spend, *moments in rows
    }


def read_complete(connection: Connection, account_id: int | None) -> dict[date, int]:
    """Every complete day, and how many records the vendor last listed."""
    column = synced_days.c
    rows = connection.execute(
        select(column.day, column.records).where(
            column.account_id == account_id, column.first_closed_at.is_not(None), column.suspect_since.is_(None)
        )
    )
    return {row.day: row.records for row in rows}


def stored_counts(connection: Connection, account_id: int | None) -> dict[date, int]:
    """Every stored day whose records are there, and how many of them the vendor last listed."""
    column = synced_days.c
    rows = connection.execute(
        select(column.day, column.records).where(column.account_id == account_id, column.purged_at.is_(None))
    )
    return {row.day: row.records for row in rows}


def upsert_day(
    connection: Connection,
    run: RunHandle,
    snapshot: DaySnapshot,
    before: LedgerEntry | None,
    *,
    source: str,
    closes: bool,
    now: datetime,
) -> None:
    """Store what a day now amounts to. A day once closed stays closed; one that changes after that is restated."""
    values: dict[str, Any] = {"suspect_since": None, "suspect_reason": None}
    if before is None or not before.matches(snapshot):
        values |= {
            "digest": snapshot.digest, "records": snapshot.records, "spend": snapshot.spend,
            "source": source, "stored_at": now,
        }  # fmt: skip
        if before is not None and before.closed and before.digest != snapshot.digest:
            values["restated_at"] = now
    if closes and not (before and before.closed):
        values |= {"first_closed_at": now, "first_closed_spend": snapshot.spend}
    key = {"account_id": run.account_id, "day": snapshot.day}
    if before is None:
        connection.execute(insert(synced_days).values(**key, **values))
    else:
        connection.execute(update(synced_days).where(*_is_day(run, snapshot.day)).values(**values))


def mark_suspect(connection: Connection, run: RunHandle, day: date, reason: str, now: datetime) -> None:
    """Say of a stored day that the vendor's present answer for it is not believed. Its records stay."""
    connection.execute(
        update(synced_days)
        .where(*_is_day(run, day))
        .values(suspect_since=func.coalesce(synced_days.c.suspect_since, now), suspect_reason=reason)
    )


def raise_revision(connection: Connection, account_id: int, days: Collection[date]) -> None:
    """Give days that this transaction changed, or whose records it changed, the account's next revision.

    The transaction holds the account's state row, so revisions grow in the order in which they are committed: whoever
    copies the days of a higher revision than the last one seen misses none.
    """
    if not days:
        return
    state, day = sync_state.c, synced_days.c
    connection.execute(update(sync_state).where(state.account_id == account_id).values(revision=state.revision + 1))
    revision = connection.scalars(select(state.revision).where(state.account_id == account_id)).one()
    ordered = sorted(days)
    for start in range(0, len(ordered), DAYS_PER_STATEMENT):
        some = ordered[start : start + DAYS_PER_STATEMENT]
        connection.execute(
            update(synced_days).where(day.account_id == account_id, day.day.in_(some)).values(revision=revision)
        )


def _is_day(run: RunHandle, day: date) -> tuple[Any, ...]:
    return (synced_days.c.account_id == run.account_id, synced_days.c.day == day)
