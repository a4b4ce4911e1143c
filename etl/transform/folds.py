"""Which of two equal times of the wall clock a record has, in the hour that the clock repeats: its offset says so.

The time itself is the same either way, and so is the record's identity: JSON may give an offset and the CSV none. Only
its time in UTC depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from operator import attrgetter
from typing import Final

from etl.model import RawRecord, Record
from etl.transform.fields import read_fold
from etl.zones import is_repeated

_PLAIN_LENGTH: Final = len("2021-12-29T14:06:51")
"""Characters of a time without an offset; one with an offset has more."""
_created_at = attrgetter("created_at")


class FoldCollector:
    """Collects the readings that offsets give.

    Args:
        zone: Of the vendor's wall clock.

    Attributes:
        known: By record, 0 for the first reading and 1 for the second.
    """

    def __init__(self, zone: tzinfo) -> None:
        self.known: dict[Record, int] = {}
        self._zone = zone

    def add(self, rows: Sequence[RawRecord], records: Sequence[Record]) -> None:
        """Look at some rows of the feed, and at the records made of them."""
        if max(map(len, map(_created_at, rows)), default=0) <= _PLAIN_LENGTH:
            return
        for raw, record in zip(rows, records, strict=True):
            if len(raw.created_at) > _PLAIN_LENGTH and is_repeated(record.created_at, self._zone):
                fold = read_fold(raw.created_at, self._zone)
                if fold is not None:
                    self.known[record] = min(fold, self.known.get(record, fold))


def merge_folds(folds: Iterable[tuple[Record, int]]) -> dict[Record, int]:
    """By record. Of records that differ in their offset alone, which are one row, the first reading."""
    merged: dict[Record, int] = {}
    for record, fold in folds:
        merged[record] = min(fold, merged.get(record, fold))
    return merged
