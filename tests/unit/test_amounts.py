"""Sums of amounts are exact beyond the 28 digits of Python's default context."""

from __future__ import annotations

from decimal import Decimal, localcontext

from etl.amounts import exact_arithmetic, exact_sum

LARGE, SMALL = Decimal(10**25), Decimal("0.000001")


def test_a_sum_keeps_the_smallest_part_of_the_largest_amount():
    with localcontext(prec=28):
        assert LARGE + SMALL == LARGE
        assert str(exact_sum([LARGE, SMALL, SMALL])) == "10000000000000000000000000.000002"


def test_the_sum_of_nothing_is_zero():
    assert exact_sum([]) == Decimal(0)


def test_the_precision_applies_only_within_the_context():
    with localcontext(prec=28):
        with exact_arithmetic():
            assert LARGE + SMALL > LARGE
        assert LARGE + SMALL == LARGE
