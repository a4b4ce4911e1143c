"""One owner a number: of ranges that overlap, the narrower one wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from etl.errors import ConfigError
from etl.numbering.parser import PlanRange

BLOCK: Final = 100_000
"""Numbers that have their first five digits in common."""


def resolve_overlaps(ranges: Iterable[PlanRange]) -> Iterator[PlanRange]:
    """The same numbers, each of them in one range only, ascending. A range that loses numbers comes in pieces.

    Published files have no overlaps: this says what becomes of one that has.

    Raises:
        ConfigError: A number stands in two ranges that are equally wide and of different owners; names both lines.
    """
    waiting = sorted(ranges, key=lambda each: each.first, reverse=True)
    bounds = sorted({each.first for each in waiting} | {each.last + 1 for each in waiting})
    reaching: list[PlanRange] = []
    owner: PlanRange | None = None
    piece: PlanRange | None = None
    for start, end in pairwise(bounds):
        reaching = [each for each in reaching if each.last >= start]
        while waiting and waiting[-1].first == start:
            reaching.append(waiting.pop())
        before, owner = owner, _narrowest(reaching)
        if piece and owner is before:
            piece = replace(piece, last=end - 1)
            continue
        if piece:
            yield piece
        piece = owner and replace(owner, first=start, last=end - 1)
    if piece:
        yield piece


def _narrowest(ranges: Sequence[PlanRange]) -> PlanRange | None:
    if len(ranges) < 2:
        return ranges[0] if ranges else None
    width = min(each.last - each.first for each in ranges)
    best, *others = sorted(
        (each for each in ranges if each.last - each.first == width), key=lambda each: (each.source.name, each.line)
    )
    for other in others:
        if other.assignee != best.assignee:
            raise ConfigError(
                f"{other.source.name}, line {other.line}: the same numbers as in {best.source.name}, line {best.line}, "
                "for another operator or region; mend the file"
            )
    return best


def split_at_blocks(ranges: Iterable[PlanRange]) -> Iterator[PlanRange]:
    """The same ranges in pieces none of which crosses a block of 100,000 numbers."""
    for each in ranges:
        for block in range(each.first // BLOCK, each.last // BLOCK + 1):
            first, last = max(each.first, block * BLOCK), min(each.last, block * BLOCK + BLOCK - 1)
            yield replace(each, first=first, last=last)
