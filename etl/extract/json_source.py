"""Complete days from the JSON call: requests for a date range, bisected until no answer can be truncated."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from etl.date_ranges import ONE_DAY, WEEK, DateRange, bisect
from etl.errors import DateRangeMismatch, RequestRejected, VendorError
from etl.extract.answer_evidence import MAX_MARGIN, MIN_LIMIT, is_smaller, listed_range
from etl.extract.client import MAX_NEWEST_RECORDS
from etl.extract.completeness import (
    days_begun_late,
    exceeds_range,
    has_records_around,
    is_in_order,
    is_likely_limit,
    is_of_one_day,
)
from etl.extract.json_answer import JsonAnswer
from etl.extract.json_requests import JsonRequests
from etl.extract.padding import PADDING_BEFORE
from etl.extract.run_evidence import RunEvidence
from etl.extract.short_requests import ShortRequests
from etl.extract.source_days import SourceDays, combine, empty_source_days, fetch_accepted_days
from etl.model import DayRecords, ReadStats

QUARTER: Final = timedelta(days=92)
"""Extra days before the target of the widest request: monthly activity is within a quarter."""
CONTROL_DISTANCE: Final = timedelta(days=3)
"""Days before a failed request of the one that shows whether the call works at all: they have no day in common."""
MANY_RECORDS: Final = 1_000
"""Records of one day from which on the days beside it have records as well, and a wider request is expensive."""
MAX_SAME_SIZE_ANSWERS: Final = 2
"""Different answers of the largest size; with more of them, wider requests are of no use."""

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
        self._today = evidence.today
        self._answers = evidence.json
        self._get_newest = evidence.get_newest
        self._complete_counts = evidence.complete_counts
        self._is_new = evidence.is_new
        self._lists_known = evidence.lists_known_records
        self._is_recent = evidence.is_recent

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
        if self._is_complete(answer, window):
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

    def _is_complete(self, answer: JsonAnswer, target: DateRange) -> bool:
        """Whether an answer is proven complete: the first evidence that decides counts, the cheapest one first.

        Without known records, a wider answer is worth more than a smaller one: it is evidence of all days. Of few
        records, it is as cheap.
        """
        by_requests = [self._complete_by_smaller_requests, self._complete_by_wider_requests]
        if answer.stats.listed < MANY_RECORDS and not self._lists_known(answer.stats, answer.requested):
            by_requests.reverse()
        evidence = (
            self._complete_by_size,
            self._complete_by_earlier_run,
            self._complete_by_order,
            self._complete_by_newest,
            *by_requests,
        )
        verdicts = (judge(answer, target) for judge in evidence)
        return next((verdict for verdict in verdicts if verdict is not None), False)

    def _complete_by_size(self, answer: JsonAnswer, target: DateRange) -> bool | None:
        """The evidence of the other answers' sizes: it is known to be truncated, or too small for that."""
        stats, answers = answer.stats, self._answers
        if answers.is_truncated(stats, answer.requested):
            return False
        if stats.earliest is None or (answers.prove_complete(stats) and not self._may_vary(answer, target)):
            return True
        return None

    def _complete_by_earlier_run(self, answer: JsonAnswer, _target: DateRange) -> bool | None:
        """The evidence of an earlier run, which found as many records of each day."""
        is_covered = answer.covered_days().keys() == answer.days.keys()
        is_known = is_covered and not self._new_days(answer)
        return True if is_known and not self._answers.suggest_limit(answer.stats.listed) else None

    def _complete_by_order(self, answer: JsonAnswer, target: DateRange) -> bool | None:
        """The evidence of an ordered answer with records on both sides of the target days, and all known ones between.

        Otherwise a limit may have left a random part of it, unless the vendor ignores the requested dates.
        """
        stats, requested = answer.stats, answer.requested
        has_no_gaps = self._lists_known(stats, requested) or exceeds_range(requested, stats) == (True, True)
        is_ordered = has_no_gaps and self._has_reliable_order(stats)
        return True if is_ordered and not self._unproven_edges(answer, target) else None

    def _complete_by_newest(self, answer: JsonAnswer, target: DateRange) -> bool | None:
        """The evidence of the account's newest records: it lacks some of them, lists exactly these, or has no gap."""
        stats = answer.stats
        if stats.listed > MAX_NEWEST_RECORDS or (newest := self._get_newest()) is None:
            return None
        if not newest.are_contained_in(answer.covered_days()):
            return False
        # A limit shared by both calls would make their sizes equal.
        is_shared_limit = newest.listed == stats.listed
        new_days = self._new_days(answer)
        if new_days and not is_shared_limit and newest.match_exactly(new_days, stats.rejected):
            return True
        has_no_gaps = newest.cover(target.first) and self._has_reliable_order(stats)
        return True if has_no_gaps and not self._unproven_edges(answer, target) else None

    def _complete_by_smaller_requests(self, answer: JsonAnswer, target: DateRange) -> bool | None:
        """The evidence of requests for the outermost days of an ordered answer, or for the busiest one.

        They list more records than it does, or as many.
        """
        if not self._has_reliable_order(answer.stats) or is_of_one_day(answer.stats):
            return None
        parts = self._unproven_edges(answer, target) or [_busiest_day(answer)]
        agreements = [self._smaller_request_agrees(answer, part) for part in parts if part != target]
        if False in agreements:
            return False
        return True if None not in agreements and len(agreements) == len(parts) else None

    def _new_days(self, answer: JsonAnswer) -> dict[date, DayRecords]:
        """The covered days of an answer with another number of records than an earlier run found."""
        return {day: records for day, records in answer.covered_days().items() if self._is_new(day, len(records))}

    def _has_reliable_order(self, stats: ReadStats) -> bool:
        """Whether a limit can have truncated an answer only at its ends: it is ordered, and its size suggests no limit.

        An order of arrival looks like one of times, and its limit hides late records between the others.
        """
        listed = stats.listed
        return is_in_order(stats) and not self._answers.suggest_limit(listed) and not is_likely_limit(listed)

    def _may_vary(self, answer: JsonAnswer, target: DateRange) -> bool:
        """Whether a limit that varies may have truncated an answer, which is smaller than the largest one.

        It then ends within the target days. Assumed: a limit does not vary by more than MAX_MARGIN.
        """
        stats = answer.stats
        is_similar = stats.listed >= max(MIN_LIMIT, (1 - MAX_MARGIN) * self._answers.largest)
        return is_similar and is_in_order(stats) and bool(self._unproven_edges(answer, target))

    def _unproven_edges(self, answer: JsonAnswer, target: DateRange) -> list[DateRange]:
        """The outermost days of an ordered answer, at each end without evidence that it is complete."""
        stats = answer.stats
        before, after = has_records_around(stats, target)
        if before and not after and self._is_recent(target) and (newest := self._get_newest()) is not None:
            after = newest.reach(target.last, answer.days) and newest.are_contained_in(answer.covered_days())
        earliest, latest = listed_range(stats)
        edges = []
        if not before:
            edges.append(DateRange(target.first, min(max(earliest, target.first), target.last)))
        if not after:
            edges.append(DateRange(max(min(latest, target.last), target.first), target.last))
        return edges

    def _smaller_request_agrees(self, answer: JsonAnswer, part: DateRange) -> bool | None:
        """Whether a request for a part of the days lists as many records; None if its answer may be truncated too."""
        smaller = self._requests.probe(part)
        if smaller is None or not self._answers.prove_complete(smaller.stats):
            return None
        if not Counter(smaller.stats.rejected) <= Counter(answer.stats.rejected):
            return False  # an unreadable record is missing from the answer
        counts = {day: (len(records), len(answer.days[day])) for day, records in smaller.days.items()}
        # Records of today may have arrived between the two requests.
        return all(count == own or (day >= self._today and count > own) for day, (count, own) in counts.items())

    def _complete_by_wider_requests(self, answer: JsonAnswer, target: DateRange) -> bool | None:
        """The evidence of a wider request whose answer is larger: then no limit truncated this one."""
        earlier = self._requests.earliest_start or date.min  # earlier start dates are rejected
        # Accounts have a weekly rhythm: a week has more records where a day has not.
        week = DateRange(max(target.first - WEEK, earlier), max(target.last, min(target.last + WEEK, self._today)))
        quarter = DateRange(max(target.first - QUARTER, earlier), target.last)
        day = DateRange(max(target.first - ONE_DAY, earlier), target.last)
        before, after = has_records_around(answer.stats, target)
        if target.last < self._today and after and not before:
            day = DateRange(target.first, target.last + ONE_DAY)  # the account may have no records before the target
        if not is_of_one_day(answer.stats):
            requests = [day, week]
        else:
            requests = [week, quarter] if answer.stats.listed < MANY_RECORDS else [day, week, quarter]
            # The account may be quiet for weeks: the request that reaches its newest records lists more.
            if later := self._newest_days_after(week.last):
                requests.append(DateRange(target.first, min(later)))
        return self._any_request_lists_more(answer, [request for request in requests if request != target]) or None

    def _newest_days_after(self, day: date) -> list[date]:
        newest = self._get_newest()
        return [] if newest is None else [listed for listed in newest.days() if day < listed <= self._today]

    def _any_request_lists_more(self, answer: JsonAnswer, requests: Iterable[DateRange]) -> bool:
        """Whether one of the requests has a larger answer; stops early if many answers have the same size."""
        listed = answer.stats.listed
        for request in requests:
            if self._answers.count_same_size(listed) > MAX_SAME_SIZE_ANSWERS:
                return False
            wider_answer = self._requests.probe(request)
            if wider_answer is None:
                continue
            if self._lacks_newest(wider_answer):
                self._answers.add_truncated(wider_answer.stats, wider_answer.requested)
            if self._answers.is_truncated(wider_answer.stats, wider_answer.requested):
                return False
            if is_smaller(answer.stats, wider_answer.stats):
                return True
        return False

    def _lacks_newest(self, answer: JsonAnswer) -> bool:
        """Whether an answer lacks some of the account's newest records: a limit truncated it."""
        newest = self._get_newest()
        return newest is not None and not newest.are_contained_in(answer.covered_days())

    def _resolve_single_day(self, answer: JsonAnswer, day: date) -> SourceDays:
        """Resolve a day whose padded request has an answer that may be truncated."""
        narrow_answer = self._short.fetch(day)
        if narrow_answer is not None:
            return narrow_answer.to_source_days()
        if self._is_plausibly_complete(answer):
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

    def _is_plausibly_complete(self, answer: JsonAnswer) -> bool:
        """Whether there is no evidence against an unconfirmed answer whose records all belong to a single day."""
        stats = answer.stats
        if not is_of_one_day(stats) or self._answers.count_similar(stats) > 1 or self._answers.is_limit(stats.listed):
            return False
        if (newest := self._get_newest()) is not None:
            days = answer.covered_days()
            if not newest.are_contained_in(days):
                return False
            if newest.match_exactly(days, stats.rejected):
                return True
        return not is_likely_limit(stats.listed)


def _busiest_day(answer: JsonAnswer) -> DateRange:
    day = max(answer.days, key=lambda day: len(answer.days[day]))
    return DateRange(day, day)


def _truncated(listed: int) -> str:
    return f"a JSON answer of {listed} records for the day may be truncated"
