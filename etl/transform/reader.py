"""Read a feed: parse its records, and collect the statistics from which its completeness is judged."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, tzinfo
from itertools import compress, islice
from typing import Any, Final

from etl.date_ranges import DateRange
from etl.errors import InvalidResponse
from etl.model import Feed, RawRecord, ReadStats, Record, RejectedRecord
from etl.timestamps import leading_date, swapped_date
from etl.transform.fields import CorruptKey, DecimalSigns, FieldError, parse_record, parse_time
from etl.transform.folds import FoldCollector
from etl.transform.rejection import add_key, reject_record
from etl.transform.vectorised import parse_records, parse_times

BATCH_SIZE: Final = 5_000
"""Records that are parsed by column together. A batch with an invalid record is parsed again record by record."""


def read_feed(feed: Feed, window: DateRange, zone: tzinfo, sink: Callable[[list[Record]], Any]) -> ReadStats:
    """Parse every record of a feed, and pass the valid records of the window to `sink`.

    Args:
        feed: Consumed to its end.
        window: The days to keep; records of other days only count in the statistics.
        zone: The zone of the vendor's wall clock.
        sink: Called with each batch of records, in the order of the feed.

    Raises:
        InvalidResponse: A spreadsheet has lost digits of a key, so that the other keys are unreliable, too; or prices
            can be read in two ways.
    """
    first, last = f"{window.first} 00:00:00", f"{window.last} 23:59:59"
    order, folds, signs = _OrderTracker(), FoldCollector(zone), DecimalSigns()
    rejected: list[RejectedRecord] = []
    swapped: set[date] = set()
    listed = kept = 0
    remaining = iter(feed.rows)
    while batch := list(islice(remaining, BATCH_SIZE)):
        listed += len(batch)
        try:
            times, documented = parse_times([row.created_at for row in batch], zone)
            # Records outside the window only count in the statistics.
            earliest, latest = min(times), max(times)
            if first <= earliest and latest <= last:
                rows, records = batch, parse_records(batch, times)
            elif latest < first or last < earliest:
                rows, records = [], []
            else:
                inside = [first <= time <= last for time in times]
                rows = list(compress(batch, inside))
                records = parse_records(rows, list(compress(times, inside)))
        except (FieldError, TypeError):
            documented = False
            times, rows, records = _read_row_by_row(batch, window, zone, rejected)
        if not documented:
            swapped |= _swapped_days(batch, window)
        signs.add(row.price for row in batch)
        folds.add(rows, records)
        order.add(times)
        kept += len(records)
        sink(records)
    if signs.are_ambiguous:
        raise InvalidResponse("prices with a decimal comma, and others with a point that may stand between thousands")
    items = (add_key(item, zone) for item in feed.malformed)
    malformed = [item for item in items if item.day is None or item.day in window]
    return ReadStats(
        listed=listed + len(feed.malformed),
        kept=kept,
        earliest=order.earliest,
        latest=order.latest,
        ascending=order.ascending,
        descending=order.descending,
        rejected=(*malformed, *rejected),
        folds=folds.known,
        size=feed.size,
        swapped=frozenset(swapped),
        claims=feed.claims,
        counts=order.counts(),
    )


def _read_row_by_row(
    rows: Iterable[RawRecord], window: DateRange, zone: tzinfo, rejected: list[RejectedRecord]
) -> tuple[list[str], list[RawRecord], list[Record]]:
    """Parse record by record.

    Returns:
        The valid times, and the raw and parsed records of the window. Rejected records are appended to `rejected`.
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
        except CorruptKey as error:
            raise InvalidResponse(str(error)) from None
        except FieldError as error:
            item = reject_record(raw, str(error), zone)
            if item.day is None or item.day in window:
                rejected.append(item)
    return times, kept, records


def _swapped_days(rows: Iterable[RawRecord], window: DateRange) -> set[date]:
    """The days of the window on which records outside it would be if their dates had the month before the day."""
    dates = {row.created_at[:10] for row in rows if isinstance(row.created_at, str)}
    outside = [text for text in dates if (day := leading_date(text)) is None or day not in window]
    return {day for day in map(swapped_date, outside) if day is not None and day in window}


class _OrderTracker:
    """Tracks the earliest and latest time, the days and the order of a feed, batch by batch."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.earliest: str | None = None
        self.latest: str | None = None
        self.ascending = self.descending = True
        self._previous: str | None = None

    def add(self, times: list[str]) -> None:
        if not times:
            return
        ordered = sorted(times)
        self._count_days(ordered)
        self.ascending &= times == ordered and (self._previous is None or self._previous <= times[0])
        ordered.reverse()
        self.descending &= times == ordered and (self._previous is None or self._previous >= times[0])
        self.latest = ordered[0] if self.latest is None else max(self.latest, ordered[0])
        self.earliest = ordered[-1] if self.earliest is None else min(self.earliest, ordered[-1])
        self._previous = times[-1]

    def counts(self) -> dict[date, int]:
        """Number of times of each day."""
        return {date.fromisoformat(day): count for day, count in self._counts.items()}

    def _count_days(self, ordered: list[str]) -> None:
        start = 0
        while start < len(ordered):
            day = ordered[start][:10]
            end = bisect_right(ordered, f"{day} 24", lo=start)
            self._counts[day] += end - start
            start = end
