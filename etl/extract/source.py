"""The vendor's two sources by window: JSON, and the CSV export where JSON fails or does not prove its days complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Final

from etl.date_ranges import ONE_DAY, DateRange, split_into_windows
from etl.errors import DateRangeMismatch, RequestRejected, SourceUnavailable, VendorError
from etl.extract.client import Client
from etl.extract.completeness import NewestRecords
from etl.extract.cross_check import CrossCheck
from etl.extract.csv_requests import CsvRequests
from etl.extract.csv_source import CsvSource
from etl.extract.json_requests import JsonRequests
from etl.extract.json_source import JsonSource
from etl.extract.run_evidence import RunEvidence
from etl.extract.short_requests import ShortRequests
from etl.extract.source_days import SourceDays, combine, empty_source_days
from etl.extract.spool import RecordSpool
from etl.extract.transport import CLOCK_TOLERANCE
from etl.extract.unlisted import reject_unlisted
from etl.model import FeedReader, WindowData

log = logging.getLogger(__name__)

LACKS_NEWEST: Final = "records that get_billing_record lists are missing"
"""Why a day stays open that is complete by all other evidence."""


class Source:
    """The vendor's records by window: complete days from JSON, the CSV export or both. Thread-safe.

    Attributes:
        today: The current date in the vendor's wall clock.

    Args:
        client: Sends the requests.
        read_feed: Parses the records.
        evidence: All that the run can judge answers by.
        last: The last day of the run.
        open_spool: Creates the storage of an answer's records.
    """

    def __init__(
        self,
        client: Client,
        read_feed: FeedReader,
        evidence: RunEvidence,
        *,
        last: date,
        open_spool: Callable[[], RecordSpool] = RecordSpool,
    ) -> None:
        self._client = client
        self._read_feed = read_feed
        self._evidence = evidence
        self.today: Final = evidence.today
        requests = JsonRequests(client, read_feed, evidence, open_spool)
        self._short = ShortRequests(requests, evidence)
        self._json = JsonSource(requests, self._short, evidence)
        self._csv = CsvSource(CsvRequests(client, read_feed, evidence, open_spool), evidence, last=last)
        self._check = CrossCheck(evidence, self._shows_empty)
        self._json_failure: VendorError | None = None
        self._accepts_today: bool | None = None
        self._active_windows: set[DateRange] = set()
        self._clock_skew_logged = False

    def with_client(self, client: Client) -> Source:
        """Open the source again: it shares the evidence, and sends its requests by another client."""
        return Source(client, self._read_feed, self._evidence.with_client(client), last=self.today)

    def fetch(self, window: DateRange) -> WindowData:
        """Fetch the days of a window.

        Call it in ascending order of windows: one export serves all remaining ones. A day that is complete in neither
        source is in the result's `unresolved_days`, with the reason.

        Raises:
            AuthenticationError: The vendor rejects the token; the other source is not tried.
            SourceUnavailable: Neither source answered.
        """
        self._active_windows.add(window)
        try:
            return self._fetch(window)
        finally:
            self._active_windows.remove(window)
            self._warn_clock_skew()

    def fetch_json(self, window: DateRange) -> WindowData:
        """Fetch the days of a window from JSON only.

        Raises:
            VendorError: There is no usable JSON answer.
        """
        return self._to_window_data(window, self._refetch_suspect_days(window, self._json.fetch(window)))

    def fetch_csv(self, window: DateRange) -> WindowData:
        """Fetch the days of a window from the CSV export only.

        Raises:
            VendorError: There is no usable export.
        """
        return self._to_window_data(window, self._csv.fetch(window))

    def days_still_listed(self, window: DateRange) -> frozenset[date]:
        """The old days of which the vendor still lists a record. The export is used only if JSON is unavailable.

        Args:
            window: Each one that begins before all others may need another export.

        Raises:
            AuthenticationError: The vendor rejects the token.
            VendorError: Neither source has a usable answer.

        Source: that the vendor's retention is limited is assumed. An empty list, a rejection of the dates and an answer
        about other days all count as the end of retention. A rejection may also concern the number of days: then the
        first and the last day are requested alone, and by short requests.
        """
        try:
            return self._days_with_records(window)
        except DateRangeMismatch:
            return frozenset()
        except RequestRejected:
            if len(window) == 1:
                return frozenset(window.days()) if self._short.fetch_listed(window.first) else frozenset()
        ends = (DateRange(day, day) for day in (window.first, window.last))
        return frozenset().union(*map(self.days_still_listed, ends))

    def _days_with_records(self, window: DateRange) -> frozenset[date]:
        if self._json_failure is None:
            try:
                return self._json.days_with_records(window)
            except DateRangeMismatch:
                raise
            except RequestRejected as error:
                if self._json_accepts_today():
                    raise
                self._disable_json(error)
            except VendorError as error:
                self._disable_json(error)
        return self._csv.days_with_records(window)

    def _json_accepts_today(self) -> bool:
        """Whether JSON does not reject a request for today: otherwise its rejections say nothing about old days."""
        if self._accepts_today is None:
            self._accepts_today = _is_accepted(self._json.days_with_records, DateRange(self.today, self.today))
        return self._accepts_today

    # Composition -----------------------------------------------------------------------------------------------------

    def _fetch(self, window: DateRange) -> WindowData:
        json_result = self._fetch_json_or_error(window)
        if isinstance(json_result, SourceDays):
            return self._to_window_data(window, self._check_json(window, json_result))
        csv_result = self._fetch_csv_or_error(window)
        if isinstance(csv_result, VendorError):
            return self._to_window_data(window, self._resolve_failure(window, json_result, csv_result))
        if isinstance(json_result, RequestRejected):
            csv_result = self._fetch_rejected(window, csv_result, window.days())
        else:
            csv_result = replace(csv_result, refused=frozenset(), unreadable=frozenset())
        return self._to_window_data(window, self._without_outdated_days(window, csv_result))

    def _check_json(self, window: DateRange, json_days: SourceDays) -> SourceDays:
        """Compare JSON's days with further requests, the newest records and the export."""
        json_days = self._refetch_suspect_days(window, json_days)
        rejected = json_days.refused - json_days.seen_records.keys()
        if to_check := self._check.days_to_check(json_days) | self._days_lacking_newest(window, json_days):
            json_days = self._cross_check(window, json_days, to_check)
        return self._without_outdated_days(window, self._fetch_rejected(window, json_days, rejected))

    def _fetch_rejected(self, window: DateRange, days: SourceDays, rejected: Collection[date]) -> SourceDays:
        """Fetch the open days that JSON rejects by short requests; without an export, it has to be known to list days.

        Args:
            window: The target days.
            days: The result of both sources.
            rejected: The days of which JSON rejects the requests.
        """
        result = self._short.fetch_rejected(window, days, rejected)
        return self._check.without_hidden(result, result.days.keys() - days.days.keys())

    def _resolve_failure(self, window: DateRange, json_error: VendorError, csv_error: VendorError) -> SourceDays:
        """The days of a window of which no request for all of them is served: most are unresolved.

        Raises:
            SourceUnavailable: The errors do not concern these days only.
        """
        both_failed_alike = str(json_error) == str(csv_error)
        message = f"JSON and CSV: {csv_error}" if both_failed_alike else f"JSON: {json_error}; CSV: {csv_error}"
        if isinstance(json_error, RequestRejected):
            refuses_both = isinstance(csv_error, RequestRejected)
            days = empty_source_days(window, RequestRejected(message))
            days = self._fetch_rejected(
                window, days if refuses_both else replace(days, refused=frozenset()), window.days()
            )
            if days.days or not refuses_both or self._refuses_only_old_days(window):
                return self._without_outdated_days(window, days)
        elif isinstance(json_error, DateRangeMismatch) or isinstance(csv_error, DateRangeMismatch):
            return empty_source_days(window, DateRangeMismatch(message))
        raise SourceUnavailable(message)

    def _refuses_only_old_days(self, window: DateRange) -> bool:
        """Whether the vendor accepts a request for today and rejects the window's last day again.

        Otherwise the rejection does not depend on the days: it may be temporary, or concern the account as a whole, as
        without a balance.
        """
        return self._accepts_request(self.today) and not self._accepts_request(window.last)

    def _accepts_request(self, day: date) -> bool:
        """Whether a source does not reject a request for a day."""
        requests = (self._json.days_with_records, partial(self._csv.days_with_records, last=day))
        return any(_is_accepted(request, DateRange(day, day)) for request in requests)

    def _fetch_json_or_error(self, window: DateRange) -> SourceDays | VendorError:
        """Fetch a window from JSON; return the error instead of raising it, so that the export can be tried."""
        if self._json_failure is not None:
            return self._json_failure
        try:
            return self._json.fetch(window)
        except (DateRangeMismatch, RequestRejected) as error:
            return error.with_traceback(None)  # JSON may serve other days
        except VendorError as error:
            return self._disable_json(error)

    def _fetch_csv_or_error(self, window: DateRange) -> SourceDays | VendorError:
        try:
            return self._csv.fetch(window, self._active_windows)
        except VendorError as error:
            return error.with_traceback(None)

    def _refetch_suspect_days(self, window: DateRange, json_days: SourceDays) -> SourceDays:
        """Fetch again the days that lack newest records, and each past day that appears empty for the first time.

        A record created between two requests is among the newest ones, but not in the earlier answer. A day that an
        earlier run found empty may have a late record: it is fetched again if answers are known to be truncated.
        """
        shown_empty = {day for day, records in json_days.days.items() if not records}
        refetched: set[date] = set()
        if days_behind := self._days_lacking_newest(window, json_days):
            refetch_range = DateRange(min(days_behind), max(days_behind))
            json_days = combine(window, [json_days.without(refetch_range.days()), self._refetch(refetch_range)])
            refetched.update(refetch_range.days())
        json_days = self._json.confirm_denied_days(json_days, self._check.new_empty_days(json_days))
        if len(window) == 1:
            return json_days
        past_empty = {day for day, records in json_days.days.items() if not records and day < self.today}
        suspects = set(self._unproven_empty_days(window, json_days))
        while True:
            results = [self._refetch(DateRange(day, day)) for day in sorted(suspects)]
            json_days = combine(window, [json_days.without(suspects), *results])
            refetched |= suspects
            suspects = set(self._json.days_listed_elsewhere(json_days))
            if any(json_days.days.get(day) for day in refetched & shown_empty):
                # A limit on the days of an answer may also truncate the days beside those that it hides.
                beside = {day + offset for day in refetched for offset in (-ONE_DAY, ONE_DAY)}
                suspects |= (beside & json_days.days.keys()) - refetched
            if self._evidence.json.is_limited():
                suspects |= past_empty - refetched
            if not suspects:
                return json_days

    def _refetch_alone(self, window: DateRange, json_days: SourceDays) -> SourceDays:
        """Fetch each newly empty day by short requests: the vendor may list a single day of a request (assumed)."""
        found = {
            day: alone
            for day in self._unproven_empty_days(window, json_days)
            if (alone := self._short.fetch_listed(day)) is not None
        }
        return combine(window, [json_days.without(found), *found.values()])

    def _unproven_empty_days(self, window: DateRange, json_days: SourceDays) -> list[date]:
        """The newly empty days that the newest records do not prove empty."""
        newest = self._newest_if_useful(window, json_days)
        return [
            day
            for day in self._check.new_empty_days(json_days)
            if newest is None or not newest.prove_empty(day, json_days.days)
        ]

    def _shows_empty(self, day: date) -> bool:
        result = self._refetch(DateRange(day, day))
        if day in result.refused:
            answer = self._short.fetch(day)
            return answer is not None and not answer.days[day]
        return day in result.days and not result.days[day] and day not in result.incomplete_days

    def _refetch(self, window: DateRange) -> SourceDays:
        try:
            return self._json.fetch(window)
        except VendorError as error:
            return empty_source_days(window, error)

    def _days_lacking_newest(self, window: DateRange, days: SourceDays) -> frozenset[date]:
        """The days that lack some of the account's newest records: the source may lag behind.

        Today may also lack records created between two requests, or not covered by the request.
        """
        if (newest := self._newest_if_useful(window, days)) is None:
            return frozenset()
        covered = {day: records for day, records in days.days.items() if day not in days.incomplete_days}
        return frozenset(day for day, records in covered.items() if not newest.are_contained_in({day: records}))

    def _newest_if_useful(self, window: DateRange, days: SourceDays) -> NewestRecords | None:
        """The newest records, if the window is recent or has a newly empty day; else None."""
        is_useful = self._evidence.is_recent(window) or self._check.new_empty_days(days)
        return self._evidence.get_newest() if is_useful else None

    def _without_outdated_days(self, window: DateRange, days: SourceDays) -> SourceDays:
        """Leave unresolved the past days that lack some of the newest records, unless a person accepts the day.

        A record may have been withdrawn since the newest records were fetched: they are fetched again.
        """
        outdated = {day for day in self._days_lacking_newest(window, days) if day < self.today}
        if outdated:
            self._evidence.newest.refresh()
            outdated &= self._days_lacking_newest(window, days)
        if (accepted := outdated & self._evidence.accepted_days) and (newest := self._evidence.get_newest()):
            rejected = [item for day in sorted(accepted) for item in reject_unlisted(day, newest, days.days[day])]
            days = replace(days, rejected=(*days.rejected, *rejected))
            outdated -= accepted
        return days.with_unresolved(outdated, LACKS_NEWEST)

    def _cross_check(self, window: DateRange, json_days: SourceDays, to_check: frozenset[date]) -> SourceDays:
        """Compare JSON's days with the export, and replace those that are unresolved or have fewer records."""
        try:
            csv_days = self._fetch_csv_unless_confirmed(window, json_days, to_check)
        except VendorError as error:
            # It is usual for today to be empty or incomplete, but not for a past day.
            level = logging.WARNING if min(to_check) < self.today else logging.INFO
            log.log(level, "%s cannot be compared with the CSV export (%s)", window, error)
            return self._check.without_export(self._refetch_alone(window, json_days), to_check, error)
        if csv_days is None:
            return replace(json_days, incomplete_days=json_days.incomplete_days - to_check)
        return self._check.compare(window, json_days, csv_days, to_check)

    def _fetch_csv_unless_confirmed(
        self, window: DateRange, json_days: SourceDays, to_check: frozenset[date]
    ) -> SourceDays | None:
        """Fetch the export's days; None if it confirms JSON's empty days and has no more records of the others."""
        if (
            not json_days.unresolved
            and not json_days.uncertain_days
            and not any(json_days.days[day] for day in json_days.incomplete_days)
        ):
            counts = {day: len(json_days.days[day]) for day in to_check}
            # An export may be rejected for the first of the days, and accepted for later ones.
            with suppress(RequestRejected):
                if self._csv.confirm(counts, window):
                    return None
        return self._csv.fetch(window, self._active_windows)

    def _to_window_data(self, window: DateRange, days: SourceDays) -> WindowData:
        for unresolved_range in split_into_windows(None, days.unresolved, size=len(window)):
            log.warning("%s stays open: %s", unresolved_range, days.unresolved[unresolved_range.first])
        return WindowData(
            window,
            requested=days.requested,
            days=days.days,
            rejected=(*days.rejected, *self._evidence.unlisted.missing_from(days.days)),
            incomplete_days=days.incomplete_days,
            unresolved_days=days.unresolved,
            largest={"json": self._evidence.json.largest, "csv": self._evidence.csv.largest},
            folds=days.folds,
            refused=days.refused,
            failed=days.failed,
            unreadable=days.unreadable,
        )

    def _disable_json(self, error: VendorError) -> VendorError:
        self._json_failure = error.with_traceback(None)  # its frames hold the window
        log.warning("JSON cannot be used (%s); the CSV export serves the rest of this run", error)
        return self._json_failure

    def _warn_clock_skew(self) -> None:
        skew = self._client.clock_skew
        if skew is not None and abs(skew) > CLOCK_TOLERANCE and not self._clock_skew_logged:
            self._clock_skew_logged = True
            direction = "ahead of" if skew > 0 else "behind"
            log.warning("this machine's clock is %.0f minutes %s the vendor's", abs(skew) / 60, direction)


def _is_accepted(request: Callable[[DateRange], object], window: DateRange) -> bool:
    """Whether the vendor does not reject a request; it may fail otherwise."""
    try:
        request(window)
    except RequestRejected:
        return False
    except VendorError:
        pass
    return True
