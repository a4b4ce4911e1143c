"""Complete days from the JSON call: requests for a date range, bisected until no answer can be truncated."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from etl.date_ranges import ONE_DAY, DateRange, bisect
from etl.errors import DateRangeMismatch, RequestRejected, VendorError
from etl.extract.completeness import (
    days_begun_late,
)
from etl.extract.json_answer import JsonAnswer
from etl.extract.json_completeness import JsonCompleteness
from etl.extract.json_requests import JsonRequests
from etl.extract.padding import PADDING_BEFORE
from etl.extract.run_evidence import RunEvidence
from etl.extract.short_requests import ShortRequests
from etl.extract.source_days import SourceDays, combine, empty_source_days, fetch_accepted_days

CONTROL_DISTANCE: Final = timedelta(days=3)
"""Days before a failed request of the one that shows whether the call works at all: they have no day in common."""

log = logging.getLogger(__name__)


class JsonSource:
    """Days from `post_billing_data`. Thread-safe.

    Args:
        requests: Sends the requests.
        short: Sends the shortest ones.
        evidence: All that the run can judge answers by.
    """

    def __init__(self, requests: JsonRequests, short: ShortRequests, evidence: RunEvidence) -> None:
        self._requests = requests
        self._short = short
        self._completeness = JsonCompleteness(requests, evidence)
        self._today = evidence.today
        self._answers = evidence.json
        self._get_newest = evidence.get_newest
        self._complete_counts = evidence.complete_counts
        self._is_new = evidence.is_new

    def fetch(self, window: DateRange) -> SourceDays:
        """Fetch the days of a window.

        Raises:
            DateRangeMismatch: All records are of other days.
            RequestRejected: The vendor rejects every request for these days.
            VendorError: There is no usable answer.
        """
        result = fetch_accepted_days(window, self._fetch, self._requests.send)
        # A later request may have shown that the rejection of an earlier start date was temporary.
        unpadded = [day for day in sorted(result.unpadded) if self._requests.is_accepted_start(day - PADDING_BEFORE)]
        result = combine(window, [result.without(unpadded), *(self._fetch(DateRange(day, day)) for day in unpadded)])
        hidden = self.days_listed_elsewhere(result)
        return combine(window, [result.without(hidden), *map(self._resolve_hidden_day, hidden)])

    def days_listed_elsewhere(self, result: SourceDays) -> list[date]:
        """The days of which another answer of this run lists more records than a result has."""
        return [
            day
            for day, records in result.days.items()
            if len(records) < self._answers.most_kept(day) or (not records and self._answers.has_listed(day))
        ]

    def confirm_denied_days(self, result: SourceDays, empty: Collection[date]) -> SourceDays:
        """Request empty days together with the nearest one that is known to have records, where only errors show them.

        The answer then is a list; the days of which it lists a record are unresolved.

        Args:
            result: The days of a window.
            empty: Those of them that appear empty for the first time.
        """
        denied = self._answers.only_denied(empty)
        newest = self._get_newest() if denied else None
        denied = {day for day in denied if newest is None or not newest.prove_empty(day, result.days)}
        if not denied:
            return result
        first, last = min(denied), max(denied)
        if (known := self._day_with_records(apart_from=DateRange(first, last))) is not None:
            self._requests.probe(DateRange(min(first, known), max(last, known)))
        hidden = denied.intersection(self.days_listed_elsewhere(result))
        return result.with_unresolved(hidden, "an error that there are no records, although another answer lists some")

    def days_with_records(self, window: DateRange) -> frozenset[date]:
        """The days of a window of which one answer, complete or not, lists a record."""
        answer = self._requests.send(window)
        if answer.denial is not None:
            raise answer.denial
        if answer.stats.kept or not answer.stats.listed:
            return frozenset(day for day, records in answer.days.items() if records)
        # A limit may have left only the days around the window.
        day = window.first
        short = [DateRange(day, day), DateRange(day, self._requests.clamp_end_date(day + ONE_DAY))]
        answers = (self._requests.try_send(request, DateRange(day, day), failures=VendorError) for request in short)
        return frozenset({day}) if any(answer is not None and answer.days[day] for answer in answers) else frozenset()

    def _fetch(self, window: DateRange) -> SourceDays:
        try:
            parts = list(self._fetch_complete(window))
        except (RequestRejected, DateRangeMismatch):
            raise
        except VendorError as error:
            parts = self._fetch_around_failure(window, error.with_traceback(None))
        return self._without_truncated_days(combine(window, parts))

    def _fetch_around_failure(self, window: DateRange, error: VendorError) -> list[SourceDays]:
        """Fetch the parts of a window that are served: one day may make each request for it fail (assumed).

        Raises:
            VendorError: The given one. Requests for other days fail as well, or no part lists a record.
        """
        control = self._day_with_records(apart_from=window)
        if control is None or not self._requests.serves(control):
            raise error
        log.info("%s: the request failed (%s), and one for %s did not; fetching less", window, error, control)
        with self._requests.without_retries():
            parts = self._fetch_served_parts(window, error)
        if not any(records for part in parts for records in part.days.values()):
            raise error
        return parts

    def _day_with_records(self, *, apart_from: DateRange) -> date | None:
        """A day that, by an earlier run or the newest records, has records, apart from a window if there is one."""

        def nearest(days: Iterable[date]) -> date | None:
            before = [day for day in days if day < apart_from.first - CONTROL_DISTANCE]
            after = [day for day in days if apart_from.last + CONTROL_DISTANCE < day <= self._today]
            return max(before, default=min(after, default=None))

        known = nearest([day for day, count in self._complete_counts.items() if count])
        if known is None and (newest := self._get_newest()) is not None:
            known = nearest(newest.days())
            if known is None and len(apart_from) > 1:  # a day of the window: the request for it is smaller
                known = max((day for day in newest.days() if day <= self._today), default=None)
        return known

    def _fetch_served_parts(self, window: DateRange, error: VendorError) -> list[SourceDays]:
        if len(window) == 1:
            return [self._fetch_served_day(window.first, error)]
        parts: list[SourceDays] = []
        for half in bisect(window):
            try:
                parts += self._fetch_complete(half)
            except (RequestRejected, DateRangeMismatch) as rejection:
                parts.append(empty_source_days(half, rejection))
            except VendorError as failure:
                parts += self._fetch_served_parts(half, failure.with_traceback(None))
        return parts

    def _fetch_served_day(self, day: date, error: VendorError) -> SourceDays:
        """Fetch a day whose padded request failed by shorter requests; unresolved if they fail as well."""
        answer = self._short.fetch(day)
        return empty_source_days(DateRange(day, day), error) if answer is None else answer.to_source_days()

    def _without_truncated_days(self, result: SourceDays) -> SourceDays:
        """Leave unresolved the unproven days whose answer has the same size as a later one: a limit truncated both.

        The others need no comparison if they have as many records as an earlier run found.
        """
        for day, stats in result.unproven.items():
            if day in result.days and self._answers.count_similar(stats) > 1:
                result = result.with_unresolved([day], _truncated(stats.listed))
        new = {day for day, records in result.days.items() if self._is_new(day, len(records))}
        return replace(
            result,
            unproven={day: stats for day, stats in result.unproven.items() if day in new},
            unpadded=result.unpadded & new,
        )

    def _fetch_complete(self, window: DateRange) -> Iterator[SourceDays]:
        """Yield results that are complete or leave days unresolved, from a request for the window or for its halves."""
        answer = self._requests.send(window)
        if self._completeness.is_complete(answer, window):
            yield self._complete_result(answer)
        elif len(window) > 1:
            log.info("%s: an answer of %d records may be truncated; fetching less", window, answer.stats.listed)
            for half in bisect(window):
                yield from self._fetch_complete_or_open(half)
        else:
            yield self._resolve_single_day(answer, window.first)

    def _fetch_complete_or_open(self, window: DateRange) -> list[SourceDays]:
        try:
            return list(self._fetch_complete(window))
        except (RequestRejected, DateRangeMismatch) as error:
            return [empty_source_days(window, error)]

    def _complete_result(self, answer: JsonAnswer) -> SourceDays:
        """Convert a complete answer; its last days are complete if it contains the newest records of the account."""
        result = answer.to_source_days()
        late = days_begun_late(
            min(answer.days), result.days, answer.requested.first, answer.stats, self._complete_counts
        )
        result = result.with_begun_late(late)
        if not result.incomplete_days or (newest := self._get_newest()) is None:
            return result
        if newest.end_by(max(result.incomplete_days)) and newest.are_contained_in(answer.days):
            return replace(result, incomplete_days=frozenset())
        covered = newest.confirm({day: answer.days[day] for day in result.incomplete_days}, answer.stats.rejected)
        covered |= {day for day in result.incomplete_days - covered if newest.prove_end(day, answer.days[day])}
        return replace(result, incomplete_days=result.incomplete_days - covered)

    def _resolve_single_day(self, answer: JsonAnswer, day: date) -> SourceDays:
        """Resolve a day whose padded request has an answer that may be truncated."""
        narrow_answer = self._short.fetch(day)
        if narrow_answer is not None:
            return narrow_answer.to_source_days()
        if self._completeness.is_plausible(answer):
            return replace(self._complete_result(answer), unproven={day: answer.stats}, unpadded=frozenset())
        unresolved = {day: _truncated(answer.stats.listed)}
        return SourceDays(answer.requested, {}, answer.stats.rejected, unresolved, seen_records={day: answer.days[day]})

    def _resolve_hidden_day(self, day: date) -> SourceDays:
        """Resolve a day that the answers to some requests show empty: the vendor may serve only a part of the dates."""
        answer = self._short.fetch(day)
        if answer is not None and len(answer.days[day]) >= max(1, self._answers.most_kept(day)):
            return answer.to_source_days()
        reason = "a JSON answer lacks records of the day that the answer to another request lists"
        return SourceDays(DateRange(day, day), {}, unresolved={day: reason})


def _truncated(listed: int) -> str:
    return f"a JSON answer of {listed} records for the day may be truncated"
