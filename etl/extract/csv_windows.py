"""The windows of a run from the CSV export: the range of each export, and what a failed one means for later windows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple, TypeVar

from etl.date_ranges import DateRange
from etl.errors import DateRangeMismatch, RequestRejected, VendorError
from etl.extract.csv_source import CsvSource
from etl.extract.source_days import SourceDays, empty_source_days, fetch_accepted_days

T = TypeVar("T")

CONTROL_DAYS: Final = timedelta(days=2)
"""Days before today from which on an export shows whether the call works at all."""


class _Failure(NamedTuple):
    """The error of an export, and the latest first day of the exports that fail with it."""

    latest_first_day: date
    error: VendorError


class CsvWindows:
    """Windows from one export for all that remain, or from later ones if that fails. Thread-safe.

    Args:
        csv: Downloads the exports.
        today: The current date in the vendor's wall clock.
        last: The last day of the run.
    """

    def __init__(self, csv: CsvSource, *, today: date, last: date) -> None:
        self._csv = csv
        self._today = today
        self._last = last
        self._failure: _Failure | None = None
        self._lock = threading.RLock()

    def fetch(self, window: DateRange, active_windows: Collection[DateRange] = ()) -> SourceDays:
        """Fetch the days of a window. Days that only an export with a bad record has are unresolved.

        Args:
            window: The target days.
            active_windows: Other windows that are being fetched: one export serves all of them.

        Raises:
            VendorError: There is no usable export.
        """

        def fetch(part: DateRange) -> SourceDays:
            return self._fetch_export(part, active_windows)

        try:
            return fetch_accepted_days(window, fetch, self._probe)
        except (RequestRejected, DateRangeMismatch):
            raise
        except VendorError as error:
            if self._failure is None or self._failure.latest_first_day == date.max:
                raise
            failure = error.with_traceback(None)
        try:
            return fetch_accepted_days(window, fetch, self._probe, rejections=VendorError)
        except VendorError:
            return empty_source_days(window, failure)

    def confirm(self, counts: Mapping[date, int], window: DateRange) -> bool:
        """Whether the export has no more records of each day than the JSON answer; see `CsvSource.confirm`.

        Raises:
            VendorError: There is no usable export.
        """
        export_range = DateRange(min(counts), self._last_day(window))
        return self._call(export_range.first, lambda: self._csv.confirm(counts, export_range=export_range))

    def days_with_records(self, window: DateRange, *, last: date | None = None) -> frozenset[date]:
        """The days of which the export has a record; see `CsvSource.days_with_records`.

        Args:
            window: The days.
            last: The last day that a new export is to serve; the last day of the run if None.

        Raises:
            VendorError: There is no usable export.
        """
        export_range = DateRange(window.first, last or self._last_day(window))
        return self._csv.days_with_records(window, export_range=export_range)

    def _fetch_export(self, window: DateRange, active_windows: Collection[DateRange]) -> SourceDays:
        first, last = min(one.first for one in (window, *active_windows)), self._last_day(window)
        try:
            return self._call(first, lambda: self._csv.fetch(window, export_range=DateRange(first, last)))
        except VendorError:
            if first == window.first:
                raise
        own_range = DateRange(window.first, last)
        return self._call(window.first, lambda: self._csv.fetch(window, export_range=own_range))

    def _probe(self, window: DateRange) -> None:
        export_range = DateRange(window.first, self._last_day(window))
        self._call(window.first, lambda: self._csv.probe(window.first, export_range=export_range))

    def _call(self, first: date, read: Callable[[], T]) -> T:
        """Use exports that serve days from `first` on.

        After a failure, raise its error again instead of downloading for every window. An export that begins later may
        lack the record that made it fail.
        """
        with self._lock:
            if self._failure is not None and first <= self._failure.latest_first_day:
                raise self._failure.error.with_traceback(None)
            try:
                return read()
            except RequestRejected:
                raise  # a later start date may be accepted
            except VendorError as error:
                self._csv.retries = False  # a failure may depend on the days of the export
                control = self._today - CONTROL_DAYS
                depends_on_days = not isinstance(error, DateRangeMismatch) and first < control
                depends_on_days = depends_on_days and self._csv.serves(control)
                self._failure = _Failure(first if depends_on_days else date.max, error.with_traceback(None))
                raise

    def _last_day(self, window: DateRange) -> date:
        return max(window.last, self._last)
