"""What one source has of a window's days, and how several such results make one. Pure but for a line in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TypeVar

from etl.date_ranges import bisect
from etl.errors import RequestRejected, VendorError
from etl.model import DateRange, DayRecords, Feed, Record, RejectedRecord

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceDays:
    """What one source has of a window's days.

    Attributes:
        asked: The days the answers reach over.
        days: The days shown whole.
        rejected: What could not be a record, of the window's days or of a day that cannot be read.
        open: The other days, each with the reason.
        unsure: Days that the question may not have reached in full.
        unproven: Days that nothing speaks against, and nothing for: the other source may. Each with the size of its
            answer, where that is what is in question.
        seen: The records of an open day that were seen: a source that lacks some does not have it whole either.
        folds: As in `ReadStats`.
        refused: The open days about which the vendor refuses every question.
    """

    asked: DateRange
    days: dict[date, DayRecords]
    rejected: tuple[RejectedRecord, ...] = ()
    open: dict[date, str] = field(default_factory=dict)
    unsure: frozenset[date] = frozenset()
    unproven: dict[date, int | None] = field(default_factory=dict)
    seen: dict[date, DayRecords] = field(default_factory=dict)
    folds: dict[Record, int] = field(default_factory=dict)
    refused: frozenset[date] = frozenset()

    def without(self, some: Collection[date]) -> SourceDays:
        """The result without these days."""

        def others(values: Mapping[date, T]) -> dict[date, T]:
            return {day: value for day, value in values.items() if day not in some}

        return replace(
            self,
            days=others(self.days),
            open=others(self.open),
            unsure=self.unsure.difference(some),
            unproven=others(self.unproven),
            seen=others(self.seen),
            refused=self.refused.difference(some),
        )


def empty_source_days(window: DateRange, error: VendorError) -> SourceDays:
    """The result of a failure that is about these days alone."""
    days = window.days()
    refused = frozenset(days if isinstance(error, RequestRejected) else ())
    return SourceDays(window, {}, open=dict.fromkeys(days, str(error)), refused=refused)


def fetch_served(
    window: DateRange, fetch: Callable[[DateRange], SourceDays], probe: Callable[[DateRange], object]
) -> SourceDays:
    """What a source has of a window, of which the vendor may refuse the older days.

    These lie before the contract, or are not kept any more: later ones may be served.

    Args:
        window: The days wanted.
        fetch: The question about all of them.
        probe: A question about the last of them.

    Raises:
        RequestRejected: The vendor refuses every question about these days.
        VendorError: There is no usable answer.
    """
    try:
        return fetch(window)
    except RequestRejected:
        if len(window) == 1:
            raise
    probe(DateRange(window.last, window.last))
    first, last = bisect(window)
    later = fetch_served(last, fetch, probe)
    try:
        earlier = fetch_served(first, fetch, probe)
    except RequestRejected as error:
        earlier = empty_source_days(first, error)
    return combine(window, (earlier, later))


def combine(window: DateRange, parts: Iterable[SourceDays]) -> SourceDays:
    """One result of several for parts of a window."""
    days: dict[date, DayRecords] = {}
    rejected: dict[RejectedRecord, None] = {}
    still_open: dict[date, str] = {}
    unsure: set[date] = set()
    unproven: dict[date, int | None] = {}
    seen: dict[date, DayRecords] = {}
    folds: dict[Record, int] = {}
    refused: set[date] = set()
    first, last = window.first, window.last
    for part in parts:
        days |= part.days
        rejected |= dict.fromkeys(part.rejected)
        still_open |= part.open
        unsure |= part.unsure
        unproven |= part.unproven
        seen |= part.seen
        folds |= part.folds
        refused |= part.refused
        first, last = min(first, part.asked.first), max(last, part.asked.last)
    return SourceDays(
        DateRange(first, last),
        days,
        tuple(rejected),
        still_open,
        frozenset(unsure),
        unproven,
        seen,
        folds,
        frozenset(refused),
    )


def log_unknown_fields(feed: Feed) -> None:
    """Log the names of fields that are ignored."""
    if feed.unknown:
        log.info(
            "%d unknown fields are ignored: %s", len(feed.unknown), ", ".join(name[:40] for name in feed.unknown[:10])
        )
