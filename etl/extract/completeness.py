"""Completeness checks for the vendor's answers: the only place of these rules, for JSON and CSV. Pure.

The part about the sizes of answers is in `answer_evidence`.

The vendor documents no limit on the size of an answer. There may be one on its records or its bytes, of any size, which
keeps the oldest records, the newest or any others. So an answer is accepted as complete only with evidence:

- it is smaller than another answer of the same source, in records and in bytes, so that no limit can have truncated it
  (`AnswerEvidence`), and clearly smaller than the answers that are known to be truncated, if these differ in size;
- it is ordered by time and has records before and after the target days: a limit truncates an ordered list at an end,
  unless it leaves a random part, which lacks known records;
- a smaller request for its outermost or its busiest day agrees, or it contains the newest records of the account
  (`NewestRecords`).

Each source lists its evidence in order, the cheapest first: `JsonCompleteness.is_complete` and
`OpenExport._find_complete_parts`.

There may also be a limit on the days of an answer, which is then small: a day is empty only if no other answer lists a
record of it (`AnswerEvidence.has_listed`), and those after the last record of an answer need separate evidence.

Two different answers of the same size, or one of exactly the largest size that the account ever had, are evidence of
a limit: then only the first rule counts. An answer that lacks what another one lists, to a request for a part of its
dates, is truncated, whatever else it shows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from etl.date_ranges import ONE_DAY, DateRange
from etl.extract.answer_evidence import listed_range
from etl.model import DayRecords, ReadStats, Record, RecordKey, RejectedRecord

MIN_GONE_RECORDS: Final = 5
"""Stored records of the days before an answer's first one: if it lacks all of them, it begins late. Assumed."""

MIN_RECORDS_TO_COMPARE: Final = 5
"""Newest records of a day; the keys of fewer are not compared. Assumed."""

MAX_SHARE_BY_CHANCE: Final = 0.1
"""Share of them that an answer with other keys may have, such as those whose seconds are 0. Assumed."""


