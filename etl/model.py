"""The values that travel through the program. No I/O, no rules: those are in the stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

MISSING: Final = msgspec.UNSET
"""The value of a field that the source does not carry at all, as against one that is null."""

ATTRIBUTES: Final = frozenset({"status", "status_info", "price"})
"""The fields that may change while the record stays the same record; the other three are its key."""

ALL_FIELDS: Final = ATTRIBUTES | {"created_at", "phone", "code_auth"}

REQUIRED_FIELDS: Final = ("created_at", "phone", "code_auth", "price")
"""Without its key a record is no record, and without its price no charge: a source that lacks one is none."""

Outcome: TypeAlias = Literal["running", "done", "look", "failed", "stopped", "abandoned"]
"""How a run ended, as `sync_runs.outcome` has it."""

SUCCESSFUL: Final[frozenset[Outcome]] = frozenset({"done", "look"})
"""The outcomes of runs that stored all they were asked for; they end with 0 and 65."""

Raw: TypeAlias = Any
"""A field as the source spelled it: JSON gives text, numbers, booleans and null, CSV gives text."""


class RawRecord(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One charge as a source spelled it, every field of any type; one that the source lacks is MISSING.

    Source: the vendor's reference, "post_billing_data".
    """

    created_at: Raw
    code_auth: Raw
    status: Raw
    status_info: Raw
    phone: Raw
    price: Raw


def raw_record(**fields: Raw) -> RawRecord:
    """A raw record of the fields that a source has; what it lacks is MISSING."""
    return RawRecord(**{**dict.fromkeys(ALL_FIELDS, MISSING), **fields})


class Record(NamedTuple):
    """One charge in its canonical form: equal charges are equal Records, whatever the source.

    `created_at` is the vendor's wall clock as `YYYY-MM-DD HH:MM:SS`; `price` has exactly six decimal places.
    """

    created_at: str
    phone: str
    code_auth: str
    status: int | None
    status_info: str
    price: Decimal


record_from_tuple = partial(tuple.__new__, Record)
"""Makes a Record of its six fields, at the speed of a tuple: some loops run it once a record."""


@dataclass(frozen=True, slots=True)
class PrivacyFormat:
    """In which form an account's phones and codes are stored: `plain`, `masked` or `keyed`, `keep` or `drop`.

    Attributes:
        key_id: Of the key that keyed phones are made with; it tells nothing about the key.
    """

    phones: str = "plain"
    key_id: str = ""
    codes: str = "keep"


PartialKey: TypeAlias = tuple[str | None, str | None, str | None]
"""created_at, phone and code_auth in stored form; None where one cannot be read, the empty text where none is given."""


@dataclass(frozen=True, slots=True)
class TextLimit:
    """The longest text that the database takes.

    Attributes:
        size: Bytes of UTF-8, as the driver sends them.
        setting: What sets the limit, and to how much.
        doubled: Characters that the driver sends as two.
    """

    size: int
    setting: str
    doubled: str = ""

    def surely_allows(self, characters: int) -> bool:
        """Whether any text of so many characters fits: none takes more than four bytes."""
        return characters * 4 <= self.size

    def allows(self, text: str) -> bool:
        """Whether a text fits."""
        if self.surely_allows(len(text)):
            return True
        return len(text.encode()) + sum(map(text.count, self.doubled)) <= self.size


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that failed validation and is quarantined.

    Attributes:
        day: None where it cannot be read.
        payload: JSON text.
        key: By what can be read of it a stored row is recognised.
        readable: Nothing of it is unknown; it is only more than the database takes.
    """

    day: date | None
    reason: str
    payload: str
    key: PartialKey = (None, None, None)
    readable: bool = False


@dataclass(frozen=True, slots=True)
class DateRange:
    """Days of the vendor's wall clock, both ends included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            msg = f"a window ends before it begins: {self}"
            raise ValueError(msg)

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def days(self) -> list[date]:
        """Every day of the window, in order."""
        return [self.first + timedelta(n) for n in range(len(self))]


