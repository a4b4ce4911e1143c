"""The difference between a day's stored rows and the vendor's records, as values. No I/O, no rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import starmap
from typing import NamedTuple

from etl.model import Record, RecordColumns, to_columns


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
