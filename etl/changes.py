"""The difference between a day's stored rows and the vendor's records, as values. No I/O, no rules.

`db.records` reads StoredRows, `load.diff` makes a DayDiff of them and of the vendor's records, `db.records` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import starmap
from typing import Final, NamedTuple

from etl.model import Record, RecordColumns, record_from_tuple, to_columns
from etl.run_counts import RecordChange

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


@dataclass(frozen=True, slots=True)
class StoredRows:
    """StoredRows of a time range in columnar form, in no order.

    Created by `db.records`, consumed by `load`. All sequences have the same length.
    """

    columns: RecordColumns
    ordinals: Sequence[int]
    repeats: Sequence[int]
    withdrawn: Sequence[bool]

    @classmethod
    def from_rows(cls, rows: Iterable[StoredRow]) -> StoredRows:
        """Transpose rows to columns."""
        records, ordinals, repeats, withdrawn = tuple(zip(*rows, strict=True)) or ((), (), (), ())
        return cls(to_columns(records), ordinals, repeats, withdrawn)

    def __len__(self) -> int:
        return len(self.repeats)

    def __iter__(self) -> Iterator[StoredRow]:
        records = map(record_from_tuple, zip(*self.columns, strict=True))
        return map(_stored_row, zip(records, self.ordinals, self.repeats, self.withdrawn, strict=True))


_stored_row = partial(tuple.__new__, StoredRow)
"""Constructor without the overhead of `StoredRow.__new__`."""


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


class RowChange(NamedTuple):
    """A changed row, as the journal records it.

    Created by `DayDiff`, consumed by `db.journal`.

    Attributes:
        kind: `late`, `returned`, `corrected` or `withdrawn`.
        key: A record with the key of the row.
        ordinal: The ordinal of the row.
        before: The content before; None if the row was not current.
        repeats_before: The number of equal records before; 0 if the row was not current.
        after: The content after; None of a withdrawal.
        repeats_after: The number of equal records after.
    """

    kind: str
    key: Record
    ordinal: int
    before: Record | None
    repeats_before: int
    after: Record | None
    repeats_after: int

    @property
    def delta(self) -> Decimal:
        """The change of the day's spend."""
        before = self.before.price * self.repeats_before if self.before else Decimal(0)
        after = self.after.price * self.repeats_after if self.after else Decimal(0)
        return after - before

    def changed_fields(self) -> Iterator[str]:
        """The fields that a correction changes. Texts may contain personal data: their values are left out."""
        before, after = self.before, self.after
        if before is None or after is None:
            return
        if before.status != after.status:
            yield f"status {_render(before.status)} to {_render(after.status)}"
        if before.status_info != after.status_info:
            yield "status_info"
        if before.price != after.price:
            yield f"price {before.price.normalize():f} to {after.price.normalize():f}"
        if self.repeats_before != self.repeats_after:
            yield f"repeats {self.repeats_before} to {self.repeats_after}"


def _render(status: int | None) -> str:
    return "none" if status is None else str(status)


@dataclass(slots=True)
class DayDiff:
    """The writes that make a stored day, or one time slice of it, equal to the vendor's.

    Created by `load.diff`, consumed by `db.records` (rows and journal) and by RowCounts.

    Attributes:
        withdrawals: Rows that the vendor no longer lists.
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

    def row_changes(self) -> Iterator[RowChange]:
        """Each changed row, in the order of the journal."""
        for new in self.inserts:
            yield RowChange("late", new.record, new.ordinal, None, 0, new.record, new.repeats)
        for row, record, repeats in self.updates:
            if row.withdrawn:
                yield RowChange("returned", record, row.ordinal, None, 0, record, repeats)
            else:
                yield RowChange("corrected", record, row.ordinal, row.record, row.repeats, record, repeats)
        for row in self.withdrawals:
            yield RowChange("withdrawn", row.record, row.ordinal, row.record, row.repeats, None, 0)

    def records(self) -> Iterator[RecordChange]:
        """Each changed record, without personal data, in the order of the journal."""
        for change in self.row_changes():
            yield RecordChange(change.key.created_at, change.kind, tuple(change.changed_fields()))


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
