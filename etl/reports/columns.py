"""The columns of the `billing` view and their types, which each file format writes in its own way."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class ColumnType(Enum):
    """Type of a column's values."""

    LABEL = auto()
    """Text with few distinct values."""
    TEXT = auto()
    PHONE = auto()
    WALL_CLOCK = auto()
    """The vendor's local time, to the second, without a time zone."""
    SECOND_UTC = auto()
    MICROSECOND_UTC = auto()
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
    "first_seen_at": ColumnType.MICROSECOND_UTC,
    "updated_at": ColumnType.MICROSECOND_UTC,
}
"""All columns of the view in order; a test compares them with the view."""
