"""One window into the database: compared with what is there, then stored in a single transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from decimal import Decimal
from functools import partial

from sqlalchemy import Connection

from etl import signals
from etl.db.days import LedgerEntry, mark_suspect, raise_revision, read_days, upsert_day
from etl.db.journal import write_restatements
from etl.db.records import apply_diff, load_rows
from etl.db.rejects import payload_hash, sync_rejects
from etl.db.run_store import RunHandle, advance_watermark
from etl.db.utc import correct, count_wrong
from etl.load.diff import DayDiff, RowCounts, StoredRow, diff_day, diff_empty_day, doubt, fill_missing_fields
from etl.load.erased import apply_erasures
from etl.load.quarantine import Quarantine, quarantine_rows
from etl.model import (
    CountedRecord,
    CountedRecords,
    DateRange,
    DaySnapshot,
    PartialKey,
    Record,
    RunCounts,
    TimeSlice,
    WindowData,
    single_slice_day,
)

SnapshotBuilder = Callable[[date, tuple[TimeSlice[list[Record]], ...]], DaySnapshot]
"""The transform that makes a day's snapshot of its records."""
StoredRowReader = Callable[[datetime, datetime], list[StoredRow]]
"""The stored rows of a slice."""


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """What a run goes by when it loads.

    Attributes:
        today: In the vendor's wall clock when the run began; days before it are over.
        zone: Of the vendor's wall clock.
        lookback: Closed days that are fetched again every night.
        max_withdrawn_share: Of a day's records that may vanish before the day is suspect.
        full_compare: Compare with the records themselves, even where the ledger's digest says nothing changed.
        accepted_days: Days whose answer is taken however implausible it is.
        begins_where_served: The history begins after the days that the vendor refuses: no start date is set.
    """

    today: date
    zone: tzinfo
    lookback: int
    max_withdrawn_share: Decimal
    full_compare: bool = False
    accepted_days: frozenset[date] = frozenset()
    begins_where_served: bool = False


@dataclass(frozen=True, slots=True)
class DayOutcome:
    """How one day ended.

    Attributes:
        records: How many the vendor lists, repeats included.
        was_closed: Whether the ledger had it as whole already.
        rejection_reason: Why the change is not believed; then nothing of it is stored.
    """

    day: date
    records: int
    was_closed: bool
    rows: RowCounts
    rejection_reason: str | None = None


@dataclass(frozen=True, slots=True)
class DayComparison:
    """What the comparison of one day came to.

    Attributes:
        ledger_entry: What the ledger has of the day.
        changes: Slice by slice, those of a large day worked out anew each time they are asked for; none where the
            ledger's digest already said that nothing changed.
        rejection_reason: Why they are not believed.
        unknown: There is no answer to compare with: the day stays as it is.
        wrong_utc: Stored rows with a wrong time in UTC.
    """

    snapshot: DaySnapshot
    ledger_entry: LedgerEntry | None
    changes: Iterable[DayDiff]
    rows: RowCounts
    rejection_reason: str | None = None
    wrong_utc: int = 0
    unknown: bool = False

    def outcome(self) -> DayOutcome:
        """All of it that is small."""
        closed = self.ledger_entry is not None and self.ledger_entry.closed
        # A row that differs in its time in UTC alone was counted as unchanged.
        repaired = min(self.wrong_utc, self.rows.unchanged)
        rows = replace(self.rows, changed=self.rows.changed + repaired, unchanged=self.rows.unchanged - repaired)
        return DayOutcome(self.snapshot.day, self.snapshot.records, closed, rows, self.rejection_reason)


