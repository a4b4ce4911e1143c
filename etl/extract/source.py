"""Which of the vendor's two sources to believe, day by day: JSON first, the CSV export where JSON is not enough."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Final, TypeVar

from etl.date_ranges import split_into_windows
from etl.errors import AuthenticationError, DateRangeMismatch, RequestRejected, SourceUnavailable, VendorError
from etl.extract.client import MAX_NEWEST_RECORDS, Client
from etl.extract.completeness import AnswerSizes, Newest, lists_all
from etl.extract.csv_source import CsvSource
from etl.extract.json_source import WEEK, JsonSource
from etl.extract.source_days import SourceDays, combine, empty_source_days, fetch_served
from etl.extract.transport import CLOCK_TOLERANCE
from etl.model import DateRange, Feed, FeedReader, Record, WindowData

T = TypeVar("T")
EVERY_DAY: Final = DateRange(date.min, date.max)

log = logging.getLogger(__name__)


class Source:
    """The vendor as the rest of the program sees it: windows in, whole days out.

    Threads may share it.

    Args:
        client: Sends the questions.
        read_feed: The transform.
        today: In the vendor's wall clock.
        last: No later day will be fetched.
        complete: Days that were shown whole before, and how many records each had: an answer that shows as many is no
            news.
        largest: Records in the largest answer of earlier runs, by source.
    """

    def __init__(
        self,
        client: Client,
        read_feed: FeedReader,
        *,
        today: date,
        last: date,
        complete: Mapping[date, int] | None = None,
        largest: Mapping[str, int] | None = None,
    ) -> None:
        self._client = client
        self._read_feed = read_feed
        self._today = today
        self._last = last
        self._complete = complete or {}
        self._sizes = {name: AnswerSizes((largest or {}).get(name)) for name in ("json", "csv")}
        make = partial(JsonSource, client, read_feed, today=today, newest=self._read_newest)
        self._json = make(sizes=self._sizes["json"], complete=self._complete)
        self._csv = CsvSource(client, read_feed, today=today, sizes=self._sizes, newest=self._read_newest)
        self._json_failure: VendorError | None = None
        self._csv_failure: VendorError | None = None
        self._newest: tuple[Newest | None] | None = None
        self._under_way: set[DateRange] = set()
        self._lock = threading.RLock()
        self._clock_mentioned = False

    def fetch(self, window: DateRange) -> WindowData:
        """All that the vendor says of a window's days.

        Windows come in ascending order: one export serves all that remain. A day that neither source shows whole is
        not in the batch's days but in its `doubts`, with the reason.

        Raises:
            AuthenticationError: At once.
            SourceUnavailable: Neither source answered.
        """
        self._under_way.add(window)
        try:
            return self._fetch(window)
        finally:
            self._under_way.remove(window)
            self._mention_clock()

    def fetch_json(self, window: DateRange) -> WindowData:
        """The same from JSON alone.

        Raises:
            VendorError: JSON gave no answer that can be believed.
        """
        return self._batch(window, self._json.fetch(window))

    def fetch_csv(self, window: DateRange) -> WindowData:
        """The same from the CSV export alone.

        Raises:
            VendorError: There is no export that can be believed.
        """
        return self._batch(window, self._fetch_csv(window))

    def has_data_for(self, day: date) -> bool:
        """Whether the vendor still lists a record of a day. The export is used only where JSON fails altogether.

        Args:
            day: An old one. Each question about an older one than before may cost an export of its own.

        Raises:
            AuthenticationError: At once.
            VendorError: Neither source has an answer.

        Source: that days fall out of the vendor's reach one day is assumed; an empty list, a refusal of so old a date
        and an answer about other days are all taken for that.
        """
        window = DateRange(day, day)
        if self._json_failure is None:
            try:
                return self._json.lists(day)
            except AuthenticationError:
                raise
            except (DateRangeMismatch, RequestRejected):
                return False
            except VendorError as error:
                self._give_json_up(error)
        try:
            return self._csv.lists(day, serve=DateRange(day, self._last_of(window)))
        except (DateRangeMismatch, RequestRejected):
            return False

    # Composition -----------------------------------------------------------------------------------------------------

    def _fetch(self, window: DateRange) -> WindowData:
        ours = self._try_json(window)
        if isinstance(ours, SourceDays):
            ours = self._look_again(window, ours)
            if doubtful := self._doubtful(ours) | self._days_without_newest(window, ours):
                ours = self._second_opinion(window, ours, doubtful)
            return self._batch(window, self._without_outdated(window, ours))
        try:
            theirs = self._fetch_csv(window)
            if not isinstance(ours, RequestRejected):
                theirs = replace(theirs, refused=frozenset())
            return self._batch(window, self._without_outdated(window, theirs))
        except AuthenticationError:
            raise
        except VendorError as error:
            message = f"JSON: {ours}; CSV: {error}"
            refused = isinstance(ours, RequestRejected) and isinstance(error, RequestRejected)
            only_these_days = isinstance(ours, DateRangeMismatch | RequestRejected) or isinstance(
                error, DateRangeMismatch
            )
        if not only_these_days or (refused and not self._refuses_only(window)):
            raise SourceUnavailable(message)
        return self._batch(
            window, empty_source_days(window, RequestRejected(message) if refused else DateRangeMismatch(message))
        )

    def _refuses_only(self, window: DateRange) -> bool:
        """Whether the vendor serves today and refuses the window's last day again.

        Else the refusal says nothing about these days: an account out of money may be refused everything, and another
        refusal may pass.
        """
        return self._serves_any(self._today) and not self._serves_any(window.last)

    def _serves_any(self, day: date) -> bool:
        """Whether a source does not refuse a question about a day."""
        window = DateRange(day, day)
        for lists in (self._json.lists, partial(self._csv.lists, serve=window)):
            try:
                lists(day)
            except RequestRejected:
                continue
            except AuthenticationError:
                raise
            except VendorError:
                pass
            return True
        return False

    def _try_json(self, window: DateRange) -> SourceDays | VendorError:
        """JSON's days, or why there are none."""
        if self._json_failure is not None:
            return self._json_failure
        try:
            return self._json.fetch(window)
        except AuthenticationError:
            raise
        except (DateRangeMismatch, RequestRejected) as error:
            return error.with_traceback(None)  # of other days it may say more
        except VendorError as error:
            return self._give_json_up(error)

    def _look_again(self, window: DateRange, ours: SourceDays) -> SourceDays:
        """Fetch again the days that lack some of the newest records, and alone each that is over and shown empty.

        A record that came in between two questions is among the newest ones, and not in the answer before. A day that
        is known to be empty is no news.
        """
        if late := self._days_without_newest(window, ours):
            again = DateRange(min(late), max(late))
            ours = combine(window, [ours.without(again.days()), self._fetch_again(again)])
        newest = self._newest_for(window, ours)
        empty = [day for day in self._news(ours) if newest is None or not newest.show_empty(day)]
        if len(window) == 1 or not empty:
            return ours
        alone = [self._fetch_again(DateRange(day, day)) for day in empty]
        return combine(window, [ours.without(empty), *alone])

    def _fetch_again(self, window: DateRange) -> SourceDays:
        try:
            return self._json.fetch(window)
        except AuthenticationError:
            raise
        except VendorError as error:
            return empty_source_days(window, error)

    def _news(self, ours: SourceDays) -> list[date]:
        """The days that are over, shown empty and not known to be so."""
        return [
            day
            for day, records in ours.days.items()
            if not records and day < self._today and self._complete.get(day) != 0
        ]

    def _doubtful(self, ours: SourceDays) -> frozenset[date]:
        """The days that need the other source: open, empty and unproven ones, and those that may be out of reach."""
        unsure = {day for day in ours.unsure if not ours.days[day] or day < self._today}
        return frozenset(ours.open) | frozenset(self._news(ours)) | unsure | ours.unproven.keys()

    def _days_without_newest(self, window: DateRange, days: SourceDays) -> frozenset[date]:
        """The days that lack some of the newest records of the account: the source may be behind.

        Today lacks, besides, what comes in between two requests, or what the question cannot reach.
        """
        if (newest := self._newest_for(window, days)) is None:
            return frozenset()
        reached = {day: records for day, records in days.days.items() if day not in days.unsure}
        return frozenset(day for day, records in reached.items() if not newest.are_in({day: records}))

    def _newest_for(self, window: DateRange, days: SourceDays) -> Newest | None:
        """The newest records where they are of use: of a recent window, and of a day that is shown empty."""
        return self._read_newest() if window.last >= self._today - WEEK or self._news(days) else None

    def _without_outdated(self, window: DateRange, days: SourceDays) -> SourceDays:
        """The days but those that are over and lack some of the newest records."""
        outdated = {day for day in self._days_without_newest(window, days) if day < self._today}
        reason = "records that get_billing_record lists are missing"
        return replace(
            days,
            days={day: records for day, records in days.days.items() if day not in outdated},
            open=days.open | dict.fromkeys(outdated, reason),
        )

    def _second_opinion(self, window: DateRange, ours: SourceDays, doubtful: frozenset[date]) -> SourceDays:
        """JSON's days, with those of the export where JSON's are missing, or say less."""
        try:
            theirs = self._ask_csv(window, ours, doubtful)
        except AuthenticationError:
            raise
        except VendorError as error:
            # That today is empty, or out of reach, is everyday; that a past day is, is not.
            level = logging.WARNING if min(doubtful) < self._today else logging.INFO
            log.log(level, "no second opinion on %s from the CSV export (%s)", window, error)
            # An empty day that may only be out of the answer's reach is no news at all.
            days = {day: records for day, records in ours.days.items() if records or day not in ours.unsure}
            still_open = {day: f"JSON: {why}; CSV: {error}" for day, why in ours.open.items()}
            refused = ours.refused if isinstance(error, RequestRejected) else frozenset[date]()
            return replace(ours, days=days, open=still_open, refused=refused)
        if theirs is None:
            return replace(ours, unsure=ours.unsure - doubtful)
        better = {
            day: records
            for day, records in theirs.days.items()
            if day in doubtful and self._is_better(day, ours, theirs)
        }
        if not better:
            return replace(
                ours,
                open=_reasons(ours, theirs),
                unsure=ours.unsure - theirs.days.keys(),
                refused=ours.refused & theirs.refused,
            )
        log.warning("%s: JSON has less than the CSV export, which is taken for %s", window, _listed(better))
        kept = {day: records for day, records in ours.days.items() if day not in better}
        still_open = {day: why for day, why in _reasons(ours, theirs).items() if day not in better}
        return combine(
            window,
            [
                SourceDays(
                    ours.asked,
                    kept,
                    tuple(item for item in ours.rejected if item.day not in better),
                    still_open,
                    ours.unsure - theirs.days.keys(),
                    folds=ours.folds,
                    refused=ours.refused & theirs.refused,
                ),
                SourceDays(
                    theirs.asked,
                    better,
                    tuple(item for item in theirs.rejected if item.day is None or item.day in better),
                    folds=theirs.folds,
                ),
            ],
        )

    def _is_better(self, day: date, ours: SourceDays, theirs: SourceDays) -> bool:
        """Whether the export shows whole, or with more records, what JSON has of a day."""
        records = theirs.days[day]
        if day not in ours.open:
            return len(records) > len(ours.days[day])
        if day in theirs.unproven and (
            (newest := self._read_newest()) is None or not newest.confirm({day: records}, theirs.rejected)
        ):
            return False
        return day not in ours.seen or lists_all(records, ours.seen[day])

    def _ask_csv(self, window: DateRange, ours: SourceDays, doubtful: frozenset[date]) -> SourceDays | None:
        """The export's days; None where it confirms that JSON's empty days are empty and its recent ones whole."""
        if not ours.open and not ours.unproven and not any(ours.days[day] for day in ours.unsure):
            counts, serve = (
                {day: len(ours.days[day]) for day in doubtful},
                DateRange(min(doubtful), self._last_of(window)),
            )
            if self._from_csv(lambda: self._csv.confirm(counts, serve=serve)):
                return None
        return self._fetch_csv(window)

    def _fetch_csv(self, window: DateRange) -> SourceDays:
        return fetch_served(window, self._fetch_export, self._probe_export)

    def _fetch_export(self, window: DateRange) -> SourceDays:
        first = min(one.first for one in [window, *self._under_way])
        serve = DateRange(first, self._last_of(window))
        try:
            return self._from_csv(lambda: self._csv.fetch(window, serve=serve))
        except RequestRejected:
            if first == window.first:
                raise
        alone = DateRange(window.first, serve.last)
        return self._from_csv(lambda: self._csv.fetch(window, serve=alone))

    def _probe_export(self, window: DateRange) -> None:
        serve = DateRange(window.first, self._last_of(window))
        self._from_csv(lambda: self._csv.probe(window.first, serve=serve))

    def _from_csv(self, read: Callable[[], T]) -> T:
        """What is read of the export; one that failed is not downloaded again for every window."""
        with self._lock:
            if self._csv_failure is not None:
                raise self._csv_failure.with_traceback(None)
            try:
                return read()
            except RequestRejected:
                raise  # of later days there may be one
            except VendorError as error:
                if self._json_failure is None:  # else the run ends with it
                    self._csv_failure = error.with_traceback(None)
                raise

    def _last_of(self, window: DateRange) -> date:
        return max(window.last, self._last)

    def _batch(self, window: DateRange, days: SourceDays) -> WindowData:
        for part in split_into_windows(None, days.open, size=len(window)):
            log.warning("%s stays open: %s", part, days.open[part.first])
        return WindowData(
            window,
            days.asked,
            days.days,
            days.rejected,
            days.unsure,
            days.open,
            self._largest(),
            days.folds,
            days.refused,
        )

    def _largest(self) -> dict[str, int]:
        return {name: sizes.largest for name, sizes in self._sizes.items()}

    def _give_json_up(self, error: VendorError) -> VendorError:
        self._json_failure = error.with_traceback(None)  # its frames hold the window
        log.warning("JSON cannot be used (%s); the CSV export serves the rest of this run", error)
        return self._json_failure

    # What both sources are compared with -----------------------------------------------------------------------------

    def _read_newest(self) -> Newest | None:
        """The newest records of the account, fetched once; None where the vendor does not give them."""
        with self._lock:
            if self._newest is None:
                self._newest = (self._fetch_newest(),)
            return self._newest[0]

    def _fetch_newest(self) -> Newest | None:
        def read(feed: Feed) -> Newest:
            kept: list[Record] = []
            survey = self._read_feed(feed, EVERY_DAY, kept.extend)
            return Newest(Counter(kept), survey.listed, MAX_NEWEST_RECORDS, survey.rejected)

        try:
            return self._client.get_newest_records(MAX_NEWEST_RECORDS, read)
        except AuthenticationError:
            raise
        except VendorError as error:
            log.info("the newest records are not known (%s)", error)
            return None

    def _mention_clock(self) -> None:
        skew = self._client.clock_skew
        if skew is not None and abs(skew) > CLOCK_TOLERANCE and not self._clock_mentioned:
            self._clock_mentioned = True
            ahead = "ahead of" if skew > 0 else "behind"
            log.warning("this machine's clock is %.0f minutes %s the vendor's", abs(skew) / 60, ahead)


def _reasons(ours: SourceDays, theirs: SourceDays) -> dict[date, str]:
    """Why neither source has the days that JSON leaves open."""
    return {
        day: f"JSON: {reason}; CSV: {theirs.open.get(day, 'records are missing')}" for day, reason in ours.open.items()
    }


def _listed(days: Collection[date]) -> str:
    return ", ".join(map(str, split_into_windows(None, days, size=366)))
