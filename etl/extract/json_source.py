"""Whole days from the JSON call: questions for a range of days, made smaller until nothing can be missing.

A question is wider than the days wanted: one day before and two behind, because nobody says whether the end date is
included and in which zone days are cut. What belongs to a window is decided by the records' own time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from etl.date_ranges import ONE_DAY, bisect
from etl.errors import AuthenticationError, DateRangeMismatch, RequestRejected, VendorError
from etl.extract.client import MAX_NEWEST_RECORDS, Client
from etl.extract.completeness import (
    AnswerSizes,
    Newest,
    days_left_out,
    days_out_of_reach,
    days_without_margin,
    describe_range,
    is_in_order,
    is_of_one_day,
    listed_range,
    looks_like_a_limit,
    sides_shown,
)
from etl.extract.source_days import SourceDays, combine, empty_source_days, fetch_served, log_unknown_fields
from etl.extract.spool import RecordSpool
from etl.model import (
    ATTRIBUTES,
    DateRange,
    DayRecords,
    Feed,
    FeedReader,
    ReadStats,
    Record,
    RejectedRecord,
    single_slice_day,
)
from etl.unreadable import unreadable_days

PADDING_BEFORE: Final = timedelta(days=1)
PADDING_AFTER: Final = timedelta(days=2)
"""An end date that is excluded, in a zone behind the vendor's clock, costs more than a day."""

