"""The CSV export in use, and the days for which it, or a later export, is complete.

An export that may be truncated is compared with later exports, which are smaller: one that keeps the oldest records is
continued from its last day; of one that keeps the newest records, the days after its first one are complete.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Final

from etl.date_ranges import ONE_DAY, WEEK, DateRange
from etl.errors import VendorError
from etl.extract.answer_evidence import is_smaller, listed_range
from etl.extract.completeness import (
    MIN_GONE_RECORDS,
    days_begun_late,
    days_without_padding,
    encloses,
    has_records_around,
    is_empty_since,
    is_in_order,
    is_likely_limit,
)
from etl.extract.csv_export import CompletePart, CsvExport, complete_parts, day_counts, last_listed_day
from etl.extract.csv_requests import CsvRequests
from etl.extract.padding import PADDING_BEFORE
from etl.extract.run_evidence import RunEvidence
from etl.extract.source_days import SourceDays
from etl.model import DayRecords
from etl.unreadable_days import unreadable_days
from etl.zones import merge_folds

MIN_DAYS_LIMIT: Final = 3
"""Assumed: an export lists at least so many days."""

log = logging.getLogger(__name__)


class OpenExport:
    """The export in use.

    Args:
        export: The export.
        requests: Downloads the exports that it is compared with.
        evidence: All that the run can judge answers by.

    Attributes:
        target: The days that it serves.
    """

    def __init__(self, export: CsvExport, requests: CsvRequests, evidence: RunEvidence) -> None:
        self.target: Final = export.target
        self._export = export
        self._requests = requests
        self._today = evidence.today
        self._answers = evidence.csv
        self._json_answers = evidence.json
        self._get_newest = evidence.get_newest
        self._complete_counts = evidence.complete_counts
        self._parts: list[CompletePart] | None = None  # the complete ranges; None until they are determined
        self._compared: list[CsvExport] = []  # downloaded to determine them

    def days_with_records(self, window: DateRange) -> frozenset[date]:
        """The days of a window of which the export, complete or not, lists a record."""
        return frozenset(day for day, records in self._export.days(window).items() if records)

    def source_days(self, window: DateRange) -> SourceDays:
        """Return the complete days of a window, and the reasons against the others.

        Raises:
            VendorError: An export that it has to be compared with is not usable.
        """
        if self._parts is None:
            self._parts = self._determine_parts()
            self._log_truncation()
        self._extend_start()
        return self._source_days(window)

    def confirm(self, counts: Mapping[date, int]) -> bool:
        """Whether the export has no more records of each day than the JSON answer.

        Args:
            counts: Number of JSON records by day; for an empty day, the export must prove that it is empty.

        Raises:
            VendorError: An export that it has to be compared with is not usable.
        """
        empty = [day for day, count in counts.items() if not count]
        stats = self._export.stats
        is_conclusive = max(empty, default=date.min) < last_listed_day(self._export) and (
            self._answers.prove_complete(stats) or (is_in_order(stats) and all(encloses(stats, day) for day in empty))
        )
        if not is_conclusive and self._parts is None:
            self._parts = self._determine_parts()
        complete_days = self._export.days(self.target) if self._parts is None else self._source_days(self.target).days
        if any(day not in complete_days or unreadable_days({day: complete_days[day]}, stats) for day in empty):
            return False
        # A day that a truncated export lacks may be complete in a later one.
        listed = {day: complete_days.get(day) or self._export.day(day) for day in counts}
        return all(len(listed[day]) <= count for day, count in counts.items())

    def _source_days(self, window: DateRange) -> SourceDays:
        """The complete days of a window, by the parts that are determined.

        An export has no padding if the vendor rejects the day before its start date: in another time zone, some records
        of the start date belong to the rejected day.
        """
        days: dict[date, DayRecords] = {}
        unpadded: set[date] = set()
        stats_by_day = dict.fromkeys(window.days(), self._export.stats)
        for part in self._parts or ():
            first, last = max(part.days.first, window.first), min(part.days.last, window.last)
            if first <= last:
                part_days = part.export.days(DateRange(first, last))
                days |= part_days
                stats_by_day |= dict.fromkeys(part_days, part.export.stats)
                unpadded |= days_without_padding(part_days, part.export.requested.first)
        days |= self._days_as_before(window, days)
        truncated = f"a CSV export of {self._export.stats.listed} records may be truncated"
        unreadable: dict[date, str] = {}
        for day, records in days.items():
            unreadable |= unreadable_days({day: records}, stats_by_day[day])
        unresolved = {day: truncated for day in window.days() if day not in days} | unreadable
        complete_days = {day: records for day, records in days.items() if day not in unresolved}
        all_stats = {id(stats): stats for stats in stats_by_day.values()}.values()
        rejected = dict.fromkeys(
            replace(item, source="csv")
            for stats in all_stats
            for item in stats.rejected
            if item.day is None or item.day in window
        )
        result = SourceDays(
            DateRange(self.target.first - PADDING_BEFORE, self.target.last),
            complete_days,
            tuple(rejected),
            unresolved,
            unpadded=frozenset(unpadded),
            seen_records={day: self._most_records(day) for day in unresolved},
            folds=merge_folds(pair for stats in all_stats for pair in stats.folds.items()),
            unreadable=frozenset(unreadable),
        )
        widest = min((self._export, *self._compared), key=lambda export: export.requested.first)
        return result.with_begun_late(
            days_begun_late(
                self.target.first, complete_days, widest.requested.first, widest.stats, self._complete_counts
            )
        )

    def _days_as_before(self, window: DateRange, complete_days: Mapping[date, DayRecords]) -> dict[date, DayRecords]:
        """The days without proof that have the records which an earlier run found complete."""
        days: dict[date, DayRecords] = {}
        stats = self._export.stats
        # A limit that truncates the export's first day would have left fewer records than it had when it was complete.
        if stats.earliest and (first := listed_range(stats)[0]) in window and first not in complete_days:
            records = self._export.day(first)
            if 0 < self._complete_counts.get(first, 0) <= len(records):
                days[first] = records
        # A day that was complete without records, and again shows none, needs no evidence: it stays as it is.
        for day in window.days():
            if day not in complete_days and self._complete_counts.get(day) == 0:
                records = self._most_records(day)
                if not records:
                    days[day] = records
        return days

    def _most_records(self, day: date) -> DayRecords:
        """The records of a day in the export that lists most of them."""
        return max((export.day(day) for export in (self._export, *self._compared) if day in export.target), key=len)

    def _log_truncation(self) -> None:
        """Log the complete days, unless all days are."""
        complete_days = [part.days for part in self._parts or ()]
        if complete_days != [self.target]:
            log.warning(
                "a CSV export of %d records may be truncated; complete days: %s",
                self._export.stats.listed, ", ".join(map(str, complete_days)) or "none",
            )  # fmt: skip

    # Which days are complete ---------------------------------------------------------------------------------------

    def _determine_parts(self) -> list[CompletePart]:
        parts = self._find_complete_parts()
        if parts and parts[-1].days.last == self.target.last:
            parts[-1:] = self._continue_to_end(parts[-1])
        return parts

    def _extend_start(self) -> None:
        """Extend the first complete part by the days that later JSON answers show to be complete."""
        match self._parts:
            case [CompletePart(days, export), *_] if export is self._export and export.stats.earliest:
                first = self._first_complete_day()
                if first < days.first:
                    self._parts[0] = CompletePart(DateRange(first, days.last), export)

    def _find_complete_parts(self) -> list[CompletePart]:
        """Determine which days no limit on records truncates, by the cheapest evidence first; may download others."""
        evidence = (
            self._complete_by_size,
            self._complete_by_newest,
            self._complete_by_order,
            self._is_smaller_than_wider_export,
        )
        if any(is_complete() for is_complete in evidence):
            return [CompletePart(self.target, self._export)]
        is_ordered = is_in_order(self._export.stats)
        return self._compare_with_later_exports() if is_ordered else self._find_complete_end()

    def _complete_by_size(self) -> bool:
        """The evidence of the other exports' sizes: it is too small to be truncated."""
        stats = self._export.stats
        return self._answers.prove_complete(stats) or stats.earliest is None

    def _complete_by_newest(self) -> bool:
        """The evidence of the account's newest records: it lists exactly these."""
        newest = self._get_newest()
        if newest is None:
            return False
        # A limit shared by all three calls would make their sizes equal.
        is_shared_limit = newest.listed == self._export.stats.listed == self._json_answers.largest
        return not is_shared_limit and newest.match_exactly(self._export.days(self.target))

    def _complete_by_order(self) -> bool:
        """The evidence of an ordered export with records on both sides of the target days, or the newest ones."""
        stats, target = self._export.stats, self.target
        if not is_in_order(stats) or self._answers.suggest_limit(stats.listed):
            return False
        before, after = has_records_around(stats, target)
        if (newest := self._get_newest()) is not None:
            days = self._export.days(target)
            after = newest.are_contained_in(days) and (after or newest.reach(target.last, days))
        return before and after

    def _is_smaller_than_wider_export(self) -> bool:
        """Whether an export with an earlier start date has more records: then no limit truncated this one."""
        try:
            wider_export = self._load(self.target, self.target.first - PADDING_BEFORE - WEEK)
        except VendorError:
            return False
        is_truncated = self._answers.is_truncated(wider_export.stats, wider_export.requested)
        return is_smaller(self._export.stats, wider_export.stats) and not is_truncated

    def _compare_with_later_exports(self) -> list[CompletePart]:
        """Find the complete days of an ordered export: a limit truncates it at one of its ends.

        If it lacks records between others, the limit left a random part of it.
        """
        target_end = self.target.last
        first, latest = self._first_complete_day(), self._latest_day(self._export)
        parts: list[CompletePart] = []
        current = self._export
        while latest < target_end or current is self._export:
            later_export = self._load(DateRange(min(latest, target_end), target_end), latest - PADDING_BEFORE)
            if _fills_gaps(later_export, current, latest):
                return self._find_complete_end()
            if self._answers.prove_complete(later_export.stats):
                agrees = latest > target_end or len(later_export.day(latest)) == len(current.day(latest))
                if agrees and later_export.stats.latest == current.stats.latest:
                    return [*parts, *complete_parts(first, target_end, current)]
                # The oldest records are kept: the last day is truncated here and complete in the later export.
                return [
                    *parts,
                    *complete_parts(first, latest - ONE_DAY, current),
                    *complete_parts(max(first, latest), target_end, later_export),
                ]
            if later_export.stats.latest is None or self._latest_day(later_export) <= latest:
                break
            parts += complete_parts(first, latest - ONE_DAY, current)
            first, current = max(first, latest), later_export
            latest = self._latest_day(later_export)
        newest = self._get_newest()
        current_days = current.days(DateRange(current.target.first, target_end))
        end_is_proven = latest > target_end or (newest is not None and newest.reach(target_end, current_days))
        if end_is_proven and (newest is None or newest.are_contained_in(current_days)):
            return [*parts, *complete_parts(first, target_end, current)]
        return [*parts, *complete_parts(first, min(latest - ONE_DAY, target_end), current)]

    def _find_complete_end(self) -> list[CompletePart]:
        """Find the last days for which an unordered export is small enough to be complete, by binary search.

        If the export that starts one day later has the same counts as this one, this one is complete as well.
        """
        target = self.target
        days = target.days()
        low = middle = next_start = 2  # an export starts one day before its target
        high = len(days)
        complete_end: list[CompletePart] = []
        while low < high:
            end_range = DateRange(days[middle], target.last)
            later_export = self._load(end_range, end_range.first - PADDING_BEFORE)
            if not self._answers.prove_complete(later_export.stats):
                low = middle + 1
            elif middle == next_start and day_counts(later_export, end_range) == day_counts(self._export, end_range):
                return complete_parts(self._first_complete_day(), target.last, self._export)
            else:
                complete_end, high = [CompletePart(end_range, later_export)], middle
            middle = (low + high) // 2
        return complete_end

    def _latest_day(self, export: CsvExport) -> date:
        """The day of the latest record of an export; tomorrow for one in the future, so that requests stay valid."""
        return min(listed_range(export.stats)[1], self._today + ONE_DAY)

    def _first_complete_day(self) -> date:
        """The first complete day of the export if its end is complete.

        Older records may be missing if there is none before the target days. The records of the first target day are
        accepted unless there is evidence of a limit: the account may have no older records.
        """
        stats, first = self._export.stats, self.target.first
        earliest, _ = listed_range(stats)
        if earliest < first:
            return first
        if (covered := self._json_answers.first_covered_day(stats)) is not None:
            return max(covered, first)
        before = [day for day in DateRange(self._export.requested.first, earliest).days() if day < earliest]
        is_truncated = sum(map(self._json_answers.most_listed, before)) >= MIN_GONE_RECORDS
        inconclusive = is_truncated or is_likely_limit(stats.listed) or self._answers.suggest_limit(stats.listed)
        return earliest + ONE_DAY if earliest > first or inconclusive else first

    def _continue_to_end(self, part: CompletePart) -> list[CompletePart]:
        """Continue an export that ends before the last day: the vendor may limit the number of days (assumed).

        Later exports continue it from its last day. Days after its last record are complete only with evidence that
        the account has no later record.
        """
        parts: list[CompletePart] = []
        first, last, current = part.days.first, part.days.last, part.export
        if current.stats.listed and current.stats.latest is None:
            return [part]  # no time can be read, so that the days are unreadable, not truncated
        latest = last_listed_day(current)
        while latest < last and not self._newest_confirm_end(latest, current):
            later_export = self._load(DateRange(latest, last), latest - PADDING_BEFORE)
            is_usable = is_in_order(later_export.stats) or self._answers.prove_complete(later_export.stats)
            if last_listed_day(later_export) <= latest or not is_usable:
                if not self._hides_newest(current, last) and self._lists_nothing_between(latest + ONE_DAY, last):
                    break
                return [*parts, *complete_parts(first, latest - ONE_DAY, current)]
            parts += complete_parts(first, latest - ONE_DAY, current)
            first, current, latest = max(first, latest), later_export, last_listed_day(later_export)
        return [*parts, *complete_parts(first, last, current)]

    def _newest_confirm_end(self, day: date, export: CsvExport) -> bool:
        """Whether an export that ends with a day has all of the newest records, and these include all later ones."""
        newest, days = self._get_newest(), export.days(export.target)
        return newest is not None and newest.are_contained_in(days) and (newest.reach(day, days) or newest.end_by(day))

    def _hides_newest(self, export: CsvExport, last: date) -> bool:
        """Whether the newest records are of a day that follows an export's last one; today only if it is empty."""
        newest, latest = self._get_newest(), last_listed_day(export)
        return newest is not None and any(
            latest < day <= last and (day < self._today or not export.stats.listed) for day in newest.days()
        )

    def _lists_nothing_between(self, first: date, last: date) -> bool:
        """Whether the account has no record on some days: exports whose start dates cover them have none."""
        starts = DateRange(first, last).days()[::MIN_DAYS_LIMIT]
        return all(is_empty_since(self._load(DateRange(start, last), start).stats, start) for start in starts)

    def _load(self, target: DateRange, start: date) -> CsvExport:
        export = self._requests.load(target, start)
        self._compared.append(export)
        return export


def _fills_gaps(later: CsvExport, earlier: CsvExport, latest: date) -> bool:
    """Whether a later export lists more of the day before the last one of an earlier export: this one has gaps.

    In another time zone the later one, which begins with that day, lists less of it.
    """
    before = latest - ONE_DAY
    return later.stats.counts.get(before, 0) > earlier.stats.counts.get(before, 0)
