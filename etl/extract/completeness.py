"""Completeness checks for the vendor's answers: the only place of these rules, for JSON and CSV. Pure.

The vendor documents no limit on the size of an answer. There may be one on its records or its bytes, of any size, which
keeps the oldest records, the newest or any others. So an answer is accepted as complete only with evidence:

- it is smaller than another answer of the same source, in records and in bytes, so that no limit can have truncated it
  (`AnswerEvidence`);
- it is ordered by time and has records before and after the target days: a limit truncates an ordered list at an end;
- a smaller request for its outermost days agrees, or it contains the newest records of the account (`NewestRecords`).

There may also be a limit on the days of an answer, which is then small: a day is empty only if no other answer lists a
record of it (`AnswerEvidence.has_listed`), and those after the last record of an answer need separate evidence.

Two different answers of the same size, or one of exactly the largest size that the account ever had, are evidence of
a limit: then only the first rule counts.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple, TypeAlias

from etl.date_ranges import ONE_DAY
from etl.model import DateRange, DayRecords, ReadStats, Record, RejectedRecord

MIN_LIMIT: Final = 10
"""Records: a smaller answer is complete. Assumed: no API for billing data has a lower limit."""

MIN_RECORDS_OF_GONE_DAY: Final = 20
"""Records of a day that, if an answer lacks all of them, are no longer served rather than withdrawn. Assumed."""

MIN_SIZE_LIMIT: Final = 8 * 1024
"""Bytes: no limit on bytes truncates a smaller answer. Assumed: a server's buffer is not smaller."""

_Key: TypeAlias = tuple[str, str, str]
"""`created_at`, `phone` and `code_auth` of a record."""


class _Answer(NamedTuple):
    """The size of an answer, and its first and its last time."""

    listed: int
    size: int
    earliest: str | None
    latest: str | None


def is_smaller(stats: ReadStats, other: ReadStats | _Answer) -> bool:
    """Whether an answer is so much smaller than another one that no limit, on records or bytes, can have truncated it.

    A limit on bytes truncates an answer before the first record that exceeds it: answers truncated by it differ by less
    than a record.
    """
    has_fewer_bytes = stats.size < MIN_SIZE_LIMIT or stats.size + _largest_record(stats) <= other.size
    return stats.listed < other.listed and has_fewer_bytes


def _are_similar(stats: ReadStats, other: _Answer) -> bool:
    """Whether a limit on bytes can have truncated both answers."""
    return stats.size >= MIN_SIZE_LIMIT and abs(stats.size - other.size) < _largest_record(stats)


def _largest_record(stats: ReadStats) -> float:
    """Bytes of the largest record of an answer: assumed, one and a half times the average."""
    return 1.5 * stats.size / max(stats.listed, 1)


class AnswerEvidence:
    """The sizes and days with records of one source's answers in a run, as evidence about each other. Thread-safe.

    Args:
        largest_before: Records in the largest answer of earlier runs; None without earlier runs.
    """

    def __init__(self, largest_before: int | None = None) -> None:
        self.largest = 0
        self._largest_before = largest_before
        self._listed_days: set[date] = set()
        self._answers: set[_Answer] = set()
        self._limits: set[int] = set()
        self._lock = threading.Lock()

    def add(self, stats: ReadStats) -> None:
        """Record an answer."""
        with self._lock:
            if stats.earliest is not None:
                self._listed_days.update(listed_range(stats))
            self.largest = max(self.largest, stats.listed)
            self._answers.add(_Answer(stats.listed, stats.size, stats.earliest, stats.latest))

    def has_listed(self, day: date) -> bool:
        """Whether the first or the last record of some answer is of a day, which therefore is not empty."""
        return day in self._listed_days

    def listed_days(self) -> frozenset[date]:
        """The days of the first and of the last record of each answer."""
        with self._lock:
            return frozenset(self._listed_days)

    def prove_complete(self, stats: ReadStats) -> bool:
        """Whether an answer is too small to be truncated."""
        return stats.listed < MIN_LIMIT or any(is_smaller(stats, other) for other in self._all())

    def count(self, listed: int) -> int:
        """Count the different answers of this number of records; 0 if there is a larger one."""
        return sum(other.listed == listed for other in self._all()) if listed == self.largest else 0

    def count_similar(self, stats: ReadStats) -> int:
        """Count the different answers that the same limit would explain; 0 if there is a larger one."""
        if self.prove_complete(stats):
            return 0
        return sum(other.listed == stats.listed or _are_similar(stats, other) for other in self._all())

    def suggest_limit(self, listed: int) -> bool:
        """Whether a limit of exactly this number of records would explain other answers as well."""
        return self.count(listed) > 1 or listed == self._largest_before

    def add_limit(self, listed: int) -> None:
        """Record the number of records of an answer that is known to be truncated."""
        with self._lock:
            self._limits.add(listed)

    def is_limit(self, listed: int) -> bool:
        """Whether an answer of this number of records is known to be truncated."""
        return listed in self._limits

    def _all(self) -> list[_Answer]:
        with self._lock:
            return list(self._answers)


