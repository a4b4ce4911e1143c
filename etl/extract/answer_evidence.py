"""The sizes of the answers of one source in a run, as evidence of a limit that truncated some of them.

A part of `completeness`, which has the other evidence.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final, NamedTuple, TypeAlias

from etl.date_ranges import DateRange
from etl.extract.padding import PADDING_BEFORE, covered_days
from etl.model import ReadStats

MIN_LIMIT: Final = 10
"""Records: a smaller answer is complete. Assumed: no API for billing data has a lower limit."""

MIN_DAYS_OF_A_SIZE: Final = 3
"""Days of the same number of records, which is the largest: a limit on the records of a day is likely. Assumed."""

MAX_DAILY_LIMIT: Final = 1_000
"""Records: a limit on the records of a day is lower. Assumed."""

MIN_SIZE_LIMIT: Final = 8 * 1024
"""Bytes: no limit on bytes truncates a smaller answer. Assumed: a server's buffer is not smaller."""

MIN_SHORTFALL: Final = 3
"""Records that an answer lacks if a limit truncated it; fewer may have been added between two requests. Assumed."""

MIN_MARGIN: Final = 0.1
MAX_MARGIN: Final = 0.6
"""Shares of the size of a truncated answer by which a complete one is smaller, where truncated answers differ in size:
such a limit also counts what is not listed (assumed), or bytes."""


class _Content(NamedTuple):
    """The size of an answer, and its first and its last time."""

    listed: int
    size: int
    earliest: str | None
    latest: str | None


_Key: TypeAlias = tuple[DateRange, _Content]
"""The dates of a request, and the content of the answer."""


class _Answer(NamedTuple):
    """An answer, with the dates of the request and the number of records of each listed day."""

    content: _Content
    requested: DateRange
    counts: Mapping[date, int]

    @property
    def key(self) -> _Key:
        """Identifies the answer."""
        return self.requested, self.content

    def shortfall(self, other: _Answer, today: date, *, is_later: bool) -> int:
        """How many records of a past day of its request it lacks, at least, that another answer lists.

        An answer to a request for a part of its dates is compared by all days. Another one is compared by those that
        this request covers, if it was sent later: an earlier answer may lack what arrived between both. Fewer than
        MIN_SHORTFALL may have been withdrawn.
        """
        requested = self.requested
        lacking = {day: count - self.counts.get(day, 0) for day, count in other.counts.items() if day < today}
        if requested.first <= other.requested.first and other.requested.last <= requested.last:
            return max(lacking.values(), default=0)
        covered = covered_days(requested) if is_later else None
        most = max((count for day, count in lacking.items() if covered and day in covered), default=0)
        return most if most >= MIN_SHORTFALL else 0


def is_smaller(stats: ReadStats, other: ReadStats | _Content) -> bool:
    """Whether an answer is so much smaller than another one that no limit, on records or bytes, can have truncated it.

    A limit on bytes truncates an answer before the first record that exceeds it: answers truncated by it differ by less
    than a record.
    """
    has_fewer_bytes = stats.size < MIN_SIZE_LIMIT or stats.size + _largest_record(stats) <= other.size
    return stats.listed < other.listed and has_fewer_bytes


def _are_similar(stats: ReadStats, other: _Content) -> bool:
    """Whether a limit on bytes can have truncated both answers."""
    return stats.size >= MIN_SIZE_LIMIT and abs(stats.size - other.size) < _largest_record(stats)


def _largest_record(stats: ReadStats) -> float:
    """Bytes of the largest record of an answer: assumed, one and a half times the average."""
    return 1.5 * stats.size / max(stats.listed, 1)


def listed_range(stats: ReadStats | _Content) -> tuple[date, date]:
    """The first and the last day of an answer that has at least one readable time."""
    return date.fromisoformat((stats.earliest or "")[:10]), date.fromisoformat((stats.latest or "")[:10])


