"""What the database has of the simulated account."""

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
    """Something that must not be.

    Attributes:
        kind: One word for it: a shrunk scenario must fail in the same way.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(slots=True)
class Stored:
    """What the database has.

    Attributes:
        rows: The current rows of each day.
        utc: The time in UTC of each current row.
        ledger: The rows of `synced_days`.
        deltas: What the journal adds to the spend of each day, and
        changes: in how many lines.
        every: All rows of the table, withdrawn ones too.
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
        """The days whose answer is not believed."""
        return {day for day, row in self.ledger.items() if row.suspect_since is not None}

    def closed(self, day: date) -> bool:
        """Whether a day counts as whole."""
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
    """Everything of the only account.

    Args:
        connection: To its database.
        project: Leaves out of a row what is not compared.
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
