"""Compare the days of a window with their stored rows: what to write, and whether it is plausible. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from itertools import islice

from sqlalchemy import Connection

from etl import signals
from etl.changes import MAX_RECORDS_SHOWN, DayDiff, RowCounts, StoredRows
from etl.db.days import LedgerEntry, read_days
from etl.db.records import load_rows
from etl.db.rejects import are_quarantined
from etl.db.totals import totals_differ
from etl.db.utc import count_wrong
from etl.load.diff import diff_day, diff_empty_day, drop_unchanged, fill_missing_fields
from etl.load.erased import apply_erasures
from etl.load.outcome import DayOutcome
from etl.load.plausibility import implausibility
from etl.load.policy import LoadPolicy
from etl.load.quarantine import Quarantine, quarantine_rows
from etl.model import (
    CountedRecord,
    CountedRecords,
    DaySnapshot,
    PartialKey,
    Record,
    TimeSlice,
    WindowData,
    single_slice_day,
)
from etl.run_counts import RecordChange
from etl.transform.snapshots import snapshot_day
from etl.unreadable_days import rejected_on

StoredRowReader = Callable[[datetime, datetime], StoredRows]
"""Reads the stored rows from a start to an end, exclusive, in the vendor's wall clock."""


@dataclass(frozen=True, slots=True)
class DayComparison:
    """The comparison of one day with its stored rows, with the changes to write.

    Created by `compare_window`, consumed by `WindowWriter` and `services.verify`.

    Attributes:
        ledger_entry: The day's entry in the ledger; None for a new day.
        changes: One diff for each time slice, computed again on every iteration if there are several slices; empty if
            the digest in the ledger is unchanged.
        rows: The counts of the whole day.
        changed_records: The first ones, of a day that was stored before.
        suspect_reason: Why the changes are implausible; None if they are not.
        wrong_utc: Number of stored rows with a wrong time in UTC.
        wrong_totals: Whether the stored totals of the day, its hours, operators or channels are not those of its rows.
        keep_stored: Whether nothing is written: the vendor refuses the day or does not answer, or none of its records
            can be read and all are quarantined.
    """

    snapshot: DaySnapshot
    ledger_entry: LedgerEntry | None
    changes: Iterable[DayDiff]
    rows: RowCounts
    suspect_reason: str | None = None
    wrong_utc: int = 0
    wrong_totals: bool = False
    keep_stored: bool = False
    changed_records: tuple[RecordChange, ...] = ()

    def outcome(self) -> DayOutcome:
        """The result without the changes."""
        was_complete = self.ledger_entry is not None and self.ledger_entry.complete
        # A row that differs only in its time in UTC was counted as unchanged.
        repaired = min(self.wrong_utc, self.rows.unchanged)
        rows = replace(self.rows, changed=self.rows.changed + repaired, unchanged=self.rows.unchanged - repaired)
        return DayOutcome(
            self.snapshot.day, self.snapshot.totals.records, was_complete, rows, self.wrong_totals, self.suspect_reason,
            self.changed_records,
        )  # fmt: skip


def compare_window(
    connection: Connection,
    account_id: int | None,
    data: WindowData,
    snapshots: Iterable[DaySnapshot],
    policy: LoadPolicy,
) -> Iterator[DayComparison]:
    """Compare complete days with their stored rows, one day at a time. Reads rows only if the digest has changed."""
    ledger = read_days(connection, account_id, data.window)
    quarantine = Quarantine(data.rejected)
    for snapshot in snapshots:
        entry = ledger.get(snapshot.day)
        if snapshot.day in data.unresolved_days:
            continue
        if entry and entry.purged:
            continue  # every record would look late
        if entry and entry.complete and snapshot.day in data.incomplete_days:
            continue  # the stored day is complete, this answer may not be
        if entry and entry.digest == snapshot.digest and not policy.full_compare:
            comparison = DayComparison(snapshot, entry, (), RowCounts(unchanged=snapshot.distinct))
        else:
            listed = data.days[snapshot.day]
            gaps = _UnknownParts(listed.missing_fields, quarantine.keys(snapshot.day, listed.source))
            comparison = _compare_day(connection, account_id, snapshot, entry, gaps, policy)
        folds = day_folds(data, snapshot.day)
        if entry and comparison.suspect_reason is None and (policy.full_compare or folds):
            wrong = count_wrong(connection, account_id, snapshot.day, policy.zone, folds, every_row=policy.full_compare)
            comparison = replace(comparison, wrong_utc=wrong)
        if entry and policy.full_compare and not comparison.rows:
            compared = comparison.snapshot
            wrong_totals = entry.totals != compared.totals or totals_differ(connection, account_id, compared)
            comparison = replace(comparison, wrong_totals=wrong_totals)
        yield comparison
    # Without an answer the stored rows are kept, and there is nothing to accept. Past days that were never complete
    # stay open.
    for day, reason in data.unresolved_days.items():
        entry = ledger.get(day)
        if entry and (entry.complete or day >= policy.today) and not entry.purged:
            empty = snapshot_day(day, single_slice_day(day, []).slices)
            keep_stored = day in data.refused or day in data.failed
            is_unreadable = entry.complete and day in data.unreadable
            if is_unreadable and are_quarantined(connection, account_id, rejected_on(day, data.rejected)):
                # So `accept` has stored the day, if every row of it may be one of these records.
                gaps = _UnknownParts(frozenset(), quarantine.keys(day, "json"))
                keep_stored = not _compare_day(connection, account_id, empty, entry, gaps, policy).rows
            suspect_reason = None if keep_stored and not entry.suspect else reason
            yield DayComparison(empty, entry, (), RowCounts(), suspect_reason, keep_stored=keep_stored)


