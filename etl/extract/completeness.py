"""Whether an answer of the vendor is whole: the one place of these rules, for JSON and CSV alike. Pure.

The vendor documents no limit on the records of an answer, and may have one of any size, which keeps the oldest or the
newest records, or any of them. So an answer counts as whole only where something speaks for it:

- it is smaller than another answer of the same source, which no limit can then have reached (`AnswerSizes`);
- it is in order of time and has records on both sides of the days wanted: a limit cuts an ordered list at an end;
- a smaller question about its outermost days agrees, or it has the newest records of the account (`Newest`).

Two different answers of one size, or one of exactly the largest size that the account ever had, speak against it:
then only the first of these counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from etl.date_ranges import ONE_DAY
from etl.model import DateRange, DayRecords, ReadStats, Record, RejectedRecord

SMALLEST_LIMIT: Final = 10
"""Records: an answer of fewer is whole. Assumed: no interface for billing data is limited to less."""


class AnswerSizes:
    """The sizes of one source's answers in a run, and what they say about a limit. Threads may share it.

    Args:
        largest_before: Records in the largest answer of earlier runs; None where there was none.
    """

    def __init__(self, largest_before: int | None = None) -> None:
        self.largest = 0
        self._largest_before = largest_before
        self._spans: set[tuple[str | None, str | None]] = set()
        self._lock = threading.Lock()

    def note(self, survey: ReadStats) -> None:
        """Take the size of an answer into account."""
        with self._lock:
            if survey.listed > self.largest:
                self.largest = survey.listed
                self._spans.clear()
            if survey.listed == self.largest:
                self._spans.add((survey.earliest, survey.latest))

    def show_whole(self, listed: int) -> bool:
        """Whether no limit can have reached an answer of this size."""
        return listed < max(self.largest, SMALLEST_LIMIT)

    def answers_of(self, listed: int) -> int:
        """How many different answers of this size there are, where none is larger."""
        return len(self._spans) if listed == self.largest else 0

    def speak_against(self, listed: int) -> bool:
        """Whether a limit of just this size would explain other answers as well."""
        return self.answers_of(listed) > 1 or listed == self._largest_before


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest records of the account, from `get_billing_record`.

    Attributes:
        records: Multiplicity of each readable record.
        listed: Number of records, unreadable ones included.
        asked: Number of records requested.
        unreadable: Records that failed validation.
    """

    records: Counter[Record]
    listed: int
    asked: int
    unreadable: tuple[RejectedRecord, ...] = ()

    def are_in(self, days: Mapping[date, DayRecords]) -> bool:
        """Whether these days have all of those records that belong to them.

        By their keys: a source may lack the other fields, and they may change between two requests.
        """
        wanted = Counter({key: times for key, times in self._keys().items() if day_of(key) in days})
        touched = set(map(day_of, wanted))
        found = Counter(key for day in touched for record in days[day].records() if (key := record[:3]) in wanted)
        return wanted <= found

    def are_all_of(self, days: Mapping[date, DayRecords], rejected: Collection[RejectedRecord] = ()) -> bool:
        """Whether these days have those records and no others, and all of their records are among the newest.

        Not where the day of an unreadable record is unknown.

        Args:
            days: Readable records of the days.
            rejected: Unreadable records of the same answer.
        """
        if None in {item.day for item in (*self.unreadable, *rejected)}:
            return False
        listed = Counter(map(day_of, self.records.elements()))
        return (
            _unreadable_on(days, self.unreadable) == _unreadable_on(days, rejected)
            and all(self.cover(day) and listed[day] == len(records) for day, records in days.items())
            and self.are_in(days)
        )

    def confirm(self, days: Mapping[date, DayRecords], rejected: Collection[RejectedRecord] = ()) -> frozenset[date]:
        """The days all of whose records are among the newest, and that have those and no others."""
        return frozenset(day for day, records in days.items() if self.are_all_of({day: records}, rejected))

    def cover(self, day: date) -> bool:
        """Whether all records of a day are among them.

        Assumed: that the newest are so by `created_at`. Where they are not, some of the day's records are not theirs.
        """
        return self.listed < self.asked or any(day_of(record) < day for record in self.records)

    def show_empty(self, day: date) -> bool:
        """Whether the account has no record of a day."""
        readable = self.records.total() == self.listed
        return readable and self.cover(day) and not any(day_of(record) == day for record in self.records)

    def _keys(self) -> Counter[tuple[str, str, str]]:
        keys: Counter[tuple[str, str, str]] = Counter()
        for record, times in self.records.items():
            keys[record[:3]] += times
        return keys

    def reach(self, day: date) -> bool:
        """Whether one of them is of this day or an earlier one: then there are no others behind it."""
        return any(day_of(record) <= day for record in self.records)

    def end_with(self, day: date) -> bool:
        """Whether the account has no record behind this day."""
        return self.records.total() == self.listed and all(day_of(record) <= day for record in self.records)


