"""The rules of a run for comparing and writing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, tzinfo
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """The rules of a run for comparing and writing.

    Attributes:
        today: The day in the vendor's wall clock when the run started; earlier days are over.
        zone: The time zone of the vendor's wall clock.
        lookback: Number of closed days that are fetched again every night.
        max_withdrawn_share: Share of a day's rows that may be withdrawn before the day is suspect.
        full_compare: Whether to compare the rows even if the digest in the ledger is unchanged.
        accepted_days: Days to store although they are implausible.
        begins_where_served: Whether the history starts after the days that the vendor refuses: no start date is set.
        start: The configured start date of a sync: until there is a watermark, an earlier history starts with it.
    """

    today: date
    zone: tzinfo
    lookback: int
    max_withdrawn_share: Decimal
    full_compare: bool = False
    accepted_days: frozenset[date] = frozenset()
    begins_where_served: bool = False
    start: date | None = None
