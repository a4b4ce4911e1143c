"""The days of a window from one source, and how to combine several results. Pure, except for logging."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TypeVar

from etl.date_ranges import DateRange, bisect
from etl.errors import DateRangeMismatch, RequestRejected, VendorError
from etl.model import DayRecords, Feed, ReadStats, Record, RejectedRecord
from etl.zones import merge_folds

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceDays:
    """The days of a window from one source.

    Attributes:
        requested: The dates that the requests cover, padding included.
        days: The complete days.
        rejected: Rejected records of the window's days or of an unknown day.
        unresolved: The days without an accepted answer, each with the reason.
        incomplete_days: Days that the request may not have covered in full.
        unproven: Days without evidence for or against a limit that truncated their answer, with its statistics.
        unpadded: Days at the start of a request without padding: in another time zone, they may begin before it.
        seen_records: The known records of unresolved days: an answer that lacks some of them is incomplete.
        folds: `datetime.fold` of the records; see `ReadStats`.
        refused: The unresolved days for which the vendor rejects every request.
        failed: The unresolved days for which a request failed: there is no answer.
        unreadable: The unresolved days of which no record can be read.
    """

    requested: DateRange
    days: dict[date, DayRecords]
    rejected: tuple[RejectedRecord, ...] = ()
    unresolved: dict[date, str] = field(default_factory=dict)
    incomplete_days: frozenset[date] = frozenset()
    unproven: dict[date, ReadStats] = field(default_factory=dict)
    unpadded: frozenset[date] = frozenset()
    seen_records: dict[date, DayRecords] = field(default_factory=dict)
    folds: dict[Record, int] = field(default_factory=dict)
    refused: frozenset[date] = frozenset()
    failed: frozenset[date] = frozenset()
    unreadable: frozenset[date] = frozenset()

    @property
    def uncertain_days(self) -> frozenset[date]:
        """The complete days that are to be compared with the other source."""
        return self.unpadded.union(self.unproven)

    def without(self, excluded: Collection[date]) -> SourceDays:
        """Return a copy without these days."""

        def without_excluded(values: Mapping[date, T]) -> dict[date, T]:
            return {day: value for day, value in values.items() if day not in excluded}

        return replace(
            self,
            days=without_excluded(self.days),
            unresolved=without_excluded(self.unresolved),
            incomplete_days=self.incomplete_days.difference(excluded),
            unproven=without_excluded(self.unproven),
            unpadded=self.unpadded.difference(excluded),
            seen_records=without_excluded(self.seen_records),
            refused=self.refused.difference(excluded),
            failed=self.failed.difference(excluded),
            unreadable=self.unreadable.difference(excluded),
        )

    def only(self, days: Collection[date]) -> SourceDays:
        """Return only these complete days, with the rejected records that may belong to them."""
        return SourceDays(
            self.requested,
            {day: records for day, records in self.days.items() if day in days},
            tuple(item for item in self.rejected if item.day is None or item.day in days),
            folds=self.folds,
        )

    def with_unresolved(self, days: Collection[date], reason: str) -> SourceDays:
        """Return a copy in which these complete days are unresolved; their records are known."""
        without = self.without(days)
        return replace(
            without,
            unresolved=without.unresolved | dict.fromkeys(days, reason),
            seen_records=without.seen_records | {day: self.days[day] for day in days},
        )

    def with_begun_late(self, days: frozenset[date]) -> SourceDays:
        """Return a copy in which these days are unresolved: the vendor may not serve all of their records any more."""
        result = self.with_unresolved(days, "the answer begins after records of the day before, which are stored")
        return replace(result, refused=result.refused | days)


def empty_source_days(window: DateRange, error: VendorError) -> SourceDays:
    """Create the result of an error that concerns only these days: all of them are unresolved."""
    days = window.days()
    refused = frozenset(days if isinstance(error, RequestRejected) else ())
    failed = frozenset(() if isinstance(error, RequestRejected | DateRangeMismatch) else days)
    return SourceDays(window, {}, unresolved=dict.fromkeys(days, str(error)), refused=refused, failed=failed)


def fetch_accepted_days(
    window: DateRange,
    fetch: Callable[[DateRange], SourceDays],
    probe: Callable[[DateRange], object],
    rejections: type[VendorError] = RequestRejected,
) -> SourceDays:
    """Fetch a window, bisecting it if the vendor rejects its older days.

    Days before the start of the contract or past the vendor's retention are rejected; later ones may be accepted.

    Args:
        window: The target days.
        fetch: Fetches a range of days.
        probe: Sends a request for a single day.
        rejections: The errors after which later days are tried.

    Raises:
        RequestRejected: The vendor rejects every request for these days.
        VendorError: There is no usable answer.
    """
    try:
        return fetch(window)
    except rejections:
        if len(window) == 1:
            raise
    probe(DateRange(window.last, window.last))
    first, last = bisect(window)
    later = fetch_accepted_days(last, fetch, probe, rejections)
    try:
        earlier = fetch_accepted_days(first, fetch, probe, rejections)
    except rejections as error:
        earlier = empty_source_days(first, error)
    return combine(window, (earlier, later))


def combine(window: DateRange, parts: Iterable[SourceDays]) -> SourceDays:
    """Combine the results for parts of a window; of a day that several parts have, the last one counts."""
    parts = list(parts)
    requests = [window, *(part.requested for part in parts)]
    return SourceDays(
        DateRange(min(request.first for request in requests), max(request.last for request in requests)),
        days=_merge(part.days for part in parts),
        rejected=tuple(dict.fromkeys(item for part in parts for item in part.rejected)),
        unresolved=_merge(part.unresolved for part in parts),
        incomplete_days=frozenset[date]().union(*(part.incomplete_days for part in parts)),
        unproven=_merge(part.unproven for part in parts),
        unpadded=frozenset[date]().union(*(part.unpadded for part in parts)),
        seen_records=_merge(part.seen_records for part in parts),
        folds=merge_folds(pair for part in parts for pair in part.folds.items()),
        refused=frozenset[date]().union(*(part.refused for part in parts)),
        failed=frozenset[date]().union(*(part.failed for part in parts)),
        unreadable=frozenset[date]().union(*(part.unreadable for part in parts)),
    )


def _merge(mappings: Iterable[Mapping[date, T]]) -> dict[date, T]:
    return {day: value for mapping in mappings for day, value in mapping.items()}


def log_unknown_fields(feed: Feed) -> None:
    """Log the names of unknown fields, which are ignored."""
    if feed.unknown:
        log.info(
            "%d unknown fields are ignored: %s", len(feed.unknown), ", ".join(name[:40] for name in feed.unknown[:10])
        )
