"""One answer of the JSON call, and the days of the request that it covers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, timedelta

from etl.date_ranges import DateRange
from etl.errors import NoRecordsError
from etl.extract.completeness import (
    days_without_padding,
    describe_range,
    possibly_incomplete_days,
    uncovered_days,
)
from etl.extract.padding import PADDING_AFTER
from etl.extract.source_days import SourceDays
from etl.model import DayRecords, ReadStats, Record, RejectedRecord, single_slice_day
from etl.unreadable_days import unreadable_days
from etl.zones import merge_folds


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """One JSON answer: the requested dates, its statistics and the records of the target days.

    Attributes:
        margin: Time after a day that the request must include to cover it for certain.
        denial: The error by which the vendor says that it has no records; None for a list.
    """

    requested: DateRange
    stats: ReadStats
    days: dict[date, DayRecords]
    margin: timedelta = PADDING_AFTER
    denial: NoRecordsError | None = None

    def incomplete_days(self) -> frozenset[date]:
        """The target days that the request may not have covered in full."""
        return possibly_incomplete_days(self.days, self.requested, self.stats, margin=self.margin)

    def covered_days(self) -> dict[date, DayRecords]:
        """The target days that the request covered in full."""
        incomplete_days = self.incomplete_days()
        return {day: records for day, records in self.days.items() if day not in incomplete_days}

    def to_source_days(self) -> SourceDays:
        """Convert a complete answer."""
        unreadable = unreadable_days(self.days, self.stats)
        uncovered = uncovered_days(self.days, self.requested, self.stats)
        unresolved = unreadable | {
            day: f"{describe_range(self.stats)} in place of {self.requested}" for day in uncovered
        }
        days = {day: records for day, records in self.days.items() if day not in unresolved}
        incomplete_days = self.incomplete_days().intersection(days)
        return SourceDays(
            self.requested,
            days,
            self.stats.rejected,
            unresolved,
            incomplete_days,
            unpadded=days_without_padding(days, self.requested.first),
            folds=dict(self.stats.folds),
            unreadable=frozenset(unreadable),
        )


def merge_answers(day: date, answers: list[JsonAnswer]) -> JsonAnswer:
    """Merge complete answers for one day: each answer that covers a record's time lists all its repeats."""
    records: Counter[Record] = Counter()
    rejected: dict[RejectedRecord, None] = {}
    for answer in answers:
        records |= Counter(answer.days[day].records())
        rejected |= dict.fromkeys(answer.stats.rejected)
    missing_fields = frozenset[str]().union(*(answer.days[day].missing_fields for answer in answers))
    all_stats = [answer.stats for answer in answers]
    merged = replace(
        all_stats[0],
        listed=sum(stats.listed for stats in all_stats),
        kept=records.total(),
        earliest=min((stats.earliest for stats in all_stats if stats.earliest), default=None),
        latest=max((stats.latest for stats in all_stats if stats.latest), default=None),
        rejected=tuple(rejected),
        folds=merge_folds(pair for stats in all_stats for pair in stats.folds.items()),
    )
    requested = DateRange(
        min(answer.requested.first for answer in answers), max(answer.requested.last for answer in answers)
    )
    return JsonAnswer(
        requested,
        merged,
        {day: replace(single_slice_day(day, list(records.elements())), missing_fields=missing_fields)},
    )
