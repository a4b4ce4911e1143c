"""The evidence that a JSON answer is complete: what it lists, and further requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from etl.date_ranges import ONE_DAY, WEEK, DateRange
from etl.extract.answer_evidence import MAX_MARGIN, MIN_LIMIT, is_smaller, listed_range
from etl.extract.client import MAX_NEWEST_RECORDS
from etl.extract.completeness import (
    exceeds_range,
    has_records_around,
    is_in_order,
    is_likely_limit,
    is_of_one_day,
)
from etl.extract.json_answer import JsonAnswer
from etl.extract.json_requests import JsonRequests
from etl.extract.run_evidence import RunEvidence
from etl.model import DayRecords, ReadStats

QUARTER: Final = timedelta(days=92)
"""Extra days before the target of the widest request: monthly activity is within a quarter."""
MANY_RECORDS: Final = 1_000
"""Records of one day from which on the days beside it have records as well, and a wider request is expensive."""
MAX_SAME_SIZE_ANSWERS: Final = 2
"""Different answers of the largest size; with more of them, wider requests are of no use."""


class JsonCompleteness:
    """Judges whether JSON answers are complete. Thread-safe.

    Args:
        requests: Sends further requests.
        evidence: All that the run can judge answers by.
    """

    def __init__(self, requests: JsonRequests, evidence: RunEvidence) -> None:
        self._requests = requests
        self._today = evidence.today
        self._answers = evidence.json
        self._get_newest = evidence.get_newest
        self._is_new = evidence.is_new
        self._lists_known = evidence.lists_known_records
        self._is_recent = evidence.is_recent

    def is_complete(self, answer: JsonAnswer, target: DateRange) -> bool:
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

    def is_plausible(self, answer: JsonAnswer) -> bool:
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


def _busiest_day(answer: JsonAnswer) -> DateRange:
    day = max(answer.days, key=lambda day: len(answer.days[day]))
    return DateRange(day, day)
