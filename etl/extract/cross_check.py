"""The comparison of JSON's days with the CSV export: which days need it, and which source's records of a day count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import date

from etl.date_ranges import ONE_DAY, DateRange, split_into_windows
from etl.errors import RequestRejected, VendorError
from etl.extract.answer_evidence import MIN_DAYS_OF_A_SIZE, MIN_SHORTFALL
from etl.extract.completeness import contains_all, count_missing
from etl.extract.run_evidence import RunEvidence
from etl.extract.source_days import SourceDays, combine

log = logging.getLogger(__name__)


class CrossCheck:
    """Compares JSON's days with the export's, and keeps the days that a source hides. Thread-safe.

    Args:
        evidence: All that the run can judge answers by.
        shows_empty: Whether JSON has no record of a day, by a request of its own.
    """

    def __init__(self, evidence: RunEvidence, shows_empty: Callable[[date], bool]) -> None:
        self._today = evidence.today
        self._is_new = evidence.is_new
        self._complete_counts = evidence.complete_counts
        self._json_answers = evidence.json
        self._csv_answers = evidence.csv
        self._get_newest = evidence.get_newest
        self._shows_empty = shows_empty
        self._hidden_days: set[date] = set()  # that JSON shows empty, and another call does not
        self._export_hides_days = False  # whether it shows a day empty of which JSON lists a record

    def new_empty_days(self, json_days: SourceDays) -> list[date]:
        """The past days that are empty and that no earlier run found empty."""
        return [
            day for day, records in json_days.days.items() if not records and day < self._today and self._is_new(day, 0)
        ]

    def days_to_check(self, json_days: SourceDays) -> frozenset[date]:
        """The days to compare with the export: unresolved, newly empty, uncertain, incomplete or beside hidden ones.

        So are days that a limit on the records of each day may have truncated. If a limit truncates JSON's answers at
        different sizes, all days.
        """
        if self._json_answers.limit_varies():
            return frozenset(json_days.unresolved.keys() | json_days.days.keys())
        incomplete_days = {day for day in json_days.incomplete_days if not json_days.days[day] or day < self._today}
        return (
            frozenset(json_days.unresolved)
            | frozenset(self.new_empty_days(json_days))
            | incomplete_days
            | json_days.uncertain_days
            | self._days_beside_hidden(json_days)
            | self._perhaps_limited_days(json_days)
        )

    def _perhaps_limited_days(self, json_days: SourceDays) -> frozenset[date]:
        """The days that a limit on the records of each day may have truncated, and those that lost records.

        Such a limit is likely if days lost records, or if several new days have the largest number of records.
        """
        days = json_days.days
        lost = {
            day
            for day, known in self._complete_counts.items()
            if day in days and known - len(days[day]) >= MIN_SHORTFALL
        }
        sized = self._json_answers.days_of_largest_size() & days.keys()
        new = [day for day in sized if self._is_new(day, len(days[day]))]
        return frozenset(lost | sized if lost or len(new) >= MIN_DAYS_OF_A_SIZE else ())

    def without_export(self, json_days: SourceDays, to_check: frozenset[date], error: VendorError) -> SourceDays:
        """Leave unresolved the days that need the evidence of the export: there is none."""
        json_days = self.without_hidden(json_days, to_check)
        return replace(
            json_days,
            # An empty day that the request may not have covered is unknown.
            days={
                day: records
                for day, records in json_days.days.items()
                if records or day not in json_days.incomplete_days
            },
            unresolved={day: f"JSON: {reason}; CSV: {error}" for day, reason in json_days.unresolved.items()},
            refused=json_days.refused if isinstance(error, RequestRejected) else frozenset[date](),
            unreadable=json_days.unreadable if isinstance(error, RequestRejected) else frozenset[date](),
        )

    def without_hidden(self, json_days: SourceDays, days: Collection[date]) -> SourceDays:
        """Leave unresolved those of some days that JSON shows empty and perhaps hides: no export shows them."""
        hidden = self._perhaps_hidden(set(days).intersection(self.new_empty_days(json_days)), json_days)
        return json_days.with_unresolved(hidden, "an empty JSON answer, although the account has records that it lacks")

    def compare(
        self, window: DateRange, json_days: SourceDays, csv_days: SourceDays, to_check: frozenset[date]
    ) -> SourceDays:
        """Replace JSON days that are unresolved or shorter than the export's; leave contradictory ones unresolved."""
        self._export_hides_days |= any(
            not records and self._json_answers.has_listed(day) for day, records in csv_days.days.items()
        )
        json_days = self._without_contradicted_days(json_days, csv_days, to_check)
        to_check |= self._days_beside_hidden(json_days)
        contradictory = {day for day in to_check if self._is_contradictory(day, json_days, csv_days)}
        json_days = json_days.with_unresolved(contradictory, "JSON and the CSV export each lack records of the other")
        preferred = {day for day in to_check & csv_days.days.keys() if self._csv_is_better(day, json_days, csv_days)}
        _warn_of_use(window, json_days, preferred)
        is_unusable = self._is_unusable(json_days, csv_days, preferred)
        json_days = json_days.without(preferred)
        json_days = replace(
            json_days,
            rejected=tuple(
                item
                for item in json_days.rejected
                if item.day not in preferred and not (is_unusable and item.day is None)
            ),
            unresolved={
                day: f"JSON: {reason}; CSV: {csv_days.unresolved.get(day, 'records are missing')}"
                for day, reason in json_days.unresolved.items()
            },
            incomplete_days=json_days.incomplete_days - csv_days.days.keys(),
            refused=json_days.refused & csv_days.refused,
            failed=json_days.failed & csv_days.failed,
            unreadable=json_days.unreadable & csv_days.unreadable,
        )
        return combine(window, [json_days, csv_days.only(preferred)]) if preferred else json_days

    def _is_unusable(self, json_days: SourceDays, csv_days: SourceDays, preferred: Collection[date]) -> bool:
        """Whether JSON lists no readable record of the window, and the export has all of its days.

        JSON's records of an unknown day are then those of the export, unless there are more of them than the export
        lists around the requested days: then some may be missing from it.
        """
        if any(json_days.days.values()) or any(json_days.seen_records.values()):
            return False
        others = (json_days.days | json_days.unresolved).keys() - preferred
        if any(day in json_days.unresolved or csv_days.days.get(day) is None or csv_days.days[day] for day in others):
            return False
        undated = sum(item.day is None for item in json_days.rejected)
        requested = json_days.requested
        # The sources may cut days in different time zones (assumed).
        around = DateRange(requested.first - ONE_DAY, requested.last + ONE_DAY)
        return undated <= self._csv_answers.most_listed_within(around)

    def _days_beside_hidden(self, json_days: SourceDays) -> frozenset[date]:
        """The nearest days with records before and after those that JSON hides: it may show a part of them."""
        listed = [day for day, records in json_days.days.items() if records]
        hidden_days = list(self._hidden_days)  # other threads add to it
        earlier = (max((day for day in listed if day < hidden), default=hidden) for hidden in hidden_days)
        later = (min((day for day in listed if day > hidden), default=hidden) for hidden in hidden_days)
        return frozenset([*earlier, *later]) & json_days.days.keys()

    def _without_contradicted_days(
        self, json_days: SourceDays, csv_days: SourceDays, to_check: frozenset[date]
    ) -> SourceDays:
        """Leave unresolved the JSON days that lack records of an export that is incomplete for them.

        Once JSON shows a day empty that the export does not, its other empty days need the evidence of the export, too.
        """
        found = csv_days.seen_records | csv_days.days
        checked = to_check & json_days.days.keys()
        self._hidden_days.update(day for day in checked if found.get(day) and not json_days.days[day])
        unconfirmed = checked - csv_days.days.keys()
        lacking = self._perhaps_hidden(unconfirmed, json_days) | {
            day for day in unconfirmed & found.keys() if not contains_all(json_days.days[day], found[day])
        }
        return json_days.with_unresolved(lacking, "records that the CSV export lists are missing")

    def _perhaps_hidden(self, days: Collection[date], json_days: SourceDays) -> set[date]:
        """The days that JSON shows empty and the newest records do not, if JSON is known to hide days.

        If it is not, those of which JSON only says by errors that there are no records.
        """
        empty = {day for day in days if not json_days.days[day]}
        if empty and not self._hides_days():
            empty = self._json_answers.only_denied(empty)
        if not empty:
            return set()
        newest = self._get_newest()
        return {day for day in empty if newest is None or not newest.prove_empty(day, json_days.days)}

    def _hides_days(self) -> bool:
        """Whether JSON is known to show days empty of which the export or the newest records have some.

        If no JSON answer of this run has a record, a day that one of the others lists, or that is stored, is requested
        from JSON.
        """
        if not self._hidden_days and not self._json_answers.largest:
            newest = self._get_newest()
            listed = {*self._csv_answers.listed_days(), *(newest.days() if newest else ())}
            listed = listed or {day for day, count in self._complete_counts.items() if count}
            day = max((day for day in listed if day <= self._today), default=None)
            if day is not None and self._shows_empty(day):
                self._hidden_days.add(day)
        return bool(self._hidden_days)

    def _csv_is_better(self, day: date, json_days: SourceDays, csv_days: SourceDays) -> bool:
        """Whether the export has more records of a day, or is complete where JSON is not."""
        records = csv_days.days[day]
        if day not in json_days.unresolved:
            return len(records) > len(json_days.days[day]) and self._csv_supersedes(day, json_days, csv_days)
        unreadable = sum(item.day == day for item in csv_days.rejected)
        if len(records) + unreadable < self._json_answers.most_listed(day):
            return False
        if not records and (self._export_hides_days or self._export_lists_less(json_days)):
            return False
        if day in csv_days.uncertain_days and (
            (newest := self._get_newest()) is None or not newest.confirm({day: records}, csv_days.rejected)
        ):
            return False
        return day not in json_days.seen_records or contains_all(records, json_days.seen_records[day])

    def _export_lists_less(self, json_days: SourceDays) -> bool:
        """Whether JSON lists more unreadable records of unknown days than any export lists records."""
        return sum(item.day is None for item in json_days.rejected) > self._csv_answers.largest

    def _csv_supersedes(self, day: date, json_days: SourceDays, csv_days: SourceDays) -> bool:
        """Whether the export has all JSON records of a day, or newest records of it that JSON lacks."""
        records, json_records = csv_days.days[day], json_days.days[day]
        if contains_all(records, json_records):
            return True
        newest = self._get_newest()
        return (
            newest is not None
            and newest.are_contained_in({day: records})
            and not newest.are_contained_in({day: json_records})
        )

    def _is_contradictory(self, day: date, json_days: SourceDays, csv_days: SourceDays) -> bool:
        """Whether the export lists more of a day than JSON does, unreadable records included, but not all of it.

        Of an uncertain JSON day, it may list fewer records, if JSON lacks some of them.
        """
        if day not in json_days.days or day not in csv_days.days:
            return False
        records, json_records = csv_days.days[day], json_days.days[day]
        is_uncertain = day in json_days.uncertain_days
        excess = count_missing(json_records, records) if is_uncertain else len(records) - len(json_records)
        unreadable = sum(item.day == day for item in json_days.rejected)
        return excess > unreadable and not self._csv_supersedes(day, json_days, csv_days)


def _warn_of_use(window: DateRange, json_days: SourceDays, preferred: Collection[date]) -> None:
    """Log for which days the export is used in place of JSON, and why."""
    unreadable = json_days.unreadable.intersection(preferred)
    shorter = set(preferred) - unreadable
    if unreadable:
        reason = json_days.unresolved[min(unreadable)]
        log.warning("%s: JSON: %s; the CSV export is used for %s", window, reason, _describe(window, unreadable))
    if shorter:
        days = _describe(window, shorter)
        log.warning("%s: JSON has fewer records than the CSV export, which is used for %s", window, days)


def _describe(window: DateRange, days: Collection[date]) -> str:
    return ", ".join(map(str, split_into_windows(None, days, size=len(window))))