class AnswerEvidence:
    """The sizes and days with records of one source's answers in a run, as evidence about each other. Thread-safe.

    Attributes:
        largest: Records in the largest answer.

    Args:
        today: The current date in the vendor's wall clock, of which records arrive between two requests.
        largest_before: Records in the largest answer of earlier runs; None without earlier runs.
    """

    def __init__(self, today: date = date.max, largest_before: int | None = None) -> None:
        self.largest = 0
        self._denied: set[date] = set()
        self._shown: set[date] = set()
        self._today = today
        self._largest_before = largest_before
        self._listed_days: set[date] = set()
        self._most_kept: dict[date, int] = {}
        self._largest_size = 0
        self._answers: set[_Content] = set()
        self._by_day: defaultdict[date, dict[_Key, _Answer]] = defaultdict(dict)
        self._truncated: dict[_Key, _Answer] = {}
        self._limited: dict[_Key, _Answer] = {}  # those of them that lack at least MIN_SHORTFALL
        self._lock = threading.Lock()

    def add(
        self, stats: ReadStats, requested: DateRange, counts: Mapping[date, int], *, is_denied: bool = False
    ) -> None:
        """Record an answer.

        Args:
            stats: Its statistics.
            requested: The dates of the request.
            counts: Number of valid records of each target day.
            is_denied: Whether it is an error that says that there are no records.
        """
        answer = _answer(stats, requested)
        with self._lock:
            (self._denied if is_denied else self._shown).update(counts)
            if stats.earliest is not None:
                self._listed_days.update(listed_range(stats))
            for day, count in counts.items():
                self._most_kept[day] = max(count, self._most_kept.get(day, 0))
            self.largest = max(self.largest, stats.listed)
            self._largest_size = max(self._largest_size, stats.size)
            days = counts.keys() | stats.counts.keys()
            for earlier in {key: other for day in days for key, other in self._by_day[day].items()}.values():
                self._add_shortfall(earlier, earlier.shortfall(answer, self._today, is_later=False))
                self._add_shortfall(answer, answer.shortfall(earlier, self._today, is_later=True))
            self._answers.add(answer.content)
            for day in days:
                self._by_day[day][answer.key] = answer
            if stats.claims:
                self._add_shortfall(answer, MIN_SHORTFALL)

    def _add_shortfall(self, answer: _Answer, shortfall: int) -> None:
        if shortfall > 0:
            self._truncated[answer.key] = answer
        if shortfall >= MIN_SHORTFALL:
            self._limited[answer.key] = answer

    def is_truncated(self, stats: ReadStats, requested: DateRange) -> bool:
        """Whether an answer is known to be truncated."""
        return _answer(stats, requested).key in self._truncated

    def add_truncated(self, stats: ReadStats, requested: DateRange) -> None:
        """Record that an answer is known to be truncated."""
        with self._lock:
            self._add_shortfall(_answer(stats, requested), MIN_SHORTFALL)

    def only_denied(self, days: Iterable[date]) -> set[date]:
        """The days that no list shows empty, only errors that say that there are no records."""
        return {day for day in days if day in self._denied and day not in self._shown}

    def most_kept(self, day: date) -> int:
        """The most valid records of a past target day in an answer; 0 for today, whose records still arrive."""
        return self._most_kept.get(day, 0) if day < self._today else 0

    def most_listed(self, day: date) -> int:
        """The most records of a past day in an answer: of any day, unreadable ones included; 0 for today."""
        with self._lock:
            counts = [answer.counts.get(day, 0) for answer in self._by_day[day].values()]
        return max(counts, default=0) if day < self._today else 0

    def days_of_largest_size(self) -> frozenset[date]:
        """The past days of which answers list as many records as of no other day, if they are MIN_DAYS_OF_A_SIZE.

        A limit on the records of each day would explain them (assumed), or an account with as many records a day.
        """
        with self._lock:
            most = {
                day: max((answer.counts.get(day, 0) for answer in answers.values()), default=0)
                for day, answers in self._by_day.items()
                if day < self._today
            }
        largest = max(most.values(), default=0)
        found = frozenset(day for day, count in most.items() if count == largest)
        is_likely = MIN_LIMIT <= largest < MAX_DAILY_LIMIT and len(found) >= MIN_DAYS_OF_A_SIZE
        return found if is_likely else frozenset()

    def most_listed_within(self, days: DateRange) -> int:
        """The most records of these days in one answer, unreadable ones with a readable time included."""
        with self._lock:
            answers = {key: answer for day in days.days() for key, answer in self._by_day[day].items()}
        return max((sum(answer.counts.get(day, 0) for day in days.days()) for answer in answers.values()), default=0)

    def first_covered_day(self, export: ReadStats) -> date | None:
        """The first day of the requests whose answers begin with the first record of an export, and have another size.

        No limit then truncated the export's start, unless two limits did so at the same record. None without such an
        answer to a request from an earlier day on.
        """
        if export.earliest is None:
            return None
        day = listed_range(export)[0]
        with self._lock:
            answers = list(self._by_day[day].values())
        starts = (
            answer.requested.first + PADDING_BEFORE
            for answer in answers
            if answer.content.earliest == export.earliest and answer.content.listed != export.listed
        )
        return min((start for start in starts if start <= day), default=None)

    def has_listed(self, day: date) -> bool:
        """Whether the first or the last record of some answer is of a day, which therefore is not empty."""
        return day in self._listed_days

    def listed_days(self) -> frozenset[date]:
        """The days of the first and of the last record of each answer."""
        with self._lock:
            return frozenset(self._listed_days)

    def prove_complete(self, stats: ReadStats) -> bool:
        """Whether an answer is too small to be truncated."""
        if stats.claims:
            return False
        return stats.listed < MIN_LIMIT or (
            any(is_smaller(stats, other) for other in self._all()) and self._is_clearly_smaller(stats)
        )

    def _is_clearly_smaller(self, stats: ReadStats) -> bool:
        """Whether an answer is clearly smaller than all truncated answers, if these differ in size."""
        truncated = self._limited_answers()
        if not self.limit_varies():
            return True
        listed, sizes = ([answer.content.listed for answer in truncated], [answer.content.size for answer in truncated])
        return _has_margin(stats.listed, [*listed, self.largest]) and (
            stats.size < MIN_SIZE_LIMIT or _has_margin(stats.size, [*sizes, self._largest_size])
        )

    def is_limited(self) -> bool:
        """Whether answers are known to be truncated by a limit, on records or on days."""
        return bool(self._limited)

    def limit_varies(self) -> bool:
        """Whether a limit truncated answers at different sizes, so that an answer accepted by its size is uncertain."""
        return any(answer.content.listed < self.largest for answer in self._limited_answers())

    def _limited_answers(self) -> list[_Answer]:
        with self._lock:  # an empty answer hides days, whatever their size
            return [answer for answer in self._limited.values() if answer.content.listed]

    def count_same_size(self, listed: int) -> int:
        """Count the different answers of this number of records; 0 if there is a larger one."""
        return sum(other.listed == listed for other in self._all()) if listed == self.largest else 0

    def count_similar(self, stats: ReadStats) -> int:
        """Count the different answers that the same limit would explain; 0 if there is a larger one."""
        if self.prove_complete(stats):
            return 0
        return sum(other.listed == stats.listed or _are_similar(stats, other) for other in self._all())

    def suggest_limit(self, listed: int) -> bool:
        """Whether a limit of exactly this number of records would explain other answers as well.

        That an answer lists what is stored is no evidence against it: a limit in the order of arrival hides new ones.
        """
        return self.count_same_size(listed) > 1 or listed == self._largest_before

    def is_limit(self, listed: int) -> bool:
        """Whether an answer of this number of records is known to be truncated."""
        return any(answer.content.listed == listed for answer in list(self._truncated.values()))

    def _all(self) -> list[_Content]:
        with self._lock:
            return list(self._answers)


def _answer(stats: ReadStats, requested: DateRange) -> _Answer:
    content = _Content(stats.listed, stats.size, stats.earliest, stats.latest)
    return _Answer(content, requested, stats.counts)


def _has_margin(size: int, truncated: list[int]) -> bool:
    """Whether a size is smaller than those of truncated answers by a margin that follows from their spread."""
    least = min(truncated)
    margin = min(max(2 * (max(truncated) - least), MIN_MARGIN * least), MAX_MARGIN * least)
    return size + margin < least