@dataclass(frozen=True, slots=True)
class NewestRecords:
    """The newest records of the account, from `get_billing_record`.

    Attributes:
        records: Multiplicity of each readable record.
        listed: Number of records, unreadable ones included.
        include_all: Whether the account has no other records.
        unreadable: Records that failed validation.
        ordered: Whether they are in the order of `created_at`, or its reverse. Otherwise they may be those that the
            vendor added last, among which a late record of an earlier day is missing.
        ignored: Number of readable records that are left out of `records`: their days are accepted without them.
    """

    records: Counter[Record]
    listed: int
    include_all: bool
    unreadable: tuple[RejectedRecord, ...] = ()
    ordered: bool = True
    ignored: int = 0
    _keys: dict[date, Counter[RecordKey]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys: defaultdict[date, Counter[RecordKey]] = defaultdict(Counter)
        for record, times in self.records.items():
            keys[day_of(record)][record[:3]] += times
        object.__setattr__(self, "_keys", dict(keys))

    def days(self) -> Collection[date]:
        """The days of the readable ones."""
        return self._keys.keys()

    def keys_of(self, day: date) -> Counter[RecordKey]:
        """The keys of a day's records, with their multiplicity."""
        return self._keys.get(day, Counter())

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
        return self.include_all or (self.ordered and min(self._keys, default=day) < day)

    def prove_empty(self, day: date, answer: Mapping[date, DayRecords]) -> bool:
        """Whether the account certainly has no record of a day that an answer shows empty."""
        covers = self.include_all or self.reach(day - ONE_DAY, answer)
        return self._all_readable and covers and day not in self._keys

    def reach(self, day: date, answer: Mapping[date, DayRecords]) -> bool:
        """Whether they reach back to a day: then they include all records of later days.

        False if the answer has later records than the oldest of them that they lack: they are not the last ones by
        `created_at`, but perhaps those that the vendor added last.
        """
        oldest = min(self._keys, default=date.max)
        return (
            (self.ordered or self.include_all)
            and oldest <= day
            and all(
                len(records) <= self._count(listed_on)
                and Counter(record[:3] for record in records.records()) <= self._keys.get(listed_on, Counter())
                for listed_on, records in answer.items()
                if listed_on > oldest
            )
        )

    def prove_end(self, day: date, records: DayRecords) -> bool:
        """Whether an answer has the last records of a day: the newest reach into it, and it has all of these."""
        is_reached = (self.ordered or self.include_all) and min(self._keys, default=date.max) <= day
        return is_reached and self._all_readable and self.are_contained_in({day: records})

    def end_by(self, day: date) -> bool:
        """Whether the account certainly has no record after a day."""
        return self._all_readable and max(self._keys, default=day) <= day

    def have_other_keys(self, days: Mapping[date, DayRecords], stats: ReadStats, today: date) -> bool:
        """Whether an answer spells the keys of records otherwise: with a mask, to the minute, or in another time zone.

        It then lists as many records of a past day as the newest ones, and shares none or hardly any with them. Those
        before its first or after its last record are left out: a limit may have truncated it there.
        """
        first, last = stats.earliest or "", stats.latest or ""
        listed = {
            day: Counter({key: times for key, times in keys.items() if first <= key[0] <= last})
            for day, keys in self._keys.items()
            if day < today and day in days
        }
        compared = [
            (keys, Counter(record[:3] for record in days[day].records()))
            for day, keys in listed.items()
            if len(days[day]) >= keys.total() >= MIN_RECORDS_TO_COMPARE
        ]
        expected = sum(keys.total() for keys, _own in compared)
        shared = sum((keys & own).total() for keys, own in compared)
        return shared < expected * MAX_SHARE_BY_CHANCE

    def have_other_prices(self, days: Mapping[date, DayRecords], today: date) -> bool:
        """Whether an answer has other prices for most of the records of past days that both list.

        A correction between two requests changes few. Prices in another unit, rounded or without a sign change most.
        """
        expected: defaultdict[RecordKey, set[Decimal]] = defaultdict(set)
        for record in self.records:
            if (day := day_of(record)) < today and day in days:
                expected[record[:3]].add(record.price)
        prices: defaultdict[RecordKey, set[Decimal]] = defaultdict(set)
        for day in self.days():
            for record in days[day].records() if day in days else ():
                if (key := record[:3]) in expected:
                    prices[key].add(record.price)
        equal = sum(bool(expected[key] & listed) for key, listed in prices.items())
        return len(prices) >= MIN_RECORDS_TO_COMPARE and equal < len(prices) / 2

    def _count(self, day: date) -> int:
        return self._keys[day].total() if day in self._keys else 0

    @property
    def _all_readable(self) -> bool:
        return self.records.total() + self.ignored == self.listed


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
    days: Iterable[date], requested: DateRange, stats: ReadStats, *, margin: timedelta
) -> frozenset[date]:
    """The days that a request may not have covered in full, under the least favourable meaning of its end date.

    Args:
        days: The target days.
        requested: The dates of the request.
        stats: Statistics of its answer: a record after a day shows that the request covered the day.
        margin: Time after a day that a request must include to cover it for certain.
    """
    latest = (stats.latest or "")[:10]
    return frozenset(day for day in days if requested.last - day < margin and latest <= day.isoformat())


def days_begun_late(
    first: date, days: Mapping[date, DayRecords], requested: date, stats: ReadStats, complete_counts: Mapping[date, int]
) -> frozenset[date]:
    """The days at the start of an answer with fewer records than before, if it lacks those of the days before, too.

    The vendor may serve only the last days or hours, or truncate the answer, so that it begins in the middle of a day
    (assumed).

    Args:
        first: The first target day.
        days: Target days of the answer.
        requested: The first date of the request.
        stats: Statistics of the answer.
        complete_counts: Number of records of each day that an earlier run found complete.
    """
    if stats.earliest is None or requested >= first:
        return frozenset()
    earliest, _ = listed_range(stats)
    gone = sum(complete_counts.get(day, 0) for day in DateRange(requested, first - ONE_DAY).days())
    if earliest < first or gone < MIN_GONE_RECORDS:
        return frozenset()
    return frozenset(
        day for day, records in days.items() if day <= earliest and len(records) < complete_counts.get(day, 0)
    )


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


def describe_range(stats: ReadStats) -> str:
    """Describe an answer about unrequested days, for a message."""
    first, last = listed_range(stats)
    return f"an answer about other days, {DateRange(first, last)},"


def overlaps(requested: DateRange, stats: ReadStats) -> bool:
    """Whether an answer overlaps the requested dates in any time zone."""
    earliest, latest = listed_range(stats)
    return latest >= requested.first - ONE_DAY and earliest <= requested.last + ONE_DAY
