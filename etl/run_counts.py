"""The result of a run: its outcome, and the counts of its rows and days. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal, TypeAlias

Outcome: TypeAlias = Literal["running", "done", "look", "failed", "stopped", "abandoned"]
"""The values of `sync_runs.outcome`: `look` is a success that an operator should review, exit code 65."""

SUCCESSFUL: Final[frozenset[Outcome]] = frozenset({"done", "look"})
"""The outcomes of runs that stored every requested day; their exit codes are 0 and 65."""


@dataclass(frozen=True, slots=True)
class RecordChange:
    """A difference between a stored row and the vendor's record, without phone, code and text.

    Created by `changes`, shown by `-v`.

    Attributes:
        created_at: Time of the record, in the vendor's wall clock.
        kind: `late`, `corrected`, `withdrawn` or `returned`, as in the journal.
        fields: The corrected fields, each with both values unless it is a text.
    """

    created_at: str
    kind: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DayChangeCounts:
    """The changes of a day that was complete before.

    Attributes:
        new: Number of late or returned records; `changed` and `withdrawn` likewise.
        records: The first changes of the day.
    """

    day: date
    new: int
    changed: int
    withdrawn: int
    records: tuple[RecordChange, ...] = ()


@dataclass(slots=True)
class RunCounts:
    """Rows and days of a run or a window, counted by outcome.

    Attributes:
        days: Compared days.
        new: Inserted or restored rows.
        changed: Corrected rows.
        withdrawn: Rows that the vendor no longer lists.
        unchanged: Current rows without a change.
        rejected: Payload digests of rejected records: two answers may contain the same record.
        acknowledged: Those of them that a person acknowledged.
        changed_days: Days that were complete before and have changed.
        suspect_days: Days whose answer was implausible.
        missing_days: Days that no source could show to be complete and that stay open, with the reason.
        refused_days: Missing days about which the vendor refuses every request.
        largest: Number of records in the largest answer so far, by source.
    """

    days: int = 0
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    rejected: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    changed_days: list[DayChangeCounts] = field(default_factory=list)
    suspect_days: list[date] = field(default_factory=list)
    missing_days: dict[date, str] = field(default_factory=dict)
    refused_days: frozenset[date] = frozenset()
    largest: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, int]:
        """The counts that `--json` and the row in `sync_runs` show."""
        return {
            "days": self.days,
            "new": self.new,
            "changed": self.changed,
            "withdrawn": self.withdrawn,
            "unchanged": self.unchanged,
            "rejected": len(self.rejected),
        }

    def merge(self, other: RunCounts) -> None:
        """Add the counts of another window."""
        self.days += other.days
        self.new += other.new
        self.changed += other.changed
        self.withdrawn += other.withdrawn
        self.unchanged += other.unchanged
        self.rejected |= other.rejected
        self.acknowledged |= other.acknowledged
        self.changed_days.extend(other.changed_days)
        self.suspect_days.extend(other.suspect_days)
        self.missing_days |= other.missing_days
        self.refused_days |= other.refused_days
        for source, records in other.largest.items():
            self.largest[source] = max(records, self.largest.get(source, 0))
