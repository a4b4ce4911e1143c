"""One download of the CSV export."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from etl.date_ranges import ONE_DAY, DateRange
from etl.extract.answer_evidence import listed_range
from etl.extract.spool import RecordSpool
from etl.model import DayRecords, ReadStats


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


def last_listed_day(export: CsvExport) -> date:
    """The day of an export's last record; without records, the day before its start date."""
    return export.requested.first - ONE_DAY if export.stats.latest is None else listed_range(export.stats)[1]


def day_counts(export: CsvExport, window: DateRange) -> list[int]:
    """Number of records of each day of a part of the target days."""
    return list(map(len, export.days(window).values()))


def complete_parts(first: date, last: date, export: CsvExport) -> list[CompletePart]:
    """One part of an export, or none if its last day is before its first."""
    return [CompletePart(DateRange(first, last), export)] if first <= last else []
