"""Complete days from the CSV export, which has a start date and no end date.

One export serves all remaining windows. If it may be truncated, it is compared with later exports, which are smaller:
an export that keeps the oldest records is continued from its last day; of one that keeps the newest records, the days
after its first one are complete.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import BinaryIO

from etl.date_ranges import ONE_DAY
from etl.errors import DateRangeMismatch, RequestRejected
from etl.extract.client import Client
from etl.extract.completeness import (
    AnswerSizes,
    NewestRecords,
    days_without_padding,
    describe_range,
    encloses,
    has_records_around,
    is_in_order,
    is_likely_limit,
    listed_range,
    overlaps,
)
from etl.extract.json_source import PADDING_BEFORE, WEEK
from etl.extract.source_days import SourceDays, log_unknown_fields
from etl.extract.spool import RecordSpool
from etl.model import ATTRIBUTES, DateRange, DayRecords, FeedReader, ReadStats
from etl.unreadable import unreadable_days

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _CsvExport:
    """A parsed CSV export: the records of the target days, spooled by day.

    Attributes:
        start: The requested start date.
        target: The target days.
        missing_fields: Attributes that the export does not have.
    """

    start: date
    target: DateRange
    stats: ReadStats
    spool: RecordSpool
    missing_fields: frozenset[str]

    def days(self, window: DateRange) -> dict[date, DayRecords]:
        """The records of a part of the target days."""
        days = self.spool.days(window)
        return {
            day: replace(records, source="csv", missing_fields=self.missing_fields) for day, records in days.items()
        }

    def day(self, day: date) -> DayRecords:
        """The records of one target day."""
        return self.days(DateRange(day, day))[day]


@dataclass(frozen=True, slots=True)
class _CompletePart:
    """A range of days and the export that is complete for them."""

    days: DateRange
    export: _CsvExport


@dataclass(slots=True)
class _OpenExport:
    """The export in use.

    Attributes:
        target: The days that it serves.
        parts: The ranges for which it, or a later export, is complete; None until they are determined.
        compared: The exports that were downloaded to determine them.
    """

    target: DateRange
    export: _CsvExport
    parts: list[_CompletePart] | None = None
    compared: list[_CsvExport] = field(default_factory=list)

    def source_days(self, window: DateRange) -> SourceDays:
        """Return the complete days of a window, and the reasons against the others.

        The start date of an export without padding, because the vendor rejects the day before it, is unproven: in
        another time zone, some of its records belong to the rejected day.
        """
        days: dict[date, DayRecords] = {}
        unproven: dict[date, int | None] = {}
        stats_by_day = dict.fromkeys(window.days(), self.export.stats)
        for part in self.parts or ():
            first, last = max(part.days.first, window.first), min(part.days.last, window.last)
            if first <= last:
                part_days = part.export.days(DateRange(first, last))
                days |= part_days
                stats_by_day |= dict.fromkeys(part_days, part.export.stats)
                unproven |= dict.fromkeys(days_without_padding(part_days, part.export.start))
        truncated = f"a CSV export of {self.export.stats.listed} records may be truncated"
        open_days = {day: truncated for day in window.days() if day not in days}
        for day, records in days.items():
            open_days |= unreadable_days({day: records}, stats_by_day[day])
        complete_days = {day: records for day, records in days.items() if day not in open_days}
        rejected = dict.fromkeys(
            replace(item, source="csv")
            for stats in {id(stats): stats for stats in stats_by_day.values()}.values()
            for item in stats.rejected
            if item.day is None or item.day in window
        )
        requested = DateRange(self.target.first - PADDING_BEFORE, self.target.last)
        folds = {record: fold for stats in stats_by_day.values() for record, fold in stats.folds.items()}
        return SourceDays(
            requested,
            complete_days,
            tuple(rejected),
            open_days,
            unproven=unproven,
            seen_records={day: self._most_records(day) for day in open_days},
            folds=folds,
        )

    def _most_records(self, day: date) -> DayRecords:
        """The records of a day in the export that lists most of them."""
        return max((export.day(day) for export in (self.export, *self.compared) if day in export.target), key=len)

    def log_truncation(self) -> None:
        """Log the complete days, unless all days are."""
        complete_days = [part.days for part in self.parts or ()]
        if complete_days != [self.target]:
            log.warning(
                "a CSV export of %d records may be truncated; complete days: %s",
                self.export.stats.listed, ", ".join(map(str, complete_days)) or "none",
            )  # fmt: skip


class CsvSource:
    """Days from `get_billing_csv`. Thread-safe; downloads one export at a time.

    Args:
        client: Sends the requests.
        read_feed: Parses the records.
        today: The current date in the vendor's wall clock.
        sizes: Sizes of the answers of this run, by source.
        get_newest: Returns the newest records of the account, or None if they are unavailable.
        open_spool: Creates the storage of an export's records.
    """

    def __init__(
        self,
        client: Client,
        read_feed: FeedReader,
        *,
        today: date,
        sizes: Mapping[str, AnswerSizes],
        get_newest: Callable[[], NewestRecords | None],
        open_spool: Callable[[], RecordSpool] = RecordSpool,
    ) -> None:
        self._client = client
        self._open_spool = open_spool
        self._read_feed = read_feed
        self._today = today
        self._sizes = sizes["csv"]
        self._json_sizes = sizes["json"]
        self._get_newest = get_newest
        self._current: _OpenExport | None = None
        self._refused: tuple[date, str] | None = None
        self._downloaded: list[_CsvExport] = []
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
            return open_export.source_days(window)

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
            is_conclusive = self._sizes.prove_complete(stats.listed) or (
                is_in_order(stats) and all(encloses(stats, day) for day in empty)
            )
            if not is_conclusive and open_export.parts is None:
                self._determine_parts(open_export)
            complete_days = (
                open_export.export.days(open_export.target)
                if open_export.parts is None
                else open_export.source_days(open_export.target).days
            )
            if any(day not in complete_days or unreadable_days({day: complete_days[day]}, stats) for day in empty):
                return False
            # A day that a truncated export lacks may be complete in a later one.
            listed = {day: complete_days.get(day) or open_export.export.day(day) for day in counts}
            return all(len(listed[day]) <= count for day, count in counts.items())

    def has_records(self, day: date, *, export_range: DateRange) -> bool:
        """Whether the export has a record of a day; earlier rejections are ignored."""
        with self._lock:
            self._refused = None
            return bool(self._open_export(DateRange(day, day), export_range).export.day(day))

    def probe(self, day: date, *, export_range: DateRange) -> None:
        """Check that the vendor serves an export for a day.

        Raises:
            RequestRejected: The vendor rejects the start date.
            VendorError: There is no usable export.
        """
        with self._lock:
            self._open_export(DateRange(day, day), export_range)

    def _open_export(self, window: DateRange, export_range: DateRange) -> _OpenExport:
        if (
            self._current is None
            or window.first < self._current.target.first
            or window.last > self._current.target.last
        ):
            target = DateRange(min(export_range.first, window.first), max(export_range.last, window.last))
            self._current = _OpenExport(target, self._load_export(target, target.first - PADDING_BEFORE))
        return self._current

    def _determine_parts(self, open_export: _OpenExport) -> None:
        self._downloaded = open_export.compared
        try:
            open_export.parts = self._find_complete_parts(open_export.export, open_export.target)
        finally:
            self._downloaded = []

    def _find_complete_parts(self, export: _CsvExport, target: DateRange) -> list[_CompletePart]:
        """Determine for which days an export is complete, by the cheapest evidence first; may download others."""
        stats, sizes = export.stats, self._sizes
        all_parts = [_CompletePart(target, export)]
        if sizes.prove_complete(stats.listed) or stats.earliest is None:
            return all_parts
        newest = self._get_newest()
        has_newest = newest is not None and newest.are_contained_in(export.days(target))
        same_size = newest is not None and newest.listed == stats.listed == self._json_sizes.largest
        if newest is not None and not same_size and newest.match_exactly(export.days(target)):
            return all_parts
        ordered = is_in_order(stats)
        before, after = has_records_around(stats, target)
        if newest is not None:
            after = has_newest and (after or newest.reach(target.last, export.days(target)))
        if ordered and before and after and not sizes.suggest_limit(stats.listed):
            return all_parts
        if self._is_smaller_than_wider_export(stats, target):
            return all_parts
        return self._compare_with_later_exports(export, target) if ordered else self._find_complete_end(export, target)

    def _is_smaller_than_wider_export(self, stats: ReadStats, target: DateRange) -> bool:
        """Whether an export with an earlier start date has more records: then no limit truncated this one."""
        try:
            wider_export = self._load_export(target, target.first - PADDING_BEFORE - WEEK)
        except RequestRejected:
            return False
        return wider_export.stats.listed > stats.listed

    def _compare_with_later_exports(self, export: _CsvExport, target: DateRange) -> list[_CompletePart]:
        """Find the complete days of an ordered export: a limit truncates it at one of its ends."""
        first, latest = self._first_complete_day(export.stats, target), listed_range(export.stats)[1]
        parts: list[_CompletePart] = []
        current = export
        while latest < target.last or current is export:
            later_export = self._load_export(DateRange(min(latest, target.last), target.last), latest - PADDING_BEFORE)
            if self._sizes.prove_complete(later_export.stats.listed):
                agrees = latest > target.last or len(later_export.day(min(latest, target.last))) == len(
                    current.day(min(latest, target.last))
                )
                if agrees and later_export.stats.latest == current.stats.latest:
                    return [*parts, *_complete_parts(first, target.last, current)]
                # The oldest records are kept: the last day is truncated here and complete in the later export.
                return [
                    *parts,
                    *_complete_parts(first, latest - ONE_DAY, current),
                    *_complete_parts(max(first, latest), target.last, later_export),
                ]
            if later_export.stats.latest is None or listed_range(later_export.stats)[1] <= latest:
                break
            parts += _complete_parts(first, latest - ONE_DAY, current)
            first, current = max(first, latest), later_export
            latest = listed_range(later_export.stats)[1]
        newest = self._get_newest()
        current_days = current.days(DateRange(current.target.first, target.last))
        end_is_proven = latest > target.last or (newest is not None and newest.reach(target.last, current_days))
        if end_is_proven and (newest is None or newest.are_contained_in(current_days)):
            return [*parts, *_complete_parts(first, target.last, current)]
        return [*parts, *_complete_parts(first, min(latest - ONE_DAY, target.last), current)]

    def _find_complete_end(self, export: _CsvExport, target: DateRange) -> list[_CompletePart]:
        """Find the last days for which an unordered export is small enough to be complete, by binary search.

        If the export that starts one day later has the same counts as this one, this one is complete as well.
        """
        days = target.days()
        low = middle = next_start = 2  # an export starts one day before its target
        high = len(days)
        complete_end: list[_CompletePart] = []
        while low < high:
            end_range = DateRange(days[middle], target.last)
            later_export = self._load_export(end_range, end_range.first - PADDING_BEFORE)
            if not self._sizes.prove_complete(later_export.stats.listed):
                low = middle + 1
            elif middle == next_start and _day_counts(later_export, end_range) == _day_counts(export, end_range):
                return _complete_parts(self._first_complete_day(export.stats, target), target.last, export)
            else:
                complete_end, high = [_CompletePart(end_range, later_export)], middle
            middle = (low + high) // 2
        return complete_end

    def _first_complete_day(self, stats: ReadStats, target: DateRange) -> date:
        """The first complete day of an export whose end is complete.

        Older records may be missing if there is none before the target days. The records of the first target day are
        accepted unless there is evidence of a limit: the account may have no older records.
        """
        earliest, _ = listed_range(stats)
        if earliest < target.first:
            return target.first
        inconclusive = is_likely_limit(stats.listed) or self._sizes.suggest_limit(stats.listed)
        return earliest + ONE_DAY if earliest > target.first or inconclusive else target.first

    def _load_export(self, target: DateRange, start: date) -> _CsvExport:
        """Download an export; without padding if the padded start date is rejected (assumed: before the oldest day)."""
        try:
            return self._download_export(target, start)
        except RequestRejected as error:
            if start >= target.first:
                raise
            log.info("an export since %s was rejected (%s)", start, error)
        return self._download_export(target, target.first)

    def _download_export(self, target: DateRange, start: date) -> _CsvExport:
        from etl.extract.csv_parser import parse_csv  # most runs do not need it

        requested = DateRange(start, max(target.last, self._today))

        def read(file: BinaryIO) -> _CsvExport:
            feed = parse_csv(file)
            spool = self._open_spool()
            stats = self._read_feed(feed, target, spool.add)
            log_unknown_fields(feed)
            if stats.earliest is not None and not overlaps(requested, stats):
                raise DateRangeMismatch(f"{describe_range(stats)} in place of those since {start}")
            return _CsvExport(start, target, stats, spool, ATTRIBUTES - feed.fields)

        if self._refused is not None and start <= self._refused[0]:
            raise RequestRejected(self._refused[1])
        try:
            export = self._client.get_export(start, read)
        except RequestRejected as error:
            self._refused = start, str(error)  # without the error: its frames hold exports
            raise
        self._sizes.add(export.stats)
        self._downloaded.append(export)
        return export


def _day_counts(export: _CsvExport, window: DateRange) -> list[int]:
    return list(map(len, export.days(window).values()))


def _complete_parts(first: date, last: date, export: _CsvExport) -> list[_CompletePart]:
    return [_CompletePart(DateRange(first, last), export)] if first <= last else []
