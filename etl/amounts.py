"""Exact arithmetic with amounts of money."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from decimal import Context, Decimal, localcontext
from typing import Final

_PRECISION: Final = 60
"""Decimal digits; more than any sum of stored amounts has."""


def exact_arithmetic() -> AbstractContextManager[Context]:
    """Context in which sums of amounts are not rounded; quotients have 60 digits."""
    return localcontext(prec=_PRECISION)


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Sum of amounts without rounding."""
    with exact_arithmetic():
        return sum(amounts, Decimal(0))
