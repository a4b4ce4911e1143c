"""Complete days from the CSV export, which has a start date and no end date.

One export serves all windows of a run that remain; if it fails, exports that begin later may serve the last ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple, TypeVar

from etl.date_ranges import DateRange
from etl.errors import DateRangeMismatch, RequestRejected, VendorError
from etl.extract.csv_requests import CsvRequests
from etl.extract.open_export import OpenExport
from etl.extract.padding import PADDING_BEFORE
from etl.extract.run_evidence import RunEvidence
from etl.extract.source_days import SourceDays, empty_source_days, fetch_accepted_days

T = TypeVar("T")

CONTROL_DAYS: Final = timedelta(days=2)
"""Days before today from which on an export shows whether the call works at all."""


class _Failure(NamedTuple):
    """The error of an export, and the latest first day of the exports that fail with it."""

    latest_first_day: date
    error: VendorError


class CsvSource:
    """Days from `get_billing_csv`. Thread-safe; downloads one export at a time.

    Args:
        requests: Downloads the exports.
        evidence: All that the run can judge answers by.
        last: The last day of the run.
    """

    def __init__(self, requests: CsvRequests, evidence: RunEvidence, *, last: date) -> None:
        self._requests = requests
        self._evidence = evidence
        self._last = last
        self._current: OpenExport | None = None
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
        """Whether the export has no more records of each day than the JSON answer; see `OpenExport.confirm`.

        Args:
            counts: Number of JSON records by day.
            window: The window of these days.

        Raises:
            VendorError: There is no usable export.
        """
        days = DateRange(min(counts), max(counts))
        export_range = DateRange(days.first, self._last_day(window))
        return self._use_export(days, export_range, lambda export: export.confirm(counts))

    def days_with_records(self, window: DateRange, *, last: date | None = None) -> frozenset[date]:
        """The days of a window of which the export lists a record; earlier rejections and failures are ignored.

        Args:
            window: The days.
            last: The last day that a new export is to serve; the last day of the run if None.

        Raises:
            VendorError: There is no usable export.
        """
        with self._lock:
            self._requests.forget_rejection()
            export = self._open_export(window, DateRange(window.first, last or self._last_day(window)))
            return export.days_with_records(window)

    def _fetch_export(self, window: DateRange, active_windows: Collection[DateRange]) -> SourceDays:
        first, last = min(part.first for part in (window, *active_windows)), self._last_day(window)

        def read(export: OpenExport) -> SourceDays:
            return export.source_days(window)

        try:
            return self._use_export(window, DateRange(first, last), read)
        except VendorError:
            if first == window.first:
                raise
        return self._use_export(window, DateRange(window.first, last), read)

    def _probe(self, window: DateRange) -> None:
        """Check that the vendor serves an export for a day."""
        self._use_export(window, DateRange(window.first, self._last_day(window)), lambda _export: None)

    def _use_export(self, window: DateRange, export_range: DateRange, read: Callable[[OpenExport], T]) -> T:
        """Read a window from the export.

        After a failure, raise its error again instead of downloading for every window. An export that begins later may
        lack the record that made it fail.

        Args:
            window: The days to read.
            export_range: The days that a new export is to serve, if one is needed; the window is a part of them.
            read: Reads the export.

        Raises:
            VendorError: There is no usable export.
        """
        first, today = export_range.first, self._evidence.today
        with self._lock:
            if self._failure is not None and first <= self._failure.latest_first_day:
                raise self._failure.error.with_traceback(None)
            try:
                return read(self._open_export(window, export_range))
            except RequestRejected:
                raise  # a later start date may be accepted
            except VendorError as error:
                self._requests.retries = False  # a failure may depend on the days of the export
                control = today - CONTROL_DAYS
                depends_on_days = not isinstance(error, DateRangeMismatch) and first < control
                depends_on_days = depends_on_days and self._requests.serves(control)
                self._failure = _Failure(first if depends_on_days else date.max, error.with_traceback(None))
                raise

    def _open_export(self, window: DateRange, export_range: DateRange) -> OpenExport:
        current = self._current
        if current is None or window.first < current.target.first or window.last > current.target.last:
            export = self._requests.load(export_range, export_range.first - PADDING_BEFORE)
            current = self._current = OpenExport(export, self._requests, self._evidence)
        return current

    def _last_day(self, window: DateRange) -> date:
        return max(window.last, self._last)
