"""Which of the vendor's two sources to believe, window by window: JSON first, the CSV export where JSON fails.

Days are asked for wide and kept narrow: one day more before and two after, because nobody says whether the end date is
included and in which zone days are cut. What belongs to a window is told by the records' own time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, BinaryIO, Final

from etl.errors import OtherDays, Refused, TokenRefused, UnusableAnswer, VendorError, VendorUnavailable
from etl.extract.client import Client
from etl.extract.reach import about, ends_of, goes_beyond, is_round, overlaps
from etl.extract.spill import Spill
from etl.extract.transport import CLOCK_TOLERANCE
from etl.model import ATTRIBUTES, Batch, DayRecords, Feed, Record, Rejected, Survey, Window
from etl.windows import ONE_DAY, halve

DAYS_BEFORE: Final = timedelta(days=1)
DAYS_AFTER: Final = timedelta(days=2)
"""An end date that is excluded, in a zone behind the vendor's clock, costs more than a day."""
SMALLEST_EXPORT_LIMIT: Final = 1000
"""Records; a limit below that on a file that is made for downloading everything is assumed away."""
PROBE: Final = timedelta(days=7)
"""How many days wider another question is that is to show that an answer was not cut; a first one is a day wider, which
is enough where that day has a record."""

ReadFeed = Callable[[Feed, Window, Callable[[list[Record]], Any]], Survey]
"""The transform of a feed: hands the good records of a window on, returns what the whole listing shows."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One JSON answer: what was asked, what it lists, the days that were wanted of it, and the fields it lacks."""

    asked: Window
    survey: Survey
    days: dict[date, DayRecords]
    lacking: frozenset[str]