def _unreadable_on(days: Container[date], rejected: Iterable[RejectedRecord]) -> Counter[RejectedRecord]:
    return Counter(item for item in rejected if item.day in days)


def lists_all(records: DayRecords, seen: DayRecords) -> bool:
    """Whether a listing of a day has all that another one has, by the keys: a source may lack the other fields."""
    return Counter(record[:3] for record in seen.records()) <= Counter(record[:3] for record in records.records())


def day_of(record: Record | tuple[str, str, str]) -> date:
    """The day of a record or its key, in the vendor's wall clock."""
    return date.fromisoformat(record[0][:10])


def is_in_order(survey: ReadStats) -> bool:
    """Whether a listing goes by time, in either direction: then a limit cuts it at an end."""
    return (survey.ascending or survey.descending) and survey.earliest != survey.latest


def is_of_one_day(survey: ReadStats) -> bool:
    """Whether all records of a listing are of a single day."""
    return survey.earliest is not None and len(set(listed_range(survey))) == 1


def sides_shown(survey: ReadStats, wanted: DateRange) -> tuple[bool, bool]:
    """Whether a listing has a record before the days wanted, and one behind them."""
    if survey.earliest is None:
        return False, False
    earliest, latest = listed_range(survey)
    return earliest < wanted.first, latest > wanted.last


def encloses(survey: ReadStats, day: date) -> bool:
    """Whether a listing has records of earlier and of later days."""
    return sides_shown(survey, DateRange(day, day)) == (True, True)


def looks_like_a_limit(listed: int) -> bool:
    """Whether people choose such numbers for limits.

    Of use only where nothing else speaks for or against an answer.
    """
    return (
        listed % 100 == 0
        or (listed < 100 and (listed % 10 == 0 or listed % 25 == 0))
        or (listed >= 64 and 0 in {listed & (listed - 1), listed & (listed + 1)})
        or set(str(listed)) == {"9"}
    )


def days_out_of_reach(days: Iterable[date], asked: DateRange, survey: ReadStats, *, margin: int) -> frozenset[date]:
    """The days that a question may not have reached, under the least favourable meaning of its end date.

    Args:
        days: The days wanted.
        asked: The question.
        survey: Its answer: a record behind a day shows that the question reached it.
        margin: Days behind a day that a question must cover to reach all of it for certain.
    """
    latest = (survey.latest or "")[:10]
    return frozenset(day for day in days if (asked.last - day).days < margin and latest <= day.isoformat())


def days_without_margin(days: Iterable[date], start: date) -> frozenset[date]:
    """The days of which another zone may have some before the first date of a question."""
    return frozenset(day for day in days if day <= start)


def days_left_out(days: Iterable[date], asked: DateRange, survey: ReadStats) -> frozenset[date]:
    """The days without a record at one end, where the answer goes beyond the question at the other end."""
    too_early, too_late = goes_beyond(asked, survey)
    if not (too_early or too_late):
        return frozenset()
    earliest, latest = listed_range(survey)
    return frozenset(day for day in days if (too_late and day < earliest) or (too_early and day > latest))


def goes_beyond(asked: DateRange, survey: ReadStats) -> tuple[bool, bool]:
    """Whether the answer has records before or after the days of the question, more than another zone could explain."""
    if survey.earliest is None:
        return False, False
    earliest, latest = listed_range(survey)
    return earliest < asked.first - ONE_DAY, latest > asked.last + ONE_DAY


def listed_range(survey: ReadStats) -> tuple[date, date]:
    """The first and the last day of a listing that has a good record."""
    return date.fromisoformat((survey.earliest or "")[:10]), date.fromisoformat((survey.latest or "")[:10])


def describe_range(survey: ReadStats) -> str:
    """What an answer turned out to be, for a person."""
    first, last = listed_range(survey)
    return f"an answer about other days, {DateRange(first, last)},"


def overlaps(asked: DateRange, survey: ReadStats) -> bool:
    """Whether some day of a listing is of the question, in whatever zone."""
    earliest, latest = listed_range(survey)
    return latest >= asked.first - ONE_DAY and earliest <= asked.last + ONE_DAY