def compare_window(
    connection: Connection,
    account_id: int | None,
    batch: WindowData,
    snapshots: Iterable[DaySnapshot],
    rules: LoadPolicy,
    identify: SnapshotBuilder,
) -> Iterator[DayComparison]:
    """Compare whole days with what is stored, one by one. Reads only, and only where the ledger's digest differs."""
    ledger = read_days(connection, account_id, batch.window)
    quarantine = Quarantine(batch.rejected)
    for snapshot in snapshots:
        before = ledger.get(snapshot.day)
        if snapshot.day in batch.unconfirmed_days:
            continue
        if before and before.purged:
            continue  # all that the vendor lists would look late
        if before and before.closed and snapshot.day in batch.unsure:
            continue  # it is whole already, and this answer may not be
        if before and before.digest == snapshot.digest and not rules.full_compare:
            compared = DayComparison(snapshot, before, (), RowCounts(unchanged=snapshot.distinct))
        else:
            unshown = _Unshown(batch.days[snapshot.day].missing_fields, quarantine.keys(snapshot.day))
            compared = _compare_day(connection, account_id, snapshot, before, unshown, rules, identify)
        folds = _folds_of(batch, snapshot.day)
        if before and compared.rejection_reason is None and (rules.full_compare or folds):
            wrong = count_wrong(connection, account_id, snapshot.day, rules.zone, folds, every_row=rules.full_compare)
            compared = replace(compared, wrong_utc=wrong)
        yield compared
    # Nothing is known of these: what is stored stays, and there is nothing in the answer that anybody could accept.
    # Days that are over and were never whole simply stay open.
    for day, reason in batch.unconfirmed_days.items():
        before = ledger.get(day)
        if before and (before.closed or day >= rules.today) and not before.purged:
            empty, refused = identify(day, single_slice_day(day, []).slices), day in batch.refused
            doubt_left = None if refused and not before.suspect else reason
            yield DayComparison(empty, before, (), RowCounts(), doubt_left, unknown=refused)


@dataclass(frozen=True, slots=True)
class _Unshown:
    """What the answer does not show of a day, and stays as the stored rows have it.

    Attributes:
        lacking: Attributes that the source does not carry.
        keys: What can be read of the keys of records that cannot be read.
    """

    lacking: frozenset[str]
    keys: Sequence[PartialKey]

    def __bool__(self) -> bool:
        return bool(self.lacking or self.keys)


def _folds_of(batch: WindowData, day: date) -> dict[Record, int]:
    """Those of a day's records."""
    return {record: fold for record, fold in batch.folds.items() if record.created_at.startswith(day.isoformat())}


def _compare_day(
    connection: Connection,
    account_id: int | None,
    snapshot: DaySnapshot,
    before: LedgerEntry | None,
    unshown: _Unshown,
    rules: LoadPolicy,
    identify: SnapshotBuilder,
) -> DayComparison:
    read = partial(load_rows, connection, account_id)
    shown = snapshot.digest
    if unshown:
        slices = (
            TimeSlice(part.since, part.until, partial(_fill_missing, part, read, unshown)) for part in snapshot.slices
        )
        snapshot = identify(snapshot.day, tuple(slices))
    changes: Iterable[DayDiff] = _SliceChanges(snapshot, read, unshown.lacking)
    if len(snapshot.slices) == 1:
        changes = tuple(changes)
    rows = RowCounts()
    for change in changes:
        rows.add(change)
    if snapshot.digest != shown and before and not rows:
        # What the stored rows lent is not news. The ledger knows it better: what was forgotten is whole in its digest.
        snapshot = replace(snapshot, digest=before.digest, records=before.records, spend=before.spend)
    # What the vendor said before as well is no news to be doubted, however much the rows were tampered with.
    news = before is None or before.digest != snapshot.digest
    doubted = news and snapshot.day not in rules.accepted_days
    reason = doubt(rows, max_withdrawn_share=rules.max_withdrawn_share) if doubted else None
    return DayComparison(snapshot, before, changes, rows, reason)


def _fill_missing(part: TimeSlice[CountedRecords], read: StoredRowReader, unshown: _Unshown) -> list[Record]:
    """A slice with what the answer does not show of it as the stored rows have it."""
    listed, stored = list(part.read()), read(part.since, part.until)
    records = Counter(dict(listed))
    if unshown.lacking:
        records = fill_missing_fields(apply_erasures(listed, stored, unshown.lacking), stored, unshown.lacking)
    if unshown.keys:
        in_order = [CountedRecord(*pair) for pair in sorted(records.items(), key=lambda pair: pair[0][:3])]
        as_stored = apply_erasures(in_order, stored, unshown.lacking)
        records += quarantine_rows(part.since.date(), as_stored, stored, unshown.keys)
    return list(records.elements())


