"""The columns of the `billing` view, and what kind of value each holds: files spell each kind in their own way."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Kind(Enum):
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
    "account": Kind.LABEL,
    "created_at": Kind.WALL_CLOCK,
    "created_at_utc": Kind.SECOND_UTC,
    "day": Kind.DAY,
    "phone": Kind.PHONE,
    "code_auth": Kind.TEXT,
    "status": Kind.NUMBER,
    "status_info": Kind.LABEL,
    "price": Kind.PRICE,
    "repeats": Kind.NUMBER,
    "amount": Kind.AMOUNT,
    "delivered": Kind.FLAG,
    "operator": Kind.LABEL,
    "region": Kind.LABEL,
    "day_state": Kind.LABEL,
    "first_seen_at": Kind.MOMENT_UTC,
    "updated_at": Kind.MOMENT_UTC,
}
"""All of the view, in its order; a test holds the two together."""
