"""Requests of the JSON call for target days: padded (`padding`), with other dates where the vendor rejects these."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from etl.date_ranges import ONE_DAY, DateRange
from etl.errors import DateRangeMismatch, NoRecordsError, RequestRejected, VendorError
from etl.extract.claims import VoidClaims
from etl.extract.client import Client
from etl.extract.completeness import describe_range, uncovered_days
from etl.extract.json_answer import JsonAnswer
from etl.extract.padding import PADDING_AFTER, PADDING_BEFORE
from etl.extract.run_evidence import RunEvidence
from etl.extract.source_days import log_unknown_fields
from etl.extract.spool import RecordSpool
from etl.model import ATTRIBUTES, Feed, FeedReader, ReadStats

SHORTEST_FIRST: Final = (timedelta(0), ONE_DAY, PADDING_AFTER)
"""From the first to the last date of the requests for a day that is known to have records."""

log = logging.getLogger(__name__)


class JsonRequests:
    """Sends requests to `post_billing_data`, and keeps the range of dates that the vendor accepts. Thread-safe.

    Args:
        client: Sends the requests.
        read_feed: Parses the records.
        evidence: Receives the sizes of the answers.
        open_spool: Creates the storage of an answer's records.

    Attributes:
        earliest_start: Earlier start dates are rejected; None if that is unknown.
    """

    def __init__(
        self, client: Client, read_feed: FeedReader, evidence: RunEvidence, open_spool: Callable[[], RecordSpool]
    ) -> None:
        self.earliest_start: date | None = None
        self._client = client
        self._read_feed = read_feed
        self._today = evidence.today
        self._answers = evidence.json
        self._open_spool = open_spool
        self._latest_end: date | None = None
        self._most_days = 0
        self._thread = threading.local()
        self._claims = VoidClaims(self._read_stats, evidence.today)

    def send(self, window: DateRange) -> JsonAnswer:
        """Request a window with padding, and keep only the records of the window.

        The vendor may reject a start date before its oldest day and an end date in the future (assumed). Alternatives
        are tried for both, the widest first, and the accepted dates are remembered. A start date counts as rejected
        only if it is rejected again after its alternative was accepted. The answer is empty if no alternative is
        accepted, and the vendor says that it has no records.

        Raises:
            DateRangeMismatch: All records are of other days.
            RequestRejected: The vendor rejects every request for these days, or one of so many days.
            VendorError: The request failed.
        """
        rejection: RequestRejected | None = None
        denial: tuple[DateRange, NoRecordsError] | None = None
        starts = self._candidate_start_dates(window)
        for first in starts:
            rejected: DateRange | None = None
            for end in self._candidate_end_dates(window):
                if end < first:
                    continue
                try:
                    answer = self._read_answer(DateRange(first, end), window)
                except RequestRejected as error:
                    log.info("a request for %s..%s was rejected (%s)", first, end, error)
                    rejection, rejected = error, DateRange(first, end)
                    if denial is None and isinstance(error, NoRecordsError):
                        denial = rejected, error
                    continue
                if rejection is not None and rejected is not None and self._rejects_length(rejected, answer.requested):
                    raise rejection
                if end < window.last + PADDING_AFTER:
                    self._latest_end = end
                if first > starts[0]:
                    # A temporary rejection would lose records of the first day if the vendor uses another time zone.
                    padded_answer = self._try_send(DateRange(starts[0], end), window)
                    if padded_answer is not None:
                        return padded_answer
                    if rejection is not None and self._accepts_shorter(starts[0], answer.requested):
                        raise rejection
                    self.earliest_start = first
                return answer
        if denial is not None:
            return self._deny(*denial, window)
        raise rejection or RequestRejected("no request covers these days")

    def probe(self, window: DateRange) -> JsonAnswer | None:
        """Request a window only for comparison; None if the request failed."""
        try:
            return self.send(window)
        except VendorError:
            return None

    @contextmanager
    def without_retries(self) -> Iterator[None]:
        """Send each request of this thread once, in the block."""
        before = self._retries()
        self._thread.retry = False
        try:
            yield
        finally:
            self._thread.retry = before

    def _retries(self) -> bool:
        return getattr(self._thread, "retry", True)

    def serves(self, day: date) -> bool:
        """Whether the vendor lists a record of a day, by requests that are sent once, the shortest first.

        Requests for more days or records may fail alone (assumed). One for the day alone may list nothing, or be
        rejected, if the end date is not included.
        """
        window = DateRange(day, day)
        with self.without_retries():
            for length in SHORTEST_FIRST:
                try:
                    if self._read_answer(DateRange(day, day + length), window).days[day]:
                        return True
                except (RequestRejected, DateRangeMismatch):
                    continue
                except VendorError:
                    return False
        return False

    def rejection_of(self, day: date) -> str | None:
        """The message with which the vendor rejects a request for a day alone; None if it does not reject it."""
        window = DateRange(day, day)
        try:
            self._read_answer(window, window)
        except NoRecordsError:
            pass
        except RequestRejected as error:
            return str(error)
        except VendorError:
            pass
        return None

    def is_accepted_start(self, first: date) -> bool:
        """Whether a start date lies within the dates that the vendor is known to accept."""
        return (self.earliest_start is None or first >= self.earliest_start) and (
            self._latest_end is None or first <= self._latest_end
        )

    def clamp_end_date(self, end: date) -> date:
        """Return an end date that the vendor is known to accept, the given one if possible."""
        return end if self._latest_end is None else min(end, self._latest_end)

    def try_send(
        self, request: DateRange, target: DateRange, failures: type[VendorError] = RequestRejected
    ) -> JsonAnswer | None:
        """Request certain dates, and keep only the records of the target.

        Returns:
            None if the vendor does not serve these dates, or if the request fails with one of `failures`.
        """
        try:
            return self._read_answer(request, target)
        except NoRecordsError as error:
            return self._deny(request, error, target)
        except (RequestRejected, DateRangeMismatch, failures):
            return None

    def _try_send(self, request: DateRange, target: DateRange) -> JsonAnswer | None:
        """Request certain dates of which the vendor has records; None if it does not serve them."""
        try:
            return self._read_answer(request, target)
        except (RequestRejected, DateRangeMismatch):
            return None

    def _deny(self, requested: DateRange, error: NoRecordsError, target: DateRange) -> JsonAnswer:
        """The empty answer that the vendor gives as an error."""
        answer = replace(self._parse(Feed(rows=()), requested, target), denial=error.with_traceback(None))
        self._answers.add(answer.stats, requested, dict.fromkeys(target.days(), 0), is_denied=True)
        return answer

    def _candidate_start_dates(self, window: DateRange) -> list[date]:
        padded = window.first - PADDING_BEFORE
        if self.earliest_start is None or window.first < self.earliest_start:
            return [padded, window.first]
        return [max(padded, self.earliest_start)]

    def _candidate_end_dates(self, window: DateRange) -> list[date]:
        """The end dates to try, the latest first; only one that may be in the future has alternatives."""
        latest_end = window.last + PADDING_AFTER
        if self._latest_end is not None and self._latest_end >= window.first:
            return [min(latest_end, self._latest_end)]
        # The vendor's current date may be a day behind ours.
        if latest_end < self._today:
            return [latest_end]
        earlier_ends = {max(window.last + ONE_DAY, self._today), self._today, self._today - ONE_DAY}
        return [latest_end, *sorted((end for end in earlier_ends - {latest_end} if end >= window.first), reverse=True)]

    def _rejects_length(self, rejected: DateRange, accepted: DateRange) -> bool:
        """Whether the vendor rejects requests of so many days: it accepts the same end date with fewer."""
        if len(rejected) <= self._most_days:
            return False
        shorter = DateRange(rejected.last - (accepted.last - accepted.first), rejected.last)
        return self._try_send(shorter, DateRange(accepted.last, accepted.last)) is not None

    def _accepts_shorter(self, start: date, accepted: DateRange) -> bool:
        """Whether the vendor rejected an earlier start date for the length of the request: it accepts a shorter one."""
        shorter = DateRange(start, start + (accepted.last - accepted.first))
        day = DateRange(accepted.first, accepted.first)
        return len(accepted) >= self._most_days and self._try_send(shorter, day) is not None

    def _read_answer(self, requested: DateRange, target: DateRange) -> JsonAnswer:
        answer = self._client.get_records(
            requested, lambda feed: self._parse(feed, requested, target), retry=self._retries()
        )
        if answer.stats.claims:
            claims = self._claims.without_void(answer.stats, requested)
            answer = replace(answer, stats=replace(answer.stats, claims=claims))
        self._answers.add(answer.stats, requested, {day: len(records) for day, records in answer.days.items()})
        self._most_days = max(self._most_days, len(requested))
        if self.earliest_start is not None:
            self.earliest_start = min(self.earliest_start, requested.first)
        return answer

    def _parse(self, feed: Feed, requested: DateRange, target: DateRange) -> JsonAnswer:
        spool = self._open_spool()
        stats = self._read_feed(feed, target, spool.add)
        log_unknown_fields(feed)
        if uncovered_days(target.days(), requested, stats).issuperset(target.days()) and not stats.kept:
            raise DateRangeMismatch(f"{describe_range(stats)} in place of {requested}")
        missing_fields = ATTRIBUTES - feed.fields
        days = {day: replace(records, missing_fields=missing_fields) for day, records in spool.days(target).items()}
        return JsonAnswer(requested, stats, days)

    def _read_stats(self, request: DateRange) -> ReadStats:
        return self._client.get_records(
            request, lambda feed: self._read_feed(feed, request, len), retry=self._retries()
        )
