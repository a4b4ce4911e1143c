"""The values passed between packages. No I/O.

The shapes of a record, from the vendor to the database:

1. `RawRecord`      the fields as the source spells them; made by `extract`, read by `transform`
2. `Record`         the fields in canonical form; made by `transform`, read by everything after it
3. `CountedRecord`  a record and its repeats, in columns `CountedRecords`; made by `transform.snapshots`, read by `load`
4. `StoredRow`      a row of the table, in columns `StoredRows`; made by `db.records`, read by `load`
5. `RowInsert`      a record that gets a new row, in columns `InsertBatch`; made by `load.diff`, written by `db.records`
6. `RowUpdate`      a row and its new content; made by `load.diff`, written by `db.records`

The last three are in `changes`. Records travel in containers: a `Feed` is one answer, `DayRecords` one day of it,
`WindowData` the days of a window, `DaySnapshot` a day in canonical order with its digest, `DayDiff` a day's writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from etl.date_ranges import DateRange
from etl.day_totals import DayTotals, HourTotals

T = TypeVar("T")

MISSING: Final = msgspec.UNSET
"""The value of a field that the source does not have; null is None."""

DELIVERED: Final = 1
"""The status of a delivered record, the only one that the vendor documents."""

ATTRIBUTES: Final = frozenset({"status", "status_info", "price"})
"""The fields that a correction may change; the other three are the key."""

ALL_FIELDS: Final = ATTRIBUTES | {"created_at", "phone", "code_auth"}

REQUIRED_FIELDS: Final = ("created_at", "phone", "code_auth", "price")
"""The fields that every source must have: the key, and the price."""

Raw: TypeAlias = Any
"""A field as the source spells it: text, number, boolean or None from JSON, text from CSV."""


class RawRecord(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One charge as a source spells it: a field has any type, and is MISSING where the source does not have it.

    Created by the parsers in `extract`, consumed by `transform.reader`.

    Source: the vendor's reference, "post_billing_data".
    """

    created_at: Raw
    code_auth: Raw
    status: Raw
    status_info: Raw
    phone: Raw
    price: Raw


def raw_record(**fields: Raw) -> RawRecord:
    """Create a raw record; fields that are not given are MISSING."""
    return RawRecord(**{**dict.fromkeys(ALL_FIELDS, MISSING), **fields})


class Record(NamedTuple):
    """One charge in canonical form: equal charges are equal Records, whatever the source.

    Created by `transform.reader`, consumed by `transform.snapshots`, `load` and `db.records`.

    Attributes:
        created_at: `YYYY-MM-DD HH:MM:SS` in the vendor's wall clock.
        phone: `+7XXXXXXXXXX` for Russian numbers, others trimmed; masked or keyed if so configured.
        code_auth: The code as text, at least four digits if numeric; empty without a code.
        status: A 64-bit integer, or None.
        status_info: Free text; empty without a text.
        price: Exactly six decimal places, less than 10**12.
    """

    created_at: str
    phone: str
    code_auth: str
    status: int | None
    status_info: str
    price: Decimal


RecordKey: TypeAlias = tuple[str, str, str]
"""created_at, phone and code_auth of a record."""

record_from_tuple = partial(tuple.__new__, Record)
"""Create a Record from a tuple of its six fields, as fast as a plain tuple: loops call it for every record."""


@dataclass(frozen=True, slots=True)
class PrivacyFormat:
    """The format in which an account stores phones and codes.

    Attributes:
        phones: `plain`, `masked` or `keyed`.
        key_id: Fingerprint of the key of keyed phones; it does not reveal the key.
        codes: `keep` or `drop`.
    """

    phones: str = "plain"
    key_id: str = ""
    codes: str = "keep"


PartialKey: TypeAlias = tuple[str | None, str | None, str | None]
"""created_at, phone and code_auth as stored; None for an unreadable field, empty text for a missing one."""