class _SliceChanges:
    """What must be written of each slice of a day."""

    def __init__(self, snapshot: DaySnapshot, read: StoredRowReader, lacking: frozenset[str]) -> None:
        self._snapshot = snapshot
        self._read = read
        self._lacking = lacking

    def __iter__(self) -> Iterator[DayDiff]:
        day = self._snapshot.day
        for part in self._snapshot.slices:
            signals.raise_if_interrupted()
            listing, stored = part.read(), self._read(part.since, part.until)
            if not stored:
                yield diff_empty_day(day, listing)
            else:
                yield diff_day(day, apply_erasures(list(listing), stored, self._lacking), stored)


def write_window(
    connection: Connection,
    run: RunHandle,
    batch: WindowData,
    comparisons: Iterable[DayComparison],
    rules: LoadPolicy,
    *,
    asked_before: DateRange | None,
    now: datetime,
) -> list[DayOutcome]:
    """Write the rows, what is kept aside, the day ledger and the watermark. The caller's transaction makes them one."""
    outcomes: list[DayOutcome] = []
    changed: list[date] = []
    for compared in comparisons:
        signals.raise_if_interrupted()
        if _write_day(connection, run, batch, compared, rules, now):
            changed.append(compared.snapshot.day)
        outcomes.append(compared.outcome())
    raise_revision(connection, run.account_id, changed)
    if batch.days:  # else the answer was about other days altogether
        taken = {outcome.day for outcome in outcomes if outcome.rejection_reason is None}
        sync_rejects(
            connection, run, [item for item in batch.rejected if item.day is None or item.day in taken],
            days=taken, requested=batch.requested, previously_requested=asked_before, now=now,
        )  # fmt: skip
    # A day that a person takes may lie anywhere: it begins no history.
    first = None if rules.accepted_days else batch.window.first
    unserved = batch.refused if rules.begins_where_served else frozenset[date]()
    advance_watermark(connection, run, first, lookback=rules.lookback, zone=rules.zone, unserved=unserved)
    return outcomes


def _write_day(
    connection: Connection, run: RunHandle, batch: WindowData, compared: DayComparison, rules: LoadPolicy, now: datetime
) -> bool:
    """Write what differs of a day; whether anything did."""
    snapshot, before = compared.snapshot, compared.ledger_entry
    if compared.unknown:
        return False
    if compared.rejection_reason is not None:
        mark_suspect(connection, run, snapshot.day, compared.rejection_reason, now)
        return before is not None and not before.suspect
    # A row that was mended to what the ledger knows is no news of the vendor's.
    restated = before is not None and before.closed and before.digest != snapshot.digest
    changed = False
    for change in filter(None, compared.changes):
        changed = True
        apply_diff(connection, run, change, zone=rules.zone, now=now)
        if restated:
            write_restatements(connection, run, change, now=now)
    folds = _folds_of(batch, snapshot.day)
    if compared.wrong_utc or (changed and folds):  # new rows stand at the first reading
        correct(connection, run.account_id, snapshot.day, rules.zone, folds, every_row=rules.full_compare, now=now)
        changed = True
    closes = snapshot.day < rules.today and snapshot.day not in batch.unsure
    if before is None or not before.matches(snapshot) or before.suspect or (closes and not before.closed):
        upsert_day(connection, run, snapshot, before, source=batch.days[snapshot.day].source, closes=closes, now=now)
        changed = True
    return changed


def summarise(outcomes: Sequence[DayOutcome], batch: WindowData, rules: LoadPolicy) -> RunCounts:
    """How the rows and days of a window ended."""
    tally = RunCounts()
    known = {outcome.day for outcome in outcomes if outcome.was_closed or outcome.rejection_reason}
    reasons = dict.fromkeys(batch.unsure, "the question may not have reached all of it") | dict(batch.unconfirmed_days)
    tally.missing_days = {
        day: reason
        for day, reason in sorted(reasons.items())
        if day not in known and (day < rules.today or day in batch.unconfirmed_days)
    }
    tally.refused_days = batch.refused & tally.missing_days.keys()
    tally.largest = dict(batch.largest)
    for outcome in outcomes:
        tally.days += 1
        if outcome.rejection_reason is not None:
            tally.suspect_days.append(outcome.day)
            continue
        tally.new += outcome.rows.new
        tally.changed += outcome.rows.changed
        tally.withdrawn += outcome.rows.withdrawn
        tally.unchanged += outcome.rows.unchanged
    stored = [item for item in batch.rejected if batch.days and (item.day is None or item.day in batch.days)]
    tally.rejected.update(payload_hash(item.payload) for item in stored)
    return tally
