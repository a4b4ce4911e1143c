"""What an answer shows of the days whose records cannot be read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from etl.model import DayRecords, Rejected


def readable_day(item: Rejected) -> date | None:
    """The day of a rejected record, by its day or by its key; None where neither can be read."""
    created_at = item.key[0]
    if item.day is not None or not created_at:
        return item.day
    return date.fromisoformat(created_at[:10])


def unreadable_days(days: Mapping[date, DayRecords], rejected: Iterable[Rejected]) -> frozenset[date]:
    """The days of which an answer lists records and none of them can be read.

    Such a day is not an empty one: the answer does not show what it holds.

    Args:
        days: The wanted days with their good records.
        rejected: The answer's bad records, of these days, of others or of no day.
    """
    named = {day for item in rejected if (day := readable_day(item)) is not None}
    return frozenset(day for day in named if day in days and not len(days[day]))