@dataclass(frozen=True, slots=True)
class TextLimit:
    """The longest text that the database accepts.

    Attributes:
        size: Bytes of UTF-8, as sent by the driver.
        setting: The database setting that sets the limit, with its value.
        doubled: Characters that the driver escapes with a second character.
    """

    size: int
    setting: str
    doubled: str = ""

    def surely_allows(self, characters: int) -> bool:
        """Whether every text of this length fits: a character has at most four bytes."""
        return characters * 4 <= self.size

    def allows(self, text: str) -> bool:
        """Whether a text fits."""
        if self.surely_allows(len(text)):
            return True
        return len(text.encode()) + sum(map(text.count, self.doubled)) <= self.size


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that failed validation and is quarantined.

    Created by `extract` (malformed items) and `transform`, consumed by `load.quarantine` and `db.records`.

    Attributes:
        day: None where it cannot be read.
        reason: The invalid field and why; never its value.
        payload: The record as JSON text.
        key: The readable part of the key, to recognise a stored row.
        readable: All fields are valid, but a text is longer than the database accepts.
        source: `json` or `csv`.
    """

    day: date | None
    reason: str
    payload: str
    key: PartialKey = (None, None, None)
    readable: bool = False
    source: str = "json"


@dataclass(slots=True)
class Feed:
    """The content of one answer or file, read lazily.

    Created by the parsers in `extract`, consumed by `transform.reader`. The other attributes are complete only after
    `rows` is consumed.

    Attributes:
        rows: The raw records; an iterable that may be consumed once.
        fields: The fields of RawRecord that the source has.
        unknown: Names of its other fields.
        malformed: Items that are not records.
        size: Bytes of the decoded body; 0 if unknown.
        claims: Names of the fields by which the answer claims to have more records than it lists.
    """

    rows: Iterable[RawRecord]
    fields: frozenset[str] = ALL_FIELDS
    unknown: tuple[str, ...] = ()
    malformed: tuple[RejectedRecord, ...] = ()
    size: int = 0
    claims: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReadStats:
    """Statistics and rejected records of one feed, from which its completeness is judged.

    Created by `transform.reader`, consumed by `extract.completeness` and the sources.

    Attributes:
        listed: Number of records, valid and rejected, of all days.
        kept: Number of valid records of the requested days.
        earliest: The earliest created_at; None if no time can be read.
        latest: The latest created_at; None if no time can be read.
        ascending: Whether the times never decrease.
        descending: Whether the times never increase.
        rejected: Rejected records of the requested days or of an unknown day.
        folds: `datetime.fold` (0 or 1) of records with an offset, where the clock shows their time twice.
        size: Bytes of the decoded body; 0 if unknown.
        swapped: Requested days on which other records would be if their dates had the month before the day.
        claims: Names of the fields by which the answer claims to have more records than it lists.
        counts: Number of records of each day, requested or not, whose time can be read.
    """

    listed: int
    kept: int
    earliest: str | None
    latest: str | None
    ascending: bool
    descending: bool
    rejected: tuple[RejectedRecord, ...]
    folds: Mapping[Record, int] = field(default_factory=dict)
    size: int = 0
    swapped: frozenset[date] = frozenset()
    claims: frozenset[str] = frozenset()
    counts: Mapping[date, int] = field(default_factory=dict, compare=False)


FeedReader: TypeAlias = Callable[[Feed, DateRange, Callable[[list[Record]], Any]], ReadStats]
"""Reads a feed to its end and passes the valid records of a date range to the callable, a batch at a time, in the order
of the feed. The only one that parses is `transform.reader.read_feed`; others wrap it."""


RecordColumns: TypeAlias = tuple[
    Sequence[str], Sequence[str], Sequence[str], Sequence[int | None], Sequence[str], Sequence[Decimal]
]
"""Records in columnar form, in the order of Record's fields. Bulk inserts take columns, not Record objects."""


class CountedRecord(NamedTuple):
    """A record and how often the vendor lists it.

    Created by `transform.snapshots`, consumed by `load`.

    Attributes:
        repeats: Number of equal records, from 1.
    """

    record: Record
    repeats: int


@dataclass(frozen=True, slots=True)
class CountedRecords:
    """CountedRecords of one time slice in columnar form: distinct records in canonical order.

    Created by `transform.snapshots`, consumed by `load.diff`. All sequences have the same length.
    """

    columns: RecordColumns
    repeats: Sequence[int]

    @classmethod
    def from_records(cls, records: Iterable[Record], repeats: Sequence[int]) -> CountedRecords:
        """Transpose distinct records, in canonical order, to columns."""
        return cls(to_columns(records), repeats)

    def __len__(self) -> int:
        return len(self.repeats)

    def __iter__(self) -> Iterator[CountedRecord]:
        return map(
            _counted_record, zip(map(record_from_tuple, zip(*self.columns, strict=True)), self.repeats, strict=True)
        )


