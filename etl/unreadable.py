"""What an answer shows of the days whose records cannot be read. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from etl.model import DayRecords, ReadStats, RejectedRecord

MIN_RECORDS: Final = 2
"""Records without a readable day that make up a day: a single one may be odd alone."""


def readable_day(item: RejectedRecord) -> date | None:
    """The day of a rejected record, by its day or by its key; None where neither can be read."""
    created_at = item.key[0]
    if item.day is not None or not created_at:
        return item.day
    return date.fromisoformat(created_at[:10])


def unreadable_days(days: Mapping[date, DayRecords], survey: ReadStats) -> dict[date, str]:
    """The days for which a listing is no answer, because nothing of them can be read, each with the reason.

    That is a day with records of which none can be read, and every day where none of the whole listing can. A day
    without any is one too where it was the only one wanted and the listing has several records without a readable day:
    these may all be its own.
    """
    if not survey.listed:
        return {}
    reasons: defaultdict[date, list[str]] = defaultdict(list)
    undated: list[str] = []
    for item in survey.rejected:
        if item.readable:
            continue
        day = readable_day(item)
        (undated if day is None else reasons[day]).append(item.reason)
    if survey.earliest is None:
        every = f"none of the {survey.listed} records of the answer can be read{_first_of(survey.rejected)}"
        return dict.fromkeys(days, every)
    unreadable = {
        day: f"none of the {len(found)} records of the day can be read ({found[0]})"
        for day, found in reasons.items()
        if day in days and not days[day]
    }
    if len(undated) >= MIN_RECORDS and len(days) == 1:
        reason = f"no record of the day, and {len(undated)} records whose day cannot be read ({undated[0]})"
        unreadable |= {day: reason for day, records in days.items() if not records and day not in unreadable}
    return unreadable


def _first_of(rejected: Sequence[RejectedRecord]) -> str:
    return f" ({rejected[0].reason})" if rejected else ""
