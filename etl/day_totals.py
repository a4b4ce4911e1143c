"""Totals of days, and of parts of them. No I/O."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple


class DayTotals(NamedTuple):
    """The totals of one day's records.

    Attributes:
        records: Number of records, repeats included.
        delivered: Number of records of status 1, repeats included.
        spend: Sum of price times repeats.
        repeated_spend: The part of `spend` due to records that are listed more than once.
    """

    records: int = 0
    delivered: int = 0
    spend: Decimal = Decimal(0)
    repeated_spend: Decimal = Decimal(0)


class LedgerTotals(NamedTuple):
    """Totals of several days of the day ledger, repeats included."""

    records: int = 0
    spend: Decimal = Decimal(0)


class DayChange(NamedTuple):
    """A day whose records or ledger entry changed.

    Attributes:
        day: In the vendor's wall clock.
        revision: `sync_state.revision` of the last transaction that changed it.
        records: Number of records by the day ledger, repeats included.
        spend: Their sum of price times repeats.
        purged: The rows of its records were deleted, or are being deleted; `records` and `spend` are those from before.
    """

    day: date
    revision: int
    records: int
    spend: Decimal
    purged: bool


class HourTotals(NamedTuple):
    """The totals of one hour of a day, from 0 to 23, in the vendor's wall clock."""

    hour: int
    records: int
    delivered: int
    spend: Decimal


class ChannelTotals(NamedTuple):
    """The totals of one channel's records; the channel is a number, `channels.id`."""

    channel: int
    records: int
    delivered: int
    spend: Decimal
