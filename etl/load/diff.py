"""What differs between a stored day and the vendor's, and whether the difference can be believed. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import compress, groupby, islice, starmap
from operator import eq
from typing import Final, NamedTuple, TypeAlias

from etl.model import CountedRecord, CountedRecords, Record, RecordColumns, to_columns

MIN_ROWS_FOR_CHECK: Final = 20
"""Records of a day from which on a share of them means something."""
MAX_DUPLICATED_SHARE: Final = Decimal("0.5")

Key: TypeAlias = tuple[str, str, str]
"""created_at, phone, code_auth."""


class StoredRow(NamedTuple):
    """A row of the day as the database has it. A withdrawn row keeps its last content."""

    id: int
    record: Record
    ordinal: int
    repeats: int
    withdrawn: bool


class RowInsert(NamedTuple):
    """A record that never stood in the day."""

    record: Record
    ordinal: int
    repeats: int


@dataclass(frozen=True, slots=True)
class InsertBatch:
    """Some of them, a column at a time: a first load has hundreds of thousands."""

    columns: RecordColumns
    ordinals: Sequence[int]
    repeats: Sequence[int]

    @classmethod
    def of(cls, items: Iterable[RowInsert]) -> InsertBatch:
        """These in columns."""
        records, ordinals, repeats = tuple(zip(*items, strict=True)) or ((), (), ())
        return cls(to_columns(records), ordinals, repeats)

    def __len__(self) -> int:
        return len(self.repeats)

    def __iter__(self) -> Iterator[RowInsert]:
        records = starmap(Record, zip(*self.columns, strict=True))
        return map(RowInsert, records, self.ordinals, self.repeats)


class RowUpdate(NamedTuple):
    """A row that gets other attributes, another number of repeats, or comes back. Its identity stays."""

    row: StoredRow
    record: Record
    repeats: int


@dataclass(slots=True)
class DayDiff:
    """All that must be written so that the stored day becomes the vendor's."""

    day: date
    inserts: InsertBatch = field(default_factory=lambda: InsertBatch.of(()))
    updates: list[RowUpdate] = field(default_factory=list)
    withdrawals: list[StoredRow] = field(default_factory=list)
    unchanged: int = 0

    @property
    def is_returned(self) -> int:
        """How many of the updates bring a withdrawn record back."""
        return sum(update.row.withdrawn for update in self.updates)

    def __bool__(self) -> bool:
        return bool(self.inserts or self.updates or self.withdrawals)


@dataclass(slots=True)
class RowCounts:
    """How the rows of a day end.

    Attributes:
        new: Records that come in, or back.
        duplicated: Of the changed ones, those that are listed more often than before.
    """

    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    duplicated: int = 0

    @property
    def current(self) -> int:
        """How many there were before, withdrawn ones left out."""
        return self.changed + self.withdrawn + self.unchanged

    def add(self, change: DayDiff) -> None:
        """Count what becomes of one slice."""
        returned = change.is_returned
        self.new += len(change.inserts) + returned
        self.changed += len(change.updates) - returned
        self.withdrawn += len(change.withdrawals)
        self.unchanged += change.unchanged
        self.duplicated += sum(
            not update.row.withdrawn and update.repeats > update.row.repeats for update in change.updates
        )

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.withdrawn)


def diff_empty_day(day: date, listing: CountedRecords) -> DayDiff:
    """The change for a slice of a day of which nothing is stored."""
    times, phones, codes, *_ = listing.columns
    ordinals = [1] * len(listing)
    # In canonical order different records of one key stand together.
    for number in compress(range(1, len(times)), map(eq, times, islice(times, 1, None))):
        if phones[number] == phones[number - 1] and codes[number] == codes[number - 1]:
            ordinals[number] += ordinals[number - 1]
    return DayDiff(day, InsertBatch(listing.columns, ordinals, listing.repeats))


def diff_day(day: date, listed: Sequence[CountedRecord], stored: Sequence[StoredRow]) -> DayDiff:
    """The change that makes what is stored of a slice of a day equal to what is listed, with as few writes as can be.

    Within one key (second, phone, code) rows are matched in this order: current rows of the same content; other
    current rows, which then are corrected; withdrawn rows, which come back. Only what is left over is new or
    withdrawn. So a correction never counts as a withdrawal.
    """
    change = DayDiff(day)
    differing = _changed_keys(listed, stored)
    rows: defaultdict[Key, list[StoredRow]] = defaultdict(list)
    for row in stored:
        if (key := row.record[:3]) in differing:
            rows[key].append(row)
        elif not row.withdrawn:
            change.unchanged += 1
    left_to_merge = [item for item in listed if item.record[:3] in differing]
    new: list[RowInsert] = []
    for key, variants in groupby(left_to_merge, key=lambda item: item.record[:3]):
        new += _diff_key(change, list(variants), rows.pop(key, []))
    change.inserts = InsertBatch.of(new)
    for left in rows.values():
        change.withdrawals.extend(row for row in left if not row.withdrawn)
    return change


