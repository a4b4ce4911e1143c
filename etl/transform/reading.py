"""Read a feed into canonical records, and note what the listing as a whole tells about its completeness."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, tzinfo
from typing import Any, Final

import msgspec

from etl.model import MISSING, Feed, RawRecord, Record, Rejected, Survey, Window
from etl.transform.normalise import BadRecord, normalise, normalise_time, readable_day, storable

DEEPEST_PAYLOAD: Final = 20
"""Levels of a bad record that are kept; a good one has a single level."""


def read_feed(feed: Feed, window: Window, zone: tzinfo, keep: Callable[[Record], Any]) -> Survey:
    """Normalise every record of a feed and hand the good ones of the window's days to `keep`.

    Args:
        feed: Consumed to its end.
        window: Records of other days are surveyed and left out.
        zone: Of the vendor's wall clock.
        keep: Called with each record that belongs to the window.
    """
    first, last = f"{window.first} 00:00:00", f"{window.last} 23:59:59"
    rejected = [item for item in feed.malformed if item.day is None or item.day in window]
    earliest: str | None = None
    latest: str | None = None
    previous: str | None = None
    ascending = descending = True
    listed = kept = 0
    for raw in feed.rows:
        listed += 1
        time = ""
        try:
            time = normalise_time(raw.created_at, zone)
            # Of the days around the window the time alone is of use.
            inside = first <= time <= last
            record = normalise(raw, time) if inside else None
        except BadRecord as bad:
            day = day_of(time) if time else readable_day(raw.created_at)
            if day is None or day in window:
                rejected.append(Rejected(day, str(bad), render_payload(raw)))
            continue
        if previous is None or earliest is None or latest is None:
            earliest = latest = time
        elif time > previous:
            descending = False
            if time > latest:
                latest = time
        elif time < previous:
            ascending = False
            if time < earliest:
                earliest = time
        previous = time
        if record is not None:
            kept += 1
            keep(record)
    return Survey(listed + len(feed.malformed), kept, earliest, latest, ascending, descending, tuple(rejected))


def render_payload(raw: RawRecord) -> str:
    """A raw record as JSON text that every database can hold; equal for equal records."""
    fields: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(raw).items() if value is not MISSING
    }
    return storable(json.dumps(_shallow(fields), ensure_ascii=False, sort_keys=True, default=str))


def _shallow(value: Any, levels: int = DEEPEST_PAYLOAD) -> Any:
    # Rendering goes as deep as the value, and a recursion too deep here would cost the whole run.
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return "…"
    if isinstance(value, dict):
        return {name: _shallow(part, levels - 1) for name, part in value.items()}
    return [_shallow(part, levels - 1) for part in value]


def day_of(time: str) -> date:
    """The day of a canonical time."""
    return date.fromisoformat(time[:10])
