"""The outcome of a window: what its days and rows count for in the result of a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from etl.changes import RowCounts
from etl.db.rejects import payload_hash
from etl.load.policy import LoadPolicy
from etl.model import WindowData
from etl.run_counts import DayChangeCounts, RecordChange, RunCounts


@dataclass(frozen=True, slots=True)
class DayOutcome:
    """The result of one day, small enough to keep for every day of a window.

    Created by DayComparison, part of a WindowOutcome.

    Attributes:
        records: Number of records that the vendor lists, repeats included.
        was_complete: Whether the day was complete in the ledger before.
        changed_records: The first ones, of a day that was stored before.
        wrong_totals: Whether the stored totals were not those of the rows.
        suspect_reason: Why the changes are implausible and nothing is stored; None if they are not.
    """

    day: date
    records: int
    was_complete: bool
    rows: RowCounts
    wrong_totals: bool = False
    suspect_reason: str | None = None
    changed_records: tuple[RecordChange, ...] = ()

    def changes(self) -> DayChangeCounts:
        """The counts of the changed rows, with the first records."""
        return DayChangeCounts(self.day, self.rows.new, self.rows.changed, self.rows.withdrawn, self.changed_records)


@dataclass(frozen=True, slots=True)
class WindowOutcome:
    """The result of a window, consumed by `summarise_window`.

    Attributes:
        acknowledged: Payload digests of those rejected records of the answer that a person acknowledged.
    """

    days: Sequence[DayOutcome]
    acknowledged: frozenset[str]


def summarise_window(result: WindowOutcome, data: WindowData, policy: LoadPolicy) -> RunCounts:
    """Count the rows and days of a window by outcome."""
    counts = RunCounts()
    known_days = {outcome.day for outcome in result.days if outcome.was_complete or outcome.suspect_reason}
    reasons = dict.fromkeys(data.incomplete_days, "the request may not have covered the whole day") | dict(
        data.unresolved_days
    )
    counts.missing_days = {
        day: reason
        for day, reason in sorted(reasons.items())
        if day in data.failed or (day not in known_days and (day < policy.today or day in data.unresolved_days))
    }
    counts.refused_days = data.refused & counts.missing_days.keys()
    counts.largest = dict(data.largest)
    for outcome in result.days:
        counts.days += 1
        if outcome.suspect_reason is not None:
            counts.suspect_days.append(outcome.day)
            continue
        counts.new += outcome.rows.new
        counts.changed += outcome.rows.changed
        counts.withdrawn += outcome.rows.withdrawn
        counts.unchanged += outcome.rows.unchanged
        if outcome.was_complete and outcome.rows:
            counts.changed_days.append(outcome.changes())
    accepted = {outcome.day for outcome in result.days if outcome.suspect_reason is None} & data.unreadable
    listed = data.days.keys() | accepted
    stored = [item for item in data.rejected if listed and (item.day is None or item.day in listed)]
    counts.rejected.update(payload_hash(item.payload) for item in stored)
    counts.acknowledged = counts.rejected & result.acknowledged
    return counts
