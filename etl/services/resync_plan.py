"""The deep sweep: every stored day that the vendor still serves is compared, as those of the lookback are every night.

A vendor that keeps only so many months answers for older days with nothing. Taken at its word, each of them would be
suspect for ever, and asked for again by every run. So the sweep first looks for the oldest day with records that is
still served, and begins behind it: that day itself may be cut in its middle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from etl.date_ranges import ONE_DAY, split_into_windows
from etl.model import DateRange


@dataclass(frozen=True, slots=True)
class ResyncPlan:
    """What a deep sweep fetches.

    Attributes:
        skipped_days: Stored days that stay as they are, because the vendor does not surely serve them any more.
    """

    windows: list[DateRange]
    skipped_days: tuple[date, ...]


def plan_resync(
    stored: Mapping[date, int], nightly: list[DateRange], serves: Callable[[date], bool], *, size: int
) -> ResyncPlan:
    """Extend what a nightly run fetches to all stored days that the vendor still serves.

    Args:
        stored: Each stored day, and how many records it has. One without any tells nothing of what is served.
        nightly: What a run without a sweep fetches; the sweep fetches it in any case.
        serves: Whether the vendor lists a record of a day. It is asked once where it lists the oldest one, else as
            often as halving takes: no day is assumed to be served that is older than one that is not.
        size: Days a window.
    """
    recent = {day for window in nightly for day in window.days()}
    old = sorted(stored.keys() - recent)
    telling = [day for day in old if stored[day]]
    begins = date.min
    if telling and not serves(telling[0]):
        oldest = bisect_left(telling, True, lo=1, key=serves)  # noqa: FBT003 - what is looked for, after the Falses
        begins = telling[oldest] + ONE_DAY if oldest < len(telling) else date.max
    return ResyncPlan(
        split_into_windows(None, recent.union(day for day in old if day >= begins), size=size),
        tuple(day for day in old if day < begins),
    )
