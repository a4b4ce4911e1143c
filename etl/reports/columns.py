"""The columns of the `billing` view, and what kind of value each holds: files spell each kind in their own way."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class ColumnType(Enum):
    """What a column holds."""

    LABEL = auto()
    """Text of which there are few different ones."""
    TEXT = auto()
    PHONE = auto()
    WALL_CLOCK = auto()
    """The vendor's, to the second, without a zone."""
    SECOND_UTC = auto()
    MOMENT_UTC = auto()
    """To the microsecond."""
    DAY = auto()
    NUMBER = auto()
    PRICE = auto()
    AMOUNT = auto()
    FLAG = auto()


COLUMNS: Final = {
    "account": ColumnType.LABEL,
    "created_at": ColumnType.WALL_CLOCK,
    "created_at_utc": ColumnType.SECOND_UTC,
    "day": ColumnType.DAY,
    "phone": ColumnType.PHONE,
    "code_auth": ColumnType.TEXT,
    "status": ColumnType.NUMBER,
    "status_info": ColumnType.LABEL,
    "price": ColumnType.PRICE,
    "repeats": ColumnType.NUMBER,
    "amount": ColumnType.AMOUNT,
    "delivered": ColumnType.FLAG,
    "operator": ColumnType.LABEL,
    "region": ColumnType.LABEL,
    "day_state": ColumnType.LABEL,
    "first_seen_at": ColumnType.MOMENT_UTC,
    "updated_at": ColumnType.MOMENT_UTC,
}
"""All of the view, in its order; a test holds the two together."""