WEEK: Final = timedelta(days=7)
"""How much wider a question is where a day does not make its answer larger: accounts have a weekly rhythm."""
QUARTER: Final = timedelta(days=92)
"""How much earlier the last of the wider questions begins: what happens once a month has happened before."""
KNOWN_LIMIT: Final = 2
"""Different answers of the same size, none larger: from then on wider questions are of no use."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _JsonAnswer:
    """One JSON answer: the question, what it lists, and those of its days that were wanted."""

    asked: DateRange
    survey: ReadStats
    days: dict[date, DayRecords]

    def result(self) -> SourceDays:
        """All that a whole answer says."""
        unreadable = unreadable_days(self.days, self.survey)
        left_out = days_left_out(self.days, self.asked, self.survey)
        still_open = unreadable | {day: f"{describe_range(self.survey)} in place of {self.asked}" for day in left_out}
        days = {day: records for day, records in self.days.items() if day not in still_open}
        unsure = days_out_of_reach(days, self.asked, self.survey, margin=PADDING_AFTER.days)
        unproven = dict.fromkeys(days_without_margin(days, self.asked.first))
        folds = dict(self.survey.folds)
        return SourceDays(self.asked, days, self.survey.rejected, still_open, unsure, unproven, folds=folds)


class JsonSource:
    """Days from `post_billing_data`. Threads may share it.

    Args:
        client: Sends the questions.
        read_feed: The transform.
        today: In the vendor's wall clock.
        sizes: Of the answers of this run.
        newest: The newest records of the account, or None where the vendor does not give them.
        complete: Days that were shown whole before, and how many records each had.
    """

    def __init__(
        self,
        client: Client,
        read_feed: FeedReader,
        *,
        today: date,
        sizes: AnswerSizes,
        newest: Callable[[], Newest | None],
        complete: Mapping[date, int],
    ) -> None:
        self._client = client
        self._read_feed = read_feed
        self._today = today
        self._sizes = sizes
        self._newest = newest
        self._complete = complete
        self._latest_end: date | None = None
        self._earliest_start: date | None = None

    def fetch(self, window: DateRange) -> SourceDays:
        """What JSON has of a window's days.

        Raises:
            DateRangeMismatch: It is all of other days.
            RequestRejected: The vendor refuses every question about these days.
            VendorError: There is no usable answer.
        """
        found = fetch_served(window, self._fetch, self._ask)
        # A later question may have shown that the refusal of an earlier date has passed.
        cut = [
            day for day, listed in found.unproven.items() if listed is None and self._may_begin(day - PADDING_BEFORE)
        ]
        return combine(window, [found.without(cut), *(self._fetch(DateRange(day, day)) for day in cut)])

    def lists(self, day: date) -> bool:
        """Whether there is a record of a day."""
        return bool(self._ask(DateRange(day, day)).days[day])

    def _fetch(self, window: DateRange) -> SourceDays:
        return self._without_refuted(combine(window, self._whole(window)))

    def _without_refuted(self, found: SourceDays) -> SourceDays:
        """The same, where later answers had the size of an unproven one, without the days of that."""
        refuted = {
            day: listed
            for day, listed in found.unproven.items()
            if listed is not None and self._sizes.answers_of(listed) > 1
        }
        return replace(
            found,
            days={day: records for day, records in found.days.items() if day not in refuted},
            open=found.open | {day: _truncated(listed) for day, listed in refuted.items()},
            unsure=found.unsure - refuted.keys(),
            unproven={
                day: listed
                for day, listed in found.unproven.items()
                if day not in refuted and self._is_news(day, found)
            },
            seen=found.seen | {day: found.days[day] for day in refuted},
        )

    def _is_news(self, day: date, found: SourceDays) -> bool:
        return self._complete.get(day) != len(found.days[day])

    def _whole(self, window: DateRange) -> Iterator[SourceDays]:
        """Results of questions that surely list all records of their days, or leave days open."""
        answer = self._ask(window)
        if self._is_whole(answer, window):
            yield self._settled(answer)
        elif len(window) > 1:
            log.info("%s: an answer of %d records may be truncated; fetching less", window, answer.survey.listed)
            for half in bisect(window):
                yield from self._whole_or_open(half)
        else:
            yield self._single_day(answer, window.first)

    def _whole_or_open(self, window: DateRange) -> list[SourceDays]:
        try:
            return list(self._whole(window))
        except (RequestRejected, DateRangeMismatch) as error:
            return [empty_source_days(window, error)]

    def _settled(self, answer: _JsonAnswer) -> SourceDays:
        """The result of a whole answer; one that has the newest records, too, reaches as far as there are any."""
        result = answer.result()
        if not result.unsure or (newest := self._newest()) is None:
            return result
        if newest.end_with(max(result.unsure)) and newest.are_in(answer.days):
            return replace(result, unsure=frozenset())
        reached = newest.confirm({day: answer.days[day] for day in result.unsure}, answer.survey.rejected)
        return replace(result, unsure=result.unsure - reached)

    def _is_whole(self, answer: _JsonAnswer, wanted: DateRange) -> bool:
        survey, sizes = answer.survey, self._sizes
        if sizes.show_whole(survey.listed) or survey.earliest is None:
            return True
        reached = self._reached(answer)
        news = {day: records for day, records in reached.items() if self._complete.get(day) != len(records)}
        if not news and reached.keys() == answer.days.keys() and not sizes.speak_against(survey.listed):
            return True
        unproven: list[DateRange] | None = None
        if is_in_order(survey) and not sizes.speak_against(survey.listed):
            unproven = self._unproven_ends(answer, wanted)
            if not unproven:
                return True
        if survey.listed <= MAX_NEWEST_RECORDS and (newest := self._newest()) is not None:
            if not newest.are_in(reached):
                return False
            # One limit of both calls would make their sizes equal as well.
            doubtful = newest.listed == survey.listed and (
                sizes.speak_against(survey.listed) or looks_like_a_limit(survey.listed)
            )
            if not doubtful and newest.are_all_of(news, survey.rejected):
                return True
        if unproven is not None and not is_of_one_day(survey):
            agree = [self._end_agrees(answer, end) for end in unproven if end != wanted]
            if False in agree:
                return False
            if None not in agree and len(agree) == len(unproven):
                return True
        return self._wider_lists_more(answer, wanted)

    def _unproven_ends(self, answer: _JsonAnswer, wanted: DateRange) -> list[DateRange]:
        """The outermost days of an answer in order, at each end where nothing shows that it is whole."""
        survey = answer.survey
        before, after = sides_shown(survey, wanted)
        near = wanted.last + WEEK >= self._today
        if before and not after and near and (newest := self._newest()) is not None:
            after = newest.reach(wanted.last) and newest.are_in(self._reached(answer))
        earliest, latest = listed_range(survey)
        ends = []
        if not before:
            ends.append(DateRange(wanted.first, min(max(earliest, wanted.first), wanted.last)))
        if not after:
            ends.append(DateRange(max(min(latest, wanted.last), wanted.first), wanted.last))
        return ends

    def _reached(self, answer: _JsonAnswer) -> dict[date, DayRecords]:
        """The days of an answer that its question reached for certain."""
        unsure = days_out_of_reach(answer.days, answer.asked, answer.survey, margin=PADDING_AFTER.days)
        return {day: records for day, records in answer.days.items() if day not in unsure}

    def _end_agrees(self, answer: _JsonAnswer, end: DateRange) -> bool | None:
        """Whether a question about the outermost days lists what the answer lists; None where it is no smaller one."""
        alone = self._probe(end)
        if alone is None or not self._sizes.show_whole(alone.survey.listed):
            return None
        if not Counter(alone.survey.rejected) <= Counter(answer.survey.rejected):
            return False  # a record that cannot be read is missing as well
        return all(len(records) == len(answer.days[day]) for day, records in alone.days.items())

    def _wider_lists_more(self, answer: _JsonAnswer, wanted: DateRange) -> bool:
        """Whether a wider question has a larger answer: then no limit reached this one."""
        earlier = self._earliest_start or date.min  # before that everything is refused
        week = DateRange(max(wanted.first - WEEK, earlier), max(wanted.last, min(wanted.last + WEEK, self._today)))
        day = DateRange(max(wanted.first - ONE_DAY, earlier), wanted.last)
        quarter = DateRange(max(wanted.first - QUARTER, earlier), wanted.last)
        questions = [week, quarter] if is_of_one_day(answer.survey) else [day, week]
        return self._any_lists_more(answer, [question for question in questions if question != wanted])

    def _any_lists_more(self, answer: _JsonAnswer, questions: Iterable[DateRange]) -> bool:
        listed = answer.survey.listed
        for question in questions:
            if self._sizes.answers_of(listed) > KNOWN_LIMIT:
                return False
            wider = self._probe(question)
            if wider is not None and wider.survey.listed > listed:
                return True
        return False

    def _probe(self, window: DateRange) -> _JsonAnswer | None:
        """An answer that is of use only beside another one; None where there is none."""
        try:
            return self._ask(window)
        except AuthenticationError:
            raise
        except VendorError:
            return None

    def _single_day(self, answer: _JsonAnswer, day: date) -> SourceDays:
        """What can be had of a day whose usual question has an answer that may be truncated."""
        narrow = self._from_narrow_questions(day)
        if narrow is not None:
            return narrow.result()
        if self._may_be_all_there_is(answer):
            return replace(self._settled(answer), unproven={day: answer.survey.listed})
        still_open = {day: _truncated(answer.survey.listed)}
        return SourceDays(answer.asked, {}, answer.survey.rejected, still_open, seen={day: answer.days[day]})

    def _from_narrow_questions(self, day: date) -> _JsonAnswer | None:
        """The day from questions about two days or one, each too small to be truncated; None where there is no such.

        Those about two days cover together what the usual one does. Those about one have records only where the end
        date is included, and cover then the day and its neighbours, in whatever zone.
        """
        around = [day - ONE_DAY, day, day + ONE_DAY]
        for length in (ONE_DAY, timedelta(0)):
            starts = filter(self._may_begin, around)
            questions = [DateRange(first, self._possible_end(first + length)) for first in starts]
            answers = []
            for question in questions:
                one = self._try(question, DateRange(day, day))
                if one is None or not self._sizes.show_whole(one.survey.listed):
                    break
                answers.append(one)
            else:
                if answers and (length or any(one.survey.listed for one in answers)):
                    return _union(day, answers)
        return None

    def _may_be_all_there_is(self, answer: _JsonAnswer) -> bool:
        """Whether nothing speaks against an answer that no other can confirm: all its records are of a single day."""
        survey = answer.survey
        if not is_of_one_day(survey) or self._sizes.answers_of(survey.listed) > 1:
            return False
        if (newest := self._newest()) is not None:
            days = self._reached(answer)
            if not newest.are_in(days):
                return False
            if newest.are_all_of(days, survey.rejected):
                return True
        return not looks_like_a_limit(survey.listed)

    # Questions -------------------------------------------------------------------------------------------------------

    def _ask(self, window: DateRange) -> _JsonAnswer:
        """Ask for a window, padded on both sides, and keep the window's days of the answer.

        A first date before the vendor's oldest day may be refused, and an end date in the future: both have
        alternatives, the widest first, and what was accepted is remembered (assumed). A first date has to be refused
        twice, before and after its alternative was accepted.
        """
        refusal: RequestRejected | None = None
        starts = self._possible_starts(window)
        for first in starts:
            for end in self._possible_ends(window):
                try:
                    answer = self._read(DateRange(first, end), window)
                except RequestRejected as error:
                    log.info("a question for %s..%s is refused (%s)", first, end, error)
                    refusal = error
                    continue
                if end < window.last + PADDING_AFTER:
                    self._latest_end = end
                if first > starts[0]:
                    # A refusal that passes would leave out what another zone has of the first day.
                    padded = self._try(DateRange(starts[0], end), window)
                    if padded is not None:
                        return padded
                    self._earliest_start = first
                return answer
        raise refusal or RequestRejected("there is no question about these days")

    def _possible_starts(self, window: DateRange) -> list[date]:
        padded = window.first - PADDING_BEFORE
        if self._earliest_start is None or window.first < self._earliest_start:
            return [padded, window.first]
        return [max(padded, self._earliest_start)]

    def _possible_ends(self, window: DateRange) -> list[date]:
        """The end dates worth trying, the widest first; only one that may lie in the future has alternatives."""
        widest = window.last + PADDING_AFTER
        if self._latest_end is not None:
            return [min(widest, self._latest_end)]
        # The vendor's own "today" may be a day behind ours.
        if widest < self._today:
            return [widest]
        narrower = {max(window.last + ONE_DAY, self._today), self._today, self._today - ONE_DAY}
        return [widest, *sorted((end for end in narrower - {widest} if end >= window.first), reverse=True)]

    def _may_begin(self, first: date) -> bool:
        return (self._earliest_start is None or first >= self._earliest_start) and (
            self._latest_end is None or first <= self._latest_end
        )

    def _possible_end(self, end: date) -> date:
        return end if self._latest_end is None else min(end, self._latest_end)

    def _try(self, question: DateRange, wanted: DateRange) -> _JsonAnswer | None:
        try:
            return self._read(question, wanted)
        except (RequestRejected, DateRangeMismatch):
            return None

    def _read(self, asked: DateRange, wanted: DateRange) -> _JsonAnswer:
        def read(feed: Feed) -> _JsonAnswer:
            spill = RecordSpool()
            survey = self._read_feed(feed, wanted, spill.add)
            log_unknown_fields(feed)
            if days_left_out(wanted.days(), asked, survey).issuperset(wanted.days()) and not survey.kept:
                raise DateRangeMismatch(f"{describe_range(survey)} in place of {asked}")
            lacking = ATTRIBUTES - feed.fields
            days = {day: replace(records, missing_fields=lacking) for day, records in spill.days(wanted).items()}
            return _JsonAnswer(asked, survey, days)

        answer = self._client.get_records(asked, read)
        self._sizes.note(answer.survey)
        if self._earliest_start is not None:
            self._earliest_start = min(self._earliest_start, asked.first)
        return answer


def _truncated(listed: int) -> str:
    return f"a JSON answer of {listed} records for the day may be truncated"


def _union(day: date, answers: list[_JsonAnswer]) -> _JsonAnswer:
    """The day of several whole answers: one that covers a record's moment lists it as often as there is."""
    records: Counter[Record] = Counter()
    rejected: dict[RejectedRecord, None] = {}
    for answer in answers:
        records |= Counter(answer.days[day].records())
        rejected |= dict.fromkeys(answer.survey.rejected)
    lacking = frozenset[str]().union(*(answer.days[day].missing_fields for answer in answers))
    surveys = [answer.survey for answer in answers]
    merged = replace(
        surveys[0],
        listed=sum(survey.listed for survey in surveys),
        kept=records.total(),
        earliest=min((survey.earliest for survey in surveys if survey.earliest), default=None),
        latest=max((survey.latest for survey in surveys if survey.latest), default=None),
        rejected=tuple(rejected),
        folds={record: fold for survey in surveys for record, fold in survey.folds.items()},
    )
    asked = DateRange(min(answer.asked.first for answer in answers), max(answer.asked.last for answer in answers))
    return _JsonAnswer(
        asked, merged, {day: replace(single_slice_day(day, list(records.elements())), missing_fields=lacking)}
    )