class Source:
    """The vendor as the rest of the program sees it: windows in, whole days out.

    Threads may share it.

    Args:
        client: Asks.
        read_feed: The transform.
        today: In the vendor's wall clock.
        last: No later day will be asked for.
    """

    def __init__(self, client: Client, read_feed: ReadFeed, *, today: date, last: date) -> None:
        self._client = client
        self._read_feed = read_feed
        self._today = today
        self._last = last
        self._latest_end: date | None = None
        self._clock_mentioned = False
        self._json_failure: VendorError | None = None
        self._export: _Export | None = None
        self._export_failure: VendorError | None = None
        self._under_way: set[Window] = set()
        self._one_export = threading.RLock()

    def fetch(self, window: Window) -> Batch:
        """All that the vendor says of a window's days.

        Windows are asked for in ascending order: one export serves all that remain. Where all that the vendor has to
        say is of other days, the batch holds no day and says so in its `doubts`.

        Raises:
            TokenRefused: At once.
            VendorUnavailable: Neither source gave an answer that can be believed.
        """
        self._under_way.add(window)
        try:
            return self._fetch(window)
        finally:
            self._under_way.remove(window)
            self._mention_clock()

    def _mention_clock(self) -> None:
        skew = self._client.clock_skew
        if skew is not None and abs(skew) > CLOCK_TOLERANCE and not self._clock_mentioned:
            self._clock_mentioned = True
            ahead = "ahead of" if skew > 0 else "behind"
            log.warning("this machine's clock is %.0f minutes %s the vendor's", abs(skew) / 60, ahead)

    def _fetch(self, window: Window) -> Batch:
        json_failure = self._json_failure
        if json_failure is None:
            try:
                return self._confirmed(window, self.fetch_json(window))
            except TokenRefused:
                raise
            except VendorError as error:
                json_failure = self._json_failure = error
                log.warning("JSON cannot be used (%s); the CSV export serves the rest of this run", error)
        about_others = isinstance(json_failure, OtherDays)
        try:
            return self._second_opinion(window) if about_others else self.fetch_csv(window)
        except TokenRefused:
            raise
        except VendorError as error:
            message = f"JSON: {json_failure}; CSV: {error}"
            about_others = about_others or isinstance(error, OtherDays)
        if not about_others:
            raise VendorUnavailable(message)
        log.warning("%s: the vendor tells of other days (%s)", window, message)
        if isinstance(json_failure, OtherDays):
            self._json_failure = None  # of the next window it may know better
        return Batch(window, window, "json", {}, doubts=dict.fromkeys(window.days(), message))

    def fetch_json(self, window: Window) -> Batch:
        """The same from JSON alone.

        Raises:
            VendorError: JSON gave no answer that can be believed.
        """
        readings = self._whole(window, larger=None)
        days: dict[date, DayRecords] = {}
        rejected: dict[Rejected, None] = {}
        unsure: set[date] = set()
        doubts: dict[date, str] = {}
        folds: dict[Record, int] = {}
        for part in readings:
            folds |= part.survey.folds
            days |= part.days
            rejected |= dict.fromkeys(part.survey.rejected)
            unsure |= _not_surely_told(part)
            doubts |= {day: f"{about(part.survey)} in place of {part.asked}" for day in _left_out(part)}
        asked = Window(min(part.asked.first for part in readings), max(part.asked.last for part in readings))
        lacking = frozenset.intersection(*(part.lacking for part in readings))
        return Batch(window, asked, "json", days, tuple(rejected), lacking, frozenset(unsure), doubts, folds)

    def fetch_csv(self, window: Window) -> Batch:
        """The same from the CSV export alone.

        Raises:
            VendorError: There is no export that can be believed.
        """
        with self._one_export:
            if self._export is None or window.first < self._export.window.first:
                first = min(one.first for one in [window, *self._under_way])
                self._export = self._open_export(Window(first, max(window.last, self._last)))
            return self._export.batch(window)

    def serves(self, day: date) -> bool:
        """Whether the vendor still lists a record of a day. The export is asked only where JSON fails altogether.

        Args:
            day: An old one. Each question about an older one than before may cost an export of its own.

        Raises:
            TokenRefused: At once.
            VendorError: Neither source told.

        Source: that days fall out of the vendor's reach one day is assumed; an empty list, a refusal of so old a date
        and an answer about other days are all taken for that.
        """
        window = Window(day, day)
        if self._json_failure is None:
            try:
                return bool(self.fetch_json(window).days[day])
            except TokenRefused:
                raise
            except (OtherDays, Refused):
                return False
            except VendorError as error:
                self._json_failure = error
                log.warning("JSON cannot be used (%s); the CSV export serves the rest of this run", error)
        try:
            return bool(self.fetch_csv(window).days[day])
        except OtherDays:
            return False

    def _confirmed(self, window: Window, batch: Batch) -> Batch:
        """JSON's answer, or the export's where JSON's says too little to be believed alone."""
        doubtful = {day for day in batch.unsure if not batch.days[day] or day < self._today}
        doubtful |= batch.doubts.keys()
        if not any(batch.days.values()):
            doubtful = set(batch.days)
        if not doubtful:
            return batch
        try:
            other = self._second_opinion(window)
        except VendorError as error:
            # That today is empty, or out of reach, is everyday; that a past day is, is not.
            level = logging.WARNING if min(doubtful) < self._today else logging.INFO
            log.log(level, "no second opinion on %s from the CSV export (%s)", window, error)
            # An empty day that may only be out of the answer's reach is no news at all.
            return replace(
                batch,
                days={
                    day: records
                    for day, records in batch.days.items()
                    if records or not (day in batch.unsure or day in batch.doubts)
                },
            )
        if not any(len(other.days[day]) > len(batch.days[day]) for day in doubtful):
            return replace(batch, unsure=frozenset(), doubts={})
        log.warning("JSON shows less than the CSV export for %s: the export's answer is taken", window)
        return other

    def _second_opinion(self, window: Window) -> Batch:
        with self._one_export:
            if self._export_failure is not None:
                raise self._export_failure
            try:
                return self.fetch_csv(window)
            except VendorError as error:
                self._export_failure = error
                raise

    def _whole(self, window: Window, *, larger: int | None) -> list[_Reading]:
        """Answers that surely hold all records of the window.

        Args:
            window: The days wanted.
            larger: The size of an answer given a moment ago: whatever limit there is, it is not below that.
        """
        reading = self._ask(window, window)
        listed = reading.survey.listed
        if not is_round(listed) or (larger is not None and listed < larger) or self._ends_are_whole(reading, window):
            return [reading]
        if len(window) > 1:
            log.info("%s: an answer of %d records may have been cut; asking for less", window, listed)
            return [part for half in halve(window) for part in self._whole(half, larger=listed)]
        for wider in (ONE_DAY, PROBE):
            if self._ask(Window(window.first - wider, window.last), window).survey.listed > listed:
                return [reading]
        raise UnusableAnswer(f"an answer of {listed} records for one day may have been cut")

    def _ends_are_whole(self, reading: _Reading, window: Window) -> bool:
        """Whether nothing of the window can be missing at either end of a sorted answer: where a limit cuts.

        Records beyond an end show it. Else the days up to the outermost record are asked for alone: that answer is
        smaller than this one, so no limit touches it, and must hold no more.
        """
        survey = reading.survey
        if not (survey.ascending or survey.descending) or survey.earliest is None or survey.latest is None:
            return False
        earliest, latest = date.fromisoformat(survey.earliest[:10]), date.fromisoformat(survey.latest[:10])
        ends = []
        if earliest >= window.first:
            ends.append(Window(window.first, min(earliest, window.last)))
        if latest <= window.last:
            ends.append(Window(max(latest, window.first), window.last))
        for end in ends:
            if end == window:
                return False
            alone = self._ask(end, end)
            if alone.survey.listed >= survey.listed:
                return False
            if any(len(records) != len(reading.days[day]) for day, records in alone.days.items()):
                return False
        return True

    def _ask(self, window: Window, wanted: Window) -> _Reading:
        """Ask for a window, padded on both sides, and keep the wanted days of the answer."""
        first = window.first - DAYS_BEFORE
        widest, *narrower = self._possible_ends(window)
        try:
            return self._read(Window(first, widest), wanted)
        except Refused:
            if not narrower:
                raise
        for end in narrower[:-1]:
            # Assumed: an end date in the future may be refused. Then an answer reaches up to today.
            log.info("an end date in the future is refused; asking up to %s", end)
            try:
                reading = self._read(Window(first, end), wanted)
            except Refused:
                continue
            self._latest_end = end
            return reading
        reading = self._read(Window(first, narrower[-1]), wanted)
        self._latest_end = narrower[-1]
        return reading

    def _possible_ends(self, window: Window) -> list[date]:
        """The end dates worth trying, the widest first; only one that lies in the future has alternatives."""
        widest = window.last + DAYS_AFTER
        if self._latest_end is not None:
            return [min(widest, self._latest_end)]
        if widest <= self._today:
            return [widest]
        # The vendor's own "today" may be a day behind ours.
        narrower = {max(window.last + ONE_DAY, self._today), self._today, self._today - ONE_DAY}
        return [widest, *sorted(narrower - {widest}, reverse=True)]

    def _read(self, asked: Window, wanted: Window) -> _Reading:
        def read(feed: Feed) -> _Reading:
            _mention_unknown(feed)
            spill = Spill()
            survey = self._read_feed(feed, wanted, spill.add)
            if not survey.kept and any(goes_beyond(asked, survey)):
                raise OtherDays(f"{about(survey)} in place of {asked}")
            return _Reading(asked, survey, spill.days(wanted), ATTRIBUTES - feed.fields)

        return self._client.billing_data(asked, read)

    def _open_export(self, window: Window) -> _Export:
        export = self._load_export(window, window.first - DAYS_BEFORE)
        listed = export.survey.listed
        if listed >= SMALLEST_EXPORT_LIMIT and is_round(listed) and not self._is_whole(export):
            raise UnusableAnswer(f"an export of {listed} records may have been cut")
        return export

    def _is_whole(self, export: _Export) -> bool:
        """Whether another export shows that this one, of a round number of records, was not cut.

        One that reaches further back and lists more shows that the limit is not here. One of the last days alone that
        lists no more of them shows that nothing is missing at the end, which is where a limit cuts a sorted list.
        """
        survey = export.survey
        first = export.window.first
        wider = self._load_export(Window(first, first), first - DAYS_BEFORE - PROBE)
        if wider.survey.listed > survey.listed:
            return True
        if not survey.ascending or survey.latest is None:
            return False
        last = date.fromisoformat(survey.latest[:10])
        tail = self._load_export(Window(last, last), last - DAYS_BEFORE)
        if tail.survey.listed >= survey.listed or tail.survey.latest != survey.latest:
            return False
        return last not in export.window or tail.survey.kept == len(export.spill.days(Window(last, last))[last])

    def _load_export(self, window: Window, start: date) -> _Export:
        from etl.extract.csv_feed import parse_export  # few nights need it

        asked = Window(start, max(window.last, self._today))

        def read(file: BinaryIO) -> _Export:
            feed = parse_export(file)
            _mention_unknown(feed)
            spill = Spill()
            survey = self._read_feed(feed, window, spill.add)
            if survey.listed and survey.earliest is None:
                raise UnusableAnswer(f"an export of {survey.listed} records of which none can be read")
            if survey.listed and not overlaps(asked, survey):
                raise OtherDays(f"{about(survey)} in place of those since {start}")
            return _Export(window, survey, spill, ATTRIBUTES - feed.fields)

        return self._client.billing_csv(start, read)


