"""The days that a request covers. Pure.

The vendor documents neither whether the end date of a request is included nor the time zone of a day. So a request is
padded, and records are assigned to days by their own `created_at`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from etl.date_ranges import DateRange

PADDING_BEFORE: Final = timedelta(days=1)
PADDING_AFTER: Final = timedelta(days=2)
"""Two days: an exclusive end date, in a time zone behind the vendor's clock, loses more than one."""


def covered_days(requested: DateRange) -> DateRange | None:
    """The days that a request covers in full, whatever its end date and its time zone mean; None if there is none."""
    first, last = requested.first + PADDING_BEFORE, requested.last - PADDING_AFTER
    return DateRange(first, last) if first <= last else None