@dataclass(slots=True)
class Feed:
    """What one answer or file lists, as it spells it.

    What is not a row is complete only once the rows are consumed: an answer is never in memory as a whole.

    Attributes:
        rows: The raw records; an iterator that may be consumed once.
        fields: Which of RawRecord's fields the source carries.
        unknown: The names of what else it carries.
        malformed: Items that are not even a record.
    """

    rows: Iterable[RawRecord]
    fields: frozenset[str] = ALL_FIELDS
    unknown: tuple[str, ...] = ()
    malformed: tuple[RejectedRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadStats:
    """What one listing as a whole shows.

    Attributes:
        listed: How many records it lists, good and bad, of whatever day.
        kept: How many of them are good and of the days asked for.
        earliest: The first and
        latest: the last time it lists; None where no time can be read.
        ascending: No record is earlier than the one before it.
        descending: No record is later than the one before it.
        rejected: What cannot be a record: of the days asked for, or of a day that cannot be read.
        folds: Which reading of a time that the clock shows twice a record has, 0 or 1, where its offset says so.
    """

    listed: int
    kept: int
    earliest: str | None
    latest: str | None
    ascending: bool
    descending: bool
    rejected: tuple[RejectedRecord, ...]
    folds: Mapping[Record, int] = field(default_factory=dict)


RecordColumns: TypeAlias = tuple[
    Sequence[str], Sequence[str], Sequence[str], Sequence[int | None], Sequence[str], Sequence[Decimal]
]
"""The fields of Records, a column each, in the order of Record's own. What is put into a database by the hundred
thousand goes there a column at a time, and never needs to be one Record after another."""


class CountedRecord(NamedTuple):
    """A record and how often the vendor lists it."""

    record: Record
    repeats: int


@dataclass(frozen=True, slots=True)
class CountedRecords:
    """Different records in canonical order, and how often the vendor lists each."""

    columns: RecordColumns
    repeats: Sequence[int]

    @classmethod
    def of(cls, records: Iterable[Record], repeats: Sequence[int]) -> CountedRecords:
        """The listing of some records."""
        return cls(to_columns(records), repeats)

    def __len__(self) -> int:
        return len(self.repeats)

    def __iter__(self) -> Iterator[CountedRecord]:
        return map(_listed, zip(map(record_from_tuple, zip(*self.columns, strict=True)), self.repeats, strict=True))


_listed = partial(tuple.__new__, CountedRecord)


def to_columns(records: Iterable[Record]) -> RecordColumns:
    """Records a column at a time; of none, six that are empty."""
    return tuple(zip(*records, strict=True)) or ((),) * 6  # type: ignore[return-value]  # the fields, in their order


@dataclass(frozen=True, slots=True)
class TimeSlice(Generic[T]):
    """All of a day from one time on, up to another: as much as is looked at together.

    Attributes:
        since: In the vendor's wall clock, like
        until: where it ends; that moment is the next slice's.
        read: Gives what is in it. It may come from disk, each time anew.
    """

    since: datetime
    until: datetime
    read: Callable[[], T]


@dataclass(frozen=True, slots=True)
class DayRecords:
    """The good records of one day, in no order within a slice.

    Attributes:
        slices: From the day's beginning to its end, without a hole; nearly every day is a single one.
        on_disk: Whether reading them takes memory that they do not take by themselves.
        source: `json` or `csv`.
        missing_fields: Attributes that the source does not carry: the stored values stand.
    """

    count: int
    slices: tuple[TimeSlice[list[Record]], ...]
    on_disk: bool = False
    source: str = "json"
    missing_fields: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return self.count

    def records(self) -> Iterator[Record]:
        """Each record, as often as it is listed."""
        for part in self.slices:
            yield from part.read()


def single_slice_day(day: date, records: list[Record]) -> DayRecords:
    """A day whose records are at hand."""
    return DayRecords(len(records), (TimeSlice(*day_bounds(day), lambda: records),))


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """When a day begins, and when the next one does."""
    begins = datetime.combine(day, time.min)
    return begins, begins + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WindowData:
    """The vendor's answer for a window, normalised: the days that could be shown whole, and what speaks against others.

    Attributes:
        days: Days of the window with all of their records; a day without records is there, empty.
        rejected: What could not be a record, of these days or of a day that cannot be read.
        requested: The days the answer reaches over: more than the window's.
        unsure: Days that the question may not have reached in full: they stay open.
        unconfirmed_days: The other days of the window, each with the reason why no answer for it is taken. What is
            stored of them stays.
        largest: Records in the largest answer of the run so far, by source.
        folds: As in `ReadStats`, of the window's records.
        refused: Of the doubts, the days about which the vendor refuses every question.
    """

    window: DateRange
    requested: DateRange
    days: Mapping[date, DayRecords]
    rejected: tuple[RejectedRecord, ...] = ()
    unsure: frozenset[date] = frozenset()
    unconfirmed_days: Mapping[date, str] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    folds: Mapping[Record, int] = field(default_factory=dict)
    refused: frozenset[date] = frozenset()

    @property
    def sources(self) -> frozenset[str]:
        """Where its days come from: `json`, `csv` or both."""
        return frozenset(records.source for records in self.days.values())


@dataclass(frozen=True, slots=True)
class DaySnapshot:
    """A whole day as the vendor last said it.

    Attributes:
        slices: Its distinct records in canonical order, each with how often it is listed.
        digest: Equal for equal days, whatever the source, the order and the slices.
        records: How many the vendor lists, repeats included.
        distinct: How many of them are different.
        spend: The sum of price times repeats.
    """

    day: date
    slices: tuple[TimeSlice[CountedRecords], ...]
    digest: str
    records: int
    distinct: int
    spend: Decimal


@dataclass(slots=True)
class RunCounts:
    """How the rows and days of a run or a window ended.

    Attributes:
        rejected: Digests of bad records: one may come in two answers.
        suspect_days: Days whose answer was not believed.
        missing_days: Days that no source could show whole and that stay open, each with the reason.
        refused_days: The missing days about which the vendor refuses every question.
        largest: Records in the largest answer so far, by source.
    """

    days: int = 0
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    rejected: set[str] = field(default_factory=set)
    suspect_days: list[date] = field(default_factory=list)
    missing_days: dict[date, str] = field(default_factory=dict)
    refused_days: frozenset[date] = frozenset()
    largest: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, int]:
        """The numbers that a run's report and its row in the history show."""
        return {
            "days": self.days,
            "new": self.new,
            "changed": self.changed,
            "withdrawn": self.withdrawn,
            "unchanged": self.unchanged,
            "rejected": len(self.rejected),
        }

    def merge(self, other: RunCounts) -> None:
        """Count what another tally counted."""
        self.days += other.days
        self.new += other.new
        self.changed += other.changed
        self.withdrawn += other.withdrawn
        self.unchanged += other.unchanged
        self.rejected |= other.rejected
        self.suspect_days.extend(other.suspect_days)
        self.missing_days |= other.missing_days
        self.refused_days |= other.refused_days
        for source, records in other.largest.items():
            self.largest[source] = max(records, self.largest.get(source, 0))
