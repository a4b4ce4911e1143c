"""Resolve overlapping ranges of the numbering plan: the narrowest range wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from etl.errors import ConfigError
from etl.numbering.parser import PlanRange

BLOCK: Final = 100_000
"""Numbers that share their first five digits."""


def resolve_overlaps(ranges: Iterable[PlanRange]) -> Iterator[PlanRange]:
    """Disjoint ranges with the same numbers, ascending; a range that loses numbers is split.

    Published files have no overlaps; this handles edited or combined files.

    Raises:
        ConfigError: A number is in two equally wide ranges with different assignees; the text names both lines.
    """
    remaining = sorted(ranges, key=lambda item: item.first, reverse=True)
    bounds = sorted({item.first for item in remaining} | {item.last + 1 for item in remaining})
    overlapping: list[PlanRange] = []
    narrowest: PlanRange | None = None
    piece: PlanRange | None = None
    for start, end in pairwise(bounds):
        overlapping = [item for item in overlapping if item.last >= start]
        while remaining and remaining[-1].first == start:
            overlapping.append(remaining.pop())
        previous, narrowest = narrowest, _narrowest(overlapping)
        if piece and narrowest is previous:
            piece = replace(piece, last=end - 1)
            continue
        if piece:
            yield piece
        piece = narrowest and replace(narrowest, first=start, last=end - 1)
    if piece:
        yield piece


def _narrowest(ranges: Sequence[PlanRange]) -> PlanRange | None:
    if len(ranges) < 2:
        return ranges[0] if ranges else None
    width = min(item.last - item.first for item in ranges)
    narrowest, *duplicates = sorted(
        (item for item in ranges if item.last - item.first == width), key=lambda item: (item.source.name, item.line)
    )
    for duplicate in duplicates:
        if duplicate.assignee != narrowest.assignee:
            raise ConfigError(
                f"{duplicate.source.name}, line {duplicate.line}: the same numbers as in {narrowest.source.name}, "
                f"line {narrowest.line}, for another operator or region; correct the file"
            )
    return narrowest


def split_at_blocks(ranges: Iterable[PlanRange]) -> Iterator[PlanRange]:
    """Split ranges at the boundaries of blocks of 100,000 numbers."""
    for item in ranges:
        for block in range(item.first // BLOCK, item.last // BLOCK + 1):
            first, last = max(item.first, block * BLOCK), min(item.last, block * BLOCK + BLOCK - 1)
            yield replace(item, first=first, last=last)
