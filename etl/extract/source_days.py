"""What one source has of a window's days, and how several such results make one. Pure but for a line in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from etl.errors import RequestRejected, VendorError
from etl.model import DateRange, DayRecords, Feed, Record, RejectedRecord

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
            answer.
        seen: How many records of an open day were seen: a source that has fewer does not have it whole either.
        folds: As in `ReadStats`.
        refused: The open days about which the vendor refuses every question.
    """

    asked: DateRange
    days: dict[date, DayRecords]
    rejected: tuple[RejectedRecord, ...] = ()
    open: dict[date, str] = field(default_factory=dict)
    unsure: frozenset[date] = frozenset()
    unproven: dict[date, int] = field(default_factory=dict)
    seen: dict[date, int] = field(default_factory=dict)
    folds: dict[Record, int] = field(default_factory=dict)
    refused: frozenset[date] = frozenset()


def empty_source_days(window: DateRange, error: VendorError) -> SourceDays:
    """The result of a failure that is about these days alone."""
    days = window.days()
    refused = frozenset(days if isinstance(error, RequestRejected) else ())
    return SourceDays(window, {}, open=dict.fromkeys(days, str(error)), refused=refused)


def combine(window: DateRange, parts: Iterable[SourceDays]) -> SourceDays:
    """One result of several for parts of a window."""
    days: dict[date, DayRecords] = {}
    rejected: dict[RejectedRecord, None] = {}
    still_open: dict[date, str] = {}
    unsure: set[date] = set()
    unproven: dict[date, int] = {}
    seen: dict[date, int] = {}
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
