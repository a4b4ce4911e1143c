"""The numbers that Excel keeps exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

MAX_DIGITS: Final = 15
"""Significant digits that Excel keeps: its numbers are 64-bit floats."""


def has_too_many_digits(text: str) -> bool:
    """Whether a number has more significant digits than Excel keeps."""
    return len(text) > MAX_DIGITS and len(Decimal(text).normalize().as_tuple().digits) > MAX_DIGITS