@dataclass(frozen=True, slots=True)
class _UnknownParts:
    """The unknown part of a day's answer, for which the stored values are kept.

    Attributes:
        missing_fields: Attributes that the source does not have.
        keys: Partial keys of rejected records.
    """

    missing_fields: frozenset[str]
    keys: Sequence[PartialKey]

    def __bool__(self) -> bool:
        return bool(self.missing_fields or self.keys)


def day_folds(data: WindowData, day: date) -> dict[Record, int]:
    """The folds of a day's records."""
    return {record: fold for record, fold in data.folds.items() if record.created_at.startswith(day.isoformat())}


def _compare_day(
    connection: Connection,
    account_id: int | None,
    snapshot: DaySnapshot,
    entry: LedgerEntry | None,
    gaps: _UnknownParts,
    policy: LoadPolicy,
) -> DayComparison:
    read = partial(load_rows, connection, account_id)
    answer_digest, distinct = snapshot.digest, snapshot.distinct
    if gaps:
        slices = (
            TimeSlice(listed.since, listed.until, partial(_fill_unknown_parts, listed, read, gaps))
            for listed in snapshot.slices
        )
        snapshot = snapshot_day(snapshot.day, tuple(slices))
    changes: Iterable[DayDiff] = _SliceChanges(snapshot, read, gaps.missing_fields)
    if len(snapshot.slices) == 1:
        changes = tuple(changes)
    rows, records = RowCounts(), list[RecordChange]()
    for diff in changes:
        rows.add(diff)
        if entry and (entry.complete or policy.full_compare):
            records += islice(diff.records(), MAX_RECORDS_SHOWN - len(records))
    if snapshot.digest != answer_digest and entry and not rows:
        # Values filled in from the stored rows are no change. The ledger's digest is kept: it covers erased values too.
        snapshot = replace(snapshot, digest=entry.digest, totals=entry.totals)
    # If the digest is unchanged, skip the plausibility check: local rows were edited, the vendor's data were not.
    is_changed = entry is None or entry.digest != snapshot.digest
    to_check = is_changed and snapshot.day not in policy.accepted_days
    reason = implausibility(rows, listed=distinct, max_withdrawn_share=policy.max_withdrawn_share) if to_check else None
    return DayComparison(snapshot, entry, changes, rows, reason, changed_records=tuple(records))


def _fill_unknown_parts(
    time_slice: TimeSlice[CountedRecords], read: StoredRowReader, gaps: _UnknownParts
) -> list[Record]:
    """The records of a time slice, with the unknown part taken from the stored rows."""
    listed, stored = list(time_slice.read()), list(read(time_slice.since, time_slice.until))
    records = Counter(dict(listed))
    if gaps.missing_fields:
        records = fill_missing_fields(apply_erasures(listed, stored, gaps.missing_fields), stored, gaps.missing_fields)
    if gaps.keys:
        in_order = [CountedRecord(*pair) for pair in sorted(records.items(), key=lambda pair: pair[0][:3])]
        as_stored = apply_erasures(in_order, stored, gaps.missing_fields)
        records += quarantine_rows(time_slice.since.date(), as_stored, stored, gaps.keys)
    return list(records.elements())


class _SliceChanges:
    """The diffs of a day, one for each time slice, computed on iteration."""

    def __init__(self, snapshot: DaySnapshot, read: StoredRowReader, missing_fields: frozenset[str]) -> None:
        self._snapshot = snapshot
        self._read = read
        self._missing_fields = missing_fields

    def __iter__(self) -> Iterator[DayDiff]:
        day = self._snapshot.day
        for time_slice in self._snapshot.slices:
            signals.raise_if_interrupted()
            records, stored = time_slice.read(), self._read(time_slice.since, time_slice.until)
            if not stored:
                yield diff_empty_day(day, records)
            else:
                listed, rows, unchanged = drop_unchanged(records, stored)
                diff = diff_day(day, apply_erasures(listed, rows, self._missing_fields), rows)
                diff.unchanged += unchanged
                yield diff
