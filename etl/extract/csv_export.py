"""One download of the CSV export, and the days for which it is complete."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from etl.date_ranges import ONE_DAY, DateRange
from etl.extract.answer_evidence import listed_range
from etl.extract.completeness import days_begun_late, days_without_padding
from etl.extract.padding import PADDING_BEFORE
from etl.extract.source_days import SourceDays
from etl.extract.spool import RecordSpool
from etl.model import DayRecords, ReadStats
from etl.unreadable import unreadable_days
from etl.zones import merge_folds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CsvExport:
    """A parsed CSV export: the records of the target days, spooled by day.

    Attributes:
        requested: The requested start date, up to the present.
        target: The target days.
        missing_fields: Attributes that the export does not have.
    """

    requested: DateRange
    target: DateRange
    stats: ReadStats
    spool: RecordSpool
    missing_fields: frozenset[str]

    def days(self, window: DateRange) -> dict[date, DayRecords]:
        """The records of a part of the target days."""
        days = self.spool.days(window)
        return {
            day: replace(records, source="csv", missing_fields=self.missing_fields) for day, records in days.items()
        }

    def day(self, day: date) -> DayRecords:
        """The records of one target day."""
        return self.days(DateRange(day, day))[day]


@dataclass(frozen=True, slots=True)
class CompletePart:
    """A range of days and the export that is complete for them."""

    days: DateRange
    export: CsvExport


@dataclass(slots=True)
class OpenExport:
    """The export in use.

    Attributes:
        target: The days that it serves.
        parts: The ranges for which it, or a later export, is complete; None until they are determined.
        compared: The exports that were downloaded to determine them.
    """

    target: DateRange
    export: CsvExport
    parts: list[CompletePart] | None = None
    compared: list[CsvExport] = field(default_factory=list)

    def source_days(self, window: DateRange, complete_counts: Mapping[date, int]) -> SourceDays:
        """Return the complete days of a window, and the reasons against the others.

        Args:
            window: Days of the target.
            complete_counts: Number of records of each day that an earlier run found complete.

        The start date of an export without padding, because the vendor rejects the day before it, is unproven: in
        another time zone, some of its records belong to the rejected day.
        """
        days: dict[date, DayRecords] = {}
        unproven: dict[date, ReadStats | None] = {}
        stats_by_day = dict.fromkeys(window.days(), self.export.stats)
        for part in self.parts or ():
            first, last = max(part.days.first, window.first), min(part.days.last, window.last)
            if first <= last:
                part_days = part.export.days(DateRange(first, last))
                days |= part_days
                stats_by_day |= dict.fromkeys(part_days, part.export.stats)
                unproven |= dict.fromkeys(days_without_padding(part_days, part.export.requested.first))
        # A limit that truncates the export's first day would have left fewer records than it had when it was complete.
        if self.export.stats.earliest and (first := listed_range(self.export.stats)[0]) in window and first not in days:
            records = self.export.day(first)
            if 0 < complete_counts.get(first, 0) <= len(records):
                days[first] = records
        # A day that was complete without records, and again shows none, needs no evidence: it stays as it is.
        days |= {
            day: records
            for day in window.days()
            if day not in days and complete_counts.get(day) == 0 and not (records := self._most_records(day))
        }
        truncated = f"a CSV export of {self.export.stats.listed} records may be truncated"
        open_days = {day: truncated for day in window.days() if day not in days}
        for day, records in days.items():
            open_days |= unreadable_days({day: records}, stats_by_day[day])
        complete_days = {day: records for day, records in days.items() if day not in open_days}
        rejected = dict.fromkeys(
            replace(item, source="csv")
            for stats in {id(stats): stats for stats in stats_by_day.values()}.values()
            for item in stats.rejected
            if item.day is None or item.day in window
        )
        requested = DateRange(self.target.first - PADDING_BEFORE, self.target.last)
        folds = merge_folds(pair for stats in stats_by_day.values() for pair in stats.folds.items())
        result = SourceDays(
            requested,
            complete_days,
            tuple(rejected),
            open_days,
            unproven=unproven,
            seen_records={day: self._most_records(day) for day in open_days},
            folds=folds,
        )
        widest = min((self.export, *self.compared), key=lambda export: export.requested.first)
        return result.begun_late(
            days_begun_late(self.target.first, complete_days, widest.requested.first, widest.stats, complete_counts)
        )

    def _most_records(self, day: date) -> DayRecords:
        """The records of a day in the export that lists most of them."""
        return max((export.day(day) for export in (self.export, *self.compared) if day in export.target), key=len)

    def log_truncation(self) -> None:
        """Log the complete days, unless all days are."""
        complete_days = [part.days for part in self.parts or ()]
        if complete_days != [self.target]:
            log.warning(
                "a CSV export of %d records may be truncated; complete days: %s",
                self.export.stats.listed, ", ".join(map(str, complete_days)) or "none",
            )  # fmt: skip


def last_listed_day(export: CsvExport) -> date:
    """The day of an export's last record; without records, the day before its start date."""
    return export.requested.first - ONE_DAY if export.stats.latest is None else listed_range(export.stats)[1]


def day_counts(export: CsvExport, window: DateRange) -> list[int]:
    """Number of records of each day of a part of the target days."""
    return list(map(len, export.days(window).values()))


def complete_parts(first: date, last: date, export: CsvExport) -> list[CompletePart]:
    """One part of an export, or none if its last day is before its first."""
    return [CompletePart(DateRange(first, last), export)] if first <= last else []