_counted_record = partial(tuple.__new__, CountedRecord)


def to_columns(records: Iterable[Record]) -> RecordColumns:
    """Transpose records to columns; six empty columns for no records."""
    return tuple(zip(*records, strict=True)) or ((),) * 6  # type: ignore[return-value]  # the fields, in their order


@dataclass(frozen=True, slots=True)
class TimeSlice(Generic[T]):
    """One time slice of a day: the unit that is loaded and compared in memory.

    Attributes:
        since: The start, in the vendor's wall clock.
        until: The end, exclusive.
        read: Returns the content. It may read it from disk on every call.
    """

    since: datetime
    until: datetime
    read: Callable[[], T]


@dataclass(frozen=True, slots=True)
class DayRecords:
    """The valid records of one day, in no order within a slice.

    Created by `extract`, consumed by `transform.snapshots`.

    Attributes:
        count: Number of records, repeats included.
        slices: Contiguous slices that cover the day; nearly every day has a single one.
        on_disk: Whether `read` of a slice loads it from disk.
        source: `json` or `csv`.
        missing_fields: Attributes that the source does not have: the stored values are kept.
    """

    count: int
    slices: tuple[TimeSlice[list[Record]], ...]
    on_disk: bool = False
    source: str = "json"
    missing_fields: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return self.count

    def records(self) -> Iterator[Record]:
        """All records, repeats included."""
        for part in self.slices:
            yield from part.read()


def single_slice_day(day: date, records: list[Record]) -> DayRecords:
    """Create a day of a single slice from records in memory."""
    return DayRecords(len(records), (TimeSlice(*day_bounds(day), lambda: records),))


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The start of a day and the start of the next one."""
    start = datetime.combine(day, time.min)
    return start, start + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WindowData:
    """The vendor's records of one window: the days shown to be complete, and the reasons against the other days.

    Created by `extract.source`, consumed by `load.compare` and `load.write`.

    Attributes:
        window: The days to store.
        requested: The days that the request covered, padding included.
        days: Complete days of the window; a day without records is present and empty.
        rejected: Rejected records of these days or of an unknown day.
        incomplete_days: Days that the request may not have covered in full: they stay open.
        unresolved_days: The other days of the window, with the reason why no answer is accepted. Their rows are kept.
        largest: Number of records in the largest answer of the run so far, by source.
        folds: `datetime.fold` of the window's records; see `ReadStats`.
        refused: Unconfirmed days for which the vendor refuses every request.
        failed: Unresolved days for which the requests failed: no answer says anything about them.
        unreadable: Unresolved days of which no record can be read in either source.
    """

    window: DateRange
    requested: DateRange
    days: Mapping[date, DayRecords]
    rejected: tuple[RejectedRecord, ...] = ()
    incomplete_days: frozenset[date] = frozenset()
    unresolved_days: Mapping[date, str] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    folds: Mapping[Record, int] = field(default_factory=dict)
    refused: frozenset[date] = frozenset()
    failed: frozenset[date] = frozenset()
    unreadable: frozenset[date] = frozenset()

    @property
    def sources(self) -> frozenset[str]:
        """The sources of its days: `json`, `csv` or both."""
        return frozenset(records.source for records in self.days.values())


@dataclass(frozen=True, slots=True)
class DaySnapshot:
    """A complete day as the vendor lists it, in canonical order, with its digest.

    Created by `transform.snapshots`, consumed by `load.compare`, `load.write`, `db.days` and `db.totals`.

    Attributes:
        slices: Distinct records in canonical order, counted.
        digest: 32 hexadecimal digits; equal for equal days, whatever their source, order and slices.
        distinct: Number of distinct records.
        hours: Totals of each hour with records, in order.
    """

    day: date
    slices: tuple[TimeSlice[CountedRecords], ...]
    digest: str
    distinct: int
    totals: DayTotals
    hours: tuple[HourTotals, ...] = ()
