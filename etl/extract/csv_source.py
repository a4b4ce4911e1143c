"""Whole days from the CSV export, which has a first day and no last one.

One export serves all windows that remain. Where it may be truncated, later exports, which are smaller, show what it is
worth: an export that keeps the oldest lines is continued from the last day it shows; of one that keeps the newest, the
days behind the first one shown are whole.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import BinaryIO

from etl.date_ranges import ONE_DAY
from etl.errors import DateRangeMismatch, RequestRejected
from etl.extract.client import Client
from etl.extract.completeness import (
    AnswerSizes,
    Newest,
    days_without_margin,
    describe_range,
    encloses,
    is_in_order,
    listed_range,
    looks_like_a_limit,
    overlaps,
    sides_shown,
)
from etl.extract.json_source import PADDING_BEFORE, WEEK
from etl.extract.source_days import SourceDays, log_unknown_fields
from etl.extract.spool import RecordSpool
from etl.model import ATTRIBUTES, DateRange, DayRecords, FeedReader, ReadStats
from etl.unreadable import unreadable_days

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Export:
    """A CSV export, read once: the records of the days wanted, by day, out of memory.

    Attributes:
        start: The date of the question.
    """

    start: date
    wanted: DateRange
    survey: ReadStats
    spill: RecordSpool
    lacking: frozenset[str]

    def days(self, window: DateRange) -> dict[date, DayRecords]:
        """The records of some of the days wanted."""
        days = self.spill.days(window)
        return {day: replace(records, source="csv", missing_fields=self.lacking) for day, records in days.items()}

    def day(self, day: date) -> DayRecords:
        """The records of one of the days wanted."""
        return self.days(DateRange(day, day))[day]


@dataclass(frozen=True, slots=True)
class _Part:
    """Days that an export shows whole."""

    days: DateRange
    export: _Export


@dataclass(slots=True)
class _Opened:
    """An export in use.

    Attributes:
        wanted: The days it serves.
        parts: The days that it, or one that continues it, shows whole; None until that is known.
    """

    wanted: DateRange
    export: _Export
    parts: list[_Part] | None = None

    def days_of(self, window: DateRange) -> SourceDays:
        """What is whole of a window's days, and why the others are not.

        A day with which an export begins, because the vendor refuses the one before, is unproven: another zone may have
        some of it there.
        """
        days: dict[date, DayRecords] = {}
        unproven: dict[date, int | None] = {}
        surveys = dict.fromkeys(window.days(), self.export.survey)
        for part in self.parts or ():
            first, last = max(part.days.first, window.first), min(part.days.last, window.last)
            if first <= last:
                some = part.export.days(DateRange(first, last))
                days |= some
                surveys |= dict.fromkeys(some, part.export.survey)
                unproven |= dict.fromkeys(days_without_margin(some, part.export.start))
        truncated = f"a CSV export of {self.export.survey.listed} records may be truncated"
        still_open = {day: truncated for day in window.days() if day not in days}
        for day, records in days.items():
            still_open |= unreadable_days({day: records}, surveys[day])
        whole = {day: records for day, records in days.items() if day not in still_open}
        rejected = dict.fromkeys(
            item
            for survey in {id(survey): survey for survey in surveys.values()}.values()
            for item in survey.rejected
            if item.day is None or item.day in window
        )
        asked = DateRange(self.wanted.first - PADDING_BEFORE, self.wanted.last)
        folds = {record: fold for survey in surveys.values() for record, fold in survey.folds.items()}
        return SourceDays(asked, whole, tuple(rejected), still_open, unproven=unproven, folds=folds)

    def mention_truncation(self) -> None:
        """Log which days are whole, unless all are."""
        whole = [part.days for part in self.parts or ()]
        if whole != [self.wanted]:
            log.warning(
                "a CSV export of %d records may be truncated; whole are: %s",
                self.export.survey.listed, ", ".join(map(str, whole)) or "no days",
            )  # fmt: skip


class CsvSource:
    """Days from `get_billing_csv`. Threads may share it; one of them downloads at a time.

    Args:
        client: Sends the questions.
        read_feed: The transform.
        today: In the vendor's wall clock.
        sizes: Of the answers of this run, by source.
        newest: The newest records of the account, or None where the vendor does not give them.
    """

    def __init__(
        self,
        client: Client,
        read_feed: FeedReader,
        *,
        today: date,
        sizes: Mapping[str, AnswerSizes],
        newest: Callable[[], Newest | None],
    ) -> None:
        self._client = client
        self._read_feed = read_feed
        self._today = today
        self._sizes = sizes["csv"]
        self._json_sizes = sizes["json"]
        self._newest = newest
        self._opened: _Opened | None = None
        self._refused: tuple[date, str] | None = None
        self._lock = threading.RLock()

    def fetch(self, window: DateRange, *, serve: DateRange) -> SourceDays:
        """What the export has of a window's days.

        Args:
            window: The days wanted now.
            serve: The days that the export is to serve, where a new one is needed.

        Raises:
            VendorError: There is no usable export.
        """
        with self._lock:
            opened = self._open(window, serve)
            if opened.parts is None:
                opened.parts = self._whole_parts(opened.export, opened.wanted)
                opened.mention_truncation()
            return opened.days_of(window)

    def confirm(self, counts: Mapping[date, int], *, serve: DateRange) -> bool:
        """Whether the export has no more records of some days than another source.

        Args:
            counts: How many that source has; of a day without any the export has to show that there is none.
            serve: The days that the export is to serve, where a new one is needed.

        Raises:
            VendorError: There is no usable export.
        """
        empty = [day for day, count in counts.items() if not count]
        with self._lock:
            opened = self._open(DateRange(min(counts), max(counts)), serve)
            survey = opened.export.survey
            inside = self._sizes.show_whole(survey.listed) or (
                is_in_order(survey) and all(encloses(survey, day) for day in empty)
            )
            if not inside and opened.parts is None:
                opened.parts = self._whole_parts(opened.export, opened.wanted)
            whole = opened.export.days(opened.wanted) if opened.parts is None else opened.days_of(opened.wanted).days
            if any(day not in whole or unreadable_days({day: whole[day]}, survey) for day in empty):
                return False
            return all(len(opened.export.day(day)) <= count for day, count in counts.items())

    def lists(self, day: date, *, serve: DateRange) -> bool:
        """Whether the export has a record of a day, whatever was refused before."""
        with self._lock:
            self._refused = None
            return bool(self._open(DateRange(day, day), serve).export.day(day))

    def probe(self, day: date, *, serve: DateRange) -> None:
        """Make sure that there is an export that begins with a day.

        Raises:
            RequestRejected: The vendor refuses it.
            VendorError: There is no usable export.
        """
        with self._lock:
            self._open(DateRange(day, day), serve)

    def _open(self, window: DateRange, serve: DateRange) -> _Opened:
        if self._opened is None or window.first < self._opened.wanted.first or window.last > self._opened.wanted.last:
            wanted = DateRange(min(serve.first, window.first), max(serve.last, window.last))
            self._opened = _Opened(wanted, self._load(wanted, wanted.first - PADDING_BEFORE))
        return self._opened

    def _whole_parts(self, export: _Export, wanted: DateRange) -> list[_Part]:
        survey, sizes = export.survey, self._sizes
        everything = [_Part(wanted, export)]
        if sizes.show_whole(survey.listed) or survey.earliest is None:
            return everything
        newest = self._newest()
        has_newest = newest is not None and newest.are_in(export.days(wanted))
        same_size = newest is not None and newest.listed == survey.listed == self._json_sizes.largest
        if newest is not None and not same_size and newest.are_all_of(export.days(wanted)):
            return everything
        in_order = is_in_order(survey)
        before, after = sides_shown(survey, wanted)
        if newest is not None:
            after = has_newest and (after or newest.reach(wanted.last))
        if in_order and before and after and not sizes.speak_against(survey.listed):
            return everything
        if self._is_smaller_than_a_wider_one(survey, wanted):
            return everything
        return self._compare_with_later(export, wanted) if in_order else self._whole_end(export, wanted)

    def _is_smaller_than_a_wider_one(self, survey: ReadStats, wanted: DateRange) -> bool:
        """Whether an export that begins earlier lists more: then no limit reached this one."""
        try:
            wider = self._load(DateRange(wanted.first, wanted.first), wanted.first - PADDING_BEFORE - WEEK)
        except RequestRejected:
            return False
        return wider.survey.listed > survey.listed

    def _compare_with_later(self, export: _Export, wanted: DateRange) -> list[_Part]:
        """Which days of an export in order are whole: a limit cuts it at one of its ends."""
        first, latest = self._first_whole_day(export.survey, wanted), listed_range(export.survey)[1]
        parts: list[_Part] = []
        part = export
        while latest < wanted.last or part is export:
            later = self._load(DateRange(min(latest, wanted.last), wanted.last), latest - PADDING_BEFORE)
            if self._sizes.show_whole(later.survey.listed):
                agrees = latest > wanted.last or len(later.day(min(latest, wanted.last))) == len(
                    part.day(min(latest, wanted.last))
                )
                if agrees and later.survey.latest == part.survey.latest:
                    return [*parts, *_part(first, wanted.last, part)]
                # The oldest lines are kept: the last day shown is cut, and the later export has the rest.
                return [*parts, *_part(first, latest - ONE_DAY, part), *_part(max(first, latest), wanted.last, later)]
            if later.survey.latest is None or listed_range(later.survey)[1] <= latest:
                break
            parts += _part(first, latest - ONE_DAY, part)
            first, part = max(first, latest), later
            latest = listed_range(later.survey)[1]
        newest = self._newest()
        end_is_shown = latest > wanted.last or (newest is not None and newest.reach(wanted.last))
        if end_is_shown and (newest is None or newest.are_in(part.days(DateRange(part.wanted.first, wanted.last)))):
            return [*parts, *_part(first, wanted.last, part)]
        return [*parts, *_part(first, min(latest - ONE_DAY, wanted.last), part)]

    def _whole_end(self, export: _Export, wanted: DateRange) -> list[_Part]:
        """The days, from one on, of which an export without an order is surely whole, because it is a smaller one.

        Where the first of these, which begins a day later, lists what the export does, the export is whole as well.
        """
        days = wanted.days()
        low = middle = next_start = 2  # an export begins a day before the days wanted of it
        high = len(days)
        found: list[_Part] = []
        while low < high:
            some = DateRange(days[middle], wanted.last)
            later = self._load(some, some.first - PADDING_BEFORE)
            if not self._sizes.show_whole(later.survey.listed):
                low = middle + 1
            elif middle == next_start and _counts(later, some) == _counts(export, some):
                return _part(self._first_whole_day(export.survey, wanted), wanted.last, export)
            else:
                found, high = [_Part(some, later)], middle
            middle = (low + high) // 2
        return found

    def _first_whole_day(self, survey: ReadStats, wanted: DateRange) -> date:
        """The first of the days wanted that is whole, where the end of an export is.

        Older lines may be missing where it has none before the days wanted. What it shows of their first day is
        believed unless something speaks against it: an account without older records has nothing to show.
        """
        earliest, _ = listed_range(survey)
        if earliest < wanted.first:
            return wanted.first
        doubtful = looks_like_a_limit(survey.listed) or self._sizes.speak_against(survey.listed)
        return earliest + ONE_DAY if earliest > wanted.first or doubtful else wanted.first

    def _load(self, wanted: DateRange, start: date) -> _Export:
        """One export; where its first date is refused, that of the days wanted (assumed: it is the vendor's oldest)."""
        try:
            return self._read(wanted, start)
        except RequestRejected as error:
            if start >= wanted.first:
                raise
            log.info("an export since %s is refused (%s)", start, error)
        return self._read(wanted, wanted.first)

    def _read(self, wanted: DateRange, start: date) -> _Export:
        from etl.extract.csv_parser import parse_csv  # few nights need it

        asked = DateRange(start, max(wanted.last, self._today))

        def read(file: BinaryIO) -> _Export:
            feed = parse_csv(file)
            spill = RecordSpool()
            survey = self._read_feed(feed, wanted, spill.add)
            log_unknown_fields(feed)
            if survey.earliest is not None and not overlaps(asked, survey):
                raise DateRangeMismatch(f"{describe_range(survey)} in place of those since {start}")
            return _Export(start, wanted, survey, spill, ATTRIBUTES - feed.fields)

        if self._refused is not None and start <= self._refused[0]:
            raise RequestRejected(self._refused[1])
        try:
            export = self._client.get_export(start, read)
        except RequestRejected as error:
            self._refused = start, str(error)  # the error's frames hold exports
            raise
        self._sizes.note(export.survey)
        return export


def _counts(export: _Export, window: DateRange) -> list[int]:
    return list(map(len, export.days(window).values()))


def _part(first: date, last: date, export: _Export) -> list[_Part]:
    return [_Part(DateRange(first, last), export)] if first <= last else []
