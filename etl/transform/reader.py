"""Read a feed into canonical records, and note what the listing as a whole tells about its completeness."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, tzinfo
from itertools import compress, islice
from typing import Any, Final

from etl.errors import InvalidResponse
from etl.model import DateRange, Feed, RawRecord, ReadStats, Record, RejectedRecord
from etl.transform.fields import CorruptKey, FieldError, parse_record, parse_time
from etl.transform.folds import FoldCollector
from etl.transform.unreadable import add_key, reject_record
from etl.transform.vectorised import parse_records, parse_times

BATCH_SIZE: Final = 5_000
"""Records that are normalised together: a bad one among them costs the others no more than a second look."""


def read_feed(feed: Feed, window: DateRange, zone: tzinfo, keep: Callable[[list[Record]], Any]) -> ReadStats:
    """Normalise every record of a feed and hand the good ones of the window's days to `keep`.

    Args:
        feed: Consumed to its end.
        window: Records of other days are surveyed and left out.
        zone: Of the vendor's wall clock.
        keep: Called with some records at a time, in the order of the feed.

    Raises:
        InvalidResponse: A spreadsheet has lost the digits of a key: the others may be wrong, too.
    """
    first, last = f"{window.first} 00:00:00", f"{window.last} 23:59:59"
    order, folds = _OrderTracker(), FoldCollector(zone)
    rejected: list[RejectedRecord] = []
    listed = kept = 0
    remaining = iter(feed.rows)
    while some := list(islice(remaining, BATCH_SIZE)):
        listed += len(some)
        try:
            times = parse_times([row.created_at for row in some], zone)
            # Of the days around the window the time alone is of use.
            earliest, latest = min(times), max(times)
            if first <= earliest and latest <= last:
                rows, records = some, parse_records(some, times)
            elif latest < first or last < earliest:
                rows, records = [], []
            else:
                inside = [first <= time <= last for time in times]
                rows = list(compress(some, inside))
                records = parse_records(rows, list(compress(times, inside)))
        except (FieldError, TypeError):
            times, rows, records = _read_row_by_row(some, window, zone, rejected)
        folds.add(rows, records)
        order.add(times)
        kept += len(records)
        keep(records)
    items = (add_key(item, zone) for item in feed.malformed)
    malformed = [item for item in items if item.day is None or item.day in window]
    return ReadStats(
        listed + len(feed.malformed),
        kept,
        order.earliest,
        order.latest,
        order.ascending,
        order.descending,
        (*malformed, *rejected),
        folds.known,
    )


def _read_row_by_row(
    rows: Iterable[RawRecord], window: DateRange, zone: tzinfo, rejected: list[RejectedRecord]
) -> tuple[list[str], list[RawRecord], list[Record]]:
    """The times of all records whose time can be read; the rows and records of the window's days.

    What cannot be a record is added to `rejected`.
    """
    first, last = f"{window.first} 00:00:00", f"{window.last} 23:59:59"
    times: list[str] = []
    kept: list[RawRecord] = []
    records: list[Record] = []
    for raw in rows:
        try:
            time = parse_time(raw.created_at, zone)
            times.append(time)
            if first <= time <= last:
                records.append(parse_record(raw, time))
                kept.append(raw)
        except CorruptKey as corrupt:
            raise InvalidResponse(str(corrupt)) from None
        except FieldError as bad:
            item = reject_record(raw, str(bad), zone)
            if item.day is None or item.day in window:
                rejected.append(item)
    return times, kept, records


class _OrderTracker:
    """The ends and the order of a listing, told a slice at a time."""

    def __init__(self) -> None:
        self.earliest: str | None = None
        self.latest: str | None = None
        self.ascending = self.descending = True
        self._previous: str | None = None

    def add(self, times: list[str]) -> None:
        if not times:
            return
        ordered = sorted(times)
        self.ascending &= times == ordered and (self._previous is None or self._previous <= times[0])
        ordered.reverse()
        self.descending &= times == ordered and (self._previous is None or self._previous >= times[0])
        self.latest = ordered[0] if self.latest is None else max(self.latest, ordered[0])
        self.earliest = ordered[-1] if self.earliest is None else min(self.earliest, ordered[-1])
        self._previous = times[-1]


def day_of_timestamp(time: str) -> date:
    """The day of a canonical time."""
    return date.fromisoformat(time[:10])
