"""Complete days from the CSV export, which has a start date and no end date.

One export serves all remaining windows. If it may be truncated, it is compared with later exports, which are smaller:
an export that keeps the oldest records is continued from its last day; of one that keeps the newest records, the days
after its first one are complete.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import date
from typing import BinaryIO, Final

from etl.date_ranges import ONE_DAY, WEEK, DateRange
from etl.errors import DateRangeMismatch, InvalidResponse, RequestRejected, VendorError
from etl.extract.answer_evidence import is_smaller, listed_range
from etl.extract.client import Client
from etl.extract.completeness import (
    MIN_GONE_RECORDS,
    describe_range,
    encloses,
    has_records_around,
    is_empty_since,
    is_in_order,
    is_likely_limit,
    overlaps,
)
from etl.extract.csv_export import CompletePart, CsvExport, OpenExport, complete_parts, day_counts, last_listed_day
from etl.extract.padding import PADDING_BEFORE
from etl.extract.run_evidence import RunEvidence
from etl.extract.source_days import SourceDays, log_unknown_fields
from etl.extract.spool import RecordSpool
from etl.model import ATTRIBUTES, FeedReader, ReadStats
from etl.unreadable import unreadable_days

MIN_DAYS_LIMIT: Final = 3
"""Assumed: an export lists at least so many days."""

log = logging.getLogger(__name__)


class CsvSource:
    """Days from `get_billing_csv`. Thread-safe; downloads one export at a time.

    Args:
        client: Sends the requests.
        read_feed: Parses the records.
        evidence: All that the run can judge answers by.
        open_spool: Creates the storage of an export's records.

    Attributes:
        retries: Whether a request that fails is repeated.
    """

    def __init__(
        self, client: Client, read_feed: FeedReader, evidence: RunEvidence, open_spool: Callable[[], RecordSpool]
    ) -> None:
        self.retries = True
        self._client = client
        self._open_spool = open_spool
        self._read_feed = read_feed
        self._today = evidence.today
        self._answers = evidence.csv
        self._json_answers = evidence.json
        self._get_newest = evidence.get_newest
        self._complete_counts = evidence.complete_counts
        self._current: OpenExport | None = None
        self._refused: tuple[date, str] | None = None
        self._downloaded: list[CsvExport] = []
        self._lock = threading.RLock()

    def fetch(self, window: DateRange, *, export_range: DateRange) -> SourceDays:
        """Return the days of a window.

        Args:
            window: The target days of this call.
            export_range: The days that a new export is to serve, if one is needed.

        Raises:
            VendorError: There is no usable export.
        """
        with self._lock:
            open_export = self._open_export(window, export_range)
            if open_export.parts is None:
                self._determine_parts(open_export)
                open_export.log_truncation()
            self._extend_start(open_export)
            return open_export.source_days(window, self._complete_counts)

    def confirm(self, counts: Mapping[date, int], *, export_range: DateRange) -> bool:
        """Whether the export has no more records of each day than the JSON answer.

        Args:
            counts: Number of JSON records by day; for an empty day, the export must prove that it is empty.
            export_range: The days that a new export is to serve, if one is needed.

        Raises:
            VendorError: There is no usable export.
        """
        empty = [day for day, count in counts.items() if not count]
        with self._lock:
            open_export = self._open_export(DateRange(min(counts), max(counts)), export_range)
            stats = open_export.export.stats
            is_conclusive = max(empty, default=date.min) < last_listed_day(open_export.export) and (
                self._answers.prove_complete(stats)
                or (is_in_order(stats) and all(encloses(stats, day) for day in empty))
            )
            if not is_conclusive and open_export.parts is None:
                self._determine_parts(open_export)
            complete_days = (
                open_export.export.days(open_export.target)
                if open_export.parts is None
                else open_export.source_days(open_export.target, self._complete_counts).days
            )
            if any(day not in complete_days or unreadable_days({day: complete_days[day]}, stats) for day in empty):
                return False
            # A day that a truncated export lacks may be complete in a later one.
            listed = {day: complete_days.get(day) or open_export.export.day(day) for day in counts}
            return all(len(listed[day]) <= count for day, count in counts.items())

    def days_with_records(self, window: DateRange, *, export_range: DateRange) -> frozenset[date]:
        """The days of a window of which the export lists a record; earlier rejections are ignored."""
        with self._lock:
            self._refused = None
            days = self._open_export(window, export_range).export.days(window)
            return frozenset(day for day, records in days.items() if records)

    def serves(self, start: date) -> bool:
        """Whether the vendor serves an export since a day that lists a record."""
        with self._lock:
            try:
                return bool(self._download_export(DateRange(start, max(start, self._today)), start).stats.listed)
            except VendorError:
                return False

    def probe(self, day: date, *, export_range: DateRange) -> None:
        """Check that the vendor serves an export for a day.

        Raises:
            RequestRejected: The vendor rejects the start date.
            VendorError: There is no usable export.
        """
        with self._lock:
            self._open_export(DateRange(day, day), export_range)

    def _open_export(self, window: DateRange, export_range: DateRange) -> OpenExport:
        if (
            self._current is None
            or window.first < self._current.target.first
            or window.last > self._current.target.last
        ):
            target = DateRange(min(export_range.first, window.first), max(export_range.last, window.last))
            self._current = OpenExport(target, self._load_export(target, target.first - PADDING_BEFORE))
        return self._current

    def _determine_parts(self, open_export: OpenExport) -> None:
        self._downloaded = open_export.compared
        try:
            parts = self._find_complete_parts(open_export.export, open_export.target)
            if parts and parts[-1].days.last == open_export.target.last:
                parts[-1:] = self._continue_to_end(parts[-1])
            open_export.parts = parts
        finally:
            self._downloaded = []

    def _extend_start(self, open_export: OpenExport) -> None:
        """Extend the first complete part by the days that later JSON answers show to be complete."""
        match open_export.parts:
            case [CompletePart(days, export), *_] if export is open_export.export and export.stats.earliest:
                first = self._first_complete_day(export, open_export.target)
                if first < days.first:
                    open_export.parts[0] = CompletePart(DateRange(first, days.last), export)

    def _find_complete_parts(self, export: CsvExport, target: DateRange) -> list[CompletePart]:
        """Determine which days no limit on records truncates, by the cheapest evidence first; may download others."""
        stats, answers = export.stats, self._answers
        all_parts = [CompletePart(target, export)]
        if answers.prove_complete(stats) or stats.earliest is None:
            return all_parts
        newest = self._get_newest()
        has_newest = newest is not None and newest.are_contained_in(export.days(target))
        same_size = newest is not None and newest.listed == stats.listed == self._json_answers.largest
        if newest is not None and not same_size and newest.match_exactly(export.days(target)):
            return all_parts
        ordered = is_in_order(stats)
        before, after = has_records_around(stats, target)
        if newest is not None:
            after = has_newest and (after or newest.reach(target.last, export.days(target)))
        if ordered and before and after and not answers.suggest_limit(stats.listed):
            return all_parts
        if self._is_smaller_than_wider_export(stats, target):
            return all_parts
        return self._compare_with_later_exports(export, target) if ordered else self._find_complete_end(export, target)

    def _is_smaller_than_wider_export(self, stats: ReadStats, target: DateRange) -> bool:
        """Whether an export with an earlier start date has more records: then no limit truncated this one."""
        try:
            wider_export = self._load_export(target, target.first - PADDING_BEFORE - WEEK)
        except VendorError:
            return False
        is_truncated = self._answers.is_truncated(wider_export.stats, wider_export.requested)
        return is_smaller(stats, wider_export.stats) and not is_truncated

    def _compare_with_later_exports(self, export: CsvExport, target: DateRange) -> list[CompletePart]:
        """Find the complete days of an ordered export: a limit truncates it at one of its ends."""
        first, latest = self._first_complete_day(export, target), self._latest_day(export)
        parts: list[CompletePart] = []
        current = export
        while latest < target.last or current is export:
            later_export = self._load_export(DateRange(min(latest, target.last), target.last), latest - PADDING_BEFORE)
            if self._answers.prove_complete(later_export.stats):
                agrees = latest > target.last or len(later_export.day(min(latest, target.last))) == len(
                    current.day(min(latest, target.last))
                )
                if agrees and later_export.stats.latest == current.stats.latest:
                    return [*parts, *complete_parts(first, target.last, current)]
                # The oldest records are kept: the last day is truncated here and complete in the later export.
                return [
                    *parts,
                    *complete_parts(first, latest - ONE_DAY, current),
                    *complete_parts(max(first, latest), target.last, later_export),
                ]
            if later_export.stats.latest is None or self._latest_day(later_export) <= latest:
                break
            parts += complete_parts(first, latest - ONE_DAY, current)
            first, current = max(first, latest), later_export
            latest = self._latest_day(later_export)
        newest = self._get_newest()
        current_days = current.days(DateRange(current.target.first, target.last))
        end_is_proven = latest > target.last or (newest is not None and newest.reach(target.last, current_days))
        if end_is_proven and (newest is None or newest.are_contained_in(current_days)):
            return [*parts, *complete_parts(first, target.last, current)]
        return [*parts, *complete_parts(first, min(latest - ONE_DAY, target.last), current)]

    def _find_complete_end(self, export: CsvExport, target: DateRange) -> list[CompletePart]:
        """Find the last days for which an unordered export is small enough to be complete, by binary search.

        If the export that starts one day later has the same counts as this one, this one is complete as well.
        """
        days = target.days()
        low = middle = next_start = 2  # an export starts one day before its target
        high = len(days)
        complete_end: list[CompletePart] = []
        while low < high:
            end_range = DateRange(days[middle], target.last)
            later_export = self._load_export(end_range, end_range.first - PADDING_BEFORE)
            if not self._answers.prove_complete(later_export.stats):
                low = middle + 1
            elif middle == next_start and day_counts(later_export, end_range) == day_counts(export, end_range):
                return complete_parts(self._first_complete_day(export, target), target.last, export)
            else:
                complete_end, high = [CompletePart(end_range, later_export)], middle
            middle = (low + high) // 2
        return complete_end

    def _latest_day(self, export: CsvExport) -> date:
        """The day of the latest record of an export; tomorrow for one in the future, so that requests stay valid."""
        return min(listed_range(export.stats)[1], self._today + ONE_DAY)

    def _first_complete_day(self, export: CsvExport, target: DateRange) -> date:
        """The first complete day of an export whose end is complete.

        Older records may be missing if there is none before the target days. The records of the first target day are
        accepted unless there is evidence of a limit: the account may have no older records.
        """
        stats = export.stats
        earliest, _ = listed_range(stats)
        if earliest < target.first:
            return target.first
        if (covered := self._json_answers.first_covered_day(stats)) is not None:
            return max(covered, target.first)
        before = [day for day in DateRange(export.requested.first, earliest).days() if day < earliest]
        is_truncated = sum(map(self._json_answers.most_listed, before)) >= MIN_GONE_RECORDS
        inconclusive = is_truncated or is_likely_limit(stats.listed) or self._answers.suggest_limit(stats.listed)
        return earliest + ONE_DAY if earliest > target.first or inconclusive else target.first

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
            later_export = self._load_export(DateRange(latest, last), latest - PADDING_BEFORE)
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
        return all(is_empty_since(self._load_export(DateRange(start, last), start).stats, start) for start in starts)

    def _load_export(self, target: DateRange, start: date) -> CsvExport:
        """Download an export; without padding if the padded start date is rejected (assumed: before the oldest day)."""
        try:
            return self._download_export(target, start)
        except RequestRejected as error:
            if start >= target.first:
                raise
            log.info("an export since %s was rejected (%s)", start, error)
        return self._download_export(target, target.first)

    def _download_export(self, target: DateRange, start: date) -> CsvExport:
        from etl.extract.csv_parser import parse_csv  # most runs do not need it

        requested = DateRange(start, max(target.last, self._today))

        def read(file: BinaryIO) -> CsvExport:
            feed = parse_csv(file)
            spool = self._open_spool()
            stats = self._read_feed(feed, target, spool.add)
            log_unknown_fields(feed)
            if stats.earliest is not None and not overlaps(requested, stats):
                raise DateRangeMismatch(f"{describe_range(stats)} in place of those since {start}")
            return CsvExport(requested, target, stats, spool, ATTRIBUTES - feed.fields)

        if self._refused is not None and start <= self._refused[0]:
            raise RequestRejected(self._refused[1])
        try:
            export = self._client.get_export(start, read, retry=self.retries)
        except RequestRejected as error:
            self._refused = start, str(error)  # without the error: its frames hold exports
            raise
        days = export.days(target)
        if (newest := self._get_newest()) is not None:
            if newest.have_other_keys(days, export.stats, self._today):
                raise InvalidResponse("an export with other times, phones or codes than get_billing_record lists")
            if newest.have_other_prices(days, self._today):
                raise InvalidResponse("an export with other prices than get_billing_record lists")
        counts = {day: len(records) for day, records in days.items()}
        self._answers.add(export.stats, requested, counts)
        self._downloaded.append(export)
        return export