@dataclass(frozen=True, slots=True)
class _Export:
    """A CSV export, read once: its records by day, out of memory."""

    window: Window
    survey: Survey
    spill: Spill
    lacking: frozenset[str]

    def batch(self, window: Window) -> Batch:
        rejected = tuple(item for item in self.survey.rejected if item.day is None or item.day in window)
        asked = Window(self.window.first - DAYS_BEFORE, self.window.last)
        return Batch(window, asked, "csv", self.spill.days(window), rejected, self.lacking, folds=self.survey.folds)


def _not_surely_told(reading: _Reading) -> set[date]:
    """Days that the question did not reach past far enough, under the least favourable reading of its end date."""
    latest = reading.survey.latest or ""
    return {day for day in reading.days if day + DAYS_AFTER > reading.asked.last and latest[:10] <= day.isoformat()}


def _left_out(reading: _Reading) -> set[date]:
    """Days without a record at one end of the window, where the answer goes beyond the question at the other end."""
    too_early, too_late = goes_beyond(reading.asked, reading.survey)
    if not (too_early or too_late):
        return set()
    earliest, latest = ends_of(reading.survey)
    return {day for day in reading.days if (too_late and day < earliest) or (too_early and day > latest)}


def _mention_unknown(feed: Feed) -> None:
    if feed.unknown:
        log.info(
            "%d unknown fields are ignored: %s", len(feed.unknown), ", ".join(name[:40] for name in feed.unknown[:10])
        )
