"""Which stored rows may be among the records of a listing that cannot be read. Pure.

A record that is listed and cannot be read has not left the vendor's list: a row that it may be is held, which means it
is neither withdrawn nor reduced, until the record can be read again or is listed no more. It may be any row that agrees
with all that can be read of its key, if that is a second, a phone or a code; a day alone recognises no row. Where
several rows agree all of them are held: which one it is cannot be known, and none is known to be gone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import compress
from operator import eq
from typing import TypeAlias

from etl.changes import DayDiff, StoredRow
from etl.load.diff import diff_day
from etl.model import CountedRecord, PartialKey, Record, RejectedRecord
from etl.pii import ERASED
from etl.unreadable import readable_day

_Known: TypeAlias = tuple[bool, ...]
"""Which parts of a key can be read and are given."""


class Quarantine:
    """The partial keys of a listing's rejected records, by the day that they may belong to."""

    def __init__(self, rejected: Iterable[RejectedRecord]) -> None:
        self._by_day: defaultdict[date | None, list[PartialKey]] = defaultdict(list)
        for item in rejected:
            if any(item.key):
                self._by_day[readable_day(item)].append(item.key)

    def keys(self, day: date) -> list[PartialKey]:
        """Those of a day, and those that may be of any day."""
        return [*self._by_day.get(day, ()), *self._by_day.get(None, ())]


def quarantine_rows(
    day: date, listed: Sequence[CountedRecord], stored: Sequence[StoredRow], keys: Sequence[PartialKey]
) -> Counter[Record]:
    """The stored records, and how many of each, that a listing has to be completed with so that no held row changes.

    Args:
        day: Of the rows.
        listed: The good records of a slice of the day in canonical order, forgotten ones as they are stored.
        stored: The rows of the slice.
        keys: Of the unreadable records that may belong to it.
    """
    held = _quarantine_recognised(listed, stored, keys)
    completed = Counter(dict(listed)) + held
    in_order = [CountedRecord(*pair) for pair in sorted(completed.items(), key=lambda pair: pair[0][:3])]
    unreadable = _Unreadable(keys)
    for row, repeats in _leaving(diff_day(day, in_order, stored)):
        if unreadable.may_be(row.record):
            held[row.record] += repeats
    return held


def _leaving(change: DayDiff) -> Iterator[tuple[StoredRow, int]]:
    """The rows that a change withdraws or reduces, and by how many repeats."""
    for row in change.withdrawals:
        yield row, row.repeats
    for row, _, repeats in change.updates:
        if not row.withdrawn and repeats < row.repeats:
            yield row, row.repeats - repeats


def _quarantine_recognised(
    listed: Iterable[CountedRecord], stored: Iterable[StoredRow], keys: Iterable[PartialKey]
) -> Counter[Record]:
    """The rows of unreadable records whose whole key can be read, where another record of that key is new.

    The new record would pass for a correction of the row, and the unreadable one for nothing. Of several rows those are
    held that have the least in common with what is new.
    """
    whole = Counter(key for key in keys if None not in key)
    held: Counter[Record] = Counter()
    if not whole:
        return held
    records: defaultdict[PartialKey, list[Record]] = defaultdict(list)
    for item in listed:
        if item.record[:3] in whole:
            records[item.record[:3]].append(item.record)
    rows: defaultdict[PartialKey, list[StoredRow]] = defaultdict(list)
    for row in stored:
        if row.record[:3] in whole and not row.withdrawn:
            rows[row.record[:3]].append(row)
    for key, known in rows.items():
        current = {row.record for row in known}
        new = [record for record in records[key] if record not in current]
        if not new:
            continue
        unlisted = [row for row in known if row.record not in records[key]]
        unlisted.sort(key=lambda row: max(sum(map(eq, row.record, record)) for record in new))
        for row in unlisted[: whole[key]]:
            held[row.record] += row.repeats
    return held


class _Unreadable:
    """What can be read of the keys of a day's unreadable records."""

    def __init__(self, keys: Iterable[PartialKey]) -> None:
        self._values: defaultdict[_Known, set[tuple[str | None, ...]]] = defaultdict(set)
        for key in keys:
            if any(known := tuple(map(bool, key))):
                self._values[known].add(tuple(compress(key, known)))
        self._times = {key[0] or None for key in keys if any(key)}

    def may_be(self, record: Record) -> bool:
        """Whether one of them may be the record of a row: of a forgotten one nothing but the time is known."""
        if record.phone == ERASED:
            return None in self._times or record.created_at in self._times
        return any(tuple(compress(record, known)) in values for known, values in self._values.items())