@dataclass(frozen=True, slots=True)
class NewestRecords:
    """The newest records of the account, from `get_billing_record`.

    Attributes:
        records: Multiplicity of each readable record.
        listed: Number of records, unreadable ones included.
        requested: Number of records requested.
        unreadable: Records that failed validation.
        ordered: Whether they are in the order of `created_at`, or its reverse. Otherwise they may be those that the
            vendor added last, among which a late record of an earlier day is missing.
    """

    records: Counter[Record]
    listed: int
    requested: int
    unreadable: tuple[RejectedRecord, ...] = ()
    ordered: bool = True
    _keys: dict[date, Counter[_Key]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys: defaultdict[date, Counter[_Key]] = defaultdict(Counter)
        for record, times in self.records.items():
            keys[day_of(record)][record[:3]] += times
        object.__setattr__(self, "_keys", dict(keys))

    def days(self) -> Collection[date]:
        """The days of the readable ones."""
        return self._keys.keys()

    def are_contained_in(self, days: Mapping[date, DayRecords]) -> bool:
        """Whether an answer has all of the newest records that belong to its days.

        Records are compared by key: a source may lack the other fields, and they may change between two requests.
        """
        return all(
            expected <= Counter(key for record in days[day].records() if (key := record[:3]) in expected)
            for day, expected in self._keys.items()
            if day in days
        )

    def match_exactly(self, days: Mapping[date, DayRecords], rejected: Collection[RejectedRecord] = ()) -> bool:
        """Whether an answer has exactly the newest records of its days, and these include all records of the days.

        False if the day of an unreadable record is unknown.

        Args:
            days: Readable records of the answer, by day.
            rejected: Unreadable records of the answer.
        """
        if None in {item.day for item in (*self.unreadable, *rejected)}:
            return False
        return _unreadable_on(days, self.unreadable) == _unreadable_on(days, rejected) and all(
            self.cover(day) and self._count(day) == len(records) for day, records in days.items()
        )

    def confirm(self, days: Mapping[date, DayRecords], rejected: Collection[RejectedRecord] = ()) -> frozenset[date]:
        """Return the days that match the newest records exactly."""
        return frozenset(day for day, records in days.items() if self.match_exactly({day: records}, rejected))

    def cover(self, day: date) -> bool:
        """Whether the newest records include all records of a day.

        Assumed: the newest records, if they are in order, are the last ones by `created_at`.
        """
        return self._include_all or (self.ordered and min(self._keys, default=day) < day)

    def prove_empty(self, day: date, answer: Mapping[date, DayRecords]) -> bool:
        """Whether the account certainly has no record of a day that an answer shows empty."""
        covers = self._include_all or self.reach(day - ONE_DAY, answer)
        return self._all_readable and covers and day not in self._keys

    def reach(self, day: date, answer: Mapping[date, DayRecords]) -> bool:
        """Whether they reach back to a day: then they include all records of later days.

        False if the answer has later records than the oldest of them that they lack: they are not the last ones by
        `created_at`, but perhaps those that the vendor added last.
        """
        oldest = min(self._keys, default=date.max)
        return (
            (self.ordered or self._include_all)
            and oldest <= day
            and all(
                len(records) <= self._count(listed_on)
                and Counter(record[:3] for record in records.records()) <= self._keys.get(listed_on, Counter())
                for listed_on, records in answer.items()
                if listed_on > oldest
            )
        )

    def end_by(self, day: date) -> bool:
        """Whether the account certainly has no record after a day."""
        return self._all_readable and max(self._keys, default=day) <= day

    def _count(self, day: date) -> int:
        return self._keys[day].total() if day in self._keys else 0

    @property
    def _include_all(self) -> bool:
        """Whether the account has no other records."""
        return self.listed < self.requested

    @property
    def _all_readable(self) -> bool:
        return self.records.total() == self.listed


def _unreadable_on(days: Container[date], rejected: Iterable[RejectedRecord]) -> Counter[RejectedRecord]:
    return Counter(item for item in rejected if item.day in days)


def contains_all(records: DayRecords, expected: DayRecords) -> bool:
    """Whether an answer for a day has all records of another one, by key: a source may lack the other fields."""
    return not count_missing(records, expected)


def count_missing(records: DayRecords, expected: DayRecords) -> int:
    """Count the records of another answer for the same day that an answer lacks, by key."""
    keys, expected_keys = (Counter(record[:3] for record in one.records()) for one in (records, expected))
    return (expected_keys - keys).total()


def day_of(record: Record) -> date:
    """The day of a record, in the vendor's wall clock."""
    return date.fromisoformat(record[0][:10])


def is_in_order(stats: ReadStats) -> bool:
    """Whether an answer is ordered by time, ascending or descending: then a limit truncates it at an end."""
    return (stats.ascending or stats.descending) and stats.earliest != stats.latest


def is_of_one_day(stats: ReadStats) -> bool:
    """Whether all records of an answer belong to a single day."""
    return stats.earliest is not None and len(set(listed_range(stats))) == 1


def has_records_around(stats: ReadStats, target: DateRange) -> tuple[bool, bool]:
    """Whether an answer has a record before the target days, and whether it has one after them."""
    if stats.earliest is None:
        return False, False
    earliest, latest = listed_range(stats)
    return earliest < target.first, latest > target.last


def encloses(stats: ReadStats, day: date) -> bool:
    """Whether an answer has records both before and after a day."""
    return has_records_around(stats, DateRange(day, day)) == (True, True)


def is_empty_since(stats: ReadStats, day: date) -> bool:
    """Whether an answer certainly has no record of a day or a later one."""
    return not stats.listed or (stats.latest is not None and listed_range(stats)[1] < day)


def is_likely_limit(listed: int) -> bool:
    """Whether a number of records looks like a limit: round, or close to a power of two, or all nines.

    Only useful without any other evidence.
    """
    return (
        listed % 100 == 0
        or (listed < 100 and (listed % 10 == 0 or listed % 25 == 0))
        or (listed >= 64 and 0 in {listed & (listed - 1), listed & (listed + 1)})
        or set(str(listed)) == {"9"}
    )


def possibly_incomplete_days(
    days: Iterable[date], requested: DateRange, stats: ReadStats, *, margin: int
) -> frozenset[date]:
    """The days that a request may not have covered in full, under the least favourable meaning of its end date.

    Args:
        days: The target days.
        requested: The dates of the request.
        stats: Statistics of its answer: a record after a day shows that the request covered the day.
        margin: Days after a day that a request must include to cover it for certain.
    """
    latest = (stats.latest or "")[:10]
    return frozenset(day for day in days if (requested.last - day).days < margin and latest <= day.isoformat())


def days_begun_late(
    first: date, days: Mapping[date, DayRecords], requested: date, stats: ReadStats, known: Mapping[date, int]
) -> frozenset[date]:
    """The days at the start of an answer with fewer records than are known, if it lacks those of the day before, too.

    The vendor may serve only the last days or hours, so that its answers begin in the middle of a day (assumed).

    Args:
        first: The first target day.
        days: Target days of the answer.
        requested: The first date of the request.
        stats: Statistics of the answer.
        known: Number of records of each day that an earlier run found complete.
    """
    if stats.earliest is None or requested >= first or known.get(first - ONE_DAY, 0) < MIN_RECORDS_OF_GONE_DAY:
        return frozenset()
    earliest, _ = listed_range(stats)
    if earliest < first:
        return frozenset()
    return frozenset(day for day, records in days.items() if day <= earliest and len(records) < known.get(day, 0))


def days_without_padding(days: Iterable[date], start: date) -> frozenset[date]:
    """The days that may begin before the first date of a request, if the vendor uses another time zone."""
    return frozenset(day for day in days if day <= start)


def uncovered_days(days: Iterable[date], requested: DateRange, stats: ReadStats) -> frozenset[date]:
    """The days without records at one end of an answer that exceeds the requested dates at the other end.

    So are the days of those excess records if their dates may have the month before the day.
    """
    too_early, too_late = exceeds_range(requested, stats)
    if not (too_early or too_late):
        return frozenset()
    earliest, latest = listed_range(stats)
    return frozenset(
        day for day in days if (too_late and day < earliest) or (too_early and day > latest) or day in stats.swapped
    )


def exceeds_range(requested: DateRange, stats: ReadStats) -> tuple[bool, bool]:
    """Whether an answer has records before, and after, the requested dates that no time zone can explain."""
    if stats.earliest is None:
        return False, False
    earliest, latest = listed_range(stats)
    return earliest < requested.first - ONE_DAY, latest > requested.last + ONE_DAY


def listed_range(stats: ReadStats) -> tuple[date, date]:
    """The first and the last day of an answer that has at least one readable time."""
    return date.fromisoformat((stats.earliest or "")[:10]), date.fromisoformat((stats.latest or "")[:10])


def describe_range(stats: ReadStats) -> str:
    """Describe an answer about unrequested days, for a message."""
    first, last = listed_range(stats)
    return f"an answer about other days, {DateRange(first, last)},"


def overlaps(requested: DateRange, stats: ReadStats) -> bool:
    """Whether an answer overlaps the requested dates in any time zone."""
    earliest, latest = listed_range(stats)
    return latest >= requested.first - ONE_DAY and earliest <= requested.last + ONE_DAY
