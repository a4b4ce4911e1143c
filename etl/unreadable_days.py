"""Days of which an answer lists no readable record: the stored rows are kept. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

from etl.model import DayRecords, ReadStats, RejectedRecord, WindowData, single_slice_day

MIN_RECORDS: Final = 2
"""Undated records from which on a day without records is unreadable: a single one may be an exception."""


def readable_day(item: RejectedRecord) -> date | None:
    """The day of a rejected record, from its day or its key; None if both are unreadable."""
    created_at = item.key[0]
    if item.day is not None or not created_at:
        return item.day
    return date.fromisoformat(created_at[:10])


def rejected_on(day: date, rejected: Iterable[RejectedRecord]) -> list[RejectedRecord]:
    """The rejected records that may belong to a day."""
    return [item for item in rejected if readable_day(item) in {day, None}]


def unreadable_days(days: Mapping[date, DayRecords], stats: ReadStats) -> dict[date, str]:
    """Return the days for which the answer is unusable because their records are unreadable, with the reasons.

    These are days with rejected records only, and all days if the answer has rejected records only. If a single day was
    requested and has no records, it is unreadable as well if the answer has MIN_RECORDS undated records: they may all
    belong to that day.
    """
    if not stats.listed:
        return {}
    reasons: defaultdict[date, list[str]] = defaultdict(list)
    undated: list[str] = []
    for item in stats.rejected:
        if item.readable:
            continue
        day = readable_day(item)
        (undated if day is None else reasons[day]).append(item.reason)
    if stats.earliest is None:
        reason = f"none of the {stats.listed} records of the answer can be read{_first_reason(stats.rejected)}"
        return dict.fromkeys(days, reason)
    unreadable = {
        day: f"none of the {len(day_reasons)} records of the day can be read ({day_reasons[0]})"
        for day, day_reasons in reasons.items()
        if day in days and not days[day]
    }
    if len(undated) >= MIN_RECORDS and len(days) == 1:
        reason = f"no record of the day, and {len(undated)} records whose day cannot be read ({undated[0]})"
        unreadable |= {day: reason for day, records in days.items() if not records and day not in unreadable}
    return unreadable


def accept_unreadable(data: WindowData, days: Collection[date]) -> WindowData:
    """Take accepted days of which no record can be read as listed: their records are quarantined."""
    accepted = data.unreadable.intersection(days)
    return replace(
        data,
        days={**data.days, **{day: single_slice_day(day, []) for day in accepted}},
        unresolved_days={day: reason for day, reason in data.unresolved_days.items() if day not in accepted},
        unreadable=data.unreadable - accepted,
    )


def _first_reason(rejected: Sequence[RejectedRecord]) -> str:
    return f" ({rejected[0].reason})" if rejected else ""
