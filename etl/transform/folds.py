"""Folds of records in the hour that the clock repeats, read from their offsets.

Only the time in UTC depends on the fold. `created_at` and the identity of the record do not, because JSON may have an
offset where CSV has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from operator import attrgetter
from typing import Final

from etl.model import RawRecord, Record
from etl.transform.fields import read_fold
from etl.zones import is_repeated

_PLAIN_LENGTH: Final = len("2021-12-29T14:06:51")
"""Characters of a time without an offset; a time with an offset is longer."""
_created_at = attrgetter("created_at")


class FoldCollector:
    """Collects the folds of records whose time has an offset.

    Args:
        zone: The zone of the vendor's wall clock.

    Attributes:
        known: `datetime.fold`, 0 or 1, by record.
    """

    def __init__(self, zone: tzinfo) -> None:
        self.known: dict[Record, int] = {}
        self._zone = zone

    def add(self, rows: Sequence[RawRecord], records: Sequence[Record]) -> None:
        """Add a batch of raw records and the records parsed from them, in the same order."""
        if max(map(len, map(_created_at, rows)), default=0) <= _PLAIN_LENGTH:
            return
        for raw, record in zip(rows, records, strict=True):
            if len(raw.created_at) > _PLAIN_LENGTH and is_repeated(record.created_at, self._zone):
                fold = read_fold(raw.created_at, self._zone)
                if fold is not None:
                    self.known[record] = min(fold, self.known.get(record, fold))
