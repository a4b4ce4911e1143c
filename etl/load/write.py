"""Write the differences of a window, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from etl import signals
from etl.date_ranges import DateRange
from etl.day_totals import ChannelTotals
from etl.db.channels import Channels, classify_day
from etl.db.days import count_unfinished_days, mark_suspect, raise_revision, upsert_day
from etl.db.journal import write_restatements
from etl.db.records import apply_diff
from etl.db.rejects import read_acknowledged, sync_rejects
from etl.db.run_store import RunHandle, advance_watermark
from etl.db.totals import WrittenDay, write_totals
from etl.db.utc import correct
from etl.load.compare import DayComparison, day_folds
from etl.load.outcome import DayOutcome, WindowOutcome
from etl.load.policy import LoadPolicy
from etl.model import Record, WindowData


def preview_window(
    connection: Connection, account_id: int | None, data: WindowData, comparisons: Iterable[DayComparison]
) -> WindowOutcome:
    """The result that `WindowWriter.write` would have, without writing."""
    days = [comparison.outcome() for comparison in comparisons]
    return WindowOutcome(days, read_acknowledged(connection, account_id, data.rejected))


class _DayResult(NamedTuple):
    """What was written of a day.

    Attributes:
        is_changed: Whether anything was.
        totals: The totals to write with those of the other days; None if they are unchanged.
    """

    is_changed: bool
    totals: WrittenDay | None = None


@dataclass(frozen=True, slots=True)
class WindowWriter:
    """Writes the windows of a run, in the caller's transaction.

    Attributes:
        connection: In a transaction.
        run: The run that writes.
        policy: The rules of the run.
        channels: The rules for the channel of a record.
        now: The current time, aware.
    """

    connection: Connection
    run: RunHandle
    policy: LoadPolicy
    channels: Channels
    now: datetime

    def write(
        self, data: WindowData, comparisons: Iterable[DayComparison], previous_request: DateRange | None
    ) -> WindowOutcome:
        """Write the rows, rejected records, the day ledger and the watermark.

        Args:
            data: The vendor's answer for the window.
            comparisons: The result of `compare_window`; consumed once.
            previous_request: The range of the previous request of the run; None for the first one.
        """
        outcomes: list[DayOutcome] = []
        changed: list[date] = []
        totals: list[WrittenDay] = []
        for comparison in comparisons:
            signals.raise_if_interrupted()
            result = self._write_day(data, comparison)
            if result.is_changed:
                changed.append(comparison.snapshot.day)
            if result.totals is not None:
                totals.append(result.totals)
            outcomes.append(comparison.outcome())
        write_totals(self.connection, self.run.account_id, totals)
        if changed:
            raise_revision(self.connection, self.run.account_id, changed)
            count_unfinished_days(self.connection, self.run.account_id)
        if data.days:  # otherwise the answer covered other days
            accepted = data.days.keys() & {outcome.day for outcome in outcomes if outcome.suspect_reason is None}
            sync_rejects(
                self.connection, self.run, [item for item in data.rejected if item.day is None or item.day in accepted],
                days=accepted, requested=data.requested, previous_request=previous_request, now=self.now,
            )  # fmt: skip
        self._advance_watermark(data)
        return WindowOutcome(outcomes, read_acknowledged(self.connection, self.run.account_id, data.rejected))

    def _write_day(self, data: WindowData, comparison: DayComparison) -> _DayResult:
        """Write the changes of a day, except its totals."""
        snapshot, entry = comparison.snapshot, comparison.ledger_entry
        if comparison.keep_stored:
            return _DayResult(is_changed=False)
        if comparison.suspect_reason is not None:
            mark_suspect(self.connection, self.run, snapshot.day, comparison.suspect_reason, self.now)
            return _DayResult(is_changed=entry is not None and not entry.suspect)
        changed, inserted = self._write_rows(comparison, day_folds(data, snapshot.day))
        closes = snapshot.day < self.policy.today and snapshot.day not in data.incomplete_days
        totals: WrittenDay | None = None
        is_listed_anew = entry is None or not entry.matches(snapshot)
        # Rows that another program changed may have been classified and added up since.
        is_repair = comparison.wrong_totals or (bool(comparison.rows) and not is_listed_anew)
        if is_listed_anew or is_repair:
            if is_repair:  # the rows may be right but for their channel
                records = snapshot.totals.records
                classify_day(self.connection, self.run.account_id, snapshot.day, records, self.channels, self.now)
            totals = WrittenDay(snapshot.day, snapshot.totals, snapshot.hours, inserted)
            changed = True
        if entry is None or not entry.matches(snapshot) or entry.suspect or (closes and not entry.complete):
            upsert_day(
                self.connection, self.run, snapshot, entry, source=data.days[snapshot.day].source, closes=closes,
                channel_rules=self.channels.rules.digest, now=self.now,
            )  # fmt: skip
            changed = True
        return _DayResult(changed, totals)

    def _write_rows(self, comparison: DayComparison, folds: Mapping[Record, int]) -> tuple[bool, list[ChannelTotals]]:
        """Write the changed rows of a day, and the restatements of one that was complete.

        Returns:
            Whether there were any, and the totals by channel of those that were inserted.
        """
        snapshot, entry = comparison.snapshot, comparison.ledger_entry
        # A row repaired to match the ledger is not a restatement by the vendor.
        restated = entry is not None and entry.complete and entry.digest != snapshot.digest
        changed = False
        inserted: list[ChannelTotals] = []
        for diff in filter(None, comparison.changes):
            changed = True
            inserted += apply_diff(self.connection, self.run, diff, self.channels, zone=self.policy.zone, now=self.now)
            if restated:
                write_restatements(self.connection, self.run, diff, now=self.now)
        if comparison.wrong_utc or (changed and folds):  # new rows are written with fold 0
            correct(
                self.connection, self.run.account_id, snapshot.day, self.policy.zone, folds,
                every_row=self.policy.full_compare, now=self.now,
            )  # fmt: skip
            changed = True
        return changed, inserted

    def _advance_watermark(self, data: WindowData) -> None:
        policy = self.policy
        # An accepted day may be any day: it does not start the history.
        first = None if policy.accepted_days else data.window.first
        unserved = data.refused if policy.begins_where_served else frozenset[date]()
        advance_watermark(
            self.connection, self.run, first,
            lookback=policy.lookback, zone=policy.zone, unserved=unserved, start=policy.start,
        )  # fmt: skip
