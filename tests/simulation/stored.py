"""The content of the database of the simulated account."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, select

from etl.db.tables import billing_records, rejected_records, restatements, sync_state, synced_days
from simulation.world import Row

Rows = Counter[Row]


class Violation(AssertionError):
    """A violated assertion.

    Attributes:
        kind: A name for it: a shrunk scenario must have a violation of the same kind.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(slots=True)
class Stored:
    """The content of the database.

    Attributes:
        rows: The current rows of each day.
        utc: The time in UTC of each current row.
        ledger: The rows of `synced_days`.
        deltas: The sum of the journal's lines for each day.
        changes: The number of the journal's lines for each day.
        every: All rows of the table, including withdrawn ones.
    """

    rows: defaultdict[date, Rows] = field(default_factory=lambda: defaultdict(Counter))
    utc: dict[Row, str] = field(default_factory=dict)
    ledger: dict[date, Any] = field(default_factory=dict)
    deltas: Counter[date] = field(default_factory=Counter)
    changes: Counter[date] = field(default_factory=Counter)
    every: set[Row] = field(default_factory=set)
    first_day: date | None = None
    watermark: date | None = None
    rejected: int = 0

    @property
    def suspect(self) -> set[date]:
        """The suspect days."""
        return {day for day, row in self.ledger.items() if row.suspect_since is not None}

    def closed(self, day: date) -> bool:
        """Whether a day counts as complete."""
        return day in self.ledger and self.ledger[day].first_closed_at is not None


_ROWS = select(
    billing_records.c.created_at, billing_records.c.phone, billing_records.c.code_auth, billing_records.c.status,
    billing_records.c.status_info, billing_records.c.price, billing_records.c.repeats,
    billing_records.c.withdrawn_at.is_not(None), billing_records.c.utc_offset,
)  # fmt: skip
_DAYS = select(synced_days)
_DELTAS = select(restatements.c.day, restatements.c.delta)
_STATE = select(sync_state.c.first_day, sync_state.c.last_synced_date)
_REJECTED = select(rejected_records.c.id)


def read_stored(connection: Connection, project: Callable[[Row], Row]) -> Stored:
    """Read the content of a database with one account.

    Args:
        connection: A connection to the database.
        project: Clears the fields of a row that are not compared.
    """
    stored = Stored()
    whole: set[tuple[Any, ...]] = set()
    for time, *fields, repeats, withdrawn, offset in connection.execute(_ROWS):
        raw = Row(str(time), *fields)
        row = project(raw)
        stored.every.add(row)
        if withdrawn:
            continue
        if raw in whole:
            raise Violation("doubled", f"{raw} stands in two rows")
        whole.add(raw)
        stored.rows[time.date()][row] += repeats
        stored.utc[row] = str(time - timedelta(minutes=offset))
    stored.ledger = {row.day: row for row in connection.execute(_DAYS)}
    for day, delta in connection.execute(_DELTAS):
        stored.deltas[day] += delta
        stored.changes[day] += 1
    state = connection.execute(_STATE).one_or_none()
    if state is not None:
        stored.first_day, stored.watermark = state
    stored.rejected = len(connection.execute(_REJECTED).all())
    return stored
