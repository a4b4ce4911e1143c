"""Reads the history: runs from sync_runs, and the changes of each from the journal restatements."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, select

from etl.db.tables import accounts, restatements, sync_runs


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `sync_runs`.

    Attributes:
        account: Label of the account.
        finished_at: None while the run is in progress, or if it was killed and no other has started since.
        exit_code: None as long as `finished_at`, and for an abandoned run.
        first_day: First requested day; None if there was nothing to fetch.
        days: Number of compared days.
        new: Number of inserted or restored rows; `changed`, `withdrawn`, `unchanged` and `rejected` likewise.
        suspect_days: Number of days that were left unchanged.
    """

    id: int
    account: str
    command: str
    program_version: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    exit_code: int | None
    error: str | None
    first_day: date | None
    last_day: date | None
    sources: str
    days: int
    new: int
    changed: int
    withdrawn: int
    unchanged: int
    rejected: int
    suspect_days: int

    @property
    def seconds(self) -> float | None:
        """Duration; None without an end."""
        return None if self.finished_at is None else (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A change of a complete day.

    Attributes:
        day: The day that changed, in the vendor's wall clock.
        kind: `late`, `corrected`, `withdrawn` or `returned`.
        created_at: Time of the record, in the vendor's wall clock.
        phone: Phone of the record, as stored.
        delta: Change of the day's spend.
    """

    day: date
    kind: str
    created_at: datetime
    phone: str
    delta: Decimal


def read_last_runs(connection: Connection, labels: Collection[str] | None, count: int) -> list[Run]:
    """Return the last runs of the accounts with these labels, newest first; of all accounts with None."""
    return _read_runs(connection, _select_runs(labels).order_by(sync_runs.c.id.desc()).limit(count))


def read_run(connection: Connection, labels: Collection[str] | None, run_id: int) -> Run | None:
    """Return a run, or None if it is not in the history of these accounts."""
    return next(iter(_read_runs(connection, _select_runs(labels).where(sync_runs.c.id == run_id))), None)


def read_journal(connection: Connection, run: Run) -> list[JournalLine]:
    """Return the changes of complete days that a run stored, by day and in the order of the changes."""
    line = restatements.c
    query = (
        select(line.day, line.kind, line.created_at, line.phone, line.delta)
        .join(accounts, accounts.c.id == line.account_id)
        .where(accounts.c.label == run.account, line.run_id == run.id)
        .order_by(line.day, line.id)
    )
    return [JournalLine(*values) for values in connection.execute(query)]


def _select_runs(labels: Collection[str] | None) -> Select[Any]:
    run = sync_runs.c
    query = select(
        run.id, accounts.c.label, run.command, run.program_version, run.started_at, run.finished_at, run.outcome,
        run.exit_code, run.error, run.first_day, run.last_day, run.sources, run.days, run.new, run.changed,
        run.withdrawn, run.unchanged, run.rejected, run.suspect_days,
    ).join(accounts, accounts.c.id == run.account_id)  # fmt: skip
    return query if labels is None else query.where(accounts.c.label.in_(labels))


def _read_runs(connection: Connection, query: Select[Any]) -> list[Run]:
    return [Run(*values) for values in connection.execute(query)]
