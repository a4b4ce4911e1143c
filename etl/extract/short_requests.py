"""The shortest JSON requests that cover a day: their answers are too small to be truncated, or to be rejected."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from etl.date_ranges import ONE_DAY, DateRange
from etl.errors import VendorError
from etl.extract.completeness import contains_all
from etl.extract.json_answer import JsonAnswer, merge_answers
from etl.extract.json_requests import JsonRequests
from etl.extract.run_evidence import RunEvidence
from etl.extract.source_days import SourceDays, combine

YEAR: Final = timedelta(days=365)
"""Days before a rejected day of the one that shows whether it is rejected for its age."""
_DIGITS: Final = re.compile(r"\d+")


class ShortRequests:
    """Single days from `post_billing_data`. Thread-safe.

    Args:
        requests: Sends the requests.
        evidence: All that the run can judge answers by.
    """

    def __init__(self, requests: JsonRequests, evidence: RunEvidence) -> None:
        self._requests = requests
        self._answers = evidence.json
        self._exports = evidence.csv
        self._past_rejection: str | None = None

    def fetch(self, day: date) -> JsonAnswer | None:
        """Fetch a day by requests for two days or one, with answers too small to be truncated; None if one is larger.

        Requests for two days cover together what the padded request does. Requests for one day have records only if the
        end date is inclusive, and then cover the day and its neighbours, whatever the time zone.
        """
        if answers := self._send(day, ONE_DAY):
            return merge_answers(day, answers)
        answers = self._send(day, timedelta(0))
        if any(answer.stats.listed for answer in answers):
            return replace(merge_answers(day, answers), margin=ONE_DAY)
        return None

    def fetch_listed(self, day: date) -> SourceDays | None:
        """Fetch a day as `fetch` does; None if its answers list no record of it."""
        answer = self.fetch(day)
        return answer.to_source_days() if answer is not None and answer.days[day] else None

    def fetch_rejected(self, window: DateRange, days: SourceDays, rejected: Collection[date]) -> SourceDays:
        """Fetch the unresolved days of which JSON rejects longer requests by short ones, from the last one on.

        The vendor may reject requests of so many days, or records. It no longer serves a day if it rejects a request
        for this day alone with the message that it has for a day a year before: then the earlier days stay refused, and
        the later ones are unresolved for another reason. Assumed. Refused days of which an answer lists a part stay
        refused, and an answer that lacks records of another one is not used.

        Args:
            window: The target days.
            days: The result of both sources.
            rejected: The days of which JSON rejects longer requests.
        """
        begun_late = days.refused & days.seen_records.keys()
        to_fetch = (days.unresolved.keys() & set(rejected)) - begun_late
        if not to_fetch:
            return days
        in_range: set[date] = set()  # not rejected for their age
        found: list[SourceDays] = []
        for day in sorted(to_fetch, reverse=True):
            message = self._requests.rejection_of(day)
            if message is not None and self._rejects_past(day, message):
                break
            in_range.add(day)
            if message is None and (answer := self.fetch(day)) is not None and self._lists_most(day, answer, days):
                found.append(answer.to_source_days())
        fetched = [day for result in found for day in result.days]
        others = set(window.days()).difference(fetched)
        rejected_records = tuple(item for item in days.rejected if (others if item.day is None else item.day in others))
        combined = combine(window, [replace(days.without(fetched), rejected=rejected_records), *found])
        return replace(combined, refused=days.refused - in_range)

    def _lists_most(self, day: date, answer: JsonAnswer, days: SourceDays) -> bool:
        """Whether no other answer of the run, from JSON or the export, lists more of a day."""
        records = answer.days[day]
        most = max(self._answers.most_kept(day), self._exports.most_kept(day))
        if len(records) < most or (not records and self._answers.has_listed(day)):
            return False
        return day not in days.seen_records or contains_all(records, days.seen_records[day])

    def _rejects_past(self, day: date, rejection: str) -> bool:
        """Whether the vendor rejects a day a year before another one with the same message, apart from numbers."""
        if self._past_rejection is None:
            self._past_rejection = self._requests.rejection_of(day - YEAR)
        past = self._past_rejection
        return past is not None and _DIGITS.sub("", past) == _DIGITS.sub("", rejection)

    def _send(self, day: date, length: timedelta) -> list[JsonAnswer]:
        """Request the dates from the day before, from the day and from the day after on.

        Args:
            day: The target day.
            length: From the first to the last date of each request.

        Returns:
            No answers if one of them is missing or may be truncated.
        """
        starts = filter(self._requests.is_accepted_start, (day - ONE_DAY, day, day + ONE_DAY))
        requests = [DateRange(first, self._requests.clamp_end_date(first + length)) for first in starts]
        answers: list[JsonAnswer] = []
        for request in requests:
            answer = self._requests.try_send(request, DateRange(day, day), failures=VendorError)
            if answer is None or not self._answers.prove_complete(answer.stats):
                return []
            answers.append(answer)
        return answers
