"""Claims of answers that are void: what the parts of an answer show."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support.fake_vendor import day, days

from etl.extract.claims import lists_all, split
from etl.model import ReadStats


def answer(counts: Mapping[int, int], *, unreadable: int = 0) -> ReadStats:
    """An answer with a number of records of each day of March."""
    listed = sum(counts.values()) + unreadable
    by_day = {day(number): count for number, count in counts.items()}
    return ReadStats(listed, listed, None, None, ascending=True, descending=False, rejected=(), counts=by_day)


WHOLE = answer({1: 5, 2: 5, 3: 5, 4: 5})


@pytest.mark.parametrize(
    ("parts", "all_listed"),
    [
        ([{1: 5, 2: 5, 3: 5}, {3: 5, 4: 5}], True),
        ([{1: 5, 2: 5}, {3: 5, 4: 5}], True),  # the end date may be excluded
        ([{1: 5, 2: 5, 3: 5}, {3: 5, 4: 6}], False),
        ([{1: 5, 2: 5, 3: 5}, {3: 5, 4: 5, 5: 1}], False),
        ([{1: 5, 2: 5, 3: 5}, {3: 4, 4: 4}], False),  # the part itself may be truncated
        ([{1: 5, 2: 5, 3: 5}, {}], False),
        ([{1: 5, 2: 5, 3: 5, 4: 5}, {3: 5, 4: 5}], False),  # of the same size: a limit may explain both
    ],
)
def test_parts_show_that_an_answer_lists_all_records(parts, all_listed):
    assert lists_all(WHOLE, [answer(part) for part in parts]) is all_listed


def test_an_answer_is_split_at_the_middle_of_its_listed_days():
    assert split(days(1, 9), answer({1: 1, 3: 1, 4: 1, 12: 1})) == (days(1, 3), days(3, 9))
    assert split(days(1, 9), answer({1: 1, 3: 1}, unreadable=3)) is None
    assert split(days(1, 9), answer({})) is None