def _changed_keys(listed: Iterable[CountedRecord], stored: Iterable[StoredRow]) -> set[Key]:
    """The keys whose listed records are not just the current rows: of a usual night they are few."""
    current = [(row.record, row.repeats) for row in stored if not row.withdrawn]
    once = set(current)
    different = once.symmetric_difference(listed)
    if len(once) < len(current):  # a person was forgotten
        different |= {pair for pair, count in Counter(current).items() if count > 1}
    return {record[:3] for record, _ in different}


def _diff_key(change: DayDiff, listed: list[CountedRecord], rows: list[StoredRow]) -> Iterator[RowInsert]:
    """Add to the change what becomes of a key's rows, and give what is new."""
    rows.sort(key=lambda row: row.ordinal)
    last_ordinal = rows[-1].ordinal if rows else 0
    current = [row for row in rows if not row.withdrawn]
    withdrawn = [row for row in rows if row.withdrawn]
    left = []
    for record, repeats in listed:
        same = [row for row in current if row.record == record]
        if not same:
            left.append(CountedRecord(record, repeats))
            continue
        for row in same:
            current.remove(row)
        _distribute_repeats(change, record, repeats, same)
    for record, repeats in left:
        if current:
            change.updates.append(RowUpdate(current.pop(0), record, repeats))
        elif withdrawn:
            back = next((row for row in withdrawn if row.record == record), withdrawn[0])
            withdrawn.remove(back)
            change.updates.append(RowUpdate(back, record, repeats))
        else:
            last_ordinal += 1
            yield RowInsert(record, last_ordinal, repeats)
    change.withdrawals.extend(current)


def _distribute_repeats(change: DayDiff, record: Record, repeats: int, rows: list[StoredRow]) -> None:
    # More than one row only where a person was forgotten: that made different rows equal.
    for row in rows:
        times = repeats if row is rows[-1] else min(repeats, row.repeats)
        repeats -= times
        if times == row.repeats:
            change.unchanged += 1
        elif times:
            change.updates.append(RowUpdate(row, record, times))
        else:
            change.withdrawals.append(row)


def fill_missing_fields(
    listed: Iterable[CountedRecord], stored: Iterable[StoredRow], lacking: frozenset[str]
) -> Counter[Record]:
    """Fill in what a source lacks from what is stored, so that a missing column changes nothing.

    Args:
        listed: The source's records, whose lacking fields hold the value for "none".
        stored: The day's rows.
        lacking: The attributes that the source does not carry.

    Returns:
        Whole records and how often each is listed.
    """
    known = [name not in lacking for name in Record._fields]
    completed: Counter[Record] = Counter()
    by_known: defaultdict[tuple[object, ...], list[StoredRow]] = defaultdict(list)
    by_key: defaultdict[Key, list[StoredRow]] = defaultdict(list)

    def known_part(record: Record) -> tuple[object, ...]:
        return tuple(value for value, told in zip(record, known, strict=True) if told)

    # Current rows first: a withdrawn one lends its values only where nothing else does.
    for row in sorted(stored, key=lambda row: (row.withdrawn, row.ordinal)):
        by_known[known_part(row.record)].append(row)
        by_key[row.record[:3]].append(row)
    unmatched: list[CountedRecord] = []
    for record, repeats in listed:
        rows = by_known.get(known_part(record), [])
        if not rows:
            unmatched.append(CountedRecord(record, repeats))
            continue
        left = repeats
        for row in rows:
            taken = min(left, row.repeats) if not row.withdrawn else 0
            if taken:
                completed[row.record] += taken
                left -= taken
                by_key[row.record[:3]].remove(row)
        if left:
            completed[rows[0].record] += left
    for record, repeats in unmatched:
        rows = by_key.get(record[:3], [])
        lent = rows.pop(0).record if rows else record
        whole = (theirs if told else ours for theirs, ours, told in zip(record, lent, known, strict=True))
        completed[Record(*whole)] += repeats  # type: ignore[arg-type]  # the fields' own values, in their order
    return completed


def doubt(rows: RowCounts, *, max_withdrawn_share: Decimal) -> str | None:
    """Why a change cannot be believed, or None where it can.

    Identities count, not repeats; corrections and additions never do.

    Args:
        rows: How those of the whole day would end.
        max_withdrawn_share: Of the day's current rows, from MIN_ROWS_FOR_CHECK of them on.
    """
    current, withdrawn = rows.current, rows.withdrawn
    if current and withdrawn == current and not rows.new and not rows.changed:
        return f"all {current} records are gone"
    if current < MIN_ROWS_FOR_CHECK:
        return None
    if withdrawn > max_withdrawn_share * current:
        return f"{withdrawn} of {current} records are gone"
    if rows.duplicated > MAX_DUPLICATED_SHARE * current:
        return f"{rows.duplicated} of {current} records are listed more often than before"
    return None
