"""The difference between a day's stored rows and the vendor's records, as values. No I/O, no rules.

`db.records` reads StoredRows, `load.diff` makes a DayDiff of them and of the vendor's records, `db.records` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import starmap
from typing import Final, NamedTuple

from etl.model import Record, RecordChange, RecordColumns, to_columns

MAX_RECORDS_SHOWN: Final = 100
"""Changed records of a day that are kept for the output of a run."""


class StoredRow(NamedTuple):
    """A row of `billing_records`, current or withdrawn. A withdrawn row keeps its last content.

    Created by `db.records`, consumed by `load` and `services.recent`.

    Attributes:
        ordinal: From 1; distinguishes rows with equal created_at, phone and code_auth, with which it is the row's key.
        repeats: How many equal records the row stands for, from 1.
    """

    record: Record
    ordinal: int
    repeats: int
    withdrawn: bool

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The primary key, without the account."""
        return (*self.record[:3], self.ordinal)


class RowInsert(NamedTuple):
    """A record that needs a new row: the key has no row left to update.

    Created by `load.diff`, consumed by InsertBatch.
    """

    record: Record
    ordinal: int
    repeats: int


@dataclass(frozen=True, slots=True)
class InsertBatch:
    """RowInserts in columnar form, for first loads of hundreds of thousands of rows.

    Created by `load.diff`, consumed by the bulk insert of `db.records`. All sequences have the same length.
    """

    columns: RecordColumns
    ordinals: Sequence[int]
    repeats: Sequence[int]

    @classmethod
    def from_rows(cls, rows: Iterable[RowInsert]) -> InsertBatch:
        """Transpose rows to columns."""
        records, ordinals, repeats = tuple(zip(*rows, strict=True)) or ((), (), ())
        return cls(to_columns(records), ordinals, repeats)

    def __len__(self) -> int:
        return len(self.repeats)

    def __iter__(self) -> Iterator[RowInsert]:
        records = starmap(Record, zip(*self.columns, strict=True))
        return map(RowInsert, records, self.ordinals, self.repeats)


class RowUpdate(NamedTuple):
    """A row whose attributes or repeats change, or that is restored after a withdrawal. The key stays.

    Created by `load.diff`, consumed by `db.records`.

    Attributes:
        row: The row as stored.
        record: The new content.
        repeats: The new number of equal records, from 1.
    """

    row: StoredRow
    record: Record
    repeats: int


def _changed_fields(update: RowUpdate) -> Iterator[str]:
    """The fields that a correction changes. Texts may contain personal data: their values are left out."""
    before, after = update.row.record, update.record
    if before.status != after.status:
        yield f"status {_render(before.status)} to {_render(after.status)}"
    if before.status_info != after.status_info:
        yield "status_info"
    if before.price != after.price:
        yield f"price {before.price.normalize():f} to {after.price.normalize():f}"
    if update.row.repeats != update.repeats:
        yield f"repeats {update.row.repeats} to {update.repeats}"


def _render(status: int | None) -> str:
    return "none" if status is None else str(status)


@dataclass(slots=True)
class DayDiff:
    """The writes that make a stored day, or one time slice of it, equal to the vendor's.

    Created by `load.diff`, consumed by `db.records` (rows and journal) and by RowCounts.

    Attributes:
        withdrawals: Rows that the vendor lists no more.
        unchanged: How many current rows stay as they are.
    """

    day: date
    inserts: InsertBatch = field(default_factory=lambda: InsertBatch.from_rows(()))
    updates: list[RowUpdate] = field(default_factory=list)
    withdrawals: list[StoredRow] = field(default_factory=list)
    unchanged: int = 0

    @property
    def restored(self) -> int:
        """How many updates restore a withdrawn row."""
        return sum(update.row.withdrawn for update in self.updates)

    def __bool__(self) -> bool:
        return bool(self.inserts or self.updates or self.withdrawals)

    def records(self) -> Iterator[RecordChange]:
        """Each changed record, without personal data, in the order of the journal."""
        for new in self.inserts:
            yield RecordChange(new.record.created_at, "late")
        for update in self.updates:
            if update.row.withdrawn:
                yield RecordChange(update.record.created_at, "returned")
            else:
                yield RecordChange(update.record.created_at, "corrected", tuple(_changed_fields(update)))
        for row in self.withdrawals:
            yield RecordChange(row.record.created_at, "withdrawn")


@dataclass(slots=True)
class RowCounts:
    """Rows of a day by the effect of its DayDiffs.

    Attributes:
        new: Inserted or restored rows.
        duplicated: Changed rows whose repeats increase.
    """

    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    duplicated: int = 0

    @property
    def current(self) -> int:
        """Current rows before the change."""
        return self.changed + self.withdrawn + self.unchanged

    def add(self, change: DayDiff) -> None:
        """Add the rows of one time slice."""
        restored = change.restored
        self.new += len(change.inserts) + restored
        self.changed += len(change.updates) - restored
        self.withdrawn += len(change.withdrawals)
        self.unchanged += change.unchanged
        self.duplicated += sum(
            not update.row.withdrawn and update.repeats > update.row.repeats for update in change.updates
        )

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.withdrawn)
